"""How little the densities of labels overlap."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.ndimage import gaussian_filter1d

from scwhatif.metrics._labelled import labelled

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

# Points of the grid on which densities are estimated, and where a Gaussian kernel is cut off, in bandwidths.
_GRID = 2048
_REACH = 4.0


def density_separation(
    values: ArrayLike | pd.DataFrame, labels: ArrayLike | pd.Categorical, *, pairwise: bool = False
) -> pd.DataFrame:
    r"""One minus the overlap coefficient of two kernel density estimates, per column of ``values``.

    .. math::
        1 - \int \min\bigl(f(z), g(z)\bigr)\, dz,

    which is the total variation distance :cite:p:`Inman1989`: 0 where the densities are the same, 1 where they have
    no value in common. Unlike the AUC, it sees a label that lies at *both* ends of a dimension, or in its middle.
    Each label has a Gaussian kernel density estimate with Scott's bandwidth :math:`n^{-1/5} s`; the density of the
    rest is the mixture of those of the other labels. Kernels blur, so labels that are almost apart come out a little
    lower than they are; and the densities of few cells never agree, so the separation of labels that do not differ
    exceeds 0, by about .1 with 100 cells each.

    Parameters
    ----------
    values
        ``(n_cells, n_dims)``, finite.
    labels
        ``(n_cells,)``, none missing; categories without cells are left out.
    pairwise
        Whether to compare every pair of labels instead of every label with the rest.

    Returns
    -------
    Columns of ``values`` × labels, or × pairs of labels (a :class:`pandas.MultiIndex`), float64 in [0, 1].

    Raises
    ------
    ValueError
        Fewer than two labels have cells, lengths differ, or something is missing or infinite.

    Examples
    --------
    A label in the middle of a dimension has an AUC of one half, and is told apart all the same:

    >>> import numpy as np
    >>> import scwhatif as wi
    >>> z = np.r_[np.linspace(-3, -2, 50), np.linspace(-0.5, 0.5, 50), np.linspace(2, 3, 50)]
    >>> labels = np.repeat(["low", "middle", "high"], 50)
    >>> print(wi.metrics.density_separation(z[:, None], labels)["middle"].round(2)[0])
    1.0
    >>> print(wi.metrics.one_vs_rest_auc(z[:, None], labels)["middle"][0])
    0.5
    """
    given = labelled(values, labels)
    n_labels = len(given.names)
    share = np.bincount(given.codes) / len(given.codes)
    columns = (
        pd.MultiIndex.from_tuples(combinations(given.names, 2))
        if pairwise
        else pd.Index(given.names, tupleize_cols=False)
    )
    separation = np.empty((given.values.shape[1], len(columns)))
    for j, column in enumerate(given.values.T):
        _, mass = label_densities(column, given.codes, n_labels)
        if pairwise:
            compared = [(mass[a], mass[b]) for a, b in combinations(range(n_labels), 2)]
        else:
            mixed = share[:, None] * mass
            everything = mixed.sum(axis=0)
            compared = [(mass[a], (everything - mixed[a]) / (1 - share[a])) for a in range(n_labels)]
        separation[j] = [1 - np.minimum(f, g).sum() for f, g in compared]
    return pd.DataFrame(separation.clip(0, 1), index=given.dims, columns=columns)


def label_densities(
    values: NDArray[np.float64], codes: NDArray[np.int64], n_labels: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Kernel density estimate of each label on one grid, by binning and smoothing.

    Parameters
    ----------
    values
        ``(n_cells,)``, finite.
    codes
        Label of each cell, integers from 0 to ``n_labels - 1``, each of which occurs.
    n_labels
        Number of labels.

    Returns
    -------
    Points of the grid ``(2048,)``, evenly spaced, and the share of each label's density around each of them
    ``(n_labels, 2048)``; rows add up to 1.
    """
    members = [values[codes == label] for label in range(n_labels)]
    bandwidths = [part.std(ddof=1) * len(part) ** -0.2 if len(part) > 1 else 0.0 for part in members]
    margin = (_REACH + 1) * max(bandwidths)
    grid, step = np.linspace(values.min() - margin, values.max() + margin, _GRID, retstep=True)
    mass = np.zeros((n_labels, _GRID))
    for label, (part, bandwidth) in enumerate(zip(members, bandwidths, strict=True)):
        if step == 0:
            mass[label, 0] = 1.0
            continue
        # each cell is shared between the two points it lies between
        at = (part - grid[0]) / step
        left = np.minimum(at.astype(np.int64), _GRID - 2)
        right_share = at - left
        binned = np.bincount(left, 1 - right_share, _GRID) + np.bincount(left + 1, right_share, _GRID)
        if bandwidth > 0:
            binned = gaussian_filter1d(binned, bandwidth / step, mode="constant", truncate=_REACH)
        mass[label] = binned / binned.sum()
    return grid, mass
