"""Charging a latent code for its size, so that few dimensions are used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import torch


def latent_sparsity(
    latent: torch.Tensor, *, kind: Literal["l1", "l2"] = "l1", reduction: Literal["sum", "mean"] = "sum"
) -> torch.Tensor:
    """Mean over rows of the L1 norm (or half the squared L2 norm) of a code.

    Exact zeros need a code that can be 0, such as the output of a ReLU; behind a layer norm it has no effect.

    Parameters
    ----------
    latent
        The code, ``(n_rows, n_latent)``.
    kind
        ``"l1"``, or ``"l2"``, which shrinks without switching dimensions off.
    reduction
        ``"sum"`` over dimensions, or their ``"mean"``, which is ``n_latent`` times weaker.

    Returns
    -------
    Scalar.
    """
    size = latent.abs() if kind == "l1" else 0.5 * latent.square()
    per_row = size.sum(-1) if reduction == "sum" else size.mean(-1)
    return per_row.mean()
