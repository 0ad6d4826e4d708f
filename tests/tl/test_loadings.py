from __future__ import annotations

from typing import TYPE_CHECKING

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import scwhatif as wi

if TYPE_CHECKING:
    from pathlib import Path

    from anndata import AnnData


@pytest.fixture(scope="module")
def fitted() -> tuple[AnnData, wi.model.BetaLinearSCVI]:
    adata = wi.datasets.simulate_factors(200, 60, 3, n_cell_types=3, n_batches=1)
    wi.model.BetaLinearSCVI.setup_anndata(adata)
    model = wi.model.BetaLinearSCVI(adata, n_latent=4, seed=0)
    model.train(max_epochs=5, seed=0, accelerator="cpu", enable_progress_bar=False)
    return adata, model


def test_what_is_written(fitted: tuple[AnnData, wi.model.BetaLinearSCVI]):
    adata, model = fitted
    done = wi.tl.loadings(adata, model, copy=True)
    assert "wi_loadings" not in adata.varm
    pd.testing.assert_frame_equal(done.varm["wi_loadings"], model.get_loadings(), check_names=False)
    share = done.uns["wi_loadings"]["dimensions"]["explained_share"]
    assert list(share.index) == ["z0", "z1", "z2", "z3"]
    assert share.sum() == pytest.approx(1.0, abs=1e-6)
    assert done.uns["wi_loadings"]["params"]["model_class"] == "BetaLinearSCVI"


def test_survives_writing(fitted: tuple[AnnData, wi.model.BetaLinearSCVI], tmp_path: Path):
    done = wi.tl.loadings(*fitted, key_added="mine", copy=True)
    done.write_h5ad(tmp_path / "x.h5ad")
    back = ad.read_h5ad(tmp_path / "x.h5ad")
    np.testing.assert_array_equal(back.varm["mine"], done.varm["mine"])
    np.testing.assert_array_equal(back.uns["mine"]["dimensions"], done.uns["mine"]["dimensions"])


def test_bad_input(fitted: tuple[AnnData, wi.model.BetaLinearSCVI]):
    adata, model = fitted
    with pytest.raises(ValueError, match="lacks 10 of the 60 features"):
        wi.tl.loadings(adata[:, 10:].copy(), model)
    with pytest.raises(TypeError, match="not linear"):
        wi.tl.loadings(adata, object())
