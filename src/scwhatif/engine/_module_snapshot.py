"""A copy of a module that can be sent to other processes."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

from torch.utils.hooks import RemovableHandle

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import nn


def module_snapshot(module: nn.Module, replaced: Mapping[nn.Module, nn.Module] | None = None) -> nn.Module:
    """Copy a module in evaluation mode, without gradients and the hooks on them.

    Parameters
    ----------
    module
        The module; left as it is.
    replaced
        Submodules to put others in place of.

    Returns
    -------
    The copy.
    """
    twin = copy.deepcopy(module, {id(old): new for old, new in (replaced or {}).items()})
    for part in twin.modules():
        # scArches surgery keeps handles of its gradient hooks, local functions that cannot be pickled
        handles = [name for name, value in vars(part).items() if _is_handles(value)]
        for name in handles:
            delattr(part, name)
    return twin.eval().requires_grad_(requires_grad=False)


def _is_handles(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(each, RemovableHandle) for each in value)
