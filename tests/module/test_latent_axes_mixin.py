import torch

from scwhatif.module import BetaLinearVAE


def test_a_rotation_turns_code_loadings_and_covariance_together():
    module = BetaLinearVAE(7, n_latent=3)
    module.latent_covariance.copy_(torch.diag(torch.tensor([3.0, 2.0, 1.0])))
    loadings, z = module.effective_loadings(), torch.randn(5, 3)
    turn = torch.linalg.qr(torch.randn(3, 3)).Q
    module.rotate(turn)
    torch.testing.assert_close((z @ turn) @ module.effective_loadings().T, z @ loadings.T, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(turn @ module.latent_covariance @ turn.T, torch.diag(torch.tensor([3.0, 2.0, 1.0])))
    torch.testing.assert_close(module.rotation, turn)


def test_canonical_order_is_that_of_explained_variance():
    module = BetaLinearVAE(7, n_latent=3)
    module.latent_covariance.copy_(torch.diag(torch.tensor([1e-3, 10.0, 1.0])))
    assert module.canonicalize().tolist() == [1, 2, 0]
    assert (module.explained_variance().diff() <= 0).all()
