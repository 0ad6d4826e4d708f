import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from scwhatif.module import CellLineEnergyModule
from scwhatif.module._cell_line_energy import (
    ENVIRONMENT_KEY,
    ENVIRONMENT_OBSERVED_KEY,
    FEATURES_KEY,
    GROUP_KEY,
    LABEL_KEY,
    LINE_KEY,
    OBSERVED_KEY,
    SEQUENCE_KEY,
    SUPPORT_KEY,
)
from scwhatif.nn import cell_line_contrast, cross_correlation, latent_sparsity

N_FEATURES, N_LINES, N_ROWS = 4, 3, 36
WEIGHTS = {"corr": 0.1, "adversary": 0.2, "contrast": 0.05, "sparsity": 0.01, "prototype": 0.05}


def batch(seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(N_ROWS, N_FEATURES, generator=generator)
    observed = torch.ones(N_ROWS, N_FEATURES, dtype=torch.bool)
    lines = torch.arange(N_LINES).repeat_interleave(N_ROWS // N_LINES)
    return {
        FEATURES_KEY: x,
        OBSERVED_KEY: observed,
        ENVIRONMENT_KEY: x + lines.unsqueeze(1),
        ENVIRONMENT_OBSERVED_KEY: observed,
        SEQUENCE_KEY: torch.randint(0, 5, (N_ROWS, 60), generator=generator),
        LINE_KEY: lines,
        GROUP_KEY: lines.clone(),
        SUPPORT_KEY: torch.arange(N_ROWS) % 2 == 0,
        LABEL_KEY: (torch.rand(N_ROWS, generator=generator) < 0.4).float(),
    }


def build(**kwargs):
    torch.manual_seed(0)
    sizes = {"n_latent": 8, "n_environment": 5, "n_hidden": 16}
    return CellLineEnergyModule(N_FEATURES, N_FEATURES, N_LINES, **{**sizes, **kwargs}).eval()


def run(module, tensors):
    inferred = module.inference(**module._get_inference_input(tensors))
    return inferred, module.generative(**module._get_generative_input(tensors, inferred))


@pytest.mark.parametrize("interaction", ["scalar", "channels", "linear", "none"])
@pytest.mark.parametrize("backbone", ["mlp", "cnn", "precomputed"])
def test_every_backbone_goes_with_every_interaction(backbone, interaction):
    module = build(backbone=backbone, interaction=interaction, n_channels=3)
    inferred, generated = run(module, batch())
    assert inferred["z"].min() >= 0
    assert generated["logit"].shape == (N_ROWS,)
    assert generated["score"].shape == (N_ROWS, 3 if interaction == "channels" else 1)
    torch.testing.assert_close(run(module, batch())[1]["logit"], generated["logit"])
    assert (inferred["z_e"] is None) == (interaction == "none")


def test_environment_is_the_mean_over_the_support_in_any_order():
    module, tensors = build(), batch()
    inferred, generated = run(module, tensors)
    for line in range(N_LINES):
        own = tensors[GROUP_KEY] == line
        expected = inferred["e"][own & tensors[SUPPORT_KEY]].mean(0)
        torch.testing.assert_close(inferred["z_e"][own], expected.expand(int(own.sum()), -1), atol=1e-6, rtol=1e-5)
    order = torch.randperm(N_ROWS)
    _, shuffled = run(module, {key: value[order] for key, value in tensors.items()})
    torch.testing.assert_close(shuffled["logit"], generated["logit"][order], atol=1e-6, rtol=1e-5)


def test_environment_reads_neither_labels_nor_the_query_but_the_line():
    module, tensors = build(), batch()
    with torch.no_grad():
        module.interaction.energy_head.weight.mul_(10)
    first = run(module, tensors)[0]["z_e"]
    changed = {**tensors, LABEL_KEY: 1 - tensors[LABEL_KEY]}
    changed[ENVIRONMENT_KEY] = tensors[ENVIRONMENT_KEY].clone()
    changed[ENVIRONMENT_KEY][~tensors[SUPPORT_KEY]] += 5.0
    torch.testing.assert_close(run(module, changed)[0]["z_e"], first)
    changed[ENVIRONMENT_KEY][tensors[SUPPORT_KEY]] += 5.0
    assert (run(module, changed)[0]["z_e"] - first).abs().max() > 0.1


def test_one_support_row_is_enough():
    module, tensors = build(), batch()
    tensors[SUPPORT_KEY] = torch.zeros(N_ROWS, dtype=torch.bool)
    tensors[SUPPORT_KEY][::12] = True
    inferred, _ = run(module, tensors)
    torch.testing.assert_close(inferred["z_e"][::12], inferred["e"][::12])


def test_without_raw_features_the_environment_is_read_from_the_code_without_gradient():
    torch.manual_seed(0)
    module = CellLineEnergyModule(N_FEATURES, 0, N_LINES, n_hidden=16, n_latent=8)
    tensors = batch()
    inferred, _ = run(module, tensors)
    inferred["e"].sum().backward()
    assert all(p.grad is None for p in module.encoder.parameters())


def test_score_starts_at_the_prevalence():
    module, tensors = build(interaction="none"), batch()
    with torch.no_grad():
        module.score_head.weight.zero_()
    module.initialize(tensors)
    share = tensors[LABEL_KEY].mean()
    torch.testing.assert_close(torch.sigmoid(run(module, tensors)[1]["logit"]), share.expand(N_ROWS))


def test_loss_is_the_task_on_the_query_plus_the_weighted_others():
    module, tensors = build(weights=WEIGHTS), batch()
    module.train()
    for part in module.modules():
        if isinstance(part, torch.nn.Dropout):
            part.p = 0.0
    inferred, generated = run(module, tensors)
    z, e, lines = inferred["z"], inferred["e"], tensors[LINE_KEY]
    query = ~tensors[SUPPORT_KEY]
    expected = binary_cross_entropy_with_logits(generated["logit"][query], tensors[LABEL_KEY][query])
    expected = expected + 0.1 * cross_correlation(z, e) + cross_entropy(module.adversary(z), lines)
    expected = expected + 0.05 * cell_line_contrast(e, lines)
    expected = expected + 0.01 * (latent_sparsity(z) + latent_sparsity(e))
    expected = expected + 0.05 * module.prototypes(e, lines)
    output = module.loss(tensors, inferred, generated, weights=WEIGHTS)
    torch.testing.assert_close(output.loss, expected)
    assert set(output.extra_metrics) == {"task_loss", *(f"{name}_loss" for name in WEIGHTS)}


def test_support_labels_and_unknown_labels_are_not_learnt_from():
    module, tensors = build(), batch()
    inferred, generated = run(module, tensors)
    first = module.loss(tensors, inferred, generated).loss
    support = tensors[SUPPORT_KEY]
    turned = {**tensors, LABEL_KEY: torch.where(support, 1 - tensors[LABEL_KEY], tensors[LABEL_KEY])}
    torch.testing.assert_close(module.loss(turned, inferred, generated).loss, first)
    unknown = {**tensors, LABEL_KEY: torch.full((N_ROWS,), float("nan"))}
    assert module.loss(unknown, inferred, generated).loss.item() == 0.0
    module.support_in_loss = True
    assert not torch.allclose(module.loss(turned, inferred, generated).loss, first)


def test_adversary_learns_while_the_code_is_turned_against_it():
    module, tensors = build(weights={"adversary": 0.2}, interaction="none"), batch()
    module.reversal = 0.5
    inferred, generated = run(module, tensors)
    output = module.loss(tensors, inferred, generated)
    task = module.task_loss(generated["logit"][~tensors[SUPPORT_KEY]], tensors[LABEL_KEY][~tensors[SUPPORT_KEY]])
    found = torch.autograd.grad(output.loss - task, inferred["z"], retain_graph=True)[0]
    plain = torch.autograd.grad(cross_entropy(module.adversary(inferred["z"]), tensors[LINE_KEY]), inferred["z"])[0]
    torch.testing.assert_close(found, -0.5 * 0.2 * plain, atol=1e-7, rtol=1e-4)


def test_adversary_counts_lines_the_same_and_can_be_given_the_label():
    module, tensors = build(weights={"adversary": 0.2}, adversary_given_label=True), batch()
    tensors[LINE_KEY] = torch.tensor([0] * 30 + [1] * 6)
    inferred, generated = run(module, tensors)
    found = module.loss(tensors, inferred, generated).extra_metrics["adversary_loss"]
    label = tensors[LABEL_KEY]
    logits = module.adversary(torch.cat([inferred["z"], torch.stack([label == 0, label == 1], 1).float()], 1))
    losses = cross_entropy(logits, tensors[LINE_KEY], reduction="none")
    torch.testing.assert_close(found, (losses[:30].mean() + losses[30:].mean()) / 2)


def test_contrast_needs_several_lines():
    module, tensors = build(weights={"contrast": 0.1}), batch()
    tensors[LINE_KEY] = torch.zeros(N_ROWS, dtype=torch.long)
    with pytest.raises(ValueError, match="contrast_weight=0"):
        module.loss(tensors, *run(module, tensors))


def test_energy_that_is_off_leaves_the_score_over_the_temperature():
    module, tensors = build(), batch()
    module.energy_on.fill_(False)
    _, generated = run(module, tensors)
    expected = generated["score"][:, 0] / module.interaction.temperature()
    torch.testing.assert_close(generated["logit"], expected)
    assert "energy_on" in module.state_dict()


def test_missing_marks_of_the_environment_are_masked():
    module, tensors = build(), batch()
    tensors[ENVIRONMENT_OBSERVED_KEY] = tensors[ENVIRONMENT_OBSERVED_KEY].clone()
    tensors[ENVIRONMENT_OBSERVED_KEY][:12, 1] = False
    module.initialize(tensors)
    torch.testing.assert_close(module.feature_mean[1], tensors[ENVIRONMENT_KEY][12:, 1].mean())
    first = run(module, tensors)[0]["e"]
    tensors[ENVIRONMENT_KEY][:12, 1] = 1e9
    torch.testing.assert_close(run(module, tensors)[0]["e"], first)


def test_margins_give_their_own_probability_and_move_in_training_only():
    module, tensors = build(loss="theory"), batch()
    module.initialize(tensors)
    inferred, generated = run(module, tensors)
    assert not torch.allclose(module.probability(generated["logit"]), torch.sigmoid(generated["logit"]))
    before = module.immax.rho.clone()
    module.loss(tensors, inferred, generated)
    assert torch.equal(module.immax.rho, before)
    module.train()
    module.loss(tensors, inferred, generated)
    assert not torch.equal(module.immax.rho, before)


def test_temperature_penalty():
    module, tensors = build(t_l2=2.0, t_init=0.0), batch()
    inferred, generated = run(module, tensors)
    plain = build(t_init=0.0)
    difference = module.loss(tensors, inferred, generated).loss - plain.loss(tensors, inferred, generated).loss
    assert difference.item() == pytest.approx(2 * (0.693147 - 1) ** 2, rel=1e-4)


def test_score_is_trained_as_without_energy_unless_joint():
    tensors = batch()
    gradients = {}
    for joint in (False, True):
        module = build(joint=joint, lambda_init=0.5)
        inferred, generated = run(module, tensors)
        output = module.loss(tensors, inferred, generated)
        query = ~tensors[SUPPORT_KEY]
        gradients[joint] = torch.autograd.grad(output.loss, module.score_head.weight, retain_graph=True)[0]
        plain = module.task_loss(generated["score"][:, 0][query], tensors[LABEL_KEY][query])
        expected = torch.autograd.grad(plain, module.score_head.weight, retain_graph=True)[0]
        assert torch.allclose(gradients[joint], expected) != joint
        energy = torch.autograd.grad(output.loss, module.interaction.energy_head.weight)[0]
        through = module.task_loss(generated["logit"][query], tensors[LABEL_KEY][query])
        assert energy.abs().max() > 0
        assert output.extra_metrics["task_loss"] == through
    assert build(joint=False, interaction="channels").joint
    assert build(joint=False, interaction="none").joint
