from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scwhatif.perturbation import Edit, PerturbationSyntaxError
from scwhatif.perturbation._grammar import read_perturbation, read_terms

SETS = {"down": ["STMN2", "NEFL", "NEFL"], "GO:0006915": ("TP53",), "z9": ["A"], "none": []}


@pytest.mark.parametrize(
    ("text", "edit"),
    [
        ("TP53:ko", Edit("feature", ("TP53",), "ko")),
        ("  TP53 : ko  ", Edit("feature", ("TP53",), "ko")),
        ("TP53\n:\tko", Edit("feature", ("TP53",), "ko")),
        ("MYC:x2", Edit("feature", ("MYC",), "x", 2)),
        ("MYC:x.5", Edit("feature", ("MYC",), "x", 0.5)),
        ("MYC:x1e+3", Edit("feature", ("MYC",), "x", 1000)),
        ("MYC:x0", Edit("feature", ("MYC",), "x", 0)),
        ("MYC:=5", Edit("feature", ("MYC",), "=", 5)),
        ("MYC:=-5", Edit("feature", ("MYC",), "=", -5)),
        ("MYC:+3", Edit("feature", ("MYC",), "+", 3)),
        ("MYC: +3", Edit("feature", ("MYC",), "+", 3)),
        ("MYC:-3", Edit("feature", ("MYC",), "+", -3)),
        ("MYC:thin0.5", Edit("feature", ("MYC",), "thin", 0.5)),
        ("BCR::ABL1:ko", Edit("feature", ("BCR::ABL1",), "ko")),
        ("HLA-DRA:ko", Edit("feature", ("HLA-DRA",), "ko")),
        ("RP11-34P13.7:x2", Edit("feature", ("RP11-34P13.7",), "x", 2)),
        ("TMPRSS2--ERG:ko", Edit("feature", ("TMPRSS2--ERG",), "ko")),
        ("chr1:10-20:ko", Edit("feature", ("chr1:10-20",), "ko")),
        ("chr1:10-20 : ko", Edit("feature", ("chr1:10-20",), "ko")),
        ("ko:ko", Edit("feature", ("ko",), "ko")),
        ("3:x2", Edit("feature", ("3",), "x", 2)),
        ("z3:+2", Edit("latent", ("z3",), "+", 2)),
        ("z3:-1.5", Edit("latent", ("z3",), "+", -1.5)),
        ("z3:=0", Edit("latent", ("z3",), "=", 0)),
        ("z12:x0.5", Edit("latent", ("z12",), "x", 0.5)),
        ('"z3":ko', Edit("feature", ("z3",), "ko")),
        ("Z3:ko", Edit("feature", ("Z3",), "ko")),
        (r'"a \"b\\":ko', Edit("feature", ('a "b\\',), "ko")),
        ("{TP53,MDM2}:ko", Edit("feature", ("MDM2", "TP53"), "ko")),
        ('{ TP53 , "a b" , BCR::ABL1 } : ko', Edit("feature", ("BCR::ABL1", "TP53", "a b"), "ko")),
        ("{TP53}:ko", Edit("feature", ("TP53",), "ko")),
        ("down{A,B}:x0.5", Edit("feature", ("A", "B"), "x", 0.5, "down")),
        ("GO:1 {A}:ko", Edit("feature", ("A",), "ko", set_name="GO:1")),
        ('"z3"{A}:ko', Edit("feature", ("A",), "ko", set_name="z3")),
        ("phospho:hide", Edit("modality", ("phospho",), "hide")),
        ('"z3":hide', Edit("modality", ("z3",), "hide")),
        ("cell_line:swap(HMEC)", Edit("context", ("cell_line",), "swap", "HMEC")),
        ('cell_line:swap( "a + b" )', Edit("context", ("cell_line",), "swap", "a + b")),
    ],
)
def test_one_term(text, edit):
    assert read_perturbation(text) == [edit]


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("", []),
        (" \n", []),
        ("A:ko+B:ko", ["A:ko", "B:ko"]),
        ("MYC:+3 + TP53:ko", ["MYC:+3", "TP53:ko"]),
        ("MYC:+3+TP53:ko", ["MYC:+3", "TP53:ko"]),
        ("MYC:+3+4EBP1:+1", ["MYC:+3", "4EBP1:+1"]),
        ("z3:+2 + TP53:ko", ["z3:+2", "TP53:ko"]),
        ("z3:+2+z3:-2", ["z3:+2", "z3:-2"]),
        ("A:x1e+3+B:ko", ["A:x1000", "B:ko"]),
        ("c:swap(d)+{A,B}:ko", ["c:swap(d)", "{A,B}:ko"]),
        ('"a + b:ko":ko + B:ko', ['"a + b:ko":ko', "B:ko"]),
    ],
)
def test_plus_joins_terms_or_adds(text, terms):
    assert [str(edit) for edit in read_perturbation(text)] == terms


@pytest.mark.parametrize(
    ("text", "position", "problem"),
    [
        ("TP53", 4, "expected ':' and an operation"),
        ("TP53 ", 5, "expected ':' and an operation"),
        ("TP53 ko", 5, "expected ':' and an operation"),
        ("TP53 + MYC:ko", 5, "expected ':' and an operation"),
        ("BCR::ABL1", 9, "expected ':' and an operation"),
        ("A:::ko", 6, "expected ':' and an operation"),
        ("TP53:", 5, "expected an operation"),
        ("TP53:  ", 7, "expected an operation"),
        ("TP53:koo", 5, "unknown operation 'koo'"),
        ("TP53:KO", 5, "unknown operation 'KO'"),
        ("TP53: 2", 6, "unknown operation '2'"),
        ("A:ko + TP53:xyz", 12, "unknown operation 'xyz'"),
        ("A:x2y", 2, "unknown operation 'x2y'"),
        ("A:xinf", 2, "unknown operation 'xinf'"),
        ("A:+3:ko", 2, "unknown operation '+3:ko'"),
        ("A:swapped(B)", 2, "unknown operation 'swapped'"),
        ("A:(B)", 2, "unknown operation '('"),
        ("a b:ko", 2, "expected ':' and an operation"),
        ("a:b c:ko", 2, "unknown operation 'b'"),
        ("A:{B}:ko", 2, "unknown operation '{'"),
        ("A:x", 3, "expected a number after 'x'"),
        ("A:x+3", 3, "expected a number after 'x'"),
        ("A:thin", 6, "expected a number after 'thin'"),
        ("A:=five", 3, "expected a number after '='"),
        ("A:+ 3", 3, "expected a number after '+'"),
        ("A:+-3", 3, "expected a number after '+'"),
        ("A: + B:ko", 4, "expected a number after '+'"),
        ("A:x-2", 3, "operation 'x' takes a finite number of at least 0, got -2.0"),
        ("A:thin1.5", 6, "operation 'thin' takes a finite number of at least 0 and at most 1, got 1.5"),
        ("A:=1e999", 3, "operation '=' takes a finite number, got inf"),
        ("z3:ko", 3, "'ko' does not apply to a latent dimension"),
        ("z3: thin0.5", 4, "'thin' does not apply to a latent dimension"),
        ("z3:hide", 3, "'hide' does not apply to a latent dimension"),
        ("A:ko +", 6, "expected a target"),
        ("+ A:ko", 0, "expected a target"),
        ("A:ko + + B:ko", 7, "expected a target"),
        (":ko", 0, "expected a target"),
        ("(A):ko", 0, "expected a target"),
        ("A:ko B:ko", 5, "expected '+' or the end after an operation"),
        ("A:ko, B:ko", 4, "expected '+' or the end after an operation"),
        ('A:ko + "B:ko', 7, "this quote is never closed"),
        ('"B\\', 2, "unknown escape in a quoted name"),
        ('"a\\n":ko', 2, "unknown escape in a quoted name"),
        (' "":ko', 1, "empty name"),
        ("{}:ko", 1, "expected a feature name"),
        ("{A,}:ko", 3, "expected a feature name"),
        ("{A B}:ko", 3, "expected ',' or '}' in a feature set"),
        ("{A+B}:ko", 2, "expected ',' or '}' in a feature set"),
        ("{A,B", 4, "expected ',' or '}' in a feature set"),
        ("{A, z1}:ko", 4, "latent dimensions do not form sets"),
        ("{A,B}:hide", 6, "'hide' takes one modality, not a feature set"),
        ("{A,B}:swap(C)", 6, "'swap' takes one context, not a feature set"),
        ("c:swap", 6, "expected '(' after 'swap'"),
        ("c:swap (A)", 6, "expected '(' after 'swap'"),
        ("c:swap()", 7, "expected the name of a context"),
        ("c:swap(A", 8, "expected ')'"),
        ("c:swap(A, B)", 8, "expected ')'"),
        ("z9:+1", 0, "this names both a latent dimension and a feature set"),
        ("A:ko + none:ko", 7, "feature set 'none' is empty"),
    ],
)
def test_errors_say_what_and_where(text, position, problem):
    with pytest.raises(PerturbationSyntaxError) as caught:
        read_perturbation(text, SETS)
    assert (caught.value.position, caught.value.problem, caught.value.text) == (position, problem, text)
    assert caught.value.remedy


def read_or_error(text):
    try:
        return read_perturbation(text)
    except PerturbationSyntaxError as error:
        return error


def test_unknown_operation_lists_the_operations():
    with pytest.raises(PerturbationSyntaxError, match=r"operations: ko, x2 .* swap\(NAME\)"):
        read_perturbation("TP53:del")


@given(st.text(alphabet='AZz3:+-x=.,{}()"\\ koe', max_size=12) | st.text(max_size=12))
def test_any_text_is_read_or_refused_with_a_position_inside_it(text):
    outcome = read_or_error(text)
    if isinstance(outcome, PerturbationSyntaxError):
        assert 0 <= outcome.position <= len(text)
    else:
        assert read_perturbation(" + ".join(map(str, outcome))) == outcome


def test_bare_names_of_sets_stand_for_their_members():
    down = Edit("feature", ("NEFL", "STMN2"), "x", 0.5, "down")
    assert read_perturbation("down:x0.5", SETS) == [down]
    assert read_perturbation("GO:0006915:ko", SETS) == [Edit("feature", ("TP53",), "ko", set_name="GO:0006915")]
    assert read_perturbation('"down":ko', SETS) == [Edit("feature", ("down",), "ko")]
    assert read_perturbation("down{A}:ko", SETS) == [Edit("feature", ("A",), "ko", set_name="down")]
    assert read_perturbation("down:hide", SETS) == [Edit("modality", ("down",), "hide")]


def test_a_set_given_as_text_is_refused():
    with pytest.raises(TypeError, match="feature set 'down' is the str 'NEFL'; give a list of names"):
        read_perturbation("down:ko", {"down": "NEFL"})


def test_read_terms_takes_targets_and_operations_apart():
    terms = {
        "TP53": "ko",
        " chr1:10-20 ": " thin0.5 ",
        "z3": "+2",
        '"z3"': np.float32(0.5),
        "down": 2,
        "{A,B}": "=1",
        "line": "swap(HMEC)",
    }
    assert [str(edit) for edit in read_terms(terms, SETS)] == [
        "TP53:ko",
        "chr1:10-20:thin0.5",
        "z3:+2",
        '"z3":x0.5',
        "down{NEFL,STMN2}:x2",
        "{A,B}:=1",
        "line:swap(HMEC)",
    ]


@pytest.mark.parametrize(
    ("target", "operation", "text", "position", "problem"),
    [
        ("CD4+", "ko", "CD4+", 3, "expected the end of the target"),
        ("", "ko", "", 0, "expected a target"),
        ("A", "ko + B:ko", "ko + B:ko", 3, "expected the end of the operation"),
        ("A", "", "", 0, "expected an operation"),
        ("A", -1, "A", 0, "operation 'x' takes a finite number of at least 0, got -1"),
        ("A", float("nan"), "A", 0, "operation 'x' takes a finite number of at least 0, got nan"),
        (" z3", "  ko", " z3", 1, "'ko' does not apply to a latent dimension"),
        ("none", "  ko", "none", 0, "feature set 'none' is empty"),
    ],
)
def test_read_terms_shows_the_text_at_fault(target, operation, text, position, problem):
    with pytest.raises(PerturbationSyntaxError) as caught:
        read_terms({target: operation}, SETS)
    assert (caught.value.text, caught.value.position, caught.value.problem) == (text, position, problem)


@pytest.mark.parametrize(("target", "operation"), [("A", None), ("A", True), ("A", ["ko"]), (3, "ko")])
def test_read_terms_refuses_other_types(target, operation):
    with pytest.raises(TypeError, match="expected a target and an operation such as 'ko' or a factor"):
        read_terms({target: operation})
