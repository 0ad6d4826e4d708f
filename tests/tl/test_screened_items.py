"""Tests of naming and resolving perturbations."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from scwhatif.perturbation import Perturbation, PerturbationSyntaxError
from scwhatif.tl._screened_items import pool_items, read_items

NAMES = pd.Index(["A", "B", "C", "D"])


def columns(item) -> list[tuple[int, str]]:
    return [(column, f"{edit.op}{edit.value}") for column, edit in item]


def test_every_form_a_perturbation_comes_in():
    a, b = Perturbation.parse("A:ko"), "B:x2 + C:ko"
    named, items = read_items([a, b, {"D": 0.5}], None, NAMES)
    assert list(named) == ["A:ko", "B:x2 + C:ko", "D:x0.5"]
    assert columns(items[1]) == [(1, "x2.0"), (2, "koNone")]
    assert list(read_items("A:ko", None, NAMES)[0]) == list(read_items(a, None, NAMES)[0]) == ["A:ko"]
    by_name = {"first": a, "second": b}
    for given in (by_name, pd.Series(by_name)):
        assert list(read_items(given, None, NAMES)[0]) == ["first", "second"]
    _, (item,) = read_items(["S:x0.5"], {"S": ["D", "A"]}, NAMES)
    assert columns(item) == [(0, "x0.5"), (3, "x0.5")]


def test_bad_input():
    with pytest.raises(ValueError, match="perturbations is empty"):
        read_items([], None, NAMES)
    with pytest.raises(ValueError, match="changes nothing"):
        read_items({"none": Perturbation()}, None, NAMES)
    with pytest.raises(ValueError, match=r"two perturbations are called 'A:ko'.*a dict"):
        read_items(["A:ko", "A:ko"], None, NAMES)
    with pytest.raises(KeyError, match=r"'X'.*'Y'"):
        read_items(["X:ko", "A:ko", "Y:x2"], None, NAMES)
    for text, why in (("z1:+2", "tl.traverse"), ("rna:hide", "not a gene"), ("line:swap(A)", "not a gene")):
        with pytest.raises(ValueError, match=why):
            read_items([text], None, NAMES)
    with pytest.raises(PerturbationSyntaxError, match="knock") as error:
        read_items({"mine": "A:knock"}, None, NAMES)
    assert "This is 'mine'" in error.value.__notes__[0]
    with pytest.raises(TypeError, match="named by text, not by 1"):
        read_items({1: "A:ko"}, None, NAMES)
    with pytest.raises(TypeError, match="expected a Perturbation"):
        read_items([1], None, NAMES)


def test_equal_items_are_carried_out_once():
    _, (single, both, renamed) = read_items(["A:ko", "B:x2 + C:ko", "S:ko"], {"S": ["A"]}, NAMES)
    pool = pool_items([([single, both], np.array([0])), ([renamed], np.array([2])), ([], np.array([1]))], 3)
    assert [columns(item) for item in pool.items] == [columns(single), columns(both)]
    assert [list(where) for where in pool.where] == [[0, 1], [0], []]
    np.testing.assert_array_equal(pool.within, [[True, False, True], [True, False, False]])
