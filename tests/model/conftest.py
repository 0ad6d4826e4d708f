import pytest

from scwhatif.datasets import simulate_factors
from scwhatif.model import BetaLinearSCVI

SILENT = {"enable_progress_bar": False, "accelerator": "cpu"}


@pytest.fixture(scope="session")
def adata():
    """Simulated cells with two batches and two covariates; not to be changed by a test."""
    adata = simulate_factors(300, 60, 3, seed=0)
    adata.obs["chemistry"] = ["v2" if i % 3 else "v3" for i in range(adata.n_obs)]
    adata.obs["age"] = [float(i % 7) for i in range(adata.n_obs)]
    return adata


@pytest.fixture(scope="session")
def model(adata):
    """A trained model with every kind of covariate."""
    BetaLinearSCVI.setup_anndata(
        adata,
        batch_key="batch",
        labels_key="cell_type",
        categorical_covariate_keys=["chemistry"],
        continuous_covariate_keys=["age"],
    )
    model = BetaLinearSCVI(adata, n_latent=5, n_hidden=32, beta=2.0, seed=0)
    model.train(100, seed=0, batch_size=50, **SILENT)
    return model
