import pytest
import torch
from scvi import REGISTRY_KEYS
from torch.distributions import Normal, kl_divergence

from scwhatif.module import BetaLinearVAE

N_CELLS, N_GENES, N_LATENT = 12, 9, 3


def _tensors(seed=0, n_batch=2, continuous=False):
    generator = torch.Generator().manual_seed(seed)
    x = torch.poisson(torch.rand(N_CELLS, N_GENES, generator=generator) * 4, generator=generator)
    x[:, 0] += 1
    if continuous:
        x = torch.randn(N_CELLS, N_GENES, generator=generator) * 3 + 7
    return {
        REGISTRY_KEYS.X_KEY: x,
        REGISTRY_KEYS.BATCH_KEY: torch.arange(N_CELLS).remainder(n_batch).unsqueeze(-1),
        REGISTRY_KEYS.LABELS_KEY: torch.zeros(N_CELLS, 1, dtype=torch.long),
    }


def _module(**kwargs):
    torch.manual_seed(0)
    module = BetaLinearVAE(N_GENES, n_batch=2, n_latent=N_LATENT, n_hidden=8, **kwargs)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return module.eval()


def _forward(module, tensors, **loss_kwargs):
    torch.manual_seed(1)
    return module(tensors, loss_kwargs=loss_kwargs)


@pytest.mark.parametrize("gene_likelihood", ["nb", "zinb", "poisson", "normal"])
@pytest.mark.parametrize("dispersion", ["gene", "gene-batch"])
def test_loss_at_beta_one_is_the_negative_elbo(gene_likelihood, dispersion):
    tensors = _tensors(continuous=gene_likelihood == "normal")
    inference, generative, output = _forward(_module(gene_likelihood=gene_likelihood, dispersion=dispersion), tensors)
    reconstruction = -generative["px"].log_prob(tensors[REGISTRY_KEYS.X_KEY]).sum(-1)
    posterior = Normal(inference["qz"].loc, inference["qz"].scale)
    kl = kl_divergence(posterior, Normal(torch.zeros(N_LATENT), torch.ones(N_LATENT))).sum(-1)
    # scvi-tools adds 1e-8 inside logarithms, hence not exact
    torch.testing.assert_close(output.loss, (reconstruction + kl).mean(), rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(output.kl_local["kl_local"], kl, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(output.reconstruction_loss["reconstruction_loss"], reconstruction, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("beta", [0.25, 4.0])
def test_beta_and_warmup_scale_the_loss_but_not_the_reported_elbo(beta):
    tensors = _tensors()
    _, _, reference = _forward(_module(), tensors)
    _, _, output = _forward(_module(beta=beta), tensors, kl_weight=0.5)
    reconstruction = reference.reconstruction_loss["reconstruction_loss"].mean()
    kl = reference.kl_local["kl_local"].mean()
    torch.testing.assert_close(output.loss, reconstruction + 0.5 * beta * kl)
    torch.testing.assert_close(output.extra_metrics["objective"], reconstruction + beta * kl)
    torch.testing.assert_close(output.kl_local["kl_local"].mean(), kl)
    torch.testing.assert_close(output.extra_metrics["kl_z"].sum(), kl)


def test_total_correlation_at_beta_one_is_the_elbo_and_charges_more_above():
    tensors = _tensors()
    _, _, plain = _forward(_module(), tensors)
    _, _, same = _forward(_module(objective="total_correlation"), tensors, n_obs=100)
    torch.testing.assert_close(same.loss, plain.loss)
    _, _, charged = _forward(_module(objective="total_correlation", beta=5.0), tensors, n_obs=100)
    assert charged.loss != plain.loss


def test_capacity_rises_with_the_warmup():
    tensors = _tensors()
    _, _, plain = _forward(_module(), tensors)
    reconstruction, kl = plain.reconstruction_loss["reconstruction_loss"].mean(), plain.kl_local["kl_local"].mean()
    _, _, output = _forward(_module(objective="capacity", beta=3.0, capacity=8.0), tensors, kl_weight=0.5)
    torch.testing.assert_close(output.loss, reconstruction + 3 * (kl - 4.0).abs())


def test_initialize_gives_every_batch_its_own_mean_profile():
    module = BetaLinearVAE(3, n_batch=2, n_latent=2)
    total = torch.tensor([[1e6, 3e6, 4e6], [2e6, 1e6, 1e6]])
    module.initialize(total, total.square(), total.sum(-1, keepdim=True), torch.full((2, 1), 1e3))
    rates = module.generative(torch.zeros(2, 2), torch.zeros(2, 1), torch.tensor([[0], [1]]))["log_rate"].exp()
    torch.testing.assert_close(rates, total / total.sum(-1, keepdim=True), rtol=1e-4, atol=1e-4)
    assert module.initialized


def test_initialize_standardises_continuous_features_and_spares_constant_ones():
    module = BetaLinearVAE(2, gene_likelihood="normal", n_latent=2)
    x = torch.tensor([[1.0, 5.0], [3.0, 5.0], [5.0, 5.0]])
    module.initialize(
        x.sum(0, keepdim=True), x.square().sum(0, keepdim=True), torch.ones(1, 1), torch.full((1, 1), 3.0)
    )
    torch.testing.assert_close(module.transform_input(x)[:, 0], (x[:, 0] - 3) / x[:, 0].std(correction=0))
    torch.testing.assert_close(module.transform_input(x)[:, 1], torch.zeros(3))


def test_initialize_ignores_a_batch_without_training_cells():
    module = BetaLinearVAE(2, n_batch=2, n_latent=2)
    total = torch.tensor([[10.0, 30.0], [0.0, 0.0]])
    module.initialize(total, total.square(), total.sum(-1, keepdim=True), torch.tensor([[5.0], [0.0]]))
    torch.testing.assert_close(module.covariates.tables[0][1], torch.zeros(2))


@pytest.mark.parametrize("decoder", ["linear", "nonnegative"])
@pytest.mark.parametrize("gene_likelihood", ["nb", "zinb"])
def test_canonical_form_orders_dimensions_without_changing_the_model(decoder, gene_likelihood):
    tensors = _tensors()
    module = _module(decoder=decoder, gene_likelihood=gene_likelihood)
    module.latent_covariance.copy_(torch.diag(torch.tensor([0.1, 2.0, 1.0])))
    mean_before = module.inference(**module._get_inference_input(tensors))["qz"].loc
    px_before = module.generative(mean_before, torch.zeros(N_CELLS, 1), tensors[REGISTRY_KEYS.BATCH_KEY])["px"].mean
    order = module.canonicalize()
    mean_after = module.inference(**module._get_inference_input(tensors))["qz"].loc
    px_after = module.generative(mean_after, torch.zeros(N_CELLS, 1), tensors[REGISTRY_KEYS.BATCH_KEY])["px"].mean
    torch.testing.assert_close(px_after, px_before)
    torch.testing.assert_close(mean_after.abs(), mean_before[:, order].abs())
    share = module.explained_variance()
    assert (share[:-1] >= share[1:]).all()
    if decoder == "linear":
        assert (module.effective_loadings().pow(3).sum(0) >= 0).all()


@pytest.mark.parametrize("objective", ["kl", "total_correlation"])
@pytest.mark.parametrize("gene_likelihood", ["nb", "zinb", "normal"])
def test_rotation_changes_the_axes_and_nothing_else(gene_likelihood, objective):
    tensors = _tensors(continuous=gene_likelihood == "normal")
    settings = {"gene_likelihood": gene_likelihood, "objective": objective, "beta": 3.0}
    module, rotated = _module(**settings), _module(**settings)
    rotation = torch.linalg.qr(torch.randn(N_LATENT, N_LATENT)).Q
    rotated.rotate(rotation)
    inference, generative, output = _forward(module, tensors, n_obs=100)
    inference_rotated, generative_rotated, output_rotated = _forward(rotated, tensors, n_obs=100)
    torch.testing.assert_close(inference_rotated["z"], inference["z"] @ rotation, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(generative_rotated["px"].mean, generative["px"].mean, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(output_rotated.loss, output.loss, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(output_rotated.kl_local["kl_local"], output.kl_local["kl_local"])
    log_q, log_q_rotated = (i["qz"].log_prob(i["z"]).sum(-1) for i in (inference, inference_rotated))
    torch.testing.assert_close(log_q_rotated, log_q, rtol=1e-4, atol=1e-4)


def test_query_freezing_leaves_reference_rows_alone():
    module = _module().train()
    module.freeze_for_query([1])
    before = {name: value.clone() for name, value in module.named_parameters()}
    optimizer = torch.optim.Adam([p for p in module.parameters() if p.requires_grad], lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        _forward(module, _tensors())[2].loss.backward()
        optimizer.step()
    moved = {name for name, value in module.named_parameters() if not torch.equal(value, before[name])}
    assert moved == {"covariates.tables.0", "z_encoder.covariates.tables.0"}
    for name in moved:
        assert torch.equal(dict(module.named_parameters())[name][0], before[name][0])


def test_every_parameter_receives_a_gradient():
    for settings in ({}, {"gene_likelihood": "zinb"}, {"gene_likelihood": "poisson"}, {"dispersion": "gene-batch"}):
        module = _module(**settings).train()
        _forward(module, _tensors())[2].loss.backward()
        assert [name for name, p in module.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize("layout", ["dense", "csr"])
@pytest.mark.parametrize("settings", [{}, {"gene_likelihood": "poisson"}, {"decoder": "nonnegative"}])
@pytest.mark.parametrize("use_size_factor", [False, True])
def test_the_fused_loss_is_the_general_loss(settings, use_size_factor, layout, monkeypatch):
    module = _module(dropout_rate=0.0, use_size_factor=use_size_factor, **settings).train()
    tensors = _tensors() | {REGISTRY_KEYS.SIZE_FACTOR_KEY: torch.linspace(0.5, 2, N_CELLS).unsqueeze(-1)}
    found = []
    for fused in (True, False):
        if not fused:
            monkeypatch.setattr(module, "_is_fused", lambda _z: False)
        elif layout == "csr":
            tensors[REGISTRY_KEYS.X_KEY] = tensors[REGISTRY_KEYS.X_KEY].to_sparse_csr()
        module.zero_grad()
        _, generative, output = _forward(module, tensors)
        assert ("fused" in generative) is fused
        output.loss.backward()
        found.append((output, {name: p.grad.clone() for name, p in module.named_parameters()}))
    (ours, gradients), (general, expected) = found
    torch.testing.assert_close(ours.loss, general.loss, rtol=1e-5, atol=0)
    torch.testing.assert_close(
        ours.reconstruction_loss["reconstruction_loss"],
        general.reconstruction_loss["reconstruction_loss"],
        rtol=1e-5,
        atol=1e-5,
    )
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, expected[name], rtol=1e-4, atol=1e-5, msg=name)
