"""Edits of a gene are put together, and what counts cannot take is refused."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from scwhatif.perturbation import Perturbation, PerturbationSyntaxError
from scwhatif.pp._edit_chains import EditChain, check_integers, check_pure_factors, edit_chains, read_conditions

GENES = pd.Index(["A", "B", "C"])


def chain(text: str) -> EditChain:
    (only,) = edit_chains(Perturbation.parse(text), GENES, "test")
    return only


@pytest.mark.parametrize(
    ("text", "is_factor", "factor", "enlarges", "keeps_zeros"),
    [
        ("A:x0.5", True, 0.5, False, True),
        ("A:x2", True, 2.0, True, True),
        ("A:x2 + A:x0.5", True, 1.0, False, True),
        ("A:x3 + A:x0.3333333333333333", True, 1.0, False, True),
        ("A:x4 + A:thin0.5", True, 2.0, True, True),
        ("A:x4 + A:ko", True, 0.0, False, True),
        ("A:+1 + A:x2", False, 2.0, True, False),
        ("A:+1 + A:x0.5", False, 0.5, False, False),
        ("A:-1", False, 1.0, False, True),
        ("A:=3", False, 1.0, False, False),
    ],
)
def test_factors(text: str, is_factor: bool, factor: float, enlarges: bool, keeps_zeros: bool):
    found = chain(text)
    assert (found.is_factor, found.factor, found.enlarges, found.keeps_zeros) == (
        is_factor,
        factor,
        enlarges,
        keeps_zeros,
    )


def test_chains_are_by_column_and_read_as_text():
    found = edit_chains(Perturbation.parse("down{C,A}:x0.5 + A:+1"), GENES, "test")
    assert [(each.column, each.gene, str(each)) for each in found] == [(0, "A", "A:x0.5 + A:+1"), (2, "C", "C:x0.5")]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A:ko", [0, 0, 0]),
        ("A:x2 + A:x0.5", [0, 3, 8]),
        ("A:=5", [5, 5, 5]),
        ("A:+2", [2, 5, 10]),
        ("A:-4", [0, 0, 4]),
        ("A:x0 + A:+1", [1, 1, 1]),
        ("A:+1 + A:x1", [1, 4, 9]),
    ],
)
def test_draw_without_chance(text: str, expected: list[int]):
    drawn = chain(text).draw(np.array([0, 3, 8]), np.random.default_rng(0))
    np.testing.assert_array_equal(drawn, expected)
    assert drawn.dtype == np.int64


def test_mixed_edits_draw_in_order():
    counts = np.full(20_000, 6)
    drawn = chain("A:+4 + A:x0.5 + A:x3").draw(counts, np.random.default_rng(0))
    # 10 thinned by half, then Poisson of twice the count on top
    assert drawn.mean() == pytest.approx(15, abs=4 * np.sqrt(9 * 2.5 + 10) / np.sqrt(20_000))
    assert drawn.var() == pytest.approx(9 * 2.5 + 2 * 5, rel=0.05)


def test_multiply_keeps_fractions():
    np.testing.assert_array_equal(chain("A:x0.5").multiply(np.array([1, 2]), np.random.default_rng(0)), [0.5, 1])
    thinned = chain("A:thin0.5").multiply(np.full(1000, 10.0), np.random.default_rng(0))
    assert thinned.mean() == pytest.approx(5, abs=0.2)
    assert (thinned == thinned.round()).all()


def test_single_perturbation_and_conditions():
    one = Perturbation.parse("A:ko")
    assert read_conditions(one, None, "control") == {"perturbed": one}
    assert read_conditions("down:ko", {"down": ["A"]}, "control") == {"perturbed": Perturbation.parse("down{A}:ko")}
    found = read_conditions({"b": {"A": 2.0}, "a": one}, None, None)
    assert list(found.items()) == [("b", Perturbation.parse("A:x2")), ("a", one)]


@pytest.mark.parametrize(
    ("perturbations", "error", "message"),
    [
        ({}, ValueError, "perturbations is empty"),
        ({"control": "A:ko"}, ValueError, "'control' names both a condition and the unedited copy"),
        ({"": "A:ko"}, TypeError, "a condition needs a name"),
        ({3: "A:ko"}, TypeError, "a condition needs a name, not 3"),
        (5, TypeError, "expected a Perturbation"),
    ],
)
def test_bad_conditions(perturbations: object, error: type[Exception], message: str):
    with pytest.raises(error, match=message):
        read_conditions(perturbations, None, "control")  # type: ignore[arg-type]


def test_a_mapping_of_genes_is_told_from_conditions():
    for perturbations in ({"TP53": "ko"}, {"TP53": 2.0}):
        with pytest.raises((PerturbationSyntaxError, TypeError)) as caught:
            read_conditions(perturbations, None, "control")  # type: ignore[arg-type]
        assert "condition 'TP53': perturbations maps names" in caught.value.__notes__[0]


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("A:ko + z3:+1", ValueError, "condition 'test': z3:[+]1 moves a latent code.*pseudo_profiles"),
        ("phospho:hide", ValueError, "hides a modality"),
        ("cell_line:swap(HMEC)", ValueError, "swaps a context"),
        ("", ValueError, "condition 'test' changes no gene"),
        ("D:ko", KeyError, "features not in var_names: 'D'"),
    ],
)
def test_what_is_no_edit_of_counts(text: str, error: type[Exception], message: str):
    with pytest.raises(error, match=message):
        edit_chains(Perturbation.parse(text), GENES, "test")


def test_numbers_that_are_no_counts():
    for text in ("A:=1.5", "A:+0.5", "A:-0.5"):
        with pytest.raises(ValueError, match=r"would leave 'A' without integer counts.*method='deterministic'"):
            check_integers([chain(text)], "test")
    check_integers([chain("A:=2"), chain("A:x0.5"), chain("A:-3")], "test")


def test_mixed_edits_have_no_rate():
    with pytest.raises(ValueError, match=r"A:[+]1 [+] A:x2 mixes factors with other operations, and up='nb'"):
        check_pure_factors([chain("A:+1 + A:x2")], "test", "nb")
    check_pure_factors([chain("A:+1 + A:x0.5"), chain("A:x2")], "test", "nb")
