"""Arrows from where cells are to where a perturbation moves them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from scwhatif._keys import Key
from scwhatif._validation import check_groups
from scwhatif.pl._group_colors import group_colors
from scwhatif.pl._style import BACKGROUND, TEXT, axes, finish, short_name
from scwhatif.tl._project_shift import arrow_key

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

# Share of the picture that the longest arrow takes.
_LONGEST = 0.15
# Inches per letter of the legend.
_LETTER = 0.085
# Of more cells, this many are drawn, chosen at random.
_MAX_CELLS = 20_000
# A square of the grid with fewer cells is left empty.
_MIN_CELLS = 3


def latent_arrows(
    adata: AnnData,
    basis: str = "X_umap",
    *,
    groupby: str | None = None,
    n_grid: int = 15,
    scale: float | None = None,
    size: float | None = None,
    key: str = Key.uns.PERTURB,
    ax: Axes | None = None,
    show: bool | None = None,
) -> Axes:
    """Draw the mean shift of groups of cells, or of the cells of each square of a grid, as arrows on an embedding.

    Arrows are means over all cells of a group or square, those that did not move included. They are stretched so that
    the longest can be seen, and the title says how much: compare arrows with one another, not with the distances
    between cells. Of groups, most of whose moved cells end up out of distribution, the arrow is hollow.

    Parameters
    ----------
    adata
        After :func:`scwhatif.tl.project_shift`.
    basis
        Key of ``obsm`` with the embedding; the first two dimensions are drawn.
    groupby
        Column of ``obs``: one arrow from the middle of each of its groups that moves, whose cells are coloured.
        ``None`` draws one arrow per square of a grid.
    n_grid
        Squares along the longer side of the picture.
    scale
        How many times as long arrows are drawn; ``None`` lets the longest take 15 % of the picture.
    size
        Area of a cell's dot in square points; ``None`` chooses by the number of cells.
    key
        ``key_added`` of the tool that moved the cells.
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
        The shifts were not projected onto this basis under this key, or there is no such column.
    ValueError
        Labels are missing, continuous or of a single cell; ``n_grid`` or ``scale`` is out of range; no arrow has a
        length.

    Examples
    --------
    >>> import scwhatif as wi
    >>> adata = wi.datasets.simulate_factors(100, 50, 4)
    >>> wi.model.BetaLinearSCVI.setup_anndata(adata)
    >>> model = wi.model.BetaLinearSCVI(adata, n_latent=3, seed=0)
    >>> model.train(max_epochs=2, seed=0, enable_progress_bar=False)
    >>> adata.obsm["X_wi"] = model.get_latent_representation()
    >>> adata.obsm["X_plane"] = adata.obsm["X_wi"][:, :2]
    >>> wi.tl.perturb(adata, model, "z1:+0.1", decode=False, progress=False)
    >>> wi.tl.project_shift(adata, "X_plane")
    >>> ax = wi.pl.latent_arrows(adata, "X_plane", groupby="cell_type", show=False)
    >>> len(ax.collections[1].U)
    4
    """
    points, shift, spec = _projected(adata, basis, key)
    if n_grid < 1 or (scale is not None and not scale > 0):
        msg = f"n_grid={n_grid} must be at least 1, and scale={scale} above 0."
        raise ValueError(msg)
    if groupby is None:
        colors, dots = {}, np.full(len(points), BACKGROUND, dtype=object)
        arrows = _on_grid(points, shift, n_grid)
    else:
        groups = check_groups(adata, groupby, min_groups=1)
        colors = group_colors(adata, groupby, list(groups.categories))
        dots = np.array([colors[name] for name in groups.categories], dtype=object)[groups.codes]
        arrows = _of_groups(points, shift, np.asarray(groups.codes), list(colors.values()), adata.obs[f"{key}_outlier"])
    longest = max((float(np.linalg.norm(arrow.by)) for arrow in arrows), default=0.0)
    if longest == 0:
        msg = "no arrow has a length: the shifts of cells cancel out, or this embedding does not show them."
        raise ValueError(msg)
    if scale is None:
        scale = _LONGEST * float(np.ptp(points, axis=0).max()) / longest

    letters = max(map(len, [str(groupby), *colors])) if colors else 0
    ax = axes(ax, figsize=(4.2 + (0.4 + _LETTER * letters if colors else 0.0), 4.2))
    drawn = np.random.default_rng(0).permutation(len(points))[:_MAX_CELLS]
    ax.scatter(
        points[drawn, 0],
        points[drawn, 1],
        s=float(np.clip(12_000 / len(drawn), 1, 12)) if size is None else size,
        c=list(dots[drawn]),
        lw=0,
        alpha=0.6 if groupby is None else 0.35,
        rasterized=True,
    )
    _draw(ax, arrows, scale, thick=groupby is not None)
    _include(ax, arrows, scale)
    ax.set_title(f"{short_name(spec, 48)}\narrows {scale:.3g}× as long", fontsize="small", loc="left", color=TEXT)
    name = basis.removeprefix("X_")
    ax.set(xlabel=f"{name} 1", ylabel=f"{name} 2", xticks=[], yticks=[], aspect="equal")
    if colors:
        _legend(ax, colors, str(groupby))
    return finish(ax, show)


class _Arrow(NamedTuple):
    start: NDArray[np.float64]
    by: NDArray[np.float64]
    color: str
    hollow: bool


def _projected(adata: AnnData, basis: str, key: str) -> tuple[NDArray[np.float64], NDArray[np.float64], str]:
    """Points, arrows, and what was done to the cells."""
    arrows = arrow_key(key, basis)
    result: Any = adata.uns.get(key)
    if arrows not in adata.obsm or basis not in adata.obsm or not isinstance(result, dict):
        msg = (
            f"adata.obsm[{arrows!r}] is not there; run scwhatif.tl.project_shift(adata, {basis!r}, key={key!r}) after "
            "scwhatif.tl.perturb."
        )
        raise KeyError(msg)
    done = result[Key.uns.PARAMS]
    spec = done.get("perturbation", done.get("edit", ""))
    points, shift = (np.asarray(adata.obsm[name], dtype=np.float64)[:, :2] for name in (basis, arrows))
    return points, shift, str(spec)


def _on_grid(points: NDArray[np.float64], shift: NDArray[np.float64], n_grid: int) -> list[_Arrow]:
    """Mean arrow of every square that holds some cells, from the mean of their points."""
    side = np.ptp(points, axis=0).max() / n_grid
    squares = np.floor((points - points.min(axis=0)) / max(side, np.finfo(float).tiny)).astype(np.int64)
    _, square, n_cells = np.unique(squares, axis=0, return_inverse=True, return_counts=True)
    square = square.ravel()
    arrows = []
    for i in np.flatnonzero(n_cells >= _MIN_CELLS):
        here = square == i
        arrows.append(_Arrow(points[here].mean(axis=0), shift[here].mean(axis=0), TEXT, hollow=False))
    return arrows


def _of_groups(
    points: NDArray[np.float64], shift: NDArray[np.float64], codes: NDArray[np.integer], colors: list[str], outlier: Any
) -> list[_Arrow]:
    moved = (shift != 0).any(axis=1)
    outside = np.asarray(outlier, dtype=bool)
    arrows = []
    for code, color in enumerate(colors):
        here = codes == code
        hollow = bool(outside[here & moved].mean() > 0.5) if (here & moved).any() else False
        arrows.append(_Arrow(_middle(points[here]), shift[here].mean(axis=0), color, hollow))
    return [arrow for arrow in arrows if arrow.by.any()]


def _middle(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """The cell nearest to the median, which may lie where no cell is."""
    return points[np.linalg.norm(points - np.median(points, axis=0), axis=1).argmin()]


def _draw(ax: Axes, arrows: list[_Arrow], scale: float, *, thick: bool) -> None:
    starts, steps = np.stack([arrow.start for arrow in arrows]), np.stack([arrow.by for arrow in arrows])
    ax.quiver(
        starts[:, 0],
        starts[:, 1],
        scale * steps[:, 0],
        scale * steps[:, 1],
        angles="xy",
        scale_units="xy",
        scale=1.0,
        width=0.012 if thick else 0.005,
        headwidth=3.2,
        headlength=3.6,
        headaxislength=3.4,
        facecolors=["white" if arrow.hollow else arrow.color for arrow in arrows],
        edgecolors=TEXT,
        linewidths=0.8 if thick else 0.0,
        zorder=3,
    )


def _include(ax: Axes, arrows: list[_Arrow], scale: float) -> None:
    """Patches do not widen the view by themselves."""
    ends = np.stack([arrow.start + scale * arrow.by for arrow in arrows])
    ax.update_datalim(ends)
    ax.autoscale_view()


def _legend(ax: Axes, colors: dict[str, str], title: str) -> None:
    from matplotlib.lines import Line2D

    dots = [Line2D([], [], marker="o", ls="", color=color, ms=5, label=name) for name, color in colors.items()]
    ax.legend(handles=dots, title=title, loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, fontsize="small")
