"""Models of a cross-validation, read back for tools that ask each about its test samples."""

from __future__ import annotations

import numpy as np
import pytest

import scwhatif as wi
from scwhatif.model import BetaLinearSCVI, MultiOmicLPM, load_folds
from scwhatif.tl._fold_models import fold_models

SETUP = {"rna": "rna", "protein": "protein", "ptm": ["ptm_0"], "categorical_covariate_keys": ["lineage"]}


def simulated():
    return wi.datasets.simulate_flow(
        50, n_drivers=6, n_rna=12, n_protein=8, n_ptm=(5,), n_metabolites=4, fusion_layer=0, missing_samples=0.0
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("folds")
    wi.tl.cross_validate(
        simulated(),
        cv=2,
        setup_kwargs=SETUP,
        model_kwargs={"n_latent": 2, "n_hidden": 4},
        train_kwargs={"max_epochs": 1},
        targets=["rna"],
        baselines=[],
        directory=folder,
        progress=False,
    )
    return folder


def test_each_model_knows_its_test_samples_whatever_their_order(folder):
    mdata = simulated()
    models = load_folds(folder, mdata)
    assert [type(model) for model in models] == [MultiOmicLPM, MultiOmicLPM]
    assert sorted(np.concatenate([model.test_indices for model in models])) == list(range(50))
    other = mdata[np.random.default_rng(0).permutation(mdata.obs_names)].copy()
    for model, again in zip(models, load_folds(folder, other), strict=True):
        for part in ("train_indices", "validation_indices", "test_indices"):
            expected = mdata.obs_names[getattr(model, part)]
            assert set(other.obs_names[getattr(again, part)]) == set(expected)
        found = again.predict("protein", indices=again.test_indices)
        np.testing.assert_allclose(found, model.predict("protein").loc[found.index].to_numpy(), rtol=1e-4, atol=1e-4)


def test_tools_take_them(folder):
    mdata = simulated()
    folds = fold_models(mdata, load_folds(folder, mdata))
    assert folds.held_out
    assert sorted(np.concatenate([fold.rows for fold in folds.folds])) == list(range(50))
    for fold in folds.folds:
        shift = fold.model.get_driver_shift({"mut_0": 1}, indices=fold.rows)
        assert shift.shape == (len(fold.rows), 2)


def test_bad_input(folder, tmp_path):
    mdata = simulated()
    with pytest.raises(FileNotFoundError, match=r"holds no cross_validate\.json"):
        load_folds(tmp_path, mdata)
    with pytest.raises(KeyError, match="mdata lacks 20 sample"):
        load_folds(folder, mdata[mdata.obs_names[:30]].copy())
    with pytest.raises(TypeError, match="of class MultiOmicLPM, not BetaLinearSCVI"):
        load_folds(folder, mdata, model_class=BetaLinearSCVI)
