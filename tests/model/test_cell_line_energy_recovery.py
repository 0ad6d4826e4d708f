"""What the energy model finds again of what was planted, over seeds and re-fits."""

from __future__ import annotations

import numpy as np
import pytest

from scwhatif.datasets import simulate_pairs
from scwhatif.metrics import expected_calibration_error
from scwhatif.model import CellLineEnergyModel

pytestmark = pytest.mark.slow

SMALL = {"n_latent": 16, "n_hidden": 16, "n_environment": 4, "embedding": "none", "dropout_rate": 0.0}
RESISTANCE = np.linspace(0, 2.5, 6)
UNSEEN = "line_3"


def simulate(coupling, seed, shift=1.0):
    return simulate_pairs(6, 4, 20, resistance=RESISTANCE, coupling=coupling, temperature=0.5, shift=shift, seed=seed)


def fit(adata, *, seed=0, epochs=20, unseen=None, **settings):
    """Train on all lines but the unseen one, to the last epoch."""
    CellLineEnergyModel.setup_anndata(adata, label_key="label", cell_line_key="cell_line", chrom_key="chrom")
    model = CellLineEnergyModel(adata, **{"trees_weight": 0.0, "joint": True, "seed": seed, **SMALL, **settings})
    left_out = (adata.obs["cell_line"] == unseen).to_numpy()
    model.train(
        epochs,
        external_indexing=[np.flatnonzero(~left_out), np.zeros(0, dtype=int), np.flatnonzero(left_out)],
        n_support=16,
        n_query=24,
        plan_kwargs={"lr": 3e-2, "restore_best": False},
        early_stopping=False,
        enable_progress_bar=False,
        accelerator="cpu",
        seed=seed,
    )
    return model


def coupling_of(model):
    return float(model.get_energies(indices=[0])["lambda"].iloc[0])


def test_sign_of_the_coupling_over_seeds():
    """It starts at 0.1, so the negative one is the harder to find."""
    negative = np.array([coupling_of(fit(simulate(-0.3, seed), seed=seed)) for seed in range(10)])
    positive = np.array([coupling_of(fit(simulate(0.3, seed), seed=seed)) for seed in range(3)])
    assert (negative < 0).sum() >= 9
    assert (positive > 0.2).all()


def test_fitted_again_lines_have_the_energies_they_had():
    adata = simulate(0.3, 0)
    tables = [fit(adata, seed=seed).get_energies().groupby("cell_line").first() for seed in range(5)]
    for name in ("R", "slope", "intercept"):
        values = np.stack([table[name].to_numpy() for table in tables])
        # relative to how far lines are apart, as the energy of one is 0
        spread = values.mean(0).max() - values.mean(0).min()
        assert (values.std(0, ddof=1) < 0.1 * spread).all(), name
    energies = np.mean([table["R"].to_numpy() for table in tables], axis=0)
    assert np.abs(energies - RESISTANCE).max() < 0.6
    assert np.corrcoef(energies, RESISTANCE)[0, 1] > 0.98


def test_without_a_shift_between_lines_calibration_is_that_of_no_energy():
    """Unlabelled pairs that are alike in all lines tell nothing of the resistance of an unseen one."""
    differences = []
    for seed in range(3):
        adata = simulate(0.3, seed, shift=0.0)
        test = np.flatnonzero(adata.obs["cell_line"] == UNSEEN)
        label = adata.obs["label"].to_numpy()[test]
        energy, plain = (
            expected_calibration_error(
                label, fit(adata, epochs=10, unseen=UNSEEN, interaction=kind, joint=False).predict_proba(indices=test)
            )
            for kind in ("scalar", "none")
        )
        differences.append(energy - plain)
    assert abs(np.mean(differences)) < 0.01
