from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scvi

import scwhatif as wi
from scwhatif._compat import seeded


@pytest.fixture(scope="module")
def model() -> scvi.model.SCVI:
    adata = wi.datasets.simulate_factors(60, 30, 3, n_batches=2, seed=0)
    scvi.model.SCVI.setup_anndata(adata, batch_key="batch")
    with seeded(0):
        model = scvi.model.SCVI(adata, n_latent=3, n_hidden=8)
        model.train(max_epochs=1, accelerator="cpu", enable_progress_bar=False)
    return model


def test_names_batches_and_library_sizes(model: scvi.model.SCVI):
    z = pd.DataFrame(np.eye(3), index=["a", "b", "c"])
    each = [wi.tl.decode(model, z, batch=batch) for batch in ("batch_0", "batch_1")]
    assert list(each[0].index) == ["a", "b", "c"]
    assert list(each[0].columns) == list(model.adata.var_names)
    pd.testing.assert_frame_equal(wi.tl.decode(model, z), (each[0] + each[1]) / 2)
    scaled = wi.tl.decode(model, z, batch="batch_0", library_size=[1, 10, 100])
    np.testing.assert_allclose(scaled.sum(axis=1), [1, 10, 100], rtol=1e-5)


def test_equals_the_method_of_our_own_models():
    adata = wi.datasets.simulate_factors(60, 30, 3, seed=0)
    wi.model.BetaLinearSCVI.setup_anndata(adata)
    model = wi.model.BetaLinearSCVI(adata, n_latent=2, seed=0)
    z = np.random.default_rng(0).normal(size=(4, 2))
    pd.testing.assert_frame_equal(wi.tl.decode(model, z, library_size=7.0), model.decode(z, library_size=7.0))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"z": np.zeros(4)}, ValueError, "n_latent=3"),
        ({"batch": "batch_7"}, KeyError, "it knows"),
        ({"covariates": {"age": 3}}, KeyError, "not registered"),
        ({"library_size": -1}, ValueError, "above 0"),
    ],
)
def test_bad_requests(model: scvi.model.SCVI, arguments: dict, error: type, message: str):
    with pytest.raises(error, match=message):
        wi.tl.decode(model, **{"z": np.zeros(3), **arguments})


def test_what_is_no_model():
    with pytest.raises(TypeError, match="not a model of the scvi-tools kind"):
        wi.tl.decode(object(), np.zeros(3))
