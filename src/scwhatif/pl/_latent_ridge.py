"""Densities of one latent dimension, group under group."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import sparse

from scwhatif._keys import Key
from scwhatif._validation import check_groups, check_rep
from scwhatif.metrics._density_separation import label_densities
from scwhatif.pl._group_colors import group_colors
from scwhatif.pl._style import BACKGROUND, TEXT, axes, finish

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes

# Beyond this share of its peak a density is not drawn.
_NEGLIGIBLE = 1e-3


def latent_ridge(
    adata: AnnData,
    groupby: str,
    dim: str | int,
    *,
    use_rep: str = Key.obsm.LATENT,
    sort: bool = True,
    overlap: float = 1.6,
    threshold: float | None = None,
    ax: Axes | None = None,
    show: bool | None = None,
) -> Axes:
    """Draw the density of one latent dimension in each group, one under the other.

    Every density has the same height, and a tick stands at the median.

    Parameters
    ----------
    adata
        Cells with a representation in ``obsm``.
    groupby
        Column of ``obs`` with the groups.
    dim
        Dimension, as ``"z3"`` or 3, or the name of the column where the representation has names.
    use_rep
        Key of ``obsm``.
    sort
        Whether groups stand in the order of their medians, highest on top; otherwise in that of the categories.
    overlap
        Height of a density in distances between groups.
    threshold
        Value to mark, such as the one that :func:`scwhatif.tl.rank_latent` found.
    ax
        Axes to draw into; ``None`` makes a figure.
    show
        Whether to show the figure; ``None`` shows it where matplotlib is interactive.

    Returns
    -------
    The axes.

    Raises
    ------
    KeyError
        ``groupby``, ``use_rep`` or ``dim`` does not exist.
    ValueError
        Labels are missing, continuous or of a single cell, the representation holds NaN, or ``overlap`` is not
        positive.

    Examples
    --------
    >>> import scwhatif as wi
    >>> adata = wi.datasets.simulate_factors(200, 50, 3, n_cell_types=3)
    >>> ax = wi.pl.latent_ridge(adata, "cell_type", "z1", use_rep="true_factors", show=False)
    >>> [label.get_text() for label in ax.get_yticklabels()][0]
    'type_1'
    """
    if overlap <= 0:
        msg = f"overlap={overlap} must be above 0."
        raise ValueError(msg)
    groups = check_groups(adata, groupby, min_groups=1)
    check_rep(adata, use_rep)
    name, values = dimension(adata, use_rep, dim)
    codes, names = np.asarray(groups.codes, dtype=np.int64), list(groups.categories)
    colors = group_colors(adata, groupby, names)
    grid, mass = label_densities(values, codes, len(names))
    medians = np.array([np.median(values[codes == code]) for code in range(len(names))])
    order = np.argsort(-medians, kind="stable") if sort else np.arange(len(names))

    ax = axes(ax, figsize=(5.0, 0.42 * len(names) + 1.3))
    for row, code in enumerate(order):
        height = mass[code] / mass[code].max()
        drawn = height > _NEGLIGIBLE
        low, high = np.flatnonzero(drawn)[[0, -1]]
        x, top = grid[low : high + 1], row - overlap * height[low : high + 1]
        ax.fill_between(x, row, top, color=colors[names[code]], alpha=0.75, lw=0, zorder=row)
        ax.plot(x, top, color="white", lw=0.8, zorder=row)
        at = row - overlap * np.interp(medians[code], grid, height)
        ax.vlines(medians[code], at, row, color=TEXT, lw=1.0, zorder=row)
        ax.axhline(row, color=BACKGROUND, lw=0.5, zorder=-1)
    if threshold is not None:
        ax.axvline(threshold, color=TEXT, lw=0.8, ls="--", zorder=len(names))
    ax.set_yticks(np.arange(len(names)), [names[code] for code in order])
    ax.set_ylim(len(names) - 0.7, -overlap - 0.1)
    ax.set_xlabel(name)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    return finish(ax, show)


def dimension(adata: AnnData, use_rep: str, dim: str | int) -> tuple[str, np.ndarray]:
    """Find a dimension by its name or position.

    Parameters
    ----------
    adata
        Cells with a representation in ``obsm``.
    use_rep
        Its key.
    dim
        Name or position.

    Returns
    -------
    Name and values, ``(n_cells,)``.

    Raises
    ------
    KeyError
        There is no such dimension.
    """
    rep = adata.obsm[use_rep]
    n_dims = rep.shape[1]
    names = [str(each) for each in rep.columns] if isinstance(rep, pd.DataFrame) else [f"z{j}" for j in range(n_dims)]
    at = names.index(dim) if dim in names else dim
    if isinstance(at, str) or not 0 <= at < n_dims:
        msg = f"{dim!r} is not a dimension of adata.obsm[{use_rep!r}]; it has {names}."
        raise KeyError(msg)
    column = rep.iloc[:, [at]].to_numpy() if isinstance(rep, pd.DataFrame) else rep[:, [at]]
    return names[at], np.asarray(column.toarray() if sparse.issparse(column) else column, dtype=np.float64).ravel()
