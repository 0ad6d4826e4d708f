import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

from scwhatif.datasets import simulate_factors, simulate_flow
from scwhatif.model import BetaLinearSCVI, MetricEncoder, MultiOmicLPM

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


@pytest.fixture(scope="session")
def flow_setup() -> dict[str, object]:
    """Arguments of ``setup_mudata`` for the simulated flow below."""
    return {
        "rna": "rna",
        "protein": "protein",
        "ptm": ["ptm_0", "ptm_1"],
        "metabolome": "metabolome",
        "categorical_covariate_keys": ["lineage"],
    }


@pytest.fixture(scope="session")
def flow_model(flow_setup: dict[str, object]) -> MultiOmicLPM:
    """A model of simulated tumours, trained with a quarter of them held out as a test set."""
    mdata = simulate_flow(
        240, n_drivers=7, n_rna=40, n_protein=24, n_ptm=(8, 16), n_metabolites=10, fusion_layer=1, n_latent=4
    )
    MultiOmicLPM.setup_mudata(mdata, **flow_setup)
    model = MultiOmicLPM(mdata, n_latent=6, n_hidden=32, beta=0.002)
    parts = [np.arange(160), np.arange(160, 180), np.arange(180, mdata.n_obs)]
    model.train(40, external_indexing=parts, plan_kwargs={"lr": 5e-3}, **SILENT)
    return model


@pytest.fixture
def metric_adata() -> AnnData:
    """Identities in four dimensions, and more of something else in four others."""
    return _metric_rows()


@pytest.fixture(scope="session")
def metric_model() -> MetricEncoder:
    """A residual head that has learnt to leave out what is not identity."""
    adata = _metric_rows()
    MetricEncoder.setup_anndata(adata, identity_key="who", exam_key="when", obsm_key="z")
    model = MetricEncoder(adata, n_hidden=32)
    model.train(12, seed=0, plan_kwargs={"lr": 5e-3}, **SILENT)
    return model


def _metric_rows() -> AnnData:
    rng = np.random.default_rng(0)
    who, when = np.repeat(np.arange(20), 6), np.tile(np.arange(6) % 3, 20)
    z = rng.normal(size=(120, 8)) * np.repeat([0.3, 2.0], 4)
    z[:, :4] += rng.normal(size=(20, 4))[who]
    obs = pd.DataFrame({"who": [f"p{i:02d}" for i in who], "when": when}, index=[f"r{i}" for i in range(120)])
    return AnnData(obs=obs, obsm={"z": z.astype(np.float32)})
