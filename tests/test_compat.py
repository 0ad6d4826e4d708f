import gc
import random
import weakref
from contextlib import suppress

import numpy as np
import pytest
import scvi
import torch

from scwhatif._compat import forgetting, infer, minified_type, registered, registered_data, seeded
from scwhatif.datasets import simulate_factors
from scwhatif.model import BetaLinearSCVI


def _draw():
    return random.random(), float(np.random.rand()), float(torch.rand(1))  # noqa: NPY002


def _seed_all(seed):
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    torch.manual_seed(seed)


def _fail_while_seeded(seed):
    with seeded(seed):
        _draw()
        raise KeyError


def test_seeded_repeats_inside_and_leaves_no_trace_outside():
    with seeded(3):
        first = _draw()
        assert scvi.settings.seed == 3
    with seeded(3):
        assert _draw() == first
    _seed_all(0)
    expected = _draw()
    _seed_all(0)
    with pytest.raises(KeyError):
        _fail_while_seeded(3)
    assert _draw() == expected
    assert scvi.settings.seed is None


def test_no_seed_changes_nothing():
    torch.manual_seed(0)
    expected = _draw()[2]
    torch.manual_seed(0)
    with seeded(None):
        assert _draw()[2] == expected


def test_data_are_not_minified_until_they_are():
    assert minified_type(simulate_factors(10, 20, 3, seed=0)) is None


@pytest.mark.parametrize("fails", [False, True])
def test_registered_data_leave_no_trace(fails: bool):
    adata = simulate_factors(30, 10, 2, n_cell_types=2, n_batches=1)
    before = len(BetaLinearSCVI._setup_adata_manager_store)
    with suppress(RuntimeError), registered(BetaLinearSCVI, adata, labels_key="cell_type"):
        model = BetaLinearSCVI(adata, n_latent=2)
        assert model.adata_manager is BetaLinearSCVI._get_most_recent_anndata_manager(adata)
        if fails:
            raise RuntimeError
    assert len(BetaLinearSCVI._setup_adata_manager_store) == before
    assert not BetaLinearSCVI._per_instance_manager_store[model.id]


@pytest.fixture(scope="module")
def fitted():
    adata = simulate_factors(40, 10, 2, n_cell_types=2, n_batches=2)
    adata.obs["age"] = np.arange(40) / 10
    BetaLinearSCVI.setup_anndata(
        adata, batch_key="batch", categorical_covariate_keys=["cell_type"], continuous_covariate_keys=["age"]
    )
    torch.manual_seed(0)
    return BetaLinearSCVI(adata, n_latent=2, n_hidden=8), adata


def test_registered_data_are_what_the_data_loader_reads(fitted):
    model, adata = fitted
    x, fields = registered_data(model, adata)
    assert x is adata.X
    loaded = next(iter(model._make_data_loader(adata, batch_size=40)))
    assert {"X", *fields} == {*loaded}
    for key, values in fields.items():
        assert torch.as_tensor(values).dtype == loaded[key].dtype
        np.testing.assert_array_equal(values, loaded[key])


def test_new_data_are_not_kept_alive(fitted):
    model, adata = fitted
    registered_data(model, adata)
    forgotten = []
    for _ in range(10):
        new = adata.copy()
        registered_data(model, new)
        with forgetting(model):
            model._validate_anndata(new)
        forgotten.append(weakref.ref(new))
    new = None
    gc.collect()
    assert [reference() for reference in forgotten] == [None] * 10
    # what a model knew before, it goes on knowing, its own data first of all
    known = adata.copy()
    model._validate_anndata(known)
    registered_data(model, known)
    kept = [model.get_anndata_manager(each, required=True).adata for each in (adata, known)]
    assert kept[0] is adata
    assert kept[1] is known


def test_a_model_loaded_without_data_keeps_the_first(fitted, tmp_path):
    model, adata = fitted
    model.save(str(tmp_path / "model"))
    loaded = BetaLinearSCVI.load(str(tmp_path / "model"), adata=False)
    registered_data(loaded, new := adata.copy())
    assert loaded.adata is new
    assert loaded.get_anndata_manager(new, required=True) is loaded.adata_manager


def test_inference_is_the_model_s_and_leaves_no_trace(fitted):
    model, adata = fitted
    x, fields = registered_data(model, adata)
    model.module.train()
    model.module.z_encoder.hidden.eval()
    before = torch.get_rng_state()
    mean, var = infer(model.module, {"X": x, **fields})
    assert torch.equal(before, torch.get_rng_state())
    assert model.module.training
    assert not model.module.z_encoder.hidden.training
    model.is_trained_ = True
    for found, wanted in zip((mean, var), model.get_latent_representation(return_dist=True), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-6)


def test_only_gaussian_posteriors_are_inferred():
    class Module(torch.nn.Module):
        def _get_inference_input(self, tensors):
            return {"x": tensors["X"]}

        def inference(self, x):
            return {"qz": torch.distributions.LogNormal(x, torch.ones_like(x))}

    with pytest.raises(TypeError, match="Module has no Gaussian posterior: its inference returns qz"):
        infer(Module(), {"X": np.zeros((2, 3))})
    with pytest.raises(TypeError, match="Identity is not a module of the scvi-tools kind"):
        infer(torch.nn.Identity(), {})
