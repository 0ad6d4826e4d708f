"""A sparse matrix times a dense one, row by row of the dense one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn import functional as F

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Terms added up one after another before they are added to the rest: rounding errors grow with the length of a sum,
# and at 64 this product is more exact than a dense one.
_BLOCK = 64


def weighted_rows(
    weight: torch.Tensor, indices: NDArray[np.integer], offsets: NDArray[np.integer], values: torch.Tensor
) -> torch.Tensor:
    """Weighted sums of rows of a matrix: a CSR matrix times it, without densifying.

    Parameters
    ----------
    weight
        ``(n_rows, width)``, on any device.
    indices
        Row of each term, ``(n_terms,)``.
    offsets
        Terms of sum ``i`` are ``offsets[i]`` to ``offsets[i + 1]``, ``(n_sums + 1,)``.
    values
        Weight of each term, ``(n_terms,)``, float32.

    Returns
    -------
    ``(n_sums, width)`` on the device of ``weight``.
    """
    counts = np.diff(offsets)
    if counts.max(initial=0) <= _BLOCK:
        return _sums(weight, indices, offsets, values)
    n_blocks = -(-counts // _BLOCK)
    blocks = np.concatenate([[0], np.cumsum(n_blocks)])
    starts = np.repeat(offsets[:-1] - blocks[:-1] * _BLOCK, n_blocks) + np.arange(blocks[-1]) * _BLOCK
    parts = _sums(weight, indices, np.append(starts, offsets[-1]), values)
    return _sums(parts, np.arange(len(parts)), blocks)


def _sums(
    weight: torch.Tensor, indices: NDArray[Any], offsets: NDArray[Any], values: torch.Tensor | None = None
) -> torch.Tensor:
    device = weight.device
    return F.embedding_bag(
        torch.from_numpy(indices).to(device),
        weight,
        # both must be of one type
        torch.from_numpy(offsets.astype(indices.dtype, copy=False)).to(device),
        mode="sum",
        per_sample_weights=None if values is None else values.to(device),
        include_last_offset=True,
    )
