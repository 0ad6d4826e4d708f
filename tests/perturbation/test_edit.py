from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from scwhatif.perturbation import Edit
from scwhatif.perturbation._edit import feature_edit


def feature(op, value=None):
    return Edit("feature", ("A",), op, value)


@pytest.mark.parametrize(
    ("edit", "text"),
    [
        (Edit("feature", ("TP53",), "ko"), "TP53:ko"),
        (Edit("feature", ("B", "A", "B"), "x", 0.5), "{A,B}:x0.5"),
        (Edit("feature", ("B", "A"), "=", -1, set_name="my set"), '"my set"{A,B}:=-1'),
        (Edit("feature", ("A",), "ko", set_name="S"), "S{A}:ko"),
        (Edit("feature", ("A",), "+", 3), "A:+3"),
        (Edit("feature", ("A",), "+", -1.5), "A:-1.5"),
        (Edit("feature", ("A",), "+", -0.0), "A:+0"),
        (Edit("feature", ("z3",), "thin", 0.5), '"z3":thin0.5'),
        (Edit("latent", ("z03",), "+", 2), "z3:+2"),
        (Edit("modality", ("phospho",), "hide"), "phospho:hide"),
        (Edit("context", ("cell_line",), "swap", "HMEC 1"), 'cell_line:swap("HMEC 1")'),
    ],
)
def test_text(edit, text):
    assert str(edit) == text
    assert edit.target == text.rpartition(":")[0]


def test_facts_of_each_kind():
    pair, latent = Edit("feature", ("B", "A"), "ko"), Edit("latent", ("z12",), "=", 0)
    assert (pair.features, pair.dim) == (("A", "B"), None)
    assert (latent.features, latent.dim) == ((), 12)


def test_edits_of_features_take_one_name_or_several():
    assert feature_edit("MYC", "ko") == Edit("feature", ("MYC",), "ko")
    assert feature_edit(iter(["TP53", "MYC"]), "x", 2) == Edit("feature", ("MYC", "TP53"), "x", 2.0)
    with pytest.raises(ValueError, match="names that are not empty"):
        feature_edit([], "ko")


def test_is_a_value():
    edit = Edit("feature", (np.str_("A"),), "x", np.float32(2))
    assert edit == feature("x", 2)
    assert hash(edit) == hash(feature("x", 2))
    assert type(edit.members[0]) is str
    assert type(edit.value) is float
    assert pickle.loads(pickle.dumps(edit)) == edit
    assert feature("x", 0) != feature("ko")
    with pytest.raises(AttributeError):
        edit.op = "ko"


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        (("gene", ("A",), "ko"), ValueError, "unknown kind 'gene'; choose one of feature, latent, modality, context"),
        (("feature", ("A",), "hide"), ValueError, "'hide' does not apply to a feature target"),
        (("latent", ("z3",), "ko"), ValueError, "'ko' does not apply to a latent target; choose one of x, =, \\+"),
        (("feature", "A", "ko"), TypeError, "members must be a tuple of str, got 'A'"),
        (("feature", (1,), "ko"), TypeError, "members must be a tuple of str"),
        (("feature", (), "ko"), ValueError, "not empty"),
        (("feature", ("A", ""), "ko"), ValueError, "not empty"),
        (("latent", ("z1", "z2"), "+", 1), ValueError, "a latent edit has one target"),
        (("latent", ("3",), "+", 1), ValueError, "named z0, z1, …, got '3'"),
        (("latent", ("z1",), "+", 1, "S"), ValueError, "feature sets only"),
        (("feature", ("A",), "x", -1), ValueError, "finite number of at least 0, got -1"),
        (("feature", ("A",), "x", float("nan")), ValueError, "finite number"),
        (("feature", ("A",), "=", float("inf")), ValueError, "finite number, got inf"),
        (("feature", ("A",), "thin", 1.5), ValueError, "at least 0 and at most 1, got 1.5"),
        (("feature", ("A",), "x"), TypeError, "takes a number, got None"),
        (("feature", ("A",), "x", "2"), TypeError, "takes a number, got '2'"),
        (("feature", ("A",), "x", True), TypeError, "takes a number, got True"),
        (("feature", ("A",), "ko", 0), ValueError, "'ko' takes no value, got 0"),
        (("context", ("c",), "swap", ""), ValueError, "got an empty one"),
        (("context", ("c",), "swap", 1), TypeError, "the name of a context, got 1"),
    ],
)
def test_invalid_edits_are_refused(arguments, error, match):
    with pytest.raises(error, match=match):
        Edit(*arguments)


@pytest.mark.parametrize(
    ("op", "value", "expected", "keeps_integers"),
    [
        ("ko", None, [0, 0, 0], True),
        ("x", 2, [0, 2, 10], True),
        ("x", 0, [0, 0, 0], True),
        ("x", 0.5, [0, 0.5, 2.5], False),
        ("=", 4, [4, 4, 4], True),
        ("=", 4.5, [4.5, 4.5, 4.5], False),
        ("+", 3, [3, 4, 8], True),
        ("+", -3, [0, 0, 2], True),
        ("+", -0.5, [0, 0.5, 4.5], False),
    ],
)
@pytest.mark.parametrize("dtype", [np.int32, np.uint8, np.int64, np.uint64, np.float32, np.float64])
def test_operations_on_counts(op, value, expected, keeps_integers, dtype):
    counts = np.array([0, 1, 5], dtype=dtype)
    result = feature(op, value).apply(counts)
    np.testing.assert_array_equal(result, expected)
    assert result.dtype == (dtype if keeps_integers or np.issubdtype(dtype, np.floating) else np.float64)
    np.testing.assert_array_equal(counts, [0, 1, 5])


@given(
    hnp.arrays(np.float64, hnp.array_shapes(max_dims=2), elements=st.integers(0, 1000).map(float)),
    st.sampled_from([("ko", None), ("x", 1.5), ("=", 2.5), ("+", 3.5), ("+", -7.5)]),
)
def test_apply_equals_a_loop(values, operation):
    op, number = operation
    formulas = {
        "ko": lambda v: 0.0,
        "x": lambda v: v * number,
        "=": lambda v: number,
        "+": lambda v: max(v + number, 0.0),
    }
    before = values.copy()
    result = feature(op, number).apply(values)
    assert result.shape == values.shape
    assert result.ravel().tolist() == [formulas[op](v) for v in values.ravel().tolist()]
    assert not np.shares_memory(result, values)
    np.testing.assert_array_equal(values, before)


@given(st.integers(-200, 200), hnp.arrays(np.int8, 5), st.sampled_from(["+", "="]))
def test_integers_are_exact_or_refused(number, values, op):
    exact = [int(v) + number if op == "+" else number for v in values]
    if all(-128 <= v <= 127 for v in exact):
        assert feature(op, number).apply(values, clip=False).tolist() == exact
    else:
        with pytest.raises(ValueError, match="does not fit in int8; convert"):
            feature(op, number).apply(values, clip=False)


@pytest.mark.parametrize(
    ("values", "op", "value"),
    [
        (np.array([200], dtype=np.uint8), "x", 2),
        (np.array([2**63], dtype=np.uint64), "+", 1),
        (np.array([0], dtype=np.int64), "x", 1e30),
        (np.array([1], dtype=np.int64), "+", -1e30),
        (np.array([1.0], dtype=np.float32), "x", 1e300),
        (np.array([True]), "+", 1),
    ],
)
def test_results_that_do_not_fit_are_refused(values, op, value):
    with pytest.raises(ValueError, match="does not fit in"):
        feature(op, value).apply(values)


def test_clip_says_whether_values_are_signed():
    signed = np.array([-2.0, 1.0])
    np.testing.assert_array_equal(feature("+", -3).apply(signed, clip=False), [-5.0, -2.0])
    np.testing.assert_array_equal(feature("=", -1).apply(signed, clip=False), [-1.0, -1.0])
    np.testing.assert_array_equal(Edit("latent", ("z0",), "+", -3).apply(signed), [-5.0, -2.0])
    for op, value in (("+", -3), ("=", -1)):
        with pytest.raises(ValueError, match="clip=False"):
            feature(op, value).apply(signed)


def test_bool_is_a_count_of_at_most_one():
    result = feature("ko").apply(np.array([True, False]))
    assert result.dtype == bool
    assert result.tolist() == [False, False]


def test_empty_values_keep_the_dtype_rule():
    assert feature("+", 3).apply(np.zeros(0, dtype=np.int16)).dtype == np.int16
    assert feature("x", 0.5).apply(np.zeros(0, dtype=np.int16)).dtype == np.float64


def test_other_values_are_refused():
    with pytest.raises(TypeError, match="real numbers, got dtype complex128"):
        feature("ko").apply(np.array([1j]))
    for edit in (Edit("modality", ("phospho",), "hide"), Edit("context", ("line",), "swap", "HMEC")):
        with pytest.raises(ValueError, match="changes no numbers"):
            edit.apply(np.array([1.0]))


@pytest.mark.parametrize("dtype", [np.int32, np.uint8, np.float32, np.float64])
def test_thinning_keeps_each_molecule_with_its_probability(dtype):
    counts = np.full(20_000, 10, dtype=dtype)
    thinned = feature("thin", 0.3).apply(counts, rng=1)
    assert thinned.dtype == dtype
    assert np.all(thinned == np.round(thinned))
    assert thinned.min() >= 0
    assert thinned.max() <= 10
    # Mean 3 and variance 2.1 of Binomial(10, 0.3), within five standard errors.
    assert abs(thinned.mean(dtype=float) - 3) < 5 * np.sqrt(2.1 / counts.size)
    assert abs(thinned.var(dtype=float) - 2.1) < 0.12


@given(hnp.arrays(np.int64, 20, elements=st.integers(0, 50)), st.integers(0, 2**32))
def test_thinning_is_reproducible_and_ignores_zeros(counts, seed):
    thin = feature("thin", 0.5)
    thinned = thin.apply(counts, rng=seed)
    np.testing.assert_array_equal(thinned, thin.apply(counts, rng=np.random.default_rng(seed)))
    assert np.all(thinned <= counts)
    padded = np.concatenate([np.zeros(3, dtype=int), counts])
    np.testing.assert_array_equal(thin.apply(padded, rng=seed)[3:], thinned)


def test_thinning_by_zero_and_one_is_exact():
    counts = np.array([0, 3, 9])
    assert feature("thin", 1).apply(counts, rng=0).tolist() == [0, 3, 9]
    assert feature("thin", 0).apply(counts, rng=0).tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("values", "rng", "match"),
    [
        ([1, 2], None, "A:thin0.5 draws at random: pass rng="),
        ([1.5], 0, "A:thin0.5 needs integer counts: thin raw counts, or use x0.5"),
        ([np.nan], 0, "needs integer counts"),
        ([np.inf], 0, "needs integer counts"),
        ([-1], 0, "got values below 0"),
    ],
)
def test_thinning_refuses_what_it_cannot_thin(values, rng, match):
    with pytest.raises(ValueError, match=match):
        feature("thin", 0.5).apply(np.array(values), rng=rng)


@pytest.mark.parametrize("clip", [True, False])
@pytest.mark.parametrize(
    ("op", "value"),
    [("ko", None), ("x", 2), ("=", 0), ("=", 5), ("+", 0), ("+", 3), ("+", -3), ("thin", 0.5)],
)
def test_keeps_zeros_says_what_apply_does(op, value, clip):
    edit = feature(op, value)
    assert edit.keeps_zeros(clip=clip) == (edit.apply(np.array([0]), rng=0, clip=clip)[0] == 0)
