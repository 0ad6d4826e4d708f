from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scwhatif.perturbation._lexicon import NUMBER, format_name, format_number


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("TP53", "TP53"),
        ("BCR::ABL1", "BCR::ABL1"),
        ("chr1:10-20", "chr1:10-20"),
        ("Z3", "Z3"),
        ("z3a", "z3a"),
        ("z3", '"z3"'),
        ("A:", '"A:"'),
        (":A", '":A"'),
        ("CD4+", '"CD4+"'),
        ("a b", '"a b"'),
        ("a,b", '"a,b"'),
        ("a{b}", '"a{b}"'),
        ("a(b)", '"a(b)"'),
        ('a"b', r'"a\"b"'),
        ("a\\b", "a\\b"),
        ("a \\b", r'"a \\b"'),
    ],
)
def test_names_are_quoted_only_where_needed(name, written):
    assert format_name(name) == written


@pytest.mark.parametrize(
    ("value", "written"),
    [(2.0, "2"), (0.5, "0.5"), (-3.0, "-3"), (0.1, "0.1"), (1e16, "1e+16"), (1e-7, "1e-07"), (1e15, "1" + "0" * 15)],
)
def test_numbers_are_written_shortest(value, written):
    assert format_number(value) == written


@given(st.floats(min_value=0, allow_infinity=False))
def test_numbers_round_trip(value):
    written = format_number(value)
    assert NUMBER.fullmatch(written)
    assert float(written) == value
