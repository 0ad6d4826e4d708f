"""Which samples a model may be asked about."""

from __future__ import annotations

import numpy as np
import pytest

import scwhatif as wi
from scwhatif.tl._fold_models import fold_models

LAYERS = {"rna": "rna", "protein": "protein", "ptm": ["ptm_0"], "metabolome": "metabolome"}


def fitted(mdata, test=()):
    wi.model.MultiOmicLPM.setup_mudata(mdata, **LAYERS)
    model = wi.model.MultiOmicLPM(mdata, n_latent=2, n_hidden=4)
    others = np.setdiff1d(np.arange(mdata.n_obs), test)
    parts = None if not len(test) else [others[5:], others[:5], np.asarray(test)]
    model.train(max_epochs=1, external_indexing=parts, enable_progress_bar=False)
    return model


@pytest.fixture(scope="module")
def mdata():
    return wi.datasets.simulate_flow(60, n_rna=8, n_protein=6, n_ptm=(5,), n_metabolites=4, fusion_layer=0)


def test_one_model_is_asked_about_all(mdata):
    found = fold_models(mdata, fitted(mdata))
    assert not found.held_out
    assert np.array_equal(found.folds[0].rows, np.arange(60))


def test_folds_are_asked_about_their_test_samples(mdata):
    models = [fitted(mdata, range(30)), fitted(mdata, range(30, 60))]
    shuffled = mdata[mdata.obs_names[::-1]].copy()
    found = fold_models(shuffled, models)
    assert found.held_out
    assert found.first is models[0]
    for fold, start in zip(found.folds, (0, 30), strict=True):
        assert set(shuffled.obs_names[fold.rows]) == set(mdata.obs_names[start : start + 30])


def test_new_samples_are_held_out(mdata):
    model = fitted(mdata)
    assert fold_models(mdata.copy(), model).held_out


def test_bad_input(mdata):
    with pytest.raises(ValueError, match="empty sequence"):
        fold_models(mdata, [])
    with pytest.raises(TypeError, match="model 0 is a str"):
        fold_models(mdata, "model")
    wi.model.MultiOmicLPM.setup_mudata(mdata, **LAYERS)
    with pytest.raises(ValueError, match="Model 0 is not trained"):
        fold_models(mdata, wi.model.MultiOmicLPM(mdata, n_latent=2))
    with pytest.raises(ValueError, match="no test samples"):
        fold_models(mdata, [fitted(mdata)])
    with pytest.raises(KeyError, match="test samples of model 0, are not in mdata"):
        fold_models(mdata[mdata.obs_names[30:]].copy(), [fitted(mdata, range(10))])
    other = wi.datasets.simulate_flow(60, n_rna=9, n_protein=6, n_ptm=(5,), n_metabolites=4, fusion_layer=0)
    with pytest.raises(ValueError, match="Model 1 has other layers"):
        fold_models(mdata, [fitted(mdata, range(10)), fitted(other, range(10))])
