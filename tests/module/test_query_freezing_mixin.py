import torch

from scwhatif.module import BetaLinearVAE


def test_only_the_rows_of_new_categories_receive_gradients():
    module = BetaLinearVAE(4, n_batch=3, n_latent=2, dispersion="gene-batch")
    module.freeze_for_query([2])
    trainable = {name: p for name, p in module.named_parameters() if p.requires_grad}
    assert set(trainable) == {"covariates.tables.0", "z_encoder.covariates.tables.0", "log_dispersion"}
    sum(p.sum() for p in trainable.values()).backward()
    for p in trainable.values():
        assert torch.equal(p.grad, torch.tensor([0.0, 0.0, 1.0]).unsqueeze(1).expand_as(p))
