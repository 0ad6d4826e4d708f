"""Fits of every model, to be run by as many processes as one likes: ``torchrun --nproc_per_node=2 ddp_fits.py DIR``."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import torch

import scwhatif as wi

N_RANKS = int(os.environ.get("WORLD_SIZE", "1"))


def beta_linear(path: Path) -> Any:
    adata = wi.datasets.simulate_factors(240, 30, 3, n_batches=2, seed=0)
    wi.model.BetaLinearSCVI.setup_anndata(adata, batch_key="batch")
    model = wi.model.BetaLinearSCVI(adata, n_latent=3, n_hidden=16, dropout_rate=0.0, seed=0)
    # as many cells per step whatever the number of processes
    fit(model, path, max_epochs=30, batch_size=36 // N_RANKS)
    return model


def multi_omic(path: Path) -> Any:
    mdata = wi.datasets.simulate_flow(120, n_rna=30, n_protein=20, n_ptm=(5, 8, 10), n_metabolites=6)
    wi.model.MultiOmicLPM.setup_mudata(
        mdata, rna="rna", protein="protein", ptm=["ptm_0", "ptm_1", "ptm_2"], metabolome="metabolome"
    )
    model = wi.model.MultiOmicLPM(mdata, n_latent=4, n_hidden=16, dropout_rate=0.0)
    fit(model, path, max_epochs=20, batch_size=36 // N_RANKS)
    return model


def energy(path: Path) -> Any:
    adata = wi.datasets.simulate_pairs(n_cell_lines=4, n_chroms=4, n_promoters=10, seed=0)
    wi.model.CellLineEnergyModel.setup_anndata(adata, label_key="label", cell_line_key="cell_line", chrom_key="chrom")
    # whatever has buffers that follow the batches
    model = wi.model.CellLineEnergyModel(
        adata, n_latent=16, n_hidden=16, n_environment=4, loss="adaptive", prototype_weight=0.05, trees_weight=0.0
    )
    fit(model, path, max_epochs=6, lines_per_episode=4 // N_RANKS, plan_kwargs={"lr": 1e-2})
    return model


def fit(model: Any, path: Path, **kwargs: Any) -> None:
    several = {"devices": N_RANKS} if N_RANKS > 1 else {"devices": 1}
    early = {"early_stopping": True, "early_stopping_patience": 2, "early_stopping_min_delta": 1e-3}
    model.train(seed=0, accelerator="cpu", enable_progress_bar=False, **several, **early, **kwargs)
    torch.save(
        {
            "weights": model.module.state_dict(),
            "train": sorted(int(i) for i in model.train_indices),
            "validation": sorted(int(i) for i in model.validation_indices),
            "history": {key: value.astype(float).iloc[:, 0].tolist() for key, value in model.history.items()},
        },
        path / f"{type(model).__name__}_{os.environ.get('RANK', '0')}.pt",
    )
    # every process writes the same folder
    model.save(str(path / type(model).__name__), overwrite=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    for fitted in (beta_linear, multi_omic, energy):
        fitted(Path(sys.argv[1]))
