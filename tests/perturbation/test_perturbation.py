from __future__ import annotations

import copy
import pickle
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import sparse

import scwhatif
from scwhatif.perturbation import Edit, Perturbation, PerturbationSyntaxError

NAMES = st.text(min_size=1, max_size=8) | st.text(alphabet='z3:+,{}()"\\ A', min_size=1, max_size=5)
FACTORS = st.floats(min_value=0, allow_infinity=False)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
MEMBERS = st.lists(NAMES, min_size=1, max_size=3).map(tuple)
SET_NAMES = st.just("") | NAMES
LATENTS = st.integers(0, 40).map(lambda dim: (f"z{dim}",))
EDITS = st.one_of(
    st.builds(Edit, st.just("feature"), MEMBERS, st.just("ko"), set_name=SET_NAMES),
    st.builds(Edit, st.just("feature"), MEMBERS, st.just("x"), FACTORS, SET_NAMES),
    st.builds(Edit, st.just("feature"), MEMBERS, st.sampled_from(["=", "+"]), NUMBERS, SET_NAMES),
    st.builds(Edit, st.just("feature"), MEMBERS, st.just("thin"), st.floats(0, 1), SET_NAMES),
    st.builds(Edit, st.just("latent"), LATENTS, st.sampled_from(["=", "+"]), NUMBERS),
    st.builds(Edit, st.just("latent"), LATENTS, st.just("x"), FACTORS),
    st.builds(Edit, st.just("modality"), st.tuples(NAMES), st.just("hide")),
    st.builds(Edit, st.just("context"), st.tuples(NAMES), st.just("swap"), NAMES),
)
ANY = st.lists(EDITS, max_size=4).map(lambda edits: Perturbation(tuple(edits)))

# Few names, so that edits and sets often overlap.
GENES = ["A", "B", "C", "D"]
GENE_EDITS = st.builds(
    lambda members, operation: Edit("feature", tuple(members), *operation),
    st.sets(st.sampled_from(GENES), min_size=1, max_size=3),
    st.sampled_from([("ko",), ("x", 2), ("x", 0.5), ("=", 1), ("+", 3), ("+", -3)]),
)
GENE_SEQUENCES = st.lists(GENE_EDITS, max_size=5)
COUNTS = hnp.arrays(np.int64, (3, 4), elements=st.integers(0, 9))


def parse(text: str) -> Perturbation:
    return Perturbation.parse(text)


@given(ANY)
def test_text_round_trips(perturbation):
    twin = Perturbation.parse(str(perturbation))
    assert twin == perturbation
    assert hash(twin) == hash(perturbation)
    assert str(twin) == str(perturbation)
    assert repr(perturbation) == f"Perturbation({str(perturbation)!r})"


@given(ANY, ANY, ANY)
def test_addition_is_associative_with_an_identity(a, b, c):
    assert (a + b) + c == a + (b + c)
    assert a + Perturbation() == a == Perturbation() + a
    assert len(a + b) == len(a) + len(b)


@given(ANY, ANY)
def test_addition_commutes_where_targets_are_disjoint(a, b):
    touched = [{(edit.kind, name) for edit in side for name in edit.members} for side in (a, b)]
    if touched[0].isdisjoint(touched[1]):
        assert a + b == b + a
        assert hash(a + b) == hash(b + a)
        assert str(a + b) == str(b + a)


def test_addition_keeps_the_order_where_targets_overlap():
    pair, single = parse("{MDM2,TP53}:+1"), parse("TP53:x2")
    assert pair + single != single + pair
    x = np.array([[1, 1]])
    assert (pair + single).apply_features(x, ["MDM2", "TP53"]).tolist() == [[2, 4]]
    assert (single + pair).apply_features(x, ["MDM2", "TP53"]).tolist() == [[2, 3]]


@given(GENE_SEQUENCES, COUNTS)
def test_canonical_form_does_what_was_written(edits, x):
    expected = x.astype(float)
    for edit in edits:
        for name in edit.members:
            column = GENES.index(name)
            expected[:, column] = edit.apply(expected[:, column])
    before = x.copy()
    perturbation = Perturbation(tuple(edits))
    for matrix in (x, sparse.csr_matrix(x), sparse.csc_matrix(x)):
        result = perturbation.apply_features(matrix, GENES)
        assert type(result) is type(matrix)
        np.testing.assert_array_equal(result if matrix is x else result.toarray(), expected)
    np.testing.assert_array_equal(x, before)


@given(GENE_SEQUENCES, st.randoms(use_true_random=False), COUNTS)
def test_equal_perturbations_have_equal_effects(edits, random, x):
    a, b = Perturbation(tuple(edits)), Perturbation(tuple(random.sample(edits, len(edits))))
    if a == b:
        np.testing.assert_array_equal(a.apply_features(x, GENES), b.apply_features(x, GENES))


@given(GENE_SEQUENCES, GENE_SEQUENCES, COUNTS)
def test_a_sum_applies_one_after_the_other(first, second, x):
    a, b = Perturbation(tuple(first)), Perturbation(tuple(second))
    together = (a + b).apply_features(x, GENES)
    np.testing.assert_array_equal(together, b.apply_features(a.apply_features(x, GENES), GENES))


def test_is_a_value():
    perturbation = parse("TP53:ko + z3:+2")
    for twin in (pickle.loads(pickle.dumps(perturbation)), copy.copy(perturbation), copy.deepcopy(perturbation)):
        assert twin == perturbation
        assert {perturbation: 1}[twin] == 1
    assert repr(perturbation) == "Perturbation('TP53:ko + z3:+2')"
    assert perturbation != "TP53:ko + z3:+2"
    with pytest.raises(AttributeError):
        perturbation.edits = ()
    with pytest.raises(TypeError):
        perturbation + "MYC:ko"


def test_identity_is_falsy_and_blank():
    identity = Perturbation()
    assert not identity
    assert (len(identity), list(identity), str(identity)) == (0, [], "")
    assert parse("  ") == identity
    assert parse("A:x1")


def test_same_effect_does_not_make_it_the_same_value():
    assert len({parse("A:ko"), parse("A:x0"), parse("A:=0")}) == 3
    assert parse("{A,B}:ko") != parse("A:ko + B:ko")
    assert parse("{B,A}:ko") == parse("{A,B,A}:ko")


def test_facts():
    perturbation = parse("line:swap(HMEC) + z3:+2 + {B,C}:ko + A:x2 + B:+1 + A:x3")
    assert [str(edit) for edit in perturbation] == ["A:x2", "A:x3", "{B,C}:ko", "B:+1", "z3:+2", "line:swap(HMEC)"]
    assert perturbation.kinds == ("feature", "latent", "context")
    assert perturbation.features == ("A", "B", "C")
    assert perturbation.targets == ("A", "{B,C}", "B", "z3", "line")
    assert len(perturbation) == 6


def test_only_edits_and_text_make_a_perturbation():
    with pytest.raises(TypeError, match=r"a Perturbation is made of text such as 'TP53:ko', or of Edit; got 'TP53:ko'"):
        Perturbation(["TP53:ko"])
    with pytest.raises(PerturbationSyntaxError):
        Perturbation("TP53")


@given(ANY)
def test_text_makes_what_parse_reads(perturbation):
    twin = eval(repr(perturbation), {"Perturbation": Perturbation})
    assert twin == perturbation == Perturbation(edits=perturbation.edits)
    assert pickle.loads(pickle.dumps(twin)) == perturbation
    assert hash(twin) == hash(perturbation)
    assert isinstance(twin.edits, tuple)


def test_parse_resolves_sets_and_writes_their_members():
    perturbation = Perturbation.parse("ALS_down:x0.5 + TP53:ko", sets={"ALS_down": ["STMN2", "NEFL"]})
    assert str(perturbation) == "ALS_down{NEFL,STMN2}:x0.5 + TP53:ko"
    assert parse(str(perturbation)) == perturbation


def test_constructors_agree_with_text():
    assert Perturbation.from_dict({"TP53": "ko", "MYC": 2.0, "z3": "+2"}) == parse("TP53:ko + MYC:x2 + z3:+2")
    assert Perturbation.from_dict({"S": "ko"}, sets={"S": ["A", "B"]}) == parse("S{A,B}:ko")
    frame = pd.DataFrame({"symbol": ["A", "z3"], "fold": [2, 0.5]})
    assert Perturbation.from_frame(frame, gene="symbol", factor="fold") == parse('A:x2 + "z3":x0.5')
    assert Perturbation.knockout("z3") == parse('"z3":ko')
    assert Perturbation.knockout(pd.Index(["B", "A"])) == parse("{A,B}:ko")
    assert Perturbation.scale(["B", "A"], 0.5) == parse("{A,B}:x0.5")
    assert Perturbation.latent(3, -1.5) == parse("z3:-1.5")
    assert Perturbation.latent(np.int64(3), np.float32(2)) == parse("z3:+2")


def test_latent_counts_dimensions_from_zero():
    for dim in (-1, 1.0):
        with pytest.raises(ValueError, match="a latent dimension is named z0, z1"):
            Perturbation.latent(dim, 1)


def test_coerce_takes_values_text_and_mappings():
    perturbation = parse("TP53:ko")
    assert Perturbation.coerce(perturbation) is perturbation
    assert Perturbation.coerce("TP53:ko") == perturbation
    assert Perturbation.coerce({"TP53": "ko"}) == perturbation
    assert Perturbation.coerce("S:ko", sets={"S": ["A"]}) == parse("S{A}:ko")
    assert Perturbation.coerce({"S": "ko"}, sets={"S": ["A"]}) == parse("S{A}:ko")
    with pytest.raises(TypeError, match="expected a Perturbation, text such as 'TP53:ko' or a mapping, got list"):
        Perturbation.coerce(["TP53:ko"])
    with pytest.raises(PerturbationSyntaxError):
        Perturbation.coerce("TP53")


def test_edits_are_resolved_by_kind():
    perturbation = parse("{TP53,MYC}:ko + z1:+2 + phospho:hide")
    knockout, latent, _ = perturbation
    assert perturbation.feature_edits(["TP53", "ACTB", "MYC"]) == [(2, knockout), (0, knockout)]
    assert perturbation.latent_edits(2) == [(1, latent)]
    with pytest.raises(KeyError, match="features not in var_names: 'MYC'"):
        perturbation.feature_edits(["TP53"])
    with pytest.raises(ValueError, match="latent dimensions out of range: z1; there are 1"):
        perturbation.latent_edits(1)


def test_features_and_latent_are_applied_apart():
    perturbation = parse("A:x2 + z1:=-1")
    assert perturbation.apply_features(np.array([[1, 2]]), ["B", "A"]).tolist() == [[1, 4]]
    assert perturbation.apply_latent(np.array([[1.0, 2.0]])).tolist() == [[1.0, -1.0]]


def test_latent_arrays_are_signed_and_never_changed():
    z = np.array([[0.5, -1.0], [1.5, 2.0]], dtype=np.float32)
    result = parse("z0:-2 + z1:x0.5").apply_latent(z)
    assert result.dtype == np.float32
    assert result.tolist() == [[-1.5, -0.5], [-0.5, 1.0]]
    assert z.tolist() == [[0.5, -1.0], [1.5, 2.0]]


def test_thinning_is_reproducible_and_the_same_in_any_order():
    x = np.random.default_rng(0).poisson(5, (50, 3))
    a, b = parse("A:thin0.5 + {B,C}:thin0.2"), parse("{C,B}:thin0.2 + A:thin0.5")
    first = a.apply_features(x, ["A", "B", "C"], rng=7)
    np.testing.assert_array_equal(first, b.apply_features(x, ["A", "B", "C"], rng=7))
    np.testing.assert_array_equal(first, a.apply_features(x[:, ::-1], ["C", "B", "A"], rng=7)[:, ::-1])
    np.testing.assert_array_equal(first, a.apply_features(sparse.csr_array(x), ["A", "B", "C"], rng=7).toarray())
    assert np.any(first != a.apply_features(x, ["A", "B", "C"], rng=8))
    with pytest.raises(ValueError, match="draws at random: pass rng="):
        a.apply_features(x, ["A", "B", "C"])


def test_clip_is_passed_on():
    x = np.array([[-1.0]])
    assert parse("A:-1").apply_features(x, ["A"], clip=False).tolist() == [[-2.0]]
    with pytest.raises(ValueError, match="clip=False"):
        parse("A:-1").apply_features(x, ["A"])


def test_shapes_must_match():
    with pytest.raises(ValueError, match="the matrix has 2 columns but var_names has 1 names"):
        parse("A:ko").apply_features(np.ones((1, 2)), ["A"])
    with pytest.raises(ValueError, match=r"two dimensions, got shape \(3,\) from ndarray"):
        parse("A:ko").apply_features(np.ones(3), ["A"])
    with pytest.raises(ValueError, match=r"two dimensions, got shape \(\) from list"):
        parse("z0:+1").apply_latent([[1.0]])


def test_is_exported_at_the_top():
    assert scwhatif.Perturbation is Perturbation


def test_import_is_light():
    code = (
        "import sys, scwhatif.perturbation;"
        "heavy = {'anndata', 'torch', 'scvi', 'pandas', 'scipy'} & set(sys.modules); assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
