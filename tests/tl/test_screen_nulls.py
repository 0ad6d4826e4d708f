"""Tests of the stand-ins: like what they stand in for, and never it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scwhatif.metrics import matched_neighbours
from scwhatif.perturbation import Perturbation
from scwhatif.tl._screen_nulls import null_items

NAMES = [f"g{i}" for i in range(200)]


def item(text: str):
    return tuple(Perturbation.parse(text).feature_edits(NAMES))


def covariates(n: int = 200) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(n, 2))


def test_a_single_gene_is_replaced_by_those_most_like_it():
    everything = np.ones(200, bool)
    found = null_items(item("g7:x2"), covariates(), everything, 25, seed=0)
    wanted = matched_neighbours(covariates(), everything, [7], 25)[0]
    assert [each[0][0] for each in found] == list(wanted)
    assert all(each[0][1].value == 2 and len(each) == 1 for each in found)


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 30), st.integers(0, 2**32 - 1))
def test_sets_keep_their_shape(n_genes: int, seed: int):
    rng = np.random.default_rng(seed)
    genes = rng.choice(200, n_genes, replace=False)
    text = " + ".join(f"g{gene}:x{i % 3 + 2}" for i, gene in enumerate(genes))
    expressed = rng.random(200) < 0.8
    original = item(text)
    found = null_items(original, covariates(), expressed, 40, seed=seed % 1000)
    assert len(found) == 40
    for each in found:
        columns = [column for column, _ in each]
        assert len(set(columns)) == n_genes
        assert not set(columns) & set(genes.tolist())
        assert expressed[columns].all()
        assert [edit for _, edit in each] == [edit for _, edit in original]
    assert len({tuple(column for column, _ in each) for each in found}) > 30


def test_stand_ins_are_alike():
    values = covariates()
    original = item("{g3,g50,g120}:ko")
    found = null_items(original, values, np.ones(200, bool), 200, seed=0)
    for i, (gene, _) in enumerate(original):
        # thirty, and those that may be in the way
        near = set(matched_neighbours(values, np.ones(200, bool), [gene], 36)[0].tolist())
        assert {each[i][0] for each in found} <= near
    # a gene edited twice is replaced by one gene
    twice = null_items(item("g3:+1") + item("g3:x2 + g5:ko"), values, np.ones(200, bool), 10, seed=0)
    assert all(each[0][0] == each[1][0] != each[2][0] for each in twice)


def test_the_same_genes_get_the_same_stand_ins():
    everything = np.ones(200, bool)
    first, again = (null_items(item(f"{{g3,g9}}:x{dose}"), covariates(), everything, 20, seed=1) for dose in (2, 5))
    other = null_items(item("{g3,g9}:x2"), covariates(), everything, 20, seed=2)
    assert [[column for column, _ in each] for each in first] == [[column for column, _ in each] for each in again]
    assert [[column for column, _ in each] for each in first] != [[column for column, _ in each] for each in other]


@pytest.mark.parametrize(("n_genes", "n_expected"), [(1, 4), (2, 10), (3, 0)])
def test_too_few_genes_to_draw_from(n_genes: int, n_expected: int):
    genes = ",".join(f"g{i}" for i in range(n_genes))
    found = null_items(item(f"{{{genes}}}:ko"), covariates(5), np.ones(5, bool), 10, seed=0)
    assert len(found) == n_expected
