"""Rows of the tables, from answers that are known."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import false_discovery_control

from scwhatif.metrics._stratified_difference import stratified_difference
from scwhatif.tl._driver_effects import DriverAnswer, FoldEffect
from scwhatif.tl._driver_tables import adjusted, driver_rows, layer_stability

N, A, B = 200, 6, 30


def asked(seed: int = 0, *, n_carriers: int = 60, n_folds: int = 2, set_to: int = 0) -> tuple[Any, DriverAnswer, Any]:
    """A driver that lowers the first three features of layer a by one standard deviation, and models that know."""
    rng = np.random.default_rng(seed)
    strata = np.arange(N) % 2
    x = np.zeros(N)
    x[rng.permutation(N)[:n_carriers]] = 1
    truth = np.r_[[-1.0] * 3, [0.0] * (A + B - 3)]
    residuals = rng.normal(size=(N, A + B)) + strata[:, None] + x[:, None] * truth
    sign = 1 if set_to else -1
    folds = [
        FoldEffect(rows, sign * (0.8 * truth + 0.01 * rng.normal(size=A + B)), 1.0, int(x[rows].sum()), N)
        for rows in np.array_split(np.arange(N), n_folds)
    ]
    effect = np.mean([fold.effect for fold in folds], axis=0)
    answer = DriverAnswer(x, residuals, effect, np.full(A + B, np.nan), 1.0, 0.1, folds)
    answer = DriverAnswer(x, residuals, effect, answer.spread(np.array([f.effect for f in folds])), 1.0, 0.1, folds)
    question = SimpleNamespace(
        set_to=set_to,
        names=["d"],
        layers=["a", "b"],
        columns={"a": slice(0, A), "b": slice(A, A + B)},
        features=np.arange(A + B).astype(str),
        scale=np.full(A + B, 2.0),
        models=SimpleNamespace(held_out=True, folds=folds),
        others=lambda _: np.zeros((N, 1)),
    )
    return question, answer, strata


def run(question: Any, answer: DriverAnswer, strata: Any, **changed: Any) -> Any:
    settings = {"null": "permutation", "min_carriers": 5, "n_null": 2000, "n_pairs": 10, "seed": 0} | changed
    return driver_rows(question, "d", answer, strata, **settings)


@pytest.mark.parametrize("null", ["permutation", "conditional"])
@pytest.mark.parametrize("set_to", [0, 1])
def test_what_is_moved_is_found(null: str, set_to: int):
    question, answer, strata = asked(set_to=set_to)
    rows = run(question, answer, strata, null=null)
    features, layers = pd.DataFrame(rows.features), pd.DataFrame(rows.layers)
    assert (features["pval"][:3] < 0.005).all()
    assert (features["pval"][3:] < 0.05).sum() <= 4
    # removing what lowers raises
    sign = 1 if set_to else -1
    assert np.allclose(np.sign(features[["effect", "observed"]][:3]), -sign)
    seen = stratified_difference(answer.x, answer.residuals, strata=strata)
    assert np.allclose(features["observed"], sign * seen.difference)
    assert layers["pval"][0] < 0.001
    assert layers["pval"][1] > 0.05
    assert rows.driver["pval"] < 0.01
    assert (features["selection_probability"][:3] > 0.9).all()


def test_layers_are_root_mean_squares_in_standard_deviations():
    question, answer, strata = asked()
    layers = run(question, answer, strata).layers
    for i, columns in enumerate(question.columns.values()):
        assert np.isclose(layers["effect"][i], np.sqrt(np.mean((answer.effect[columns] / 2) ** 2)))
        assert np.isclose(layers["mean_effect"][i], np.mean(answer.effect[columns] / 2))
        assert layers["low"][i] <= layers["effect"][i] <= layers["high"][i]
    # three of six features moved by half a standard deviation
    assert abs(layers["observed"][0] - np.sqrt(0.125)) < 0.08
    assert layers["observed"][1] < 0.1


def test_the_error_of_a_layer_is_that_of_its_samples():
    errors, sizes = [], []
    for seed in range(60):
        question, answer, strata = asked(seed)
        effect = stratified_difference(answer.x, answer.residuals, strata=strata).difference
        known = DriverAnswer(answer.x, answer.residuals, -effect, 0 * effect, 1.0, 0.1, answer.folds[:1])
        layers = run(question, known, strata, n_null=100, n_pairs=0).layers
        errors.append(layers["se"][0])
        sizes.append(layers["effect"][0])
    assert np.isclose(np.mean(errors), np.std(sizes), rtol=0.25)


def test_rare_drivers_get_wide_intervals_and_no_verdict():
    common, rare = (run(*asked(n_carriers=n)) for n in (60, 4))
    assert np.isnan(rare.features["pval"]).all()
    assert np.isnan(rare.layers["pval"]).all()
    assert np.isnan(rare.driver["pval"])
    width = [np.median(rows.features["high"] - rows.features["low"]) for rows in (common, rare)]
    assert width[1] > 3 * width[0]
    assert np.isfinite(run(*asked(n_carriers=4), min_carriers=3).features["pval"]).all()
    assert rare.layers["n_carriers"] == [4, 4]


def test_a_single_fresh_model_is_tested_on_one_side():
    question, answer, strata = asked(n_folds=1)
    one = run(question, answer, strata).features["pval"]
    question.models.folds.append(question.models.folds[0])
    assert np.allclose(run(question, answer, strata).features["pval"], np.minimum(2 * one, 1))


def test_scores_speak_for_the_direction_of_unseen_models():
    question, answer, strata = asked()
    scores = run(question, answer, strata).scores
    assert scores.shape == (N, 2)
    assert scores[:, 0].sum() > 10 * abs(scores[:, 1].sum())
    wrong = [fold._replace(effect=-fold.effect) for fold in answer.folds]
    turned = DriverAnswer(answer.x, answer.residuals, answer.effect, answer.effect_se, 1.0, 0.1, wrong)
    assert np.allclose(run(question, turned, strata).scores, -scores)


def test_layer_stability():
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(100, 4))
    scores[:, 1] += 1
    scores[:, 2] -= 5
    scores[:, 3] = np.nan
    pval = np.array([0.5, 1e-4, 0.9, np.nan])
    found = layer_stability(scores, pval, np.zeros(100, dtype=int), n_pairs=20, seed=0)
    # a layer that disagrees with the model is not stable, however strong
    assert found[:3].tolist() == [0, 1, 0]
    assert np.isnan(found[3])
    assert np.isnan(layer_stability(scores, pval, np.zeros(100, dtype=int), n_pairs=0, seed=0)).all()


def test_adjusted():
    table = adjusted(pd.DataFrame({"a": "x", "pval": [0.01, np.nan, 0.04], "b": 1}, index=[5, 6, 7]))
    assert list(table) == ["a", "pval", "padj", "b"]
    assert np.allclose(table["padj"], [*false_discovery_control([0.01, 0.04])[:1], np.nan, 0.04], equal_nan=True)
    assert list(table.index) == ["0", "1", "2"]
