"""AdamW for weights stored feature by feature."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class FeatureMajorAdamW(torch.optim.AdamW):
    """AdamW whose fused step sees transposed matrices as they lie in memory, instead of copying them.

    The arithmetic is elementwise, so the result is that of :class:`torch.optim.AdamW` to the last bit. The moments of
    a transposed matrix are kept, and saved, in the order of memory.
    """

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step.

        Parameters
        ----------
        closure
            Evaluates the model and returns the loss.

        Returns
        -------
        The loss, or ``None`` without a closure.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        with self._in_order_of_memory():
            super().step()
        return loss

    @contextmanager
    def _in_order_of_memory(self) -> Iterator[None]:
        transposed = [
            p
            for group in self.param_groups
            for p in group["params"]
            if p.grad is not None and p.dim() == 2 and not p.is_contiguous() and p.T.is_contiguous()
        ]
        _transpose(transposed)
        try:
            yield
        finally:
            _transpose(transposed)


def _transpose(parameters: list[torch.Tensor]) -> None:
    for p in parameters:
        gradient, p.grad = p.grad, None
        p.data = p.data.T
        p.grad = gradient.T  # type: ignore[union-attr]
