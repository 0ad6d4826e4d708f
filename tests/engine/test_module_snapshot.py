import pickle

import torch
from torch import nn

from scwhatif.engine._module_snapshot import module_snapshot


def hooked() -> nn.Module:
    """As scArches surgery leaves it: local functions hooked on gradients, and their handles kept."""
    module = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5), nn.Linear(4, 2))
    module.hooks = [module[0].weight.register_hook(lambda gradient: gradient * 0)]
    return module


def test_can_be_pickled_and_is_ready_for_inference():
    module = hooked()
    twin = pickle.loads(pickle.dumps(module_snapshot(module)))
    assert not any(part.training for part in twin.modules())
    assert not any(parameter.requires_grad for parameter in twin.parameters())
    x = torch.randn(5, 3)
    torch.testing.assert_close(twin(x), module.eval()(x))


def test_the_module_is_left_alone():
    module = hooked()
    twin = module_snapshot(module)
    with torch.no_grad():
        twin[0].weight.zero_()
    assert module.training
    assert module.hooks
    assert module[0].weight.requires_grad
    assert module[0].weight.abs().sum() > 0


def test_parts_are_replaced_wherever_they_are_mentioned():
    module = hooked()
    module.favourites = [module[2]]
    other = nn.Identity()
    twin = module_snapshot(module, {module[2]: other})
    assert twin[2] is other
    assert twin.favourites[0] is other
    assert isinstance(module[2], nn.Linear)
