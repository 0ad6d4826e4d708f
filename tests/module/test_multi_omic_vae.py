import pytest
import torch

from scwhatif.module import LayerSpec, MultiOmicVAE
from scwhatif.nn import cis_links

LAYERS = [LayerSpec("drivers", 4, "bernoulli"), LayerSpec("rna", 6), LayerSpec("protein", 3), LayerSpec("met", 5)]
LINKS = {("protein", "rna"): cis_links(["A", "B", "C"], ["A", "B", "C", "D", "E", "F"])}


def make(**kwargs):
    torch.manual_seed(0)
    settings = {"drivers": "drivers", "links": LINKS, "n_latent": 3, "n_hidden": 8, "dropout_rate": 0.0, **kwargs}
    return MultiOmicVAE(LAYERS, **settings)


def batch(n_rows=12, seed=0, codes=None):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n_rows, 18, generator=generator)
    x[:, :4] = (x[:, :4] > 0).float()
    observed = torch.rand(n_rows, 18, generator=generator) < 0.9
    observed[0, 4:10] = observed[1, 13:] = observed[2, :4] = False
    tensors = {"X": x, "observed": observed}
    return tensors if codes is None else {**tensors, "extra_categorical_covs": codes}


def test_what_was_not_measured_changes_nothing():
    module = make().eval()
    tensors = batch()
    first = module(tensors)
    tensors["X"] = torch.where(tensors["observed"], tensors["X"], 1e4)
    second = module(tensors)
    torch.testing.assert_close(first[0]["qz"].mean, second[0]["qz"].mean)
    torch.testing.assert_close(first[2].loss, second[2].loss)


def test_a_sample_without_layers_has_the_prior():
    tensors = batch()
    tensors["observed"][5] = False
    inferred, _, output = make().eval()(tensors)
    assert (inferred["qz"].mean[5] == 0).all()
    assert (inferred["qz"].stddev[5] == 1).all()
    assert output.reconstruction_loss["reconstruction_loss"][5] == 0


def test_views_in_training_see_everything_a_subset_and_all_but_one():
    module = make().train()
    tensors = batch(400)
    tensors["observed"][:] = True
    everything, subset, all_but_one = module.inference(tensors["X"], tensors["observed"])["visible"]
    assert everything.all()
    assert (all_but_one.sum(1) == 3).all()
    assert (~all_but_one).any(0).all()
    only_drivers = (subset == module.is_driver_layer()).all(1)
    assert 0.15 < only_drivers.float().mean() < 0.4
    assert (subset.float().mean(0) > 0.2).all()


def test_views_never_see_what_is_absent():
    tensors = batch()
    module = make()
    present = module.present(tensors["observed"])
    for mode in (True, False):
        visible = module.train(mode).inference(tensors["X"], tensors["observed"])["visible"]
        assert not (visible & ~present).any()


def test_evaluation_scores_each_layer_from_the_others():
    module = make().eval()
    tensors = batch()
    before = module(tensors)[2].reconstruction_loss["reconstruction_loss"]
    hidden = tensors["X"][:, 13:].clone()
    expected = torch.zeros(12)
    for i, layer in enumerate(LAYERS):
        others = {**tensors, "observed": tensors["observed"].clone()}
        others["observed"][:, module.columns[layer.name]] = False
        inferred = module.inference(others["X"], others["observed"])
        decoded = module.generative(inferred["view_mean"][0], inferred["visible"][0], others["X"], others["observed"])[
            "px"
        ][layer.name]
        columns = module.columns[layer.name]
        location = module.location_of(i, decoded, tensors["X"], tensors["observed"])
        expected -= module.likelihoods[i](location, tensors["X"][:, columns], tensors["observed"][:, columns]).sum(-1)
    torch.testing.assert_close(before, expected)
    assert torch.equal(hidden, tensors["X"][:, 13:])


def test_parents_enter_as_measured_where_visible_and_as_decoded_elsewhere():
    module = make().eval()
    torch.nn.init.normal_(module.skips["rna to protein"].weight)
    tensors = batch()
    x, observed = tensors["X"], tensors["observed"]
    z = torch.randn(12, 3)
    visible = torch.ones(12, 4, dtype=torch.bool)
    visible[6:, 1] = False
    decoded = module.generative(z, visible, x, observed)["px"]
    weight = module.skips["rna to protein"].weight
    for row in range(12):
        for j in range(3):
            measured = visible[row, 1] and observed[row, 4 + j]
            parent = x[row, 4 + j] if measured else decoded["rna"][row, j]
            expected = module.decoders[2](z[row])[j] + weight[j, 0] * parent
            torch.testing.assert_close(decoded["protein"][row, j], expected)


def test_mean_and_sum_are_the_same_objective_at_matched_beta():
    mean = make(beta=0.01, reduction="mean", align_weight=0.0)
    total = make(beta=0.18, reduction="sum", align_weight=0.0)
    assert mean.effective_beta == pytest.approx(total.effective_beta) == pytest.approx(0.18)
    for module in (mean, total):
        torch.manual_seed(3)
        module.train()(batch())[2].loss.backward()
    for a, b in zip(mean.parameters(), total.parameters(), strict=True):
        if a.grad is not None:
            torch.testing.assert_close(a.grad * 18, b.grad, rtol=1e-4, atol=1e-5)


def test_kl_and_objective():
    module = make().eval()
    inferred, _, output = module(batch())
    mean, variance = inferred["view_mean"][0], inferred["view_variance"][0]
    expected = torch.distributions.kl_divergence(
        torch.distributions.Normal(mean, variance.sqrt()), torch.distributions.Normal(0.0, 1.0)
    ).sum(-1)
    torch.testing.assert_close(output.kl_local["kl_z"], expected)
    assert (expected >= 0).all()
    assert output.extra_metrics["kl_z"].shape == (3,)
    fit = output.reconstruction_loss["reconstruction_loss"].mean() / 18
    alignment = module._alignment(batch(), inferred)
    torch.testing.assert_close(output.extra_metrics["objective"], fit + 0.01 * expected.mean() + 0.02 * alignment)


def test_alignment_leaves_out_samples_without_both_sides_and_identical_drivers():
    module = make().eval()
    tensors = batch(3)
    tensors["observed"][:] = True
    tensors["X"][:, :4] = tensors["X"][:1, :4]
    inferred = module.inference(tensors["X"], tensors["observed"])
    torch.testing.assert_close(module._alignment(tensors, inferred), torch.tensor(0.0))
    tensors["observed"][:2, :4] = False
    assert module._alignment(tensors, inferred) == 0


def test_covariates_shift_the_decoders():
    codes = torch.tensor([[0], [1]] * 6)
    module = make(n_categories=[2]).eval()
    with torch.no_grad():
        module.covariates[1].tables[0][1] = 5.0
    tensors = batch(codes=codes)
    _, generated, _ = module(tensors)
    without = make(n_categories=[2]).eval()(tensors)[1]["px"]["rna"]
    torch.testing.assert_close(generated["px"]["rna"] - without, 5.0 * codes.float().expand(12, 6).expand(5, 12, 6))


def test_every_parameter_gets_a_gradient():
    module = make(n_categories=[2]).train()
    module(batch(40, codes=torch.arange(40)[:, None] % 2))[2].loss.backward()
    assert [name for name, p in module.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize("driver_encoder", ["attention", "deepset", "linear"])
@pytest.mark.parametrize("decoder", ["linear", "mlp"])
def test_kinds(driver_encoder, decoder):
    output = make(driver_encoder=driver_encoder, decoder=decoder).train()(batch())[2]
    assert torch.isfinite(output.loss)


def test_counts():
    layers = [LayerSpec("rna", 6, "nb"), LayerSpec("protein", 3, "student")]
    module = MultiOmicVAE(layers, n_latent=2, n_hidden=8)
    x = torch.cat([torch.poisson(torch.full((20, 6), 5.0)), torch.randn(20, 3)], dim=1)
    observed = torch.ones(20, 9, dtype=torch.bool)
    module.initialize(x, observed)
    output = module.train()({"X": x, "observed": observed})[2]
    output.loss.backward()
    assert torch.isfinite(output.loss)


def test_linear_decoders_start_at_the_principal_axes():
    torch.manual_seed(0)
    scores, loadings = torch.randn(300, 3), torch.randn(3, 18)
    x = scores @ loadings + 0.05 * torch.randn(300, 18)
    x[:, :4] = (x[:, :4] > 0).float()
    observed = torch.ones(300, 18, dtype=torch.bool)
    module = make()
    module.initialize(x, observed)
    standardized = module.standardize(x, observed)[:, 4:10]
    weight = module.decoders[1].weight.detach()
    fitted = standardized @ weight @ torch.linalg.pinv(weight.T @ weight) @ weight.T
    assert (standardized - fitted).square().sum() < 0.05 * standardized.square().sum()


def test_covariate_effects_start_at_the_shrunken_means_of_their_groups():
    tensors = batch(30)
    codes = (torch.arange(30) % 3)[:, None]
    module = make(n_categories=[3])
    module.initialize(tensors["X"], tensors["observed"], codes)
    standardized = module.standardize(tensors["X"], tensors["observed"])
    for group in range(3):
        rows = codes[:, 0] == group
        measured = tensors["observed"][rows][:, 4:10]
        expected = standardized[rows][:, 4:10].sum(0) / (measured.sum(0) + 5.0)
        torch.testing.assert_close(module.covariates[1].tables[0][group].detach(), expected)
