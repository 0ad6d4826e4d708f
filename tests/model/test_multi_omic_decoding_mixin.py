import numpy as np
import pytest
import torch

from scwhatif.nn import product_of_experts


def test_posterior_is_the_product_of_the_layers_given(flow_model):
    batch = flow_model._rows_of(None).batch(np.arange(20))
    mask = flow_model._given(["rna", "ptm_1"])
    mean, variance = flow_model._posterior(batch, mask)
    with torch.inference_mode():
        experts = flow_model.module.experts(batch["X"], batch["observed"])
        present = flow_model.module.present(batch["observed"]).clone()
        present[:, [0, 2, 3, 5]] = False
    wanted = product_of_experts(*experts, present.T)
    torch.testing.assert_close(mean, wanted[0])
    torch.testing.assert_close(variance, wanted[1])


def test_decoding_of_one_layer_is_that_of_all(flow_model):
    batch = flow_model._rows_of(None).batch(np.arange(20))
    nothing = flow_model._given([])
    z, _ = flow_model._posterior(batch, nothing)
    assert not z.any()
    everything = flow_model._decode_all(z, batch)
    np.testing.assert_allclose(everything["ptm_0"], flow_model._decode("ptm_0", batch, nothing), rtol=1e-6)


def test_unknown_layers_are_named(flow_model):
    with pytest.raises(KeyError, match=r"'lipids'.* are not layers of the model, which has \['drivers', 'rna'"):
        flow_model._given(["rna", "lipids"])
