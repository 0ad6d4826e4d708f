"""Robust ellipsoids around the cells of each label."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import chi2

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MAD_TO_SD = 1.4826
# A label's own scatter counts against this many cells per dimension of the pooled one, and not at all with fewer.
_PRIOR_CELLS = 5
# Cells beyond this quantile do not enter the reweighted scatter.
_KEPT = 0.9
_SMALLEST_EIGENVALUE = 1e-9


@dataclass(frozen=True, eq=False)
class LabelClouds:
    """A centre and a shape for each label; made by :meth:`fit`.

    Parameters
    ----------
    centres
        ``(n_labels, n_dims)``.
    whitening
        Matrices that turn deviations from each centre into units of its scatter, ``(n_labels, n_dims, n_dims)``.
    """

    centres: NDArray[np.float64]
    whitening: NDArray[np.float64]

    @classmethod
    def fit(cls, values: NDArray[np.float64], codes: NDArray[np.int64], n_labels: int) -> LabelClouds:
        """Fit to cells, a minority of which may lie anywhere.

        Location and scatter are the reweighted orthogonalised Gnanadesikan–Kettenring estimates
        :cite:p:`Maronna2002`. The scatter of each label is drawn towards that of all labels about their own centres,
        as if five cells per dimension more had been seen of the latter, so that labels of few cells have one too.
        All is done in the principal axes of the cells about the means of their labels, so that distances do not depend
        on the axes that the cells are given in.

        Parameters
        ----------
        values
            ``(n_cells, n_dims)``, finite.
        codes
            Label of each cell, integers from 0 to ``n_labels - 1``, each of which occurs.
        n_labels
            Number of labels.

        Returns
        -------
        Clouds, scaled so that the median distance of cells is that of a Gaussian.
        """
        n_dims = values.shape[1]
        n_prior = _PRIOR_CELLS * n_dims
        axes = _principal_axes(values, codes, n_labels)
        turned = values @ axes
        members = [turned[codes == label] for label in range(n_labels)]
        centres = np.stack([np.median(part, axis=0) for part in members])
        _, pooled = _robust_scatter(turned - centres[codes])
        whitening = np.empty((n_labels, n_dims, n_dims))
        for label, part in enumerate(members):
            scatter = pooled
            if len(part) > n_prior:
                centres[label], own = _robust_scatter(part)
                scatter = (len(part) * own + n_prior * pooled) / (len(part) + n_prior)
            whitening[label] = _inverse_root(scatter)
            if len(part) > n_prior:
                distance = np.square((part - centres[label]) @ whitening[label]).sum(axis=1)
                whitening[label] /= np.sqrt(_gaussian_scale(distance, n_dims))
        return cls(centres @ axes.T, axes @ whitening)

    def squared_distances(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Squared Mahalanobis distance of each cell to each label.

        Parameters
        ----------
        values
            ``(n_cells, n_dims)``.

        Returns
        -------
        ``(n_cells, n_labels)``.
        """
        return np.stack(
            [
                np.square((values - centre) @ root).sum(axis=1)
                for centre, root in zip(self.centres, self.whitening, strict=True)
            ],
            axis=1,
        )


def _principal_axes(values: NDArray[np.float64], codes: NDArray[np.int64], n_labels: int) -> NDArray[np.float64]:
    """Axes that turn with the cells; outliers may turn them too, but the estimates are robust in any axes."""
    means = np.stack([values[codes == label].mean(axis=0) for label in range(n_labels)])
    within = values - means[codes]
    return np.linalg.eigh(within.T @ within)[1]


def _robust_scatter(values: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Location and scatter from the cells that a first robust estimate finds inside."""
    n_dims = values.shape[1]
    scale = _scale(values)
    scale = np.where(scale > 0, scale, 1.0)
    scaled = values / scale
    robust = np.array(
        [_scale(scaled + scaled[:, [j]]) ** 2 - _scale(scaled - scaled[:, [j]]) ** 2 for j in range(n_dims)]
    )
    directions = np.linalg.eigh((robust + robust.T) / 8)[1]
    turned = scaled @ directions
    spread = _scale(turned)
    spread = np.where(spread > 0, spread, 1.0)
    distance = np.square((turned - np.median(turned, axis=0)) / spread).sum(axis=1)
    kept = values[distance <= _gaussian_scale(distance, n_dims) * chi2.ppf(_KEPT, n_dims)]
    centre = kept.mean(axis=0)
    scatter = np.atleast_2d(np.cov(kept, rowvar=False))
    deviation = np.square((values - centre) @ _inverse_root(scatter)).sum(axis=1)
    return centre, scatter * _gaussian_scale(deviation, n_dims)


def _scale(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Median absolute deviation of each column, or the standard deviation where more than half of it is one value."""
    mad = _MAD_TO_SD * np.median(np.abs(values - np.median(values, axis=0)), axis=0)
    return np.where(mad > 0, mad, values.std(axis=0))


def _gaussian_scale(squared: NDArray[np.float64], n_dims: int) -> float:
    """What squared distances must be divided by to have the median of a Gaussian's."""
    median = float(np.median(squared))
    return median / float(chi2.ppf(0.5, n_dims)) if median > 0 else 1.0


def _inverse_root(scatter: NDArray[np.float64]) -> NDArray[np.float64]:
    values, vectors = np.linalg.eigh(scatter)
    floor = max(values[-1] * _SMALLEST_EIGENVALUE, np.finfo(np.float64).tiny)
    return vectors / np.sqrt(np.maximum(values, floor))
