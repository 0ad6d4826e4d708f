import numpy as np
import pytest
import scipy.sparse as sp
import torch
from anndata import AnnData
from lightning.pytorch.callbacks import Callback
from scvi import REGISTRY_KEYS

from scwhatif.model import BetaLinearSCVI

SILENT = {"enable_progress_bar": False, "accelerator": "cpu", "devices": 1}


class Layouts(Callback):
    def __init__(self):
        self.seen = []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.seen.append(batch[REGISTRY_KEYS.X_KEY].layout)


def _fit(form, density=0.1, **kwargs):
    rng = np.random.default_rng(0)
    x = rng.poisson(3, (60, 20)) * (rng.random((60, 20)) < density)
    x[:, 0] += 1
    adata = AnnData(form(x.astype(np.float32)))
    adata.obs["batch"] = np.arange(60) % 3
    BetaLinearSCVI.setup_anndata(adata, batch_key="batch")
    model = BetaLinearSCVI(adata, n_latent=3, n_hidden=8, seed=0, **kwargs)
    layouts = Layouts()
    model.train(3, seed=0, batch_size=16, check_val_every_n_epoch=1, callbacks=[layouts], **SILENT)
    return model, set(layouts.seen)


@pytest.mark.parametrize(
    "kwargs", [{}, {"gene_likelihood": "poisson"}, {"gene_likelihood": "zinb"}, {"dispersion": "gene-batch"}]
)
def test_a_sparse_fit_is_the_dense_fit(kwargs):
    sparse, layouts = _fit(sp.csr_matrix, **kwargs)
    dense, dense_layouts = _fit(np.asarray, **kwargs)
    assert (layouts, dense_layouts) == ({torch.sparse_csr}, {torch.strided})
    for name in ("elbo_train", "elbo_validation", "objective_train"):
        np.testing.assert_allclose(sparse.history[name].astype(float), dense.history[name].astype(float), rtol=1e-4)
    np.testing.assert_allclose(sparse.get_latent_representation(), dense.get_latent_representation(), atol=2e-3)


def test_continuous_features_may_be_sparse_too():
    model, layouts = _fit(sp.csr_matrix, gene_likelihood="normal")
    assert layouts == {torch.sparse_csr}
    assert np.isfinite(model.get_latent_representation()).all()


@pytest.mark.parametrize(("form", "density"), [(sp.csr_matrix, 0.9), (sp.csc_matrix, 0.1)])
def test_what_would_not_pay_is_loaded_dense(form, density):
    assert _fit(form, density)[1] == {torch.strided}
