from __future__ import annotations

import time

import numpy as np
import pandas as pd
import pytest

from scwhatif.metrics import (
    dci,
    disentanglement,
    explicitness,
    latent_matching_score,
    latent_similarity,
    mig,
    modularity,
    most_similar_averaging_score,
    most_similar_gap_score,
    sap,
)


@pytest.fixture(scope="module")
def labelled() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    label = rng.choice(list("abc"), 200)
    z = rng.normal(size=(200, 4)) + 3 * pd.get_dummies(label).to_numpy() @ np.eye(3, 4)
    return z, label


def test_every_score_is_that_of_its_function(labelled: tuple[np.ndarray, np.ndarray]):
    z, label = labelled
    table = disentanglement(z, label, seed=3)
    expected = {}
    for method in ("SMI", "SMI-quantile", "SPN", "ASC"):
        similarity = latent_similarity(z, label, method=method)
        expected[f"LMS-{method}"] = latent_matching_score(similarity)
        expected[f"MSAS-{method}"] = most_similar_averaging_score(similarity)
        expected[f"MSGS-{method}"] = most_similar_gap_score(similarity)
    forests = dci(z, label, seed=3)
    expected |= {
        "MIG": mig(z, label).mean(),
        "SAP": sap(z, label).mean(),
        "DCI-D": forests.mean_disentanglement,
        "DCI-C": forests.mean_completeness,
        "DCI-I": forests.mean_informativeness,
        "modularity": modularity(z, label).mean(),
        "explicitness": explicitness(z, label, seed=3).mean(),
    }
    assert table.index.name == "metric"
    assert list(table.index) == list(expected)
    np.testing.assert_allclose(table["score"], list(expected.values()))
    # three well separated categories, each with a dimension of its own
    assert (table["score"] > table["floor"]).all()


def test_asked_for_in_any_order(labelled: tuple[np.ndarray, np.ndarray]):
    wanted = ["explicitness", "LMS-SMI", "DCI-C"]
    table = disentanglement(*labelled, metrics=wanted, n_shuffles=0)
    assert list(table.index) == wanted
    assert list(table.columns) == ["score"]
    for name in wanted:
        alone = disentanglement(*labelled, metrics=[name], n_shuffles=0)
        assert alone.loc[name, "score"] == table.loc[name, "score"]


def test_the_floor_is_the_score_of_nothing():
    rng = np.random.default_rng(1)
    z, label = rng.normal(size=(300, 8)), rng.choice(list("abcd"), 300)
    table = disentanglement(z, label, metrics=["LMS-SMI", "MSAS-SPN", "MIG", "SAP"], n_shuffles=30)
    np.testing.assert_allclose(table["score"], table["floor"], atol=0.05)
    assert table.loc["LMS-SMI", "floor"] > 0


def test_seed(labelled: tuple[np.ndarray, np.ndarray]):
    metrics = ["LMS-SMI", "explicitness"]
    first = disentanglement(*labelled, metrics=metrics, seed=1)
    assert first.equals(disentanglement(*labelled, metrics=metrics, seed=1))
    assert not first.equals(disentanglement(*labelled, metrics=metrics, seed=2))
    made = [disentanglement(*labelled, metrics=metrics, seed=np.random.default_rng(1)) for _ in range(2)]
    assert made[0].equals(made[1])


def test_only_what_the_factors_allow():
    rng = np.random.default_rng(2)
    factors = pd.DataFrame({"dose": rng.normal(size=100), "on": rng.random(100) > 0.5})
    z = factors.to_numpy(dtype=float)
    table = disentanglement(z, factors, n_shuffles=0)
    assert not table.index.str.contains("SPN").any()
    assert {"DCI-D", "modularity"} <= set(table.index)
    assert table.loc["LMS-SMI-quantile", "score"] == pytest.approx(1, abs=0.01)
    with pytest.raises(ValueError, match="LMS-SPN is not defined for these factors: 'dose' is continuous"):
        disentanglement(z, factors, metrics=["MIG", "LMS-SPN"])
    condition = np.where(factors["on"], "stim", "ctrl")
    assert not {"DCI-D", "modularity"} & set(disentanglement(z, condition, n_shuffles=0).index)
    with pytest.raises(ValueError, match="modularity is not defined for these factors: 'stim' is the only one"):
        disentanglement(z, condition, metrics=["modularity"])


def test_two_cells_of_a_category_cannot_be_held_out(labelled: tuple[np.ndarray, np.ndarray]):
    z, label = labelled
    rare = label.astype(object)
    rare[:2] = "rare"
    assert "explicitness" not in disentanglement(z, rare, n_shuffles=0).index
    with pytest.raises(ValueError, match="DCI-D is not defined for these factors: 'rare' has a category with fewer"):
        disentanglement(z, rare, metrics=["DCI-D"])


@pytest.mark.parametrize("z", [np.ones((200, 3)), np.random.default_rng(0).normal(size=(200, 1))], ids=["dead", "one"])
def test_dead_and_single_dimensions_do_not_crash(z: np.ndarray, labelled: tuple[np.ndarray, np.ndarray]):
    table = disentanglement(z, labelled[1])
    scores = table["score"].drop(["modularity", "DCI-C"])
    assert (scores.abs() < 0.3).all()
    if z.shape[1] == 3:
        # forests still guess
        assert (scores.drop("DCI-I") == 0).all()
        assert np.isnan(table.loc["modularity", "score"])


def test_an_atlas_takes_about_a_second():
    rng = np.random.default_rng(3)
    z, label = rng.normal(size=(10_000, 36)), rng.integers(20, size=10_000)
    start = time.perf_counter()
    latent_similarity(z, label, method="SMI")
    latent_similarity(z, label, method="SPN")
    # 0.3 s on an idle core; room for a busy one
    assert time.perf_counter() - start < 5


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"metrics": ["LMS-MI"]}, r"metrics=\['LMS-MI'\] must be names from"),
        ({"metrics": []}, "must be names from"),
        ({"n_shuffles": -1}, "n_shuffles=-1 must not be negative"),
        ({"discrete": False}, "given as continuous"),
    ],
)
def test_bad_input(kwargs: dict, message: str, labelled: tuple[np.ndarray, np.ndarray]):
    with pytest.raises(ValueError, match=message):
        disentanglement(*labelled, **kwargs)
