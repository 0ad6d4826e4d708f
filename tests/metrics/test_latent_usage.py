from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

import scwhatif as wi


@pytest.fixture(scope="module")
def posterior() -> tuple[np.ndarray, np.ndarray]:
    """Used, dead, charged without a use (all cells alike), and above one threshold only."""
    rng = np.random.default_rng(0)
    n = 400
    mean = np.column_stack(
        [
            rng.normal(size=n),
            0.01 * rng.normal(size=n),
            np.full(n, 1.5),
            0.2 * rng.normal(size=n),
            0.05 * rng.normal(size=n),
        ]
    )
    var = np.tile([0.1, 1.0, 0.3, 0.96, 0.3], (n, 1))
    return mean, var


def test_equals_a_double_loop(posterior: tuple[np.ndarray, np.ndarray]):
    mean, var = posterior
    table = wi.metrics.latent_usage(mean, var)
    assert list(table.index) == ["z0", "z1", "z2", "z3", "z4"]
    for j, row in enumerate(table.itertuples()):
        kl = [0.5 * (m * m + v - 1 - math.log(v)) for m, v in zip(mean[:, j], var[:, j], strict=True)]
        assert row.kl == pytest.approx(sum(kl) / len(kl), rel=1e-12)
        center = sum(mean[:, j]) / len(mean)
        assert row.variance == pytest.approx(
            sum((m - center) ** 2 for m in mean[:, j]) / len(mean), rel=1e-9, abs=1e-15
        )
    np.testing.assert_allclose(table["mutual_information"] + table["prior_gap"], table["kl"], rtol=1e-12)
    np.testing.assert_array_equal(
        table["mutual_information"], np.minimum(wi.metrics.latent_information(mean, var), table["kl"])
    )


def test_active_needs_both_thresholds(posterior: tuple[np.ndarray, np.ndarray]):
    table = wi.metrics.latent_usage(*posterior)
    assert table["active"].tolist() == [True, False, False, False, False]
    # charged as much as the first, and worth nothing
    assert table.loc["z2", "kl"] > 1 > 0.01 > table.loc["z2", "mutual_information"]
    assert table.loc["z3", "variance"] > wi.metrics.ACTIVE_VARIANCE
    assert table.loc["z3", "kl"] < wi.metrics.ACTIVE_KL < table.loc["z4", "kl"]


def test_blowing_up_does_not_make_a_dimension_active():
    """A collapsed dimension may separate groups perfectly; only its scale gives it away."""
    label = np.repeat([0.0, 1.0], 100)
    mean = 0.02 * (label + 0.1 * np.random.default_rng(0).normal(size=200))[:, None]
    assert wi.metrics.one_vs_rest_auc(mean, label).max(axis=None) > 0.999
    assert not wi.metrics.latent_usage(mean, np.ones((200, 1)))["active"].any()


def test_names_and_single_precision(posterior: tuple[np.ndarray, np.ndarray]):
    mean, var = posterior
    named = pd.DataFrame(mean, columns=list("abcde"))
    table = wi.metrics.latent_usage(named, pd.DataFrame(var))
    assert list(table.index) == list("abcde")
    single = wi.metrics.latent_usage(mean.astype(np.float32), var.astype(np.float32))
    assert single["kl"].dtype == np.float64
    np.testing.assert_allclose(single["kl"], table["kl"], rtol=1e-5)


def test_one_dimension_and_bad_input():
    assert len(wi.metrics.latent_usage(np.zeros((3, 1)), np.ones((3, 1)))) == 1
    with pytest.raises(ValueError, match="smallest is -1"):
        wi.metrics.latent_usage(np.zeros((3, 1)), -np.ones((3, 1)))
