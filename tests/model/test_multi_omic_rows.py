import anndata as ad
import mudata as md
import numpy as np
import pytest
import torch
from scipy import sparse

from scwhatif._mudata import without_pulling
from scwhatif.model._multi_omic_rows import read_rows, split_rows


def build(order):
    """Modality b has other rows than a, in the order given."""
    a = ad.AnnData(np.arange(8, dtype=np.float32).reshape(4, 2))
    a.obs_names = ["s0", "s1", "s2", "s3"]
    values = {"s3": [30.0, np.nan, 32.0], "s1": [10.0, 11.0, 12.0], "s9": [90.0, 91.0, 0.0]}
    b = ad.AnnData(np.array([values[name] for name in order], dtype=np.float32))
    b.obs_names = order
    b.layers["sparse"] = sparse.csr_matrix(np.nan_to_num(b.X))
    b.var_names = ["x", "y", "z"]
    with without_pulling():
        return md.MuData({"a": a, "b": b})


@pytest.mark.parametrize("order", [["s3", "s1", "s9"], ["s9", "s1", "s3"]])
def test_rows_are_aligned_by_name_and_masks_are_explicit(order):
    mdata = build(order)
    rows = read_rows(mdata, ["b", "a"])
    at = mdata.obs_names.get_loc
    assert rows.x[at("s1")].tolist() == [10, 11, 12, 2, 3]
    assert rows.observed[at("s1")].all()
    assert rows.observed[at("s3")].tolist() == [True, False, True, True, True]
    assert rows.x[at("s3")].tolist() == [30, 0, 32, 6, 7]
    assert rows.observed[at("s9")].tolist() == [True, True, True, False, False]
    assert rows.observed[at("s0")].tolist() == [False] * 3 + [True] * 2
    # a zero that was measured is a measurement
    assert rows.x[at("s9"), 2] == 0
    assert rows.observed[at("s9"), 2]


def test_layers_and_sparse_matrices():
    mdata = build(["s3", "s1", "s9"])
    rows = read_rows(mdata, ["b"], layers={"b": "sparse"})
    assert rows.x[mdata.obs_names.get_loc("s1")].tolist() == [10, 11, 12]


def test_batches_hold_the_rows_asked_for():
    mdata = build(["s3", "s1", "s9"])
    codes = np.arange(mdata.n_obs)[:, None]
    rows = read_rows(mdata, ["a"], codes=codes)
    batch = rows.batch([3, 0])
    torch.testing.assert_close(batch["X"], rows.x[[3, 0]])
    assert batch["extra_categorical_covs"].tolist() == [[3], [0]]
    assert set(read_rows(mdata, ["a"]).batch([0])) == {"X", "observed"}


def test_split():
    train, validation, test = split_rows(50, 0.8, None, 1)
    assert (len(train), len(validation), len(test)) == (40, 10, 0)
    assert sorted([*train, *validation]) == list(range(50))
    np.testing.assert_array_equal(train, split_rows(50, 0.8, None, 1)[0])
    given = split_rows(6, 0.9, [np.array([5, 0, 1, 2]), np.array([3, 4])], None)
    assert [part.tolist() for part in given] == [[5, 0, 1, 2], [3, 4], []]


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"train_size": 0.0}, "train_size=0.0"),
        ({"train_size": 0.05}, r"Only 1 sample\(s\)"),
        ({"external_indexing": [np.arange(9)]}, "positions 0 to 9, each once"),
        ({"external_indexing": [np.arange(10), np.arange(2)]}, "each once"),
        ({"external_indexing": [np.arange(3), np.arange(3, 10)]}, r"Only 3 sample\(s\)"),
    ],
)
def test_bad_splits(kwargs, message):
    settings = {"train_size": 0.9, "external_indexing": None, **kwargs}
    with pytest.raises(ValueError, match=message):
        split_rows(10, settings["train_size"], settings["external_indexing"], 0)
