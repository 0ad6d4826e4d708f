"""Tests of dividing cells by group and donor."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

from scwhatif.tl._cell_groups import cell_groups


@pytest.fixture
def adata() -> AnnData:
    obs = pd.DataFrame(
        {
            "type": pd.Categorical(list("bbaabbaa"), categories=["a", "b", "unused"]),
            "donor": list("12312312"),
            "number": [2, 2, 10, 10, 2, 2, 10, 10],
        },
        index=[f"c{i}" for i in range(8)],
    )
    return AnnData(np.ones((8, 2), np.float32), obs=obs)


def test_all_cells_are_one_group(adata: AnnData):
    found = cell_groups(adata, None, None)
    assert found.n_parts == 1
    assert not found.codes.any()
    assert [(name, list(parts)) for name, parts in found.strata] == [("all", [0])]
    assert found.donors == []


def test_groups_without_cells_are_left_out(adata: AnnData):
    found = cell_groups(adata, "type", None)
    assert found.names == ["a", "b"]
    assert [name for name, _ in found.strata] == ["all", "a", "b"]
    for name, parts in found.strata[1:]:
        np.testing.assert_array_equal(np.isin(found.codes, parts), adata.obs["type"] == name)
    assert cell_groups(adata, "number", None).names == ["2", "10"]


def test_donors_cross_groups(adata: AnnData):
    found = cell_groups(adata, "type", "donor")
    # donor 3 has no cell of type a but one; what does not occur is no part
    assert found.n_parts == len(adata.obs.groupby(["type", "donor"], observed=True))
    assert found.donors == ["1", "2", "3"]
    for name, parts in found.strata[1:]:
        for i, donor in enumerate(found.donors):
            own = parts[found.donor_of[parts] == i]
            wanted = (adata.obs["type"] == name) & (adata.obs["donor"] == donor)
            np.testing.assert_array_equal(np.isin(found.codes, own), wanted)
    np.testing.assert_array_equal(found.members[0], np.arange(found.n_parts))


def test_bad_input(adata: AnnData):
    with pytest.raises(KeyError, match=r"groupby='typ'.*Did you mean 'type'"):
        cell_groups(adata, "typ", None)
    with pytest.raises(KeyError, match=r"donor='doner'.*Did you mean 'donor'"):
        cell_groups(adata, None, "doner")
    with pytest.raises(ValueError, match=r"'type'\] has 2 donor\(s\); a test over donors needs at least 3"):
        cell_groups(adata, None, "type")
    adata.obs["gap"] = adata.obs["donor"].where(adata.obs["donor"] != "2")
    with pytest.raises(ValueError, match=r"'gap'\] is missing for 3 cell\(s\)\. Name their donor"):
        cell_groups(adata, None, "gap")
    adata.obs["clash"] = "all"
    with pytest.raises(ValueError, match="rename it"):
        cell_groups(adata, "clash", None)
