"""Identities, not rows, are held out; where they are too few, it is said."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from anndata import AnnData
from scipy import sparse

from scwhatif.model._metric_encoder_rows import dense, read_rows, split_rows

# 9 identities seen twice in each of 4 exams, and one seen once
IDENTITY = np.r_[np.repeat(np.arange(9), 8), 9]
EXAM = np.r_[np.tile([0, 0, 1, 1, 2, 2, 3, 3], 9), 0]


def test_a_third_of_the_identities_is_held_out():
    split = split_rows(IDENTITY, EXAM)
    held = np.unique(IDENTITY[split.validation])
    assert split.by == "identity"
    assert len(held) == 3
    assert not np.isin(IDENTITY[split.train], held).any()
    assert split.unused.tolist() == [72]
    np.testing.assert_array_equal(split.gallery, split.validation)
    together = np.concatenate([split.train, split.validation, split.unused])
    np.testing.assert_array_equal(np.sort(together), np.arange(73))


def test_seed_decides():
    first, same, other = (split_rows(IDENTITY, None, seed=seed).validation.tolist() for seed in (0, 0, 1))
    assert first == same
    assert first != other


def test_exams_are_held_out():
    split = split_rows(IDENTITY, EXAM, split_by="exam")
    assert len(np.unique(EXAM[split.validation])) == 1
    assert set(EXAM[split.train]).isdisjoint(EXAM[split.validation])
    assert set(IDENTITY[split.train]) == set(IDENTITY[split.validation]) == set(range(9))
    np.testing.assert_array_equal(split.gallery, np.arange(72))


def test_few_identities_are_split_by_rows_and_told():
    few = IDENTITY[:32]
    with pytest.warns(UserWarning, match="There are 4 identities, too few to hold some out: a quarter of the rows"):
        split = split_rows(few, EXAM[:32])
    assert split.by == "row"
    assert np.unique(few[split.validation], return_counts=True)[1].tolist() == [2] * 4
    # of different exams, so that they can be each other's answer
    for code in range(4):
        assert len(set(EXAM[:32][split.validation][few[split.validation] == code])) == 2
    assert set(split.train).isdisjoint(split.validation)


def test_rows_of_small_identities_are_all_for_training():
    identity = np.r_[np.repeat([0, 1, 2], 3), np.repeat([3, 4], 8)]
    split = split_rows(identity, None, split_by="row", validation_size=0.5)
    assert set(identity[split.validation]) == {3, 4}
    assert (identity[split.validation] == 3).sum() == 4


def test_a_given_split():
    split = split_rows(IDENTITY, EXAM, external_indexing=[np.arange(40), np.arange(40, 64)])
    assert (split.by, len(split.train), len(split.validation), len(split.unused)) == ("external", 40, 24, 9)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"split_by": "cell"}, "split_by='cell' must be one of"),
        ({"validation_size": 1.0}, "validation_size=1.0 must be between"),
        ({"external_indexing": [[0, 1], [1, 2]]}, "none of them twice"),
        ({"external_indexing": [[0, 1], [2, 73]]}, "from 0 to 72"),
        ({"external_indexing": [[0, 1]]}, "positions of training and validation rows"),
        ({"external_indexing": [np.arange(8), np.arange(8, 64)]}, "Fewer than 2 identities have rows in two exams"),
        ({"external_indexing": [np.arange(64), np.arange(64, 72)]}, "None of the 8 validation rows"),
        ({"external_indexing": [np.arange(64), [64, 65, 72]]}, "None of the 3 validation rows"),
        ({"validation_size": 0.9}, "hold out less"),
    ],
)
def test_wrong_splits(kwargs, message):
    with pytest.raises(ValueError, match=message):
        split_rows(IDENTITY, EXAM, **kwargs)


def test_exams_need_a_key():
    with pytest.raises(ValueError, match="needs exam_key"):
        split_rows(IDENTITY, None, split_by="exam")


def test_rows_are_read_as_they_are():
    x = np.arange(12, dtype=np.float64).reshape(4, 3) + 1
    adata = AnnData(
        sparse.csr_matrix(x), obs=pd.DataFrame({"who": list("abab"), "when": [5, 5, 7, 7]}, index=list("wxyz"))
    )
    setup = {"obsm_key": None, "layer": None, "identity_key": "who", "exam_key": "when"}
    rows = read_rows(adata, setup)
    np.testing.assert_array_equal(rows.x.numpy(), x)
    assert rows.x.dtype == torch.float32
    assert (rows.identity.tolist(), rows.exam.tolist()) == ([0, 1, 0, 1], [0, 0, 1, 1])
    assert read_rows(adata, {**setup, "exam_key": None}).exam is None
    rows.x[0] = -1
    assert adata.X[0, 0] == 1


def test_dense_copies():
    x = np.ones((2, 2), dtype=np.float32)
    found = dense(x)
    found[0] = 5
    assert x.sum() == 4
