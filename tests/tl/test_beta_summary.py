from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from scwhatif.tl._beta_fit import BetaFitResult
from scwhatif.tl._beta_summary import DIVERGED, FLOOR, recommend, stability, summarise, tabulate


def table(gains: dict[float, list[float]], verdicts: dict[float, str] | None = None) -> pd.DataFrame:
    rows = [
        {"beta": beta, "seed": seed, "elbo_gain": gain, "verdict": (verdicts or {}).get(beta, "healthy")}
        for beta, each in gains.items()
        for seed, gain in enumerate(each)
    ]
    return pd.DataFrame(rows)


def test_largest_within_tolerance():
    gains = {1.0: [100.0, 100.0], 2.0: [97.0, 97.0], 4.0: [95.1, 95.1], 8.0: [90.0, 90.0]}
    assert recommend(table(gains), 0.05)[0] == 4.0
    assert recommend(table(gains), 0.03)[0] == 2.0
    assert recommend(table(gains), 0.0)[0] == 1.0
    assert "at beta 1) it keeps 95.1%" in recommend(table(gains), 0.05)[1]


def test_one_standard_error_of_the_paired_difference():
    # losses 0, 8 and 4: mean 4, standard error 4 / sqrt(3) = 2.3; 5 % of the best are 5
    assert recommend(table({1.0: [50.0, 90.0, 160.0], 2.0: [50.0, 82.0, 156.0]}), 0.01)[0] == 1.0
    # losses -2, 9 and 2: mean 3, standard error 3.2
    assert recommend(table({1.0: [50.0, 90.0, 160.0], 2.0: [52.0, 81.0, 158.0]}), 0.01)[0] == 2.0
    # the spread over seeds, 55, is no excuse
    assert recommend(table({1.0: [50.0, 90.0, 160.0], 2.0: [20.0, 60.0, 130.0]}), 0.01)[0] == 1.0


@pytest.mark.parametrize("verdict", ["total_collapse", DIVERGED])
def test_failures_are_not_recommended(verdict: str):
    gains = {1.0: [10.0, 10.0], 2.0: [10.0, 10.0]}
    assert recommend(table(gains, {2.0: verdict}), 0.05)[0] == 1.0
    one_seed = table(gains)
    one_seed.loc[3, "verdict"] = verdict
    assert recommend(one_seed, 0.05)[0] == 1.0
    recommended, advice = recommend(table(gains, dict.fromkeys(gains, verdict)), 0.05)
    assert np.isnan(recommended)
    assert "Add smaller ones" in advice


def test_partial_collapse_may_be():
    assert recommend(table({1.0: [10.0], 2.0: [10.0]}, {2.0: "partial_collapse"}), 0.05)[0] == 2.0


def test_nothing_gained():
    recommended, advice = recommend(table({1.0: [-1.0, 0.5], 2.0: [-2.0, 0.1]}), 0.05)
    assert np.isnan(recommended)
    assert "none does better than a model without a latent code" in advice


def test_advice_on_the_ends_of_the_grid():
    assert recommend(table({1.0: [10.0], 2.0: [9.9]}), 0.05)[1].endswith("It is the largest tried; add larger ones.")
    assert recommend(table({1.0: [10.0], 2.0: [2.0]}), 0.05)[1].endswith("It is the smallest tried; add smaller ones.")
    inside = recommend(table({1.0: [5.0], 2.0: [10.0], 4.0: [5.0]}), 0.05)[1]
    assert inside.endswith("without collapse.")
    assert "best held-out bound, 10 nats" in inside


def scored(elbo: float, factors: np.ndarray, verdict: str = "healthy") -> BetaFitResult:
    names = ("reconstruction", "kl", "n_active", "max_correlation", "total_correlation")
    return BetaFitResult(verdict, {"elbo": elbo, **dict.fromkeys(names, 1.0)}, factors.astype(np.float32))


@pytest.fixture
def results() -> dict[tuple[float, int], BetaFitResult]:
    factors = np.random.default_rng(0).normal(size=(50, 2))
    none = np.zeros((50, 0))
    return {
        (FLOOR, 0): scored(-20.0, none),
        (FLOOR, 1): scored(-30.0, none),
        (1.0, 0): scored(-10.0, factors),
        (1.0, 1): scored(-16.0, -factors[:, ::-1]),
        (2.0, 0): scored(-12.0, factors),
        (2.0, 1): BetaFitResult(DIVERGED),
        (4.0, 0): scored(-15.0, factors),
        (4.0, 1): scored(-30.0, none, "total_collapse"),
        (8.0, 0): scored(-20.0, none, "total_collapse"),
        (8.0, 1): scored(-30.0, none, "total_collapse"),
    }


def test_tables(results: dict[tuple[float, int], BetaFitResult]):
    rows, floor = tabulate(results, [1.0, 2.0, 4.0, 8.0], [0, 1])
    assert rows["elbo_gain"].tolist()[:3] == [10.0, 14.0, 8.0]
    assert rows.loc["3", ["elbo", "elbo_gain", "kl"]].isna().all()
    assert rows.loc["3", "verdict"] == DIVERGED
    assert floor["elbo"].tolist() == [-20.0, -30.0]
    summary = summarise(rows, stability(results, [1.0, 2.0, 4.0, 8.0], [0, 1])).set_index("beta")
    assert summary["elbo_gain"].tolist() == [12.0, 8.0, 2.5, 0.0]
    assert summary.loc[1.0, "elbo_gain_sd"] == pytest.approx(np.sqrt(8))
    assert np.isnan(summary.loc[2.0, "elbo_gain_sd"])
    assert summary["n_collapsed"].tolist() == [0, 0, 1, 2]
    assert summary["n_diverged"].tolist() == [0, 1, 0, 0]


def test_stability(results: dict[tuple[float, int], BetaFitResult]):
    found = stability(results, [1.0, 2.0, 4.0, 8.0], [0, 1])
    np.testing.assert_allclose(found, [1.0, np.nan, 0.0, np.nan], atol=1e-6)


def test_everything_diverged():
    results = {(beta, 0): BetaFitResult(DIVERGED) for beta in (FLOOR, 1.0)}
    rows, floor = tabulate(results, [1.0], [0])
    assert np.isnan(rows["elbo_gain"].item())
    assert np.isnan(floor["elbo"].item())
    assert summarise(rows, [np.nan])["n_diverged"].tolist() == [1]
    assert np.isnan(recommend(rows, 0.05)[0])
