from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from scwhatif._validation import check_groups
from scwhatif.tl import _holdout
from scwhatif.tl._holdout import holdout


@pytest.fixture
def adata() -> ad.AnnData:
    """Condition belongs to the donor; the cell type varies within donors."""
    donor = np.repeat(["d1", "d2", "d3", "d4"], 10)
    obs = pd.DataFrame(
        {
            "donor": donor,
            "condition": np.where(np.isin(donor, ["d1", "d2"]), "case", "control"),
            "cell_type": np.tile(["B", "T"], 20),
        },
        index=[str(i) for i in range(40)],
    )
    return ad.AnnData(np.ones((40, 1)), obs=obs)


def parts(adata: ad.AnnData, label: str, groups: str | None) -> tuple:
    return holdout(adata, check_groups(adata, label), label, groups, n_splits=5, seed=0)


def test_cells_or_donors(adata: ad.AnnData):
    folds, blocks = parts(adata, "cell_type", None)
    assert blocks is None
    assert np.bincount(folds).tolist() == [8] * 5
    folds, blocks = parts(adata, "cell_type", "donor")
    assert blocks.tolist() == np.repeat([0, 1, 2, 3], 10).tolist()
    assert sorted(folds[::10]) == [0, 1, 2, 3]
    # two donors of each condition make two parts with both
    folds, _ = parts(adata, "condition", "donor")
    assert sorted(folds[[0, 10]]) == sorted(folds[[20, 30]]) == [0, 1]


def test_groups_that_fill_a_whole_label(adata: ad.AnnData):
    adata.obs["hospital"] = np.where(adata.obs["condition"] == "case", "north", "south")
    with pytest.raises(ValueError, match=r"groups='hospital'.*'case'.*are of 'north'.*groups=None"):
        parts(adata, "condition", "hospital")


def test_sites_of_one_label_are_paired(adata: ad.AnnData):
    adata.obs["label"] = np.repeat(["a", "b", "a", "b"], 10)
    adata.obs["site"] = np.repeat(["s1", "s1", "s2", "s3"], 10)
    folds, _ = parts(adata, "label", "site")
    assert folds[20] == folds[30] != folds[0]


def test_groups_that_cannot_be_parted(adata: ad.AnnData, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(_holdout, "held_out_folds", lambda *_, **__: None)
    with pytest.raises(ValueError, match=r"groups='donor' cannot be parted .*groups=None"):
        parts(adata, "condition", "donor")


def test_bad_columns(adata: ad.AnnData):
    with pytest.raises(KeyError, match="Did you mean 'donor'"):
        parts(adata, "condition", "doner")
    with pytest.raises(TypeError, match="name of a column"):
        parts(adata, "condition", ["case"])
    adata.obs.loc["3", "donor"] = None
    with pytest.raises(ValueError, match="missing for 1 cell"):
        parts(adata, "condition", "donor")
