from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import anndata as ad
import matplotlib.pyplot as plt
import numpy as np
import pytest

import scwhatif as wi

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from anndata import AnnData


@pytest.fixture(autouse=True)
def _close_figures() -> Iterator[None]:
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def ranked() -> AnnData:
    """Two markers, one factor without a label, and a faint copy of the first marker."""
    adata = wi.datasets.simulate_factors(200, 20, 3, n_cell_types=3)
    z = adata.obsm["true_factors"]
    adata.obsm["z"] = np.c_[z, 1e-3 * z[:, 0]]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        wi.tl.rank_latent(adata, "cell_type", use_rep="z", n_permutations=9, floors=[])
    return adata


def test_matrix(ranked: AnnData):
    panels = wi.pl.latent_pairs(ranked, "cell_type", use_rep="z", show=False)
    assert [len(row) for row in panels] == [3, 3, 3]
    z = ranked.obsm["z"]
    for i in range(3):
        assert panels[i][i].get_title(loc="left") == f"z{i}"
        for j in range(i):
            drawn = np.asarray(panels[i][j].collections[0].get_offsets())
            assert sorted(map(tuple, drawn)) == sorted(map(tuple, z[:, [j, i]]))
            r = np.corrcoef(z[:, i], z[:, j])[0, 1]
            assert panels[j][i].texts[0].get_text() == f"{r:.2f}".replace("0.", ".", 1)
    assert [ax.get_xlabel() for ax in panels[-1]] == ["z0", "z1", "z2"]
    assert [row[0].get_ylabel() for row in panels] == ["", "z1", "z2"]
    legend = panels[0][0].figure.legends[0]
    assert [text.get_text() for text in legend.get_texts()] == ["type_0", "type_1", "type_2"]


def test_badges(ranked: AnnData):
    panels = wi.pl.latent_pairs(ranked, "cell_type", use_rep="z", dims="all", show=False)
    table = ranked.uns["rank_latent"]["table"]
    states = [panels[i][i].texts[0].get_text() for i in range(4)]
    assert states[3] == "dead"
    assert states[:3] == [f"var {value:.2g}" for value in ranked.obsm["z"][:, :3].var(axis=0)]
    for i in range(4):
        auc = table.loc[table["dimension"] == f"z{i}", "auc"].max()
        assert panels[i][i].get_title(loc="right") == f"AUC {auc:.2f}".replace(" 0.", " .")


def test_a_dead_dimension_looks_dead_unless_blown_up(ranked: AnnData):
    z = ranked.obsm["z"]
    shared = wi.pl.latent_pairs(ranked, "cell_type", use_rep="z", dims="all", show=False)
    assert len({ax.get_xlim() for ax in shared[-1]}) == 1
    low, high = shared[3][3].get_xlim()
    assert np.ptp(z[:, 3]) / (high - low) < 0.01
    assert low < z.min() < z.max() < high
    own = wi.pl.latent_pairs(ranked, "cell_type", use_rep="z", dims=["z0", 3], share_scale=False, show=False)
    low, high = own[1][1].get_xlim()
    assert np.ptp(z[:, 3]) / (high - low) > 0.8
    assert own[1][0].get_ylim() == own[1][1].get_xlim()


def test_many_cells_are_thinned_out(ranked: AnnData, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("scwhatif.pl._latent_pairs._MAX_CELLS", 50)
    panels = wi.pl.latent_pairs(ranked, "cell_type", use_rep="z", show=False)
    assert len(panels[1][0].collections[0].get_offsets()) == 50


def test_given_axes_one_dimension_and_what_was_read_from_a_file(ranked: AnnData, tmp_path: Path):
    ranked.write_h5ad(tmp_path / "x.h5ad")
    back = ad.read_h5ad(tmp_path / "x.h5ad")
    _, ax = plt.subplots()
    panels = wi.pl.latent_pairs(back, "cell_type", use_rep="z", dims=["z1"], ax=[[ax]], show=False)
    assert panels == [[ax]]
    assert not ax.figure.legends
    with pytest.raises(ValueError, match="2 rows of 2 axes"):
        wi.pl.latent_pairs(ranked, "cell_type", use_rep="z", dims=[0, 1], ax=[[ax]])


def test_without_its_data(ranked: AnnData):
    call = r"tl\.rank_latent\(adata, 'batch', use_rep='z', key_added='rank_latent'\)"
    with pytest.raises(KeyError, match=call):
        wi.pl.latent_pairs(ranked, "batch", use_rep="z")
    with pytest.raises(KeyError, match=r"use_rep='true_factors', key_added='other'"):
        wi.pl.latent_pairs(ranked, "cell_type", use_rep="true_factors", key="other")
    with pytest.raises(KeyError, match="not a dimension"):
        wi.pl.latent_pairs(ranked, "cell_type", use_rep="z", dims=["z9"])
