"""Samples and fold models shared by the tests of tools on multi-omic models."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

import scwhatif as wi

if TYPE_CHECKING:
    from anndata import AnnData
    from mudata import MuData

    from scwhatif.model import CellLineEnergyModel, MultiOmicLPM


@pytest.fixture(scope="session")
def _fold_data() -> tuple[MuData, list[MultiOmicLPM]]:
    mdata = wi.datasets.simulate_flow(
        80, n_drivers=5, n_rna=12, n_protein=8, n_ptm=(6, 9), n_metabolites=4, n_latent=3, n_lineages=2, fusion_layer=1
    )
    wi.model.MultiOmicLPM.setup_mudata(
        mdata,
        rna="rna",
        protein="protein",
        ptm=["ptm_0", "ptm_1"],
        metabolome="metabolome",
        categorical_covariate_keys=["lineage"],
    )
    models = []
    for test in (np.arange(40), np.arange(40, 80)):
        rest = np.setdiff1d(np.arange(80), test)
        model = wi.model.MultiOmicLPM(mdata, n_latent=3, n_hidden=8, driver_encoder="linear", evidence=None)
        model.train(
            3, external_indexing=[rest[6:], rest[:6], test], enable_progress_bar=False, plan_kwargs={"lr": 1e-2}
        )
        models.append(model)
    return mdata, models


@pytest.fixture
def fold_models(_fold_data: tuple[MuData, list[MultiOmicLPM]]) -> list[MultiOmicLPM]:
    """Two models of 80 samples, each with half of them held out; not to be changed by a test."""
    return _fold_data[1]


@pytest.fixture
def fold_data(_fold_data: tuple[MuData, list[MultiOmicLPM]]) -> MuData:
    """The samples of ``fold_models``, without results."""
    mdata = _fold_data[0]
    for key in [key for key in mdata.uns if key not in ("simulate_flow", "_scvi_uuid")]:
        del mdata.uns[key]
    mdata.obs = mdata.obs[["lineage"]].copy()
    mdata.obs["state"] = np.where(np.arange(80) % 4 == 0, "normal", "tumour")
    return mdata


def _energy_model(interaction: str, **kwargs: float) -> CellLineEnergyModel:
    """A model of pairs of four lines, of which the last, of the highest resistance, has no labels to learn from."""
    adata = wi.datasets.simulate_pairs(4, 4, 12)
    setup = {"label_key": "label", "cell_line_key": "cell_line", "chrom_key": "chrom"}
    wi.model.CellLineEnergyModel.setup_anndata(adata, **setup)
    model = wi.model.CellLineEnergyModel(
        adata,
        interaction=interaction,  # type: ignore[arg-type]
        joint=True,
        n_channels=3,
        n_latent=16,
        n_hidden=16,
        n_environment=4,
        embedding="none",
        dropout_rate=0.0,
        **{"trees_weight": 0.0, **kwargs},  # type: ignore[arg-type]
    )
    unseen = (adata.obs["cell_line"] == "line_3").to_numpy()
    last = (adata.obs["chrom"] == "chr4").to_numpy()
    parts = [np.flatnonzero(~unseen & ~last), np.flatnonzero(~unseen & last), np.flatnonzero(unseen)]
    model.train(
        15,
        external_indexing=parts,
        n_query=64,
        plan_kwargs={"lr": 1e-2, "restore_best": False},
        early_stopping=False,
        enable_progress_bar=False,
        accelerator="cpu",
    )
    return model


@pytest.fixture(scope="session")
def energy_model() -> CellLineEnergyModel:
    """The scalar energy, without trees; not to be changed by a test."""
    return _energy_model("scalar")


@pytest.fixture(scope="session")
def channel_model() -> CellLineEnergyModel:
    """Three channels; not to be changed by a test."""
    return _energy_model("channels")


@pytest.fixture(scope="session")
def tree_model() -> CellLineEnergyModel:
    """The scalar energy with trees beside it; not to be changed by a test."""
    return _energy_model("scalar", trees_weight=0.6)


@pytest.fixture
def energy_pairs(energy_model: CellLineEnergyModel) -> AnnData:
    """Pairs of these models, without results."""
    return energy_model.adata.copy()
