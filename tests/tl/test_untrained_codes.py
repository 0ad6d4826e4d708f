"""Codes of models that have learned nothing."""

from __future__ import annotations

import numpy as np
import pytest
import scvi
from numpy.testing import assert_allclose

import scwhatif as wi
from scwhatif.tl._untrained_codes import untrained_codes


@pytest.mark.parametrize("name", ["SCVI", "LinearSCVI", "BetaLinearSCVI"])
def test_same_settings_other_weights(name):
    cls = getattr(scvi.model, name, None) or wi.model.BetaLinearSCVI
    adata = wi.datasets.simulate_factors(60, 20, 3, seed=0)
    cls.setup_anndata(adata)
    model = cls(adata, n_latent=3, n_hidden=7)
    before = {key: value.clone() for key, value in model.module.state_dict().items()}
    first, second = untrained_codes(model, adata, range(2))
    assert first.shape == (60, 3)
    assert np.abs(first - second).max() > 1e-3
    assert_allclose(next(untrained_codes(model, adata, range(1))), first)
    assert not model.is_trained
    for key, value in model.module.state_dict().items():
        assert_allclose(value, before[key])
