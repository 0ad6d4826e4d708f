"""Samples and fold models shared by the tests of tools on multi-omic models."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

import scwhatif as wi

if TYPE_CHECKING:
    from collections.abc import Callable

    from anndata import AnnData
    from mudata import MuData

    from scwhatif.model import CellLineEnergyModel, MultiOmicLPM
    from scwhatif.nn._energy_interaction import Interaction


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


@pytest.fixture(scope="session")
def fit_folds() -> Callable[..., list[MultiOmicLPM]]:
    """``fit_folds(mdata, n, **setup)``: models of n folds, which are all but their evidence."""

    def fit(mdata: MuData, n: int = 4, **setup: object) -> list[MultiOmicLPM]:
        order = np.random.default_rng(0).permutation(mdata.n_obs)
        models = []
        for k in range(n):
            wi.model.MultiOmicLPM.setup_mudata(mdata, **setup)
            model = wi.model.MultiOmicLPM(mdata, n_latent=3, n_hidden=8)
            rest = np.setdiff1d(order, order[k::n])
            parts = [rest[12:], rest[:12], order[k::n]]
            model.train(1, external_indexing=parts, enable_progress_bar=False, accelerator="cpu")
            models.append(model)
        return models

    return fit


@pytest.fixture(scope="session")
def flow_folds(fit_folds: Callable[..., list[MultiOmicLPM]]) -> tuple[MuData, list[MultiOmicLPM]]:
    """A simulated flow in which a fusion acts on the second PTM layer, and models of five folds of it."""
    mdata = wi.datasets.simulate_flow(
        200,
        n_drivers=6,
        n_rna=24,
        n_protein=16,
        n_ptm=(8, 20),
        n_metabolites=6,
        fusion_layer=1,
        n_latent=3,
        missing_samples=0.05,
    )
    setup = {"rna": "rna", "protein": "protein", "ptm": ["ptm_0", "ptm_1"], "metabolome": "metabolome"}
    return mdata, fit_folds(mdata, 5, **setup, categorical_covariate_keys=["lineage"])


# Of the lines below; the last is among the others, and has no labels to learn from.
RESISTANCE = (0.2, 1.2, 3.0, 2.2)


def _energy_model(interaction: Interaction, max_epochs: int, *, trees_weight: float = 0.0) -> CellLineEnergyModel:
    adata = wi.datasets.simulate_pairs(4, 4, 12, resistance=RESISTANCE)
    wi.model.CellLineEnergyModel.setup_anndata(adata, label_key="label", cell_line_key="cell_line", chrom_key="chrom")
    model = wi.model.CellLineEnergyModel(
        adata,
        interaction=interaction,
        joint=True,
        trees_weight=trees_weight,
        n_channels=3,
        n_latent=16,
        n_hidden=16,
        n_environment=4,
        embedding="none",
        dropout_rate=0.0,
    )
    unseen = (adata.obs["cell_line"] == "line_3").to_numpy()
    last = (adata.obs["chrom"] == "chr4").to_numpy()
    model.train(
        max_epochs,
        external_indexing=[np.flatnonzero(~unseen & ~last), np.flatnonzero(~unseen & last), np.flatnonzero(unseen)],
        n_query=64,
        plan_kwargs={"lr": 3e-2, "restore_best": False},
        early_stopping=False,
        enable_progress_bar=False,
        accelerator="cpu",
    )
    return model


@pytest.fixture(scope="session")
def energy_model() -> CellLineEnergyModel:
    """The scalar energy, without trees; not to be changed by a test."""
    return _energy_model("scalar", 30)


@pytest.fixture(scope="session")
def channel_model() -> CellLineEnergyModel:
    """Three channels, set so that line_0 amplifies one and line_2 another; not to be changed by a test."""
    model = _energy_model("channels", 4)
    codes, lines = model.get_latent_representation(which="environment"), model.adata.obs["cell_line"].to_numpy()
    first, second = (torch.from_numpy(codes[lines == line].mean(0)) for line in ("line_0", "line_2"))
    along = 8 * (second - first) / (second - first).square().sum()
    middle = along @ (first + second) / 2
    interaction = model.module.interaction
    with torch.no_grad():
        model.module.score_head.weight.normal_(generator=torch.Generator().manual_seed(0))
        interaction.coupling.copy_(torch.tensor([2.0, 2.0, 0.0]))
        interaction.energy_head.weight.copy_(torch.stack([along, -along, 0 * along]))
        interaction.energy_head.bias.copy_(torch.stack([-middle, middle, 0 * middle]))
    return model


@pytest.fixture(scope="session")
def tree_model() -> CellLineEnergyModel:
    """The scalar energy with trees beside it; not to be changed by a test."""
    return _energy_model("scalar", 4, trees_weight=0.6)


@pytest.fixture
def energy_pairs(energy_model: CellLineEnergyModel) -> AnnData:
    """Pairs of these models, without results."""
    return energy_model.adata.copy()
