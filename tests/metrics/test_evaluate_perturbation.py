from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from scwhatif.metrics import (
    effect_weights,
    evaluate_perturbation,
    predict_additive,
    technical_duplicate,
    weighted_mse,
)

if TYPE_CHECKING:
    from pathlib import Path

GENES = [f"g{j}" for j in range(60)]
SINGLES = list("ABCDEF")
PAIRS = ["+".join(pair) for pair in combinations(SINGLES, 2)][:8]


class Screen:
    """Singles and pairs with additive effects, on top of one that all perturbed cells share."""

    def __init__(self, seed: int = 0, n_cells: int = 40, noise: float = 1.0):
        rng = np.random.default_rng(seed)
        self.control = pd.Series(rng.gamma(2, size=60), GENES)
        shared = rng.normal(size=60)
        own = pd.DataFrame(rng.normal(size=(6, 60)), SINGLES, GENES)
        truth = {name: self.control + shared + own.loc[name.split("+")].sum() for name in [*SINGLES, *PAIRS]}
        truth = pd.DataFrame(truth).T
        self.label = np.repeat(truth.index, n_cells)
        self.cells = truth.loc[self.label].to_numpy() + noise * rng.normal(size=(len(self.label), 60))
        self.mean = pd.DataFrame(self.cells, columns=GENES).groupby(self.label).mean()
        self.train, self.observed, self.truth = self.mean.loc[SINGLES], self.mean.loc[PAIRS], truth.loc[PAIRS]

    def evaluate(self, predicted: object = None, **kwargs: object) -> pd.DataFrame:
        settings = {"train": self.train, "cells": self.cells, "perturbation": self.label, "n_splits": 3} | kwargs
        given = {"truth": self.truth} if predicted is None else predicted
        return evaluate_perturbation(given, self.observed, self.control, **settings)


@pytest.fixture(scope="module")
def screen() -> Screen:
    return Screen()


def values(table: pd.DataFrame, column: str = "value") -> pd.DataFrame:
    return table.pivot(index="predictor", columns="metric", values=column)


def test_a_row_for_every_predictor_and_metric(screen: Screen):
    table = screen.evaluate()
    kinds = table.groupby("kind", sort=False)["predictor"].unique()
    assert kinds["model"].tolist() == ["truth"]
    assert kinds["floor"].tolist() == ["no change", "train mean", "additive", "average of parts"]
    assert kinds["ceiling"].tolist() == ["technical duplicate", "interpolated duplicate"]
    assert table["kind"].drop_duplicates().tolist() == ["model", "floor", "ceiling"]
    assert len(table) == 7 * 8
    assert table.notna().all(axis=None)
    assert (table["n_perturbations"] == 8).all()
    assert (table["low"] <= table["value"]).all()
    assert (table["value"] <= table["high"]).all()


def test_planted_order_is_recovered(screen: Screen):
    found = values(screen.evaluate())
    up = ["pearson_control", "pearson_mean", "weighted_r2", "discrimination", "centroid_accuracy"]
    for name in found.columns:
        sign = 1 if name in up else -1
        truth, duplicate, mean = (sign * found.loc[p, name] for p in ("truth", "technical duplicate", "train mean"))
        # a repeat is noisy, and one who knows the truth passes it
        assert truth >= duplicate > mean, name
    # effects add up, but the one that is shared is added twice
    assert found.loc["technical duplicate", "mse"] < found.loc["additive", "mse"] < found.loc["no change", "mse"]
    # mean squared error of a truth that is known, and of a repeat: noise of one half, and of two
    assert found.loc["truth", "mse"] == pytest.approx(1 / 20, rel=0.1)
    assert found.loc["technical duplicate", "mse"] == pytest.approx(2 / 20, rel=0.1)


def test_the_mean_of_training_perturbations_knows_nothing(screen: Screen):
    found = values(screen.evaluate())
    assert found.loc["train mean", "pearson_mean"] == 0
    assert found.loc["no change", "pearson_control"] == 0
    for name in ("no change", "train mean"):
        assert found.loc[name, "discrimination"] == pytest.approx(0.5)
        assert found.loc[name, "centroid_accuracy"] == pytest.approx(0.5)
        assert found.loc[name, "weighted_r2"] <= 0
    # what all perturbed cells share flatters it from the control
    assert found.loc["train mean", "pearson_control"] > 0.3


def test_leave_one_out_means_are_caught_by_the_training_mean():
    """They are −1 from the mean over all perturbations, an identity; from that of others, near 0."""
    screen = Screen(seed=3, noise=0.0)
    others = (screen.observed.sum() - screen.observed) / (len(PAIRS) - 1)
    pretend = evaluate_perturbation(
        others, screen.observed, screen.observed.mean(), floors=False, metrics=["pearson_control"]
    )
    assert pretend["value"].item() == pytest.approx(-1)
    honest = values(screen.evaluate({"others": others}, cells=None, perturbation=None))
    assert honest.loc["others", "pearson_mean"] > -0.5


def test_everything_is_scored_against_the_same_half(screen: Screen):
    table = screen.evaluate(n_splits=1, seed=5, per_perturbation=True)
    halves = technical_duplicate(screen.cells, screen.label, seed=5)
    observed, weights = halves.observed.set_axis(GENES, axis=1).loc[PAIRS], effect_weights(halves.t).loc[PAIRS]
    weights = weights.set_axis(GENES, axis=1)
    duplicate = halves.duplicate.set_axis(GENES, axis=1)
    additive = predict_additive(screen.train, screen.control, PAIRS)
    found = table.query("metric == 'weighted_mse'").pivot(index="perturbation", columns="predictor", values="value")
    for name, predicted in {"truth": screen.truth, "technical duplicate": duplicate, "additive": additive}.items():
        np.testing.assert_allclose(found.loc[PAIRS, name], weighted_mse(predicted, observed, weights))
    assert list(table.columns) == ["predictor", "kind", "metric", "perturbation", "value"]
    assert len(table) == 7 * 8 * 8


def test_means_over_perturbations_and_splits(screen: Screen):
    each = screen.evaluate(per_perturbation=True)
    mean = each.groupby(["predictor", "metric"])["value"].mean().unstack()
    pd.testing.assert_frame_equal(mean, values(screen.evaluate()), check_names=False)


def test_without_ceilings_all_cells_count(screen: Screen):
    for kwargs in ({"cells": None, "perturbation": None}, {"ceilings": False}):
        table = screen.evaluate(**kwargs)
        assert "ceiling" not in set(table["kind"])
        assert {"weighted_mse", "weighted_r2"}.isdisjoint(table["metric"])
        assert table[["calibrated", "dynamic_range"]].isna().all(axis=None)
        expected = np.square(screen.truth - screen.observed).to_numpy().mean()
        assert values(table).loc["truth", "mse"] == pytest.approx(expected)
    weights = screen.observed.abs()
    table = values(screen.evaluate(ceilings=False, weights=weights))
    expected = weighted_mse(screen.truth, screen.observed, weights).mean()
    assert table.loc["truth", "weighted_mse"] == pytest.approx(expected)


def test_gain_and_calibration(screen: Screen):
    table = screen.evaluate({"truth": screen.truth, "half": (screen.truth + screen.control) / 2})
    gain, calibrated = values(table, "gain"), values(table, "calibrated")
    floors = ["no change", "train mean", "additive", "average of parts"]
    assert (gain.loc[floors].max() == 0).all()
    assert (gain.loc["truth"] >= 0).all()
    assert (gain.loc["truth", ["mse", "pearson_mean", "weighted_r2"]] > 0).all()
    np.testing.assert_allclose(calibrated.loc["train mean"], 0, atol=1e-12)
    np.testing.assert_allclose(calibrated.loc["technical duplicate"], 1)
    mse = values(table)["mse"]
    expected = (mse["train mean"] - mse["half"]) / (mse["train mean"] - mse["technical duplicate"])
    assert calibrated.loc["half", "mse"] == pytest.approx(expected)
    reach = (mse["train mean"] - mse["technical duplicate"]) / mse["train mean"]
    np.testing.assert_allclose(table.set_index("metric").loc["mse", "dynamic_range"], reach)
    best = mse[floors].idxmin()
    row = table.query("metric == 'mse' and predictor == 'half'").iloc[0]
    assert row["gain"] == pytest.approx(mse[best] - mse["half"])
    assert row["gain_low"] < row["gain"] < row["gain_high"]


def test_pure_noise_cannot_be_calibrated():
    screen = Screen(noise=1.0)
    rng = np.random.default_rng(0)
    cells = rng.normal(size=screen.cells.shape)
    mean = pd.DataFrame(cells, columns=GENES).groupby(screen.label).mean()
    table = evaluate_perturbation(
        mean.loc[PAIRS], mean.loc[PAIRS], np.zeros(60), train=mean.loc[SINGLES], cells=cells, perturbation=screen.label
    )
    calibrated = values(table, "calibrated")
    assert calibrated[["mse", "discrimination", "pearson_mean"]].isna().all(axis=None)
    # a repeat is further off than no change at all
    assert values(table).loc["technical duplicate", "mse"] > values(table).loc["no change", "mse"]


def test_bilinear_where_targets_are_measured():
    rng = np.random.default_rng(0)
    profiles = pd.DataFrame(rng.normal(size=(12, 60)), GENES[:12], GENES)
    control, tested, train = pd.Series(0.0, GENES), profiles.iloc[8:], profiles.iloc[:8]
    table = evaluate_perturbation(tested, tested, control, train=train)
    assert table.query("kind == 'floor'")["predictor"].unique().tolist() == [
        "no change",
        "train mean",
        "bilinear ridge",
    ]


def test_names_match_and_what_was_not_observed_is_left_out(screen: Screen):
    more = screen.truth.iloc[::-1, ::-1].assign(other=1.0)
    more.loc["Q"] = 0.0
    kwargs = {"train": screen.train.iloc[:, ::-1], "n_boot": 50}
    pd.testing.assert_frame_equal(screen.evaluate({"truth": more}, **kwargs), screen.evaluate(n_boot=50))
    alone = screen.evaluate(more, n_boot=50)
    assert alone["predictor"].iloc[0] == "predicted"
    given = {"cells": sparse.csr_matrix(screen.cells), "n_boot": 50}
    pd.testing.assert_frame_equal(screen.evaluate(**given), screen.evaluate(n_boot=50))
    named = pd.DataFrame(screen.cells, columns=GENES)
    pd.testing.assert_frame_equal(screen.evaluate(cells=named, n_boot=50), screen.evaluate(n_boot=50))


def test_one_perturbation(screen: Screen):
    own = screen.label == PAIRS[0]
    table = evaluate_perturbation(
        screen.truth,
        screen.observed.iloc[:1],
        screen.control,
        train=screen.train,
        cells=screen.cells[own],
        perturbation=screen.label[own],
    )
    assert set(table["metric"]) == {"pearson_control", "pearson_mean", "mse", "mae"}
    assert table[["low", "high", "gain_low", "gain_high", "calibrated"]].isna().all(axis=None)
    assert table[["value", "gain", "dynamic_range"]].notna().all(axis=None)
    assert "interpolated duplicate" not in set(table["predictor"])


def test_floors_alone(screen: Screen):
    assert set(screen.evaluate({}, ceilings=False)["kind"]) == {"floor"}
    assert set(screen.evaluate(floors=False)["kind"]) == {"model", "ceiling"}


def test_seed(screen: Screen):
    first = screen.evaluate(seed=1, n_boot=20)
    pd.testing.assert_frame_equal(first, screen.evaluate(seed=np.random.default_rng(1), n_boot=20))
    assert not first["value"].equals(screen.evaluate(seed=2, n_boot=20)["value"])


def test_what_is_tested_must_not_be_trained_on(screen: Screen):
    for name in ("A+B", "B+A"):
        leaking = pd.concat([screen.train, screen.observed.iloc[[0]].set_axis([name])])
        with pytest.raises(ValueError, match="train holds 'A\\+B', which are to be predicted"):
            screen.evaluate(train=leaking)
    renamed = pd.concat([screen.train, screen.observed.iloc[[0]].set_axis(["sg12"])])
    with pytest.raises(ValueError, match=r"train row 'sg12' is the profile of 'A\+B'; leave out"):
        screen.evaluate(train=renamed)
    control = pd.concat([screen.train, screen.control.to_frame("ctrl").T])
    with pytest.raises(ValueError, match="train row 'ctrl' is the profile of 'the control'"):
        screen.evaluate(train=control)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"predicted": {"mine": np.ones((8, 60))}}, "must be tables, perturbations × genes, not ndarray"),
        ({"predicted": {"additive": pd.DataFrame(1.0, PAIRS, GENES)}}, "'additive' has the name of a floor or ceiling"),
        ({"predicted": {"mine": pd.DataFrame(1.0, PAIRS[1:], GENES)}}, r"predicted 'mine' lacks 1 perturbation\(s\)"),
        ({"predicted": pd.DataFrame(np.nan, PAIRS, GENES)}, "predicted 'predicted' holds NaN"),
        ({"perturbation": None}, "cells and perturbation belong together"),
        ({"metrics": ["rmse"]}, "must be names from"),
        ({"train": None, "metrics": ["pearson_mean"]}, "pearson_mean needs train"),
        ({"cells": np.ones((5, 60)), "perturbation": PAIRS[:5]}, r"perturbation lacks 3 perturbation\(s\)"),
        ({"n_splits": 0}, "n_splits=0 must be at least 1"),
        ({"n_boot": 0}, "n_boot=0 must be at least 1"),
        ({"confidence": 95}, "confidence=95 must lie between 0 and 1"),
        ({"weights": pd.DataFrame(1.0, PAIRS, GENES[1:])}, r"weights lacks 1 gene\(s\): 'g0'"),
        ({"train": pd.DataFrame(1.0, SINGLES, GENES[1:])}, r"train lacks 1 gene\(s\): 'g0'"),
    ],
)
def test_bad_input(kwargs: dict, message: str, screen: Screen):
    with pytest.raises(ValueError, match=message):
        screen.evaluate(**kwargs)


def test_cells_on_another_scale(screen: Screen):
    with pytest.raises(ValueError, match=r"observed is not the mean of the cells of 'A\+B', .* on one scale"):
        screen.evaluate(cells=np.expm1(screen.cells))
    with pytest.raises(ValueError, match="cells must have the genes of observed, in the same order"):
        screen.evaluate(cells=pd.DataFrame(screen.cells, columns=GENES[::-1]))


def test_doubles_of_norman_add_up_to_the_noise(shared_data: Path):
    """Additive effects reach what a repeat of the experiment does."""
    ad = pytest.importorskip("anndata")
    adata = ad.read_h5ad(shared_data / "norman" / "norman19_counts_subset.h5ad")
    label = adata.obs["perturbation"].astype(str).to_numpy()
    x = np.log1p(adata.X.toarray() / adata.obs["ncounts"].to_numpy()[:, None] * 1e4)
    mean = pd.DataFrame(x, columns=adata.var_names.astype(str)).groupby(label).mean()
    pairs = [name for name in mean.index if "+" in name and set(name.split("+")) <= set(mean.index)]
    assert len(pairs) == 5
    train, control, tested = mean.drop(index=[*pairs, "control"]), mean.loc["control"], mean.loc[pairs]
    whole = values(evaluate_perturbation({}, tested, control, train=train))
    assert whole.loc["additive", "pearson_control"] == pytest.approx(0.870, abs=0.001)
    assert whole.loc["additive", "pearson_mean"] == pytest.approx(0.93, abs=0.005)
    assert whole.loc["additive", "mse"] == pytest.approx(0.0004, abs=5e-5)
    perturbed = label != "control"
    table = evaluate_perturbation(
        {}, tested, control, train=train, cells=x[perturbed], perturbation=label[perturbed], n_splits=4
    )
    calibrated = values(table, "calibrated")
    assert (calibrated.loc["additive", ["mse", "weighted_mse", "weighted_r2"]] > 0.95).all()
    assert values(table).loc["additive", "discrimination"] > 0.9
