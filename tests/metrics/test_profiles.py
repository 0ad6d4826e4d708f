from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from scwhatif.metrics._profiles import listed, read_pair, read_per_gene, read_profile, read_profiles


def table() -> pd.DataFrame:
    return pd.DataFrame([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], index=["A", "B"], columns=["x", "y", "z"])


def test_tables_are_matched_by_name():
    shuffled = table().iloc[::-1, [2, 0, 1]]
    shuffled["more"] = 9.0
    shuffled.loc["C"] = 7.0
    guess, truth = read_pair(shuffled, table())
    np.testing.assert_array_equal(guess, table())
    assert list(truth.perturbations) == ["A", "B"]
    assert list(truth.genes) == ["x", "y", "z"]
    np.testing.assert_array_equal(read_profile(pd.Series({"z": 3, "y": 2, "x": 1}), "control", like=truth), [1, 2, 3])


def test_arrays_are_matched_by_position():
    guess, truth = read_pair(table().to_numpy()[::-1], table())
    np.testing.assert_array_equal(guess, table()[::-1])
    _, unnamed = read_pair(table(), table().to_numpy())
    assert unnamed.genes is None
    assert list(unnamed.perturbations) == [0, 1]
    assert list(truth.frame(guess).index) == ["A", "B"]
    assert truth.series(guess[:, 0]).to_dict() == {"A": 4.0, "B": 1.0}


def test_once_for_all_perturbations_or_for_each():
    _, truth = read_pair(table(), table())
    np.testing.assert_array_equal(read_per_gene([1, 2, 3], "weights", like=truth), [[1, 2, 3], [1, 2, 3]])
    np.testing.assert_array_equal(read_per_gene(2 * table(), "weights", like=truth), 2 * table())


def test_the_coarser_precision_counts():
    assert read_profiles(table(), "observed").precision == np.finfo(np.float64).eps
    assert read_pair(table().astype(np.float32), table())[1].precision == np.finfo(np.float32).eps
    assert read_profiles([[1, 2]], "observed").precision == np.finfo(np.float64).eps


def test_what_was_given_is_left_as_it_was():
    given = table()
    read_profiles(given, "observed").values[:] = 0
    pd.testing.assert_frame_equal(given, table())


@pytest.mark.parametrize(
    ("predicted", "message"),
    [
        (table().drop(index="B"), r"predicted lacks 1 perturbation\(s\): 'B'"),
        (table().drop(columns=["x", "z"]), r"predicted lacks 2 gene\(s\): 'x', 'z'"),
        (pd.concat([table(), table()]), "rows of predicted must have names that do not repeat; these do: 'A', 'B'"),
        (table().set_axis(["x", "x", "y"], axis=1), "columns of predicted must have names that do not repeat"),
        (np.ones((2, 4)), r"predicted must have the shape of the other profiles, \(2, 3\), not \(2, 4\)"),
        (table().replace(5.0, np.nan), "predicted holds NaN or infinite values, the first in row 1, column 1"),
        (np.ones(3), r"predicted must have shape \(n_perturbations, n_genes\)"),
        (np.ones((0, 3)), "neither 0"),
    ],
)
def test_bad_tables(predicted: object, message: str):
    with pytest.raises(ValueError, match=message):
        read_pair(predicted, table())


@pytest.mark.parametrize(
    ("profile", "message"),
    [
        ([1.0, 2.0], "control must have one value for each of the 3 genes"),
        (pd.Series({"x": 1.0, "y": 2.0}), r"control lacks 1 gene\(s\): 'z'"),
        ([1.0, np.inf, 2.0], "control holds NaN or infinite values, the first at position 1"),
    ],
)
def test_bad_profiles(profile: object, message: str):
    with pytest.raises(ValueError, match=message):
        read_profile(profile, "control", like=read_profiles(table(), "observed"))


def test_long_lists_are_cut_short():
    assert listed(["a", 1]) == "'a', 1"
    assert listed(range(8)) == "0, 1, 2, 3, 4, … (3 more)"
