"""What an encoder does to each feature before its first layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class FeatureTransform:
    r"""A function of each feature on its own, of a cell that may be rescaled as a whole before.

    .. math:: t_g(x) = \frac{\ell(e^{u} x) - c_g}{s_g}, \qquad \ell = \mathrm{log1p} \text{ or identity}

    where :math:`u` is 0, or depends on the cell's total.

    Parameters
    ----------
    log1p
        Whether :math:`\ell` is log1p.
    center, scale
        :math:`c` and :math:`s`, ``(n_features,)``; ``None`` for 0 and 1.
    by_mean
        Whether cells are divided by 1 + their mean first, as TOTALVI does.
    """

    log1p: bool = True
    center: NDArray[np.float64] | None = None
    scale: NDArray[np.float64] | None = None
    by_mean: bool = False

    def log_factor(
        self, total: NDArray[np.float64], n_features: int, log_scale: NDArray[np.floating] | float = 0.0
    ) -> NDArray[np.float64]:
        """What cells are multiplied by in the end, as a logarithm.

        Parameters
        ----------
        total
            Sum over the features of a cell.
        n_features
            Number of features.
        log_scale
            Logarithm of what the cell was multiplied by beforehand.

        Returns
        -------
        In the shape of the arguments.
        """
        log_scale = np.asarray(log_scale, dtype=np.float64)
        if not self.by_mean:
            return log_scale + np.zeros_like(total)
        return log_scale - np.log1p(np.exp(log_scale) * total / n_features)

    def elementwise(self, values: torch.Tensor) -> torch.Tensor:
        """Transform what rescaling made of some values, leaving out centre and scale.

        Parameters
        ----------
        values
            Any shape.

        Returns
        -------
        Same shape, maybe the same tensor.
        """
        return values.log1p() if self.log1p else values

    def cells(self, x: torch.Tensor, log_factor: torch.Tensor | None = None) -> torch.Tensor:
        """Transform whole cells.

        Parameters
        ----------
        x
            ``(n_cells, n_features)``.
        log_factor
            From :meth:`log_factor`, ``(n_cells,)``; ``None`` is 0.

        Returns
        -------
        Same shape.
        """
        values = self.elementwise(x if log_factor is None else x * log_factor.exp().to(x).unsqueeze(1))
        if self.center is not None:
            values = values - torch.as_tensor(self.center, dtype=x.dtype, device=x.device)
        return values if self.scale is None else values / torch.as_tensor(self.scale, dtype=x.dtype, device=x.device)

    def change(
        self,
        before: NDArray[np.floating],
        after: NDArray[np.floating],
        features: NDArray[np.integer],
        log_factor: NDArray[np.floating] | None = None,
    ) -> NDArray[np.float32]:
        """How far transformed values move.

        Parameters
        ----------
        before, after
            Values, ``(n_entries,)``.
        features
            Feature of each.
        log_factor
            What its cell is multiplied by, as a logarithm; ``None`` is 0.

        Returns
        -------
        ``(n_entries,)``.
        """
        # in float64: the difference of two large values is what is wanted; in torch for its vectorised logarithm
        factor = 1.0 if log_factor is None else torch.from_numpy(log_factor).double().exp()
        moved = -self.elementwise(torch.from_numpy(before).double() * factor)
        # zeros stay zeros, and a knockout leaves nothing else
        if after.any():
            moved += self.elementwise(torch.from_numpy(after).double() * factor)
        change: NDArray[np.float64] = moved.numpy()
        if self.scale is not None:
            change = change / self.scale[features]
        return change.astype(np.float32)
