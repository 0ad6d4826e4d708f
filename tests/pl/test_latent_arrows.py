from __future__ import annotations

from typing import TYPE_CHECKING

import anndata as ad
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

import scwhatif as wi

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def _close_figures() -> Iterator[None]:
    yield
    plt.close("all")


@pytest.fixture
def adata() -> ad.AnnData:
    """Three groups, of which the first moves right, the second up and out, the third not at all."""
    rng = np.random.default_rng(0)
    group = np.repeat(["a", "b", "c"], 100)
    points = rng.normal(size=(300, 2)) + np.repeat([[0, 0], [10, 0], [0, 10]], 100, axis=0)
    shift = np.repeat([[0.1, 0], [0, 0.2], [0, 0]], 100, axis=0)
    obs = pd.DataFrame({"type": group, "perturb_outlier": group == "b"}, index=[str(i) for i in range(300)])
    adata = ad.AnnData(obs=obs, obsm={"X_umap": points, "perturb_shift_umap": shift})
    adata.uns["perturb"] = {"params": {"perturbation": "TP53:ko"}}
    return adata


def arrows_of(ax: plt.Axes):
    return ax.collections[1]


def test_one_arrow_per_group_that_moves(adata: ad.AnnData):
    ax = wi.pl.latent_arrows(adata, groupby="type", show=False)
    arrows = arrows_of(ax)
    scale = 0.15 * np.ptp(adata.obsm["X_umap"], axis=0).max() / 0.2
    np.testing.assert_allclose(arrows.U, [0.1 * scale, 0])
    np.testing.assert_allclose(arrows.V, [0, 0.2 * scale], atol=1e-12)
    for start, group in zip(arrows.get_offsets(), ("a", "b"), strict=True):
        cells = adata.obsm["X_umap"][adata.obs["type"] == group]
        assert (cells == start).all(axis=1).any()
        np.testing.assert_allclose(start, np.median(cells, axis=0), atol=0.5)
    assert ax.get_title(loc="left") == f"TP53:ko\narrows {scale:.3g}× as long"
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["a", "b", "c"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("umap 1", "umap 2")


def test_arrows_that_lead_out_are_hollow(adata: ad.AnnData):
    colors = arrows_of(wi.pl.latent_arrows(adata, groupby="type", show=False)).get_facecolors()
    assert not np.allclose(colors[0][:3], 1)
    np.testing.assert_allclose(colors[1][:3], 1)


def test_a_grid_holds_the_means_of_its_squares(adata: ad.AnnData):
    ax = wi.pl.latent_arrows(adata, n_grid=1, scale=3.0, show=False)
    arrows = arrows_of(ax)
    np.testing.assert_allclose(arrows.U.sum(), 3 * adata.obsm["perturb_shift_umap"][:, 0].mean(), rtol=0.05)
    fine = arrows_of(wi.pl.latent_arrows(adata, n_grid=20, scale=3.0, show=False))
    assert len(fine.U) > 10
    assert set(np.round(fine.U, 6)) <= {0.0, 0.3}
    assert set(np.round(fine.V, 6)) <= {0.0, 0.6}
    assert ax.get_legend() is None
    assert "arrows 3× as long" in ax.get_title(loc="left")


def test_all_arrows_are_in_view(adata: ad.AnnData):
    ax = wi.pl.latent_arrows(adata, groupby="type", scale=200.0, show=False)
    assert ax.get_xlim()[1] > 20
    assert ax.get_ylim()[1] > 40


def test_given_axes_and_stored_colors(adata: ad.AnnData):
    adata.obs["type"] = adata.obs["type"].astype("category")
    adata.uns["type_colors"] = np.array(["#ff0000", "#00ff00", "#0000ff"], dtype=object)
    _, ax = plt.subplots()
    assert wi.pl.latent_arrows(adata, groupby="type", ax=ax, show=False) is ax
    np.testing.assert_allclose(arrows_of(ax).get_facecolors()[0][:3], [1, 0, 0])


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"basis": "X_pca"}, KeyError, r"scwhatif\.tl\.project_shift\(adata, 'X_pca', key='perturb'\)"),
        ({"key": "edit"}, KeyError, "edit_shift_umap"),
        ({"groupby": "kind"}, KeyError, "type"),
        ({"n_grid": 0}, ValueError, "n_grid=0"),
        ({"scale": 0}, ValueError, "scale=0"),
    ],
)
def test_bad_input(adata: ad.AnnData, arguments: dict, error: type, message: str):
    with pytest.raises(error, match=message):
        wi.pl.latent_arrows(adata, show=False, **arguments)


def test_nothing_to_draw(adata: ad.AnnData):
    adata.obsm["perturb_shift_umap"] = np.zeros((300, 2))
    with pytest.raises(ValueError, match="no arrow has a length"):
        wi.pl.latent_arrows(adata, show=False)
