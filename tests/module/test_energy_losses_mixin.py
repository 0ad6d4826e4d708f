import pytest
import torch

from scwhatif.module import CellLineEnergyModule
from scwhatif.module._energy_losses_mixin import AUXILIARY
from scwhatif.nn import cross_correlation, hsic

WEIGHTS = dict.fromkeys(AUXILIARY, 0.1)


def build(**kwargs):
    torch.manual_seed(0)
    return CellLineEnergyModule(4, 4, 3, n_latent=8, n_environment=5, n_hidden=16, **kwargs).eval()


def rows(seed=0):
    generator = torch.Generator().manual_seed(seed)
    z, e = torch.randn(24, 8, generator=generator), torch.randn(24, 5, generator=generator)
    lines = torch.arange(3).repeat_interleave(8)
    return z, e, lines, (torch.arange(24) % 3 == 0).float(), torch.arange(24) % 2 == 0


def test_losses_that_weigh_nothing_are_left_out():
    module = build(weights=WEIGHTS)
    assert module.auxiliary_losses(*rows(), weights=dict.fromkeys(AUXILIARY, 0.0)) == {}
    assert set(module.auxiliary_losses(*rows(), weights=WEIGHTS)) == set(AUXILIARY)


@pytest.mark.parametrize(("decouple", "expected"), [("correlation", cross_correlation), ("hsic", hsic)])
def test_codes_are_decoupled_as_asked(decouple, expected):
    z, e, *_ = rows()
    module = build(weights=WEIGHTS, decouple=decouple)
    found = module.auxiliary_losses(*rows(), weights={**dict.fromkeys(AUXILIARY, 0.0), "corr": 0.1})
    torch.testing.assert_close(found["corr"], expected(z, e))


def test_task_loss_and_probability_are_of_one_kind():
    logit, label = torch.tensor([-1.0, 2.0, 0.5]), torch.tensor([0.0, 1.0, 1.0])
    plain = build()
    p = plain.probability(logit)
    expected = -(label * p.log() + (1 - label) * (1 - p).log()).mean()
    torch.testing.assert_close(plain.task_loss(logit, label), expected)
    assert plain.task_loss(logit[:0], label[:0]).item() == 0
    margins = build(loss="fixed", rho_positive=0.5)
    torch.testing.assert_close(margins.task_loss(logit, label), margins.immax(logit, label))
    torch.testing.assert_close(margins.probability(logit), margins.immax.probability(logit))


def test_labels_of_support_rows_are_not_read_by_the_contrast():
    module = build(weights=WEIGHTS, contrast_within_weight=0.5)
    z, e, lines, label, support = rows()
    first = module.auxiliary_losses(z, e, lines, label, support, weights=WEIGHTS)["contrast"]
    turned = torch.where(support, 1 - label, label)
    torch.testing.assert_close(
        module.auxiliary_losses(z, e, lines, turned, support, weights=WEIGHTS)["contrast"], first
    )
    turned = torch.where(support, label, 1 - label)
    turned[1] = label[1]
    other = module.auxiliary_losses(z, e, lines, turned, support, weights=WEIGHTS)["contrast"]
    assert not torch.allclose(other, first)
