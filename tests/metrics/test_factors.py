from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from scwhatif.metrics._factors import check_latent, one_vs_rest, read_factors

LABELS = np.array(["T", "B", "T", "B", "NK", "NK"])


def test_latent_keeps_values_and_names():
    values, dims = check_latent(pd.DataFrame({"z0": [1, 2], "z1": [3.5, 3.0]}))
    np.testing.assert_array_equal(values, [[1, 3.5], [2, 3]])
    assert list(dims) == ["z0", "z1"]
    assert list(check_latent([[1.0, 2.0], [3.0, 4.0]])[1]) == [0, 1]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dimensions_constant_up_to_rounding_become_constant(dtype: type):
    rng = np.random.default_rng(0)
    eps = np.finfo(dtype).eps
    z = np.column_stack([3 + 2 * eps * rng.integers(-1, 2, 50), 3 + 1e3 * eps * rng.normal(size=50)]).astype(dtype)
    given = z.copy()
    values, _ = check_latent(z)
    assert np.ptp(values, axis=0).tolist()[0] == 0
    assert np.ptp(values[:, 1]) > 0
    np.testing.assert_array_equal(z, given)


@pytest.mark.parametrize(
    ("z", "message"),
    [
        ([1.0, 2.0], r"z\[:, None\]"),
        (np.ones((3, 0)), "at least two cells and one dimension"),
        ([[1.0, 2.0]], "at least two cells"),
        ([[1.0, 2.0], [np.nan, 1.0]], "1 NaN or infinite.*row 1, column 0"),
        ([[1.0, np.inf], [2.0, 1.0]], "row 0, column 1"),
    ],
)
def test_bad_latent(z: list, message: str):
    with pytest.raises(ValueError, match=message):
        check_latent(z)


def test_categories_of_a_label_are_factors():
    read = read_factors(LABELS, 6)
    assert [factor.name for factor in read] == ["B", "NK", "T"]
    assert [factor.values.tolist() for factor in read] == [[0, 1, 0, 1, 0, 0], [0, 0, 0, 0, 1, 1], [1, 0, 1, 0, 0, 0]]
    assert {factor.n_levels for factor in read} == {2}


@pytest.mark.parametrize(
    "kind", [list, np.asarray, pd.Series, pd.Categorical, lambda x: pd.Series(x, dtype="category")]
)
def test_two_categories_are_one_factor(kind: object):
    (factor,) = read_factors(kind(["ctrl", "stim", "stim", "ctrl"]), 4)
    assert factor.name == "stim"
    assert factor.values.tolist() == [0, 1, 1, 0]


def test_order_of_categories_is_kept_and_empty_ones_are_dropped():
    label = pd.Categorical(LABELS, categories=["T", "unused", "NK", "B"])
    assert [factor.name for factor in read_factors(label, 6)] == ["T", "NK", "B"]


def test_columns_of_a_table_are_factors():
    table = pd.DataFrame({"type": LABELS, "dose": [0.1, 0.5, 0.2, 0.9, 0.4, 0.3], "treated": [True, False] * 3})
    kind, dose, treated = read_factors(table, 6)
    assert (kind.name, kind.levels, kind.values.tolist()) == ("type", ("B", "NK", "T"), [2, 0, 2, 0, 1, 1])
    assert (dose.name, dose.levels, dose.n_levels) == ("dose", None, 0)
    assert (treated.name, treated.levels) == ("treated", (False, True))
    assert [column.name for column in one_vs_rest(kind)] == ["type=B", "type=NK", "type=T"]
    assert one_vs_rest(kind)[2].values.tolist() == [1, 0, 1, 0, 0, 0]
    assert one_vs_rest(treated) == [treated]
    assert one_vs_rest(dose) == [dose]


def test_arrays_have_numbered_factors():
    read = read_factors(np.column_stack([[0, 0, 1, 1], [2, 3, 2, 3]]), 4)
    assert [factor.name for factor in read] == ["factor_0", "factor_1"]
    assert all(factor.n_levels == 2 for factor in read)


def test_whole_numbers_are_what_they_are_said_to_be():
    codes = [0.0, 1.0, 2.0] * 4
    assert len(read_factors(codes, 12, discrete=True)) == 3
    assert read_factors(codes, 12, discrete=False)[0].levels is None
    table = pd.DataFrame({"a": codes, "b": codes})
    assert [f.n_levels for f in read_factors(table, 12, discrete=[True, False])] == [3, 0]
    assert read_factors(np.arange(12), 12, discrete=False)[0].values.tolist() == list(range(12))


@pytest.mark.parametrize(
    ("factors", "discrete", "message"),
    [
        (["a"] * 6, None, "only.*'a'.*at least two categories"),
        (
            ["a", "a", "a", "b", "b", "c"],
            None,
            r"categories with fewer than 2 cells: 'c' \(1\)\. Merge or remove them\.",
        ),
        (["a", None, "b", "b", "a", "a"], None, "missing for 1 cell.*row 1"),
        ([0.5, np.nan, 1.0, 2.0, 3.0, 4.0], None, "missing for 1 cell"),
        ([0.1, 0.2, 0.3, 0.4, 0.5, 0.6], True, "6 distinct values in 6 cells.*discrete=False.*qcut"),
        ([0.5, 0.5, 1.5, 1.5, 0.5, 1.5], True, "given as categories"),
        ([11, 12, 13, 14, 15, 16], None, "6 distinct values in 6 cells"),
        (LABELS, False, "given as continuous.*discrete=True"),
        (pd.Categorical([1, 2] * 3), False, "given as continuous"),
        ([True, False] * 3, False, "given as continuous"),
        ([0.0, 1.0, 0.0, 1.0, 2.0, 2.0], None, "3 distinct whole numbers.*discrete=True"),
        ([2.5] * 6, None, "constant"),
        ([0.5, np.inf, 1.5, 2.5, 3.5, 4.5], None, "infinite"),
        (["a", "b"] * 2, None, "6 cells of the representation, not 4 rows"),
        (np.empty((6, 0)), None, "no column"),
        (LABELS, [True, False], "2 entries for 1 factor"),
    ],
)
def test_bad_factors(factors: object, discrete: object, message: str):
    with pytest.raises(ValueError, match=message):
        read_factors(factors, 6, discrete)


def test_rare_categories_and_folds():
    with pytest.raises(ValueError, match=r"fewer than 3 cells: 'B' \(2\).*hold out fewer than 3 folds"):
        read_factors(LABELS, 6, min_members=3)
    with pytest.raises(ValueError, match="at least two folds"):
        read_factors(LABELS, 6, min_members=1)
