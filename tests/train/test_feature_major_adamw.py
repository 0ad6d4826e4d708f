import pytest
import torch

from scwhatif.train._feature_major_adamw import FeatureMajorAdamW


def _parameters():
    torch.manual_seed(0)
    return [
        torch.nn.Parameter(torch.randn(7, 5).T),
        torch.nn.Parameter(torch.randn(3, 4)),
        torch.nn.Parameter(torch.randn(6)),
    ]


def _fit(optimizer_class, *, closure, interrupt=None):
    parameters = _parameters()
    optimizer = optimizer_class(parameters, lr=0.1, weight_decay=0.1, fused=True)
    for step in range(4):
        if step == interrupt:
            saved = optimizer.state_dict()
            optimizer = optimizer_class(parameters, lr=0.1, weight_decay=0.1, fused=True)
            optimizer.load_state_dict(saved)

        def loss(step=step, optimizer=optimizer):
            optimizer.zero_grad()
            value = sum(((p + step).sin() * torch.arange(p.numel()).view(p.shape)).sum() for p in parameters)
            value.backward()
            return value

        if closure:
            assert optimizer.step(loss).requires_grad
        else:
            loss()
            assert optimizer.step() is None
    return parameters


@pytest.mark.parametrize("closure", [False, True])
@pytest.mark.parametrize("interrupt", [None, 2])
def test_steps_are_those_of_adamw(closure, interrupt):
    ours = _fit(FeatureMajorAdamW, closure=closure, interrupt=interrupt)
    theirs = _fit(torch.optim.AdamW, closure=closure)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-7)
    assert ours[0].shape == (5, 7)
    assert ours[0].T.is_contiguous()
    assert ours[0].grad.shape == (5, 7)
