"""One number read off a latent code."""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Readout(abc.ABC):
    """A number per latent code, in the axes that a model reports; differentiable, and can be pickled."""

    @abc.abstractmethod
    def __call__(self, z: torch.Tensor) -> torch.Tensor:
        """Read codes.

        Parameters
        ----------
        z
            ``(n, n_latent)``.

        Returns
        -------
        ``(n,)``.
        """


@dataclass(frozen=True, eq=False)
class LinearReadout(Readout):
    """Position along a direction.

    Parameters
    ----------
    vector
        What one unit of each dimension adds, ``(n_latent,)``.
    offset
        What a code of zeros reads.
    """

    vector: NDArray[np.float64]
    offset: float = 0.0

    def __call__(self, z: torch.Tensor) -> torch.Tensor:
        """Read codes, see :meth:`Readout.__call__`."""
        return z @ torch.as_tensor(self.vector, dtype=z.dtype, device=z.device) + self.offset


@dataclass(frozen=True, eq=False)
class DistanceReadout(Readout):
    """Mahalanobis distance from a cloud of codes.

    Parameters
    ----------
    center
        Of the cloud, ``(n_latent,)``.
    whitening
        ``(n_latent, n_latent)``: times it, codes of the cloud have unit covariance.
    """

    center: NDArray[np.float64]
    whitening: NDArray[np.float64]

    def __call__(self, z: torch.Tensor) -> torch.Tensor:
        """Read codes, see :meth:`Readout.__call__`."""
        center, whitening = (
            torch.as_tensor(each, dtype=z.dtype, device=z.device) for each in (self.center, self.whitening)
        )
        return torch.linalg.vector_norm((z - center) @ whitening, dim=1)
