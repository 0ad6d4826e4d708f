import numpy as np
import pytest
from anndata import AnnData

from scwhatif.model import BetaLinearSCVI


@pytest.fixture(scope="module")
def fitted():
    adata = AnnData(np.random.default_rng(0).poisson(2, (60, 12)).astype(np.float32))
    BetaLinearSCVI.setup_anndata(adata)
    model = BetaLinearSCVI(adata, n_latent=3, n_hidden=8, seed=0)
    model.train(3, seed=0, enable_progress_bar=False, accelerator="cpu", devices=1)
    return model


def test_shares_add_up_and_follow_the_loadings(fitted):
    share, loadings = fitted.get_explained_share(), fitted.get_loadings()
    assert share.sum() == pytest.approx(1)
    assert list(share.index) == list(loadings.columns) == ["z0", "z1", "z2"]
    variance = fitted.module.latent_covariance.diagonal().numpy() * (loadings**2).sum().to_numpy()
    np.testing.assert_allclose(share, variance / variance.sum(), rtol=1e-5)


def test_rotation_leaves_what_is_decoded(fitted):
    before = fitted.get_latent_representation() @ fitted.get_loadings().to_numpy().T
    fitted.rotate()
    assert fitted.rotation_ == "varimax"
    after = fitted.get_latent_representation() @ fitted.get_loadings().to_numpy().T
    np.testing.assert_allclose(after, before, atol=1e-4)


def test_an_unknown_rotation_is_refused(fitted):
    with pytest.raises(ValueError, match="promax"):
        fitted.rotate("promax")
