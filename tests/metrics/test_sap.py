from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ks_2samp

from scwhatif.metrics import sap
from scwhatif.metrics._factors import read_factors
from scwhatif.metrics._sap import predictability


def test_reference_values_of_continuous_factors():
    i = np.arange(120)
    g = np.column_stack([np.sin(i * 0.9), np.cos(i * 1.7), (i % 13) / 3.0])
    z = np.column_stack([g[:, 0] * 2 + 0.3 * np.sin(i * 3.1), g[:, 1] - g[:, 0], g[:, 2] ** 2, np.cos(i * 2.3)])
    # latte-metrics 0.0.1a6, sap(z, g, discrete=False)
    np.testing.assert_allclose(sap(z, g), [0.4780834619, 0.5033053268, 0.9284563693], atol=1e-9)


@pytest.mark.parametrize("ties", [False, True])
def test_categories_are_told_by_the_best_threshold(ties: bool):
    rng = np.random.default_rng(0)
    label = rng.choice(list("abc"), 150)
    z = rng.normal(size=(150, 3)) + (label == "a")[:, None]
    z = np.round(z) if ties else z
    found = predictability(z, read_factors(label, 150))
    expected = [[ks_2samp(z[label == c, i], z[label != c, i]).statistic for c in "abc"] for i in range(3)]
    np.testing.assert_allclose(found, expected, atol=1e-12)
    column = read_factors(pd.DataFrame({"type": label}), 150)
    np.testing.assert_allclose(predictability(z, column)[:, 0], np.mean(expected, axis=1))


def test_known_answers():
    label = np.repeat(["a", "b"], 50)
    separating, independent = np.repeat([0.0, 1.0], 50), np.tile([0.0, 1.0], 50)
    assert sap(np.column_stack([separating, independent]), label).to_dict() == {"b": 1.0}
    assert sap(np.column_stack([separating, -separating, independent]), label).item() == 0
    assert sap(separating[:, None], label).item() == 1
    assert sap(np.zeros((100, 2)), label).item() == 0
    assert sap(np.zeros((100, 2)), np.linspace(0.1, 1, 100)).item() == 0


def test_mixed_tables_keep_the_order_of_factors():
    rng = np.random.default_rng(1)
    table = pd.DataFrame({"dose": rng.normal(size=90), "type": rng.choice(list("abc"), 90), "on": rng.random(90) > 0.5})
    z = np.column_stack([table["dose"], table["on"], rng.normal(size=90)])
    scores = sap(z, table)
    assert list(scores.index) == ["dose", "type", "on"]
    assert scores["dose"] > 0.8
    assert scores["on"] > 0.6
    assert scores["type"] < 0.3


@given(seed=st.integers(0, 2**16))
def test_permutation_sign_and_monotone_maps(seed: int):
    rng = np.random.default_rng(seed)
    z, label, factor = rng.normal(size=(30, 3)), np.arange(30) % 3, rng.normal(size=30)
    order = rng.permutation(3)
    np.testing.assert_allclose(sap(np.exp(-z[:, order]), label), sap(z, label), atol=1e-12)
    np.testing.assert_allclose(sap(-3 * z[:, order] + 1, 2 - factor), sap(z, factor), atol=1e-9)
