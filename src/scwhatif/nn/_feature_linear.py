"""The linear layer that sees the features."""

from __future__ import annotations

from typing import Any

import torch
from scipy import sparse
from torch import nn
from torch.nn.functional import embedding_bag


class FeatureLinear(nn.Linear):
    """A linear layer that also takes CSR matrices, and then pays for the non-zeros only.

    Of the weight, shaped as always ``(out_features, in_features)``, all values of one feature lie next to each other
    in memory, which is what a sparse product reads.

    Parameters
    ----------
    in_features
        Number of features.
    out_features
        Width of the output.
    """

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__(in_features, out_features)
        self.weight = nn.Parameter(self.weight.detach().T.contiguous().T)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Apply the layer.

        Parameters
        ----------
        x
            Dense ``(..., in_features)``, or CSR ``(n_cells, in_features)`` on the CPU.

        Returns
        -------
        Dense, ``(..., out_features)``.
        """
        if x.layout is not torch.sparse_csr:
            return super().forward(x)
        product: torch.Tensor = _SparseProduct.apply(x, self.weight)
        return product + self.bias


class _SparseProduct(torch.autograd.Function):
    """Sums of weighted rows, both ways: of the weight for each cell, of the cells' gradients for each feature."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        ctx.x = x
        return _weighted_sums(x.col_indices(), x.crow_indices(), x.values(), weight.T)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[None, torch.Tensor | None]:
        if not ctx.needs_input_grad[1]:
            return None, None
        x = ctx.x
        by_feature = sparse.csr_matrix(
            (x.values().numpy(), x.col_indices().numpy(), x.crow_indices().numpy()), shape=x.shape
        ).tocsc()
        indices, ends, values = (torch.from_numpy(a) for a in (by_feature.indices, by_feature.indptr, by_feature.data))
        return None, _weighted_sums(indices, ends, values, grads[0]).T


def _weighted_sums(indices: torch.Tensor, ends: torch.Tensor, values: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    return embedding_bag(indices, rows, ends, mode="sum", per_sample_weights=values, include_last_offset=True)
