"""Every latent dimension against every other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from scwhatif._keys import Key
from scwhatif._validation import check_groups, check_rep
from scwhatif.metrics._density_separation import label_densities
from scwhatif.pl._group_colors import group_colors
from scwhatif.pl._latent_ridge import dimension
from scwhatif.pl._style import BACKGROUND, TEXT, finish

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from anndata import AnnData
    from matplotlib.axes import Axes

# Inches per panel and per letter of the legend, and share of the range that stays free at either end.
_PANEL = 1.35
_LETTER = 0.085
_MARGIN = 0.05
# Of more cells, this many are drawn, chosen at random; more cannot be told apart in a panel of this size.
_MAX_CELLS = 5000


def latent_pairs(
    adata: AnnData,
    groupby: str,
    *,
    use_rep: str = Key.obsm.LATENT,
    dims: Sequence[str | int] | Literal["active", "all"] = "active",
    key: str = Key.uns.RANK_LATENT,
    share_scale: bool = True,
    size: float = 3.0,
    ax: Sequence[Sequence[Axes]] | None = None,
    show: bool | None = None,
) -> list[list[Axes]]:
    """Draw the matrix of all latent dimensions: densities per group on the diagonal, cells below, correlations above.

    All panels have one scale, so that a dead dimension looks as dead as it is: blown up to fill its panel, it may seem
    to separate groups perfectly. Each diagonal panel carries the variance of its dimension, or *dead*, and the AUC of
    the group that it tells best, in the colour of that group.

    Parameters
    ----------
    adata
        After :func:`scwhatif.tl.rank_latent` of the same label and representation.
    groupby
        Column of ``obs`` with the groups.
    use_rep
        Key of ``obsm``.
    dims
        Dimensions to draw, as ``"z3"`` or 3; ``"active"`` draws those that are not dead (all, if fewer than two are
        active), ``"all"`` every one.
    key
        The tool's ``key_added``.
    share_scale
        Whether all dimensions have one scale.
    size
        Area of a cell's dot in square points.
    ax
        Axes to draw into, rows of as many axes as there are dimensions; ``None`` makes a figure.
    show
        Whether to show the figure; ``None`` shows it where matplotlib is interactive.

    Returns
    -------
    The axes, row by row; those above the diagonal hold the correlation.

    Raises
    ------
    KeyError
        The ranking was not run for this label and representation under this key, or something named does not exist.
    ValueError
        Labels are missing, continuous or of a single cell, the representation holds NaN, or ``ax`` has another shape.

    Examples
    --------
    >>> import scwhatif as wi
    >>> adata = wi.datasets.simulate_factors(200, 50, 3, n_cell_types=3)
    >>> wi.tl.rank_latent(adata, "cell_type", use_rep="true_factors", floors=[])
    >>> axes = wi.pl.latent_pairs(adata, "cell_type", use_rep="true_factors", show=False)
    >>> axes[0][0].get_title(loc="left"), axes[2][0].get_xlabel(), axes[2][0].get_ylabel()
    ('z0', 'z0', 'z2')
    """
    groups = check_groups(adata, groupby)
    check_rep(adata, use_rep)
    table = _ranking(adata, groupby, use_rep, key)
    by_dim = table.drop_duplicates("dimension").set_index("dimension")
    names = _chosen(dims, by_dim, adata, use_rep)
    columns = [dimension(adata, use_rep, name)[1] for name in names]
    codes = np.asarray(groups.codes, dtype=np.int64)
    colors = group_colors(adata, groupby, list(groups.categories))
    panels = _axes(ax, len(names), max(map(len, groups.categories)))
    limits = _limits(columns, share_scale=share_scale)
    # in an order that has nothing to do with the groups, so that none is drawn over all others
    drawn = np.random.default_rng(0).permutation(len(codes))[:_MAX_CELLS]
    dots = np.array([colors[name] for name in groups.categories], dtype=object)[codes[drawn]]
    for i, row in enumerate(panels):
        for j, panel in enumerate(row):
            if i == j:
                _draw_density(panel, columns[i], codes, list(colors.values()))
                _badge(panel, names[i], columns[i], by_dim.loc[names[i]], colors)
            elif j < i:
                panel.scatter(
                    columns[j][drawn], columns[i][drawn], s=size, c=list(dots), lw=0, alpha=0.7, rasterized=True
                )
                panel.set_ylim(*limits[i])
            else:
                _write_correlation(panel, columns[i], columns[j])
            if j <= i:
                panel.set_xlim(*limits[j])
                _label(panel, names, i, j)
    if ax is None:
        _legend(panels, colors, groupby)
    for row in panels:
        for panel in row:
            finish(panel, show=False)
    finish(panels[-1][-1], show)
    return panels


def _ranking(adata: AnnData, groupby: str, use_rep: str, key: str) -> pd.DataFrame:
    result = adata.uns.get(key)
    found = result.get(Key.uns.PARAMS, {}) if isinstance(result, dict) and "table" in result else {}
    if not isinstance(result, dict) or found.get("groupby") != groupby or found.get("use_rep") != use_rep:
        msg = (
            f"adata.uns[{key!r}] holds no ranking of {use_rep!r} for {groupby!r}; run "
            f"scwhatif.tl.rank_latent(adata, {groupby!r}, use_rep={use_rep!r}, key_added={key!r})."
        )
        raise KeyError(msg)
    # best group of each dimension first
    return result["table"].sort_values("auc", ascending=False, kind="stable")


def _chosen(
    dims: Sequence[str | int] | Literal["active", "all"], by_dim: pd.DataFrame, adata: AnnData, use_rep: str
) -> list[str]:
    known = list(by_dim.index.categories)
    if isinstance(dims, str) and dims in ("active", "all"):
        active = [name for name in known if by_dim.loc[name, "active"]]
        return active if dims == "active" and len(active) > 1 else known
    wanted = [dims] if isinstance(dims, str) else list(dims)
    return [dimension(adata, use_rep, dim)[0] for dim in wanted]


def _limits(columns: list[np.ndarray], *, share_scale: bool) -> list[tuple[float, float]]:
    ends = np.array([[column.min(), column.max()] for column in columns])
    if share_scale:
        ends[:] = ends[:, 0].min(), ends[:, 1].max()
    margin = _MARGIN * np.maximum(np.ptp(ends, axis=1), np.finfo(np.float32).tiny)
    return [(low - free, high + free) for (low, high), free in zip(ends, margin, strict=True)]


def _axes(ax: Sequence[Sequence[Axes]] | None, n: int, n_letters: int) -> list[list[Axes]]:
    if ax is not None:
        given = [list(row) for row in ax]
        if len(given) != n or any(len(row) != n for row in given):
            msg = f"ax must hold {n} rows of {n} axes, not {[len(row) for row in given]}."
            raise ValueError(msg)
        return given
    import matplotlib.pyplot as plt

    side = _PANEL * n + 0.6
    # the legend stands on the right
    width = side + 0.4 + _LETTER * n_letters
    grid = plt.subplots(n, n, figsize=(width, side), layout="constrained", squeeze=False)[1]
    return [list(row) for row in grid]


def _draw_density(ax: Axes, column: np.ndarray, codes: np.ndarray, colors: list[str]) -> None:
    grid, mass = label_densities(column, codes, len(colors))
    # some room above for the badge
    ax.set_ylim(0, 1.55 * mass.max())
    for density, color in zip(mass, colors, strict=True):
        ax.fill_between(grid, density, color=color, alpha=0.25, lw=0)
        ax.plot(grid, density, color=color, lw=1.0)
    ax.set_yticks([])
    ax.spines["left"].set_visible(False)


def _badge(ax: Axes, name: str, column: np.ndarray, best: pd.Series, colors: dict[str, str]) -> None:
    ax.set_title(name, loc="left", fontsize="medium", fontweight="bold", color=TEXT)
    # names of groups may be longer than a panel is wide; the legend has them
    auc = f"AUC {best['auc']:.2f}".replace(" 0.", " .")
    ax.set_title(auc, loc="right", fontsize=8, fontweight="bold", color=colors[str(best["group"])])
    state = f"var {column.var():.2g}" if best["active"] else "dead"
    ax.text(0.98, 0.98, state, transform=ax.transAxes, ha="right", va="top", fontsize=7, color=TEXT)


def _write_correlation(ax: Axes, x: np.ndarray, y: np.ndarray) -> None:
    varies = np.ptp(x) > 0 and np.ptp(y) > 0
    r = float(np.corrcoef(x, y)[0, 1]) if varies else np.nan
    text = f"{r:.2f}".replace("0.", ".", 1) if varies else "–"
    # the stronger, the darker
    shade = str(0.75 * (1 - abs(r))) if varies else BACKGROUND
    ax.text(0.5, 0.5, text, transform=ax.transAxes, ha="center", va="center", color=shade)
    ax.set_axis_off()


def _label(ax: Axes, names: list[str], i: int, j: int) -> None:
    ax.tick_params(labelsize=7, length=2)
    last = i == len(names) - 1
    if last:
        ax.set_xlabel(names[j])
    if j == 0 and i > 0:
        ax.set_ylabel(names[i])
    ax.tick_params(axis="x", labelbottom=last)
    ax.tick_params(axis="y", labelleft=j == 0)


def _legend(panels: list[list[Axes]], colors: dict[str, str], title: str) -> None:
    from matplotlib.lines import Line2D

    figure: Any = panels[0][0].figure
    dots = [Line2D([], [], marker="o", ls="", color=color, ms=5, label=name) for name, color in colors.items()]
    figure.legend(handles=dots, title=title, loc="outside right upper", frameon=False, fontsize="small")
