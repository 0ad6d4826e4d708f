from __future__ import annotations

from typing import TYPE_CHECKING

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import scwhatif as wi

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def adata() -> ad.AnnData:
    rng = np.random.default_rng(0)
    z = rng.normal(size=(400, 3))
    adata = ad.AnnData(obs=pd.DataFrame(index=[str(i) for i in range(400)]), obsm={"X_wi": z})
    adata.obsm["X_linear"] = z @ rng.normal(size=(3, 2))
    shift = 0.3 * rng.normal(size=(400, 3))
    shift[:50] = 0
    adata.obsm["perturb_shift"] = shift
    return adata


def test_a_linear_embedding_gives_the_embedded_shift(adata: ad.AnnData):
    wi.tl.project_shift(adata, "X_linear")
    arrows = adata.obsm["perturb_shift_linear"]
    assert (arrows.shape, arrows.dtype) == ((400, 2), np.float32)
    assert not arrows[:50].any()
    matrix = np.linalg.lstsq(adata.obsm["X_wi"], adata.obsm["X_linear"], rcond=None)[0]
    expected = adata.obsm["perturb_shift"] @ matrix
    # the ridge shortens arrows by about a hundredth
    assert np.corrcoef(arrows.ravel(), expected.ravel())[0, 1] > 0.999
    assert np.abs(arrows - expected).max() < 0.1 * np.abs(expected).max()


def test_a_curved_embedding_is_right_to_first_order(adata: ad.AnnData):
    z = adata.obsm["X_wi"]
    adata.obsm["X_curved"] = np.column_stack([z[:, 0], z[:, 1] ** 2])
    adata.obsm["perturb_shift"] = np.tile([0.0, 0.01, 0.0], (400, 1))
    wi.tl.project_shift(adata, "X_curved", n_neighbors=10)
    arrows = adata.obsm["perturb_shift_curved"]
    inner = np.linalg.norm(z, axis=1) < 1.5
    slope = np.polyfit(z[inner, 1], arrows[inner, 1] / 0.01, 1)
    assert slope[0] == pytest.approx(2, abs=0.3)
    assert slope[1] == pytest.approx(0, abs=0.1)


def test_blocks_do_not_matter(adata: ad.AnnData, monkeypatch: pytest.MonkeyPatch):
    whole = wi.tl.project_shift(adata, "X_linear", copy=True)
    monkeypatch.setattr("scwhatif.tl._project_shift._BLOCK_ENTRIES", 300)
    parts = wi.tl.project_shift(adata, "X_linear", copy=True)
    np.testing.assert_array_equal(parts.obsm["perturb_shift_linear"], whole.obsm["perturb_shift_linear"])
    assert "perturb_shift_linear" not in adata.obsm


def test_cells_that_are_one_point(adata: ad.AnnData):
    adata.obsm["X_wi"] = np.zeros((400, 3))
    wi.tl.project_shift(adata, "X_linear")
    assert not adata.obsm["perturb_shift_linear"].any()


def test_survives_writing(adata: ad.AnnData, tmp_path: Path):
    wi.tl.project_shift(adata, "X_linear")
    adata.write_h5ad(tmp_path / "x.h5ad")
    back = ad.read_h5ad(tmp_path / "x.h5ad")
    np.testing.assert_array_equal(back.obsm["perturb_shift_linear"], adata.obsm["perturb_shift_linear"])


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"key": "edit"}, KeyError, r"edit_shift.*scwhatif\.tl\.perturb"),
        ({"basis": "X_umap"}, KeyError, "X_linear"),
        ({"use_rep": "X_vae"}, KeyError, "X_vae"),
        ({"use_rep": "X_linear"}, ValueError, "shift has 3 dimensions, but adata.obsm\\['X_linear'\\] has 2"),
        ({"n_neighbors": 2}, ValueError, "n_neighbors=2"),
        ({"n_neighbors": 400}, ValueError, "fewer than the cells"),
    ],
)
def test_bad_input(adata: ad.AnnData, arguments: dict, error: type, message: str):
    with pytest.raises(error, match=message):
        wi.tl.project_shift(adata, **{"basis": "X_linear", **arguments})
