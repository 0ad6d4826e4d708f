"""What a cloud of points is, in sums that fit in memory however many points there are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_BLOCK_ENTRIES = 2**21


@dataclass
class EmbeddingMoments:
    r"""First and second moments of an embedding and of its rows brought to length 1, in double precision.

    Sums are taken about a reference point, because those about the origin lose the small eigenvalues of a cloud that
    lies far from it.

    Parameters
    ----------
    reference
        Point within or near the cloud, ``(n_dims,)``; moments that are to be merged share it.

    Attributes
    ----------
    n, n_zero
        Number of rows, and of those whose length is 0, which have no direction.
    total, second
        Sums of :math:`z - r` and of :math:`(z - r)(z - r)^\top`, ``(n_dims,)`` and ``(n_dims, n_dims)``.
    direction
        Sum of :math:`z / |z|`, ``(n_dims,)``.
    norm, norm_square
        Sums of :math:`|z|` and :math:`|z|^2`.
    """

    reference: NDArray[np.float64]

    def __post_init__(self) -> None:
        self.reference = np.asarray(self.reference, dtype=np.float64)
        n_dims = len(self.reference)
        self.n = self.n_zero = 0
        self.total, self.direction = np.zeros(n_dims), np.zeros(n_dims)
        self.second = np.zeros((n_dims, n_dims))
        self.norm = self.norm_square = 0.0

    @classmethod
    def of(cls, z: NDArray) -> EmbeddingMoments:
        """Moments of all rows.

        Parameters
        ----------
        z
            ``(n, n_dims)``, finite.

        Returns
        -------
        The moments.
        """
        moments = cls(np.asarray(z[: min(len(z), 1000)], dtype=np.float64).mean(axis=0))
        return moments.update(z)

    def update(self, z: NDArray) -> EmbeddingMoments:
        """Add rows, a block at a time.

        Parameters
        ----------
        z
            ``(n, n_dims)``, finite.

        Returns
        -------
        Itself.
        """
        step = max(1, _BLOCK_ENTRIES // max(z.shape[1], 1))
        for start in range(0, len(z), step):
            block = np.asarray(z[start : start + step], dtype=np.float64)
            centred = block - self.reference
            norms = np.linalg.norm(block, axis=1)
            self.n += len(block)
            self.n_zero += int((norms == 0).sum())
            self.total += centred.sum(axis=0)
            self.second += centred.T @ centred
            self.direction += (block / np.where(norms == 0, 1.0, norms)[:, None]).sum(axis=0)
            self.norm += float(norms.sum())
            self.norm_square += float(np.square(norms).sum())
        return self

    def merge(self, other: EmbeddingMoments) -> EmbeddingMoments:
        """Add the moments of other rows.

        Parameters
        ----------
        other
            Moments about the same reference point.

        Returns
        -------
        Itself.

        Raises
        ------
        ValueError
            The reference points differ.
        """
        if not np.array_equal(self.reference, other.reference):
            msg = "Moments about different reference points cannot be added; give both the same reference."
            raise ValueError(msg)
        for name in ("n", "n_zero", "total", "second", "direction", "norm", "norm_square"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        return self

    @property
    def mean(self) -> NDArray[np.float64]:
        """Mean of the rows, ``(n_dims,)``."""
        return self.reference + self.total / self.n

    @property
    def covariance(self) -> NDArray[np.float64]:
        """Covariance with ``n - 1``, ``(n_dims, n_dims)``."""
        about = self.total / self.n
        return (self.second - self.n * np.outer(about, about)) / max(self.n - 1, 1)

    @property
    def eigenvalues(self) -> NDArray[np.float64]:
        """Of the covariance, largest first, not below 0."""
        return np.maximum(np.linalg.eigvalsh(self.covariance)[::-1], 0.0)

    @property
    def singular_values(self) -> NDArray[np.float64]:
        """Of the matrix of rows as it is, not centred; largest first."""
        cross = np.outer(self.reference, self.total)
        gram = self.second + cross + cross.T + self.n * np.outer(self.reference, self.reference)
        return np.sqrt(np.maximum(np.linalg.eigvalsh(gram)[::-1], 0.0))

    @property
    def resultant_length(self) -> float:
        """Length of the mean of the rows brought to length 1 (those of length 0 left out): 1 if all point one way."""
        directed = self.n - self.n_zero
        return float(np.linalg.norm(self.direction) / directed) if directed else np.nan

    @property
    def mean_cosine(self) -> float:
        r"""Mean cosine of two different rows, :math:`(n R^2 - 1) / (n - 1)`, without looking at any pair."""
        directed = self.n - self.n_zero
        if directed < 2:
            return np.nan
        return float((directed * self.resultant_length**2 - 1) / (directed - 1))

    @property
    def norm_cv(self) -> float:
        """Standard deviation of the lengths over their mean."""
        mean = self.norm / self.n
        variance = max(self.norm_square / self.n - mean**2, 0.0)
        return float(np.sqrt(variance) / mean) if mean > 0 else 0.0
