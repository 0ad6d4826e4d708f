import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import rankdata

from scwhatif.model._cell_line_energy_normalizer import LineNormalizer


def data(n=300, seed=0):
    rng = np.random.default_rng(seed)
    lines = np.array(["a", "b"])[rng.integers(0, 2, size=n)]
    values = rng.exponential(size=(n, 3)).astype(np.float32)
    values[:, 1] *= rng.uniform(size=n) < 0.4
    return values, lines


def test_ranks_within_lines_with_ties_in_their_middle():
    values, lines = data()
    found = LineNormalizer("rank").fit(values, lines).transform(values, lines)
    for line in "ab":
        own = lines == line
        for j in range(3):
            expected = 2 * (rankdata(values[own, j]) - 0.5) / own.sum() - 1
            np.testing.assert_allclose(found[own, j], expected, atol=1e-6)


def test_many_values_are_described_by_few_knots_to_a_tenth_of_a_percent():
    rng = np.random.default_rng(0)
    values = rng.lognormal(size=(20_000, 1)).astype(np.float32)
    values[:7000] = 0
    lines = np.full(20_000, "a")
    normalizer = LineNormalizer("rank").fit(values, lines)
    knots, _ = normalizer.statistics["a"][0]
    assert len(knots) < 1100
    expected = 2 * (rankdata(values[:, 0]) - 0.5) / 20_000 - 1
    np.testing.assert_allclose(normalizer.transform(values, lines)[:, 0], expected, atol=4e-3)


def test_zscore():
    values, lines = data()
    found = LineNormalizer("zscore").fit(values, lines).transform(values, lines)
    for line in "ab":
        np.testing.assert_allclose(found[lines == line].mean(0), 0, atol=1e-5)
        np.testing.assert_allclose(found[lines == line].std(0), 1, atol=1e-5)


def test_missing_stays_missing_and_changes_nothing_else():
    values, lines = data()
    gaps = values.copy()
    gaps[lines == "b", 2] = np.nan
    normalizer = LineNormalizer("rank").fit(gaps, lines)
    found = normalizer.transform(gaps, lines)
    assert np.isnan(found[lines == "b", 2]).all()
    complete = LineNormalizer("rank").fit(values, lines).transform(values, lines)
    np.testing.assert_allclose(found[:, :2], complete[:, :2])


def test_known_lines_keep_their_distribution_and_new_lines_bring_their_own():
    values, lines = data()
    normalizer = LineNormalizer("rank").fit(values[lines == "a"], lines[lines == "a"])
    whole = normalizer.transform(values, lines)
    some = np.flatnonzero(lines == "a")[:5]
    np.testing.assert_array_equal(normalizer.transform(values[some], lines[some]), whole[some])
    own = LineNormalizer("rank").fit(values, lines).transform(values, lines)
    np.testing.assert_allclose(whole[lines == "b"], own[lines == "b"])


@settings(deadline=None, max_examples=20)
@given(st.floats(0.1, 100), st.floats(-10, 10))
def test_ranks_do_not_see_scale_or_shift_of_a_line(scale, shift):
    values, lines = data(80)
    values = np.round(values * 64)  # exact in single precision, so that ties stay ties
    moved = values.astype(np.float64).copy()
    moved[lines == "b"] = moved[lines == "b"] * scale + shift
    first = LineNormalizer("rank").fit(values, lines).transform(values, lines)
    np.testing.assert_allclose(LineNormalizer("rank").fit(moved, lines).transform(moved, lines), first, atol=1e-5)
