"""Plot of what changes along a latent dimension."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from scwhatif._keys import Key
from scwhatif.pl._profile_axis import profile_axis, value_label
from scwhatif.pl._stored import stored
from scwhatif.pl._style import OKABE_ITO, axes, color_bar, finish, plain_log

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from anndata import AnnData
    from matplotlib.axes import Axes
    from numpy.typing import NDArray


def traverse(
    adata: AnnData,
    *,
    kind: Literal["heatmap", "lines"] = "heatmap",
    x: str | None = None,
    features: Sequence[str] | None = None,
    n_top: int = 20,
    key: str = Key.uns.TRAVERSE,
    ax: Axes | None = None,
    show: bool | None = None,
) -> Axes:
    """Draw what decodes from each step along a latent dimension.

    Parameters
    ----------
    adata
        After :func:`scwhatif.tl.traverse`.
    kind
        ``"heatmap"``: change of each feature from its mean over the steps. ``"lines"``: its expected values.
    x
        Numeric column of ``var``, such as a wavenumber: the whole profiles are drawn against it instead, one line per
        step.
    features
        What to draw, in this order; ``None`` draws the ``n_top`` that move most. Not with ``x``.
    n_top
        Number of features, at most as many as the tool listed.
    key
        The tool's ``key_added``.
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
        The dimension was not traversed under this key, or there is no such feature or column.
    TypeError
        The column ``x`` does not hold numbers.
    ValueError
        ``kind`` is another, or ``x`` is given with ``features``.

    Examples
    --------
    >>> import scwhatif as wi
    >>> adata = wi.datasets.simulate_factors(100, 50, 4)
    >>> wi.model.BetaLinearSCVI.setup_anndata(adata)
    >>> model = wi.model.BetaLinearSCVI(adata, n_latent=3, seed=0)
    >>> model.train(max_epochs=1, seed=0, enable_progress_bar=False)
    >>> wi.tl.traverse(adata, model, "z0", n_steps=5)
    >>> ax = wi.pl.traverse(adata, n_top=10, show=False)
    >>> len(ax.get_yticklabels()), ax.get_xlabel()
    (10, 'z0')
    """
    call = "scwhatif.tl.traverse(adata, model, dim"
    result = stored(adata, key, "monotone_fraction", "traversal", call, matrix="varm")
    if kind not in ("heatmap", "lines"):
        msg = f"kind={kind!r} must be 'heatmap' or 'lines'."
        raise ValueError(msg)
    values = result["steps"]["value"].to_numpy()
    profiles = np.asarray(adata.varm[key], dtype=np.float64)
    dim = str(result[Key.uns.PARAMS]["dim"])
    pseudo_count = result[Key.uns.PARAMS].get("pseudo_count")
    label = value_label(result[Key.uns.PARAMS])
    if x is not None:
        if features is not None:
            msg = "features and x exclude each other: along x the whole profile is drawn."
            raise ValueError(msg)
        positions, order = profile_axis(adata, x)
        ax = _spectra(positions, profiles[order], values, dim, ax)
        ax.set_xlabel(x)
        ax.set_ylabel(label)
        return finish(ax, show)
    names = _top_names(result["top"], n_top) if features is None else list(features)
    unknown = [name for name in names if name not in adata.var_names]
    if unknown:
        msg = f"features={unknown} are not in adata.var_names."
        raise KeyError(msg)
    rows = profiles[adata.var_names.get_indexer(names)]
    if kind == "heatmap":
        ax = _heat_map(rows, names, values, pseudo_count, ax)
    else:
        ax = _lines(rows, names, values, pseudo_count, ax)
        ax.set_ylabel(label)
    ax.set_xlabel(dim)
    return finish(ax, show)


def _top_names(top: pd.DataFrame, n_top: int) -> list[str]:
    """What rises, then what falls, most first and last."""
    change = "difference" if "difference" in top else "log2_fold_change"
    return list(top[:n_top].sort_values(change, ascending=False, kind="stable")["gene"])


def _heat_map(
    rows: NDArray[np.float64],
    names: list[str],
    values: NDArray[np.float64],
    pseudo_count: float | None,
    ax: Axes | None,
) -> Axes:
    """Change from the mean over the steps; for counts of the logarithm."""
    shown = rows if pseudo_count is None else np.log2(rows + pseudo_count)
    shown = shown - shown.mean(axis=1, keepdims=True)
    limit = max(np.abs(shown).max(), np.finfo(float).tiny)
    ax = axes(ax, figsize=(0.3 * len(values) + 2.6, 0.2 * len(names) + 1.2))
    image = ax.pcolormesh(shown, cmap="RdBu_r", vmin=-limit, vmax=limit, edgecolors="white", linewidth=0.5)
    ax.set_yticks(np.arange(len(names)) + 0.5, names, fontsize=8)
    every = max(1, int(np.ceil(len(values) / 9)))
    ax.set_xticks(
        np.arange(0, len(values), every) + 0.5,
        [f"{value:.1f}".replace("-", "−") for value in values[::every]],
        fontsize=8,
    )
    ax.tick_params(length=0)
    ax.invert_yaxis()
    ax.spines[:].set_visible(False)
    color_bar(ax, image, f"{'change' if pseudo_count is None else 'log2 fold change'} from the mean step")
    return ax


def _lines(
    rows: NDArray[np.float64],
    names: list[str],
    values: NDArray[np.float64],
    pseudo_count: float | None,
    ax: Axes | None,
) -> Axes:
    """Expected values, each line named at its end."""
    ax = axes(ax, figsize=(4.2, max(3.0, 0.17 * len(names) + 1.0)))
    ends = rows[:, -1]
    rising = rows[:, -1] >= rows[:, 0]
    for row, rises in zip(rows, rising, strict=True):
        ax.plot(values, row, color=OKABE_ITO["vermillion" if rises else "blue"], lw=1.2)
    if pseudo_count is not None:
        plain_log(ax, y=True)
        # far below the count that is added before ratios are taken, nothing is known of a gene
        ax.set_ylim(bottom=max(ax.get_ylim()[0], pseudo_count / 10))
    ax.set_xlim(values[0], values[-1])
    _name_at_end(ax, ends, names, [OKABE_ITO["vermillion" if rises else "blue"] for rises in rising])
    return ax


def _name_at_end(ax: Axes, ends: NDArray[np.float64], names: list[str], colors: list[str]) -> None:
    """Names right of the lines' ends, spread so that none covers another."""
    to_axes = ax.transData + ax.transAxes.inverted()
    heights = to_axes.transform(np.column_stack([np.full(len(ends), ax.get_xlim()[1]), ends]))[:, 1].clip(0, 1)
    order = np.argsort(heights)
    gap = min(0.045, 1 / max(len(names), 1))
    # upwards no closer than a line of text, then down from the top where that ran over
    spread = heights[order].copy()
    for i in range(1, len(spread)):
        spread[i] = max(spread[i], spread[i - 1] + gap)
    spread[-1:] = np.minimum(spread[-1:], 1.0)
    for i in range(len(spread) - 2, -1, -1):
        spread[i] = min(spread[i], spread[i + 1] - gap)
    for place, i in zip(spread, order, strict=True):
        ax.annotate(
            names[i],
            (1.0, heights[i]),
            xytext=(1.06, place),
            xycoords="axes fraction",
            textcoords="axes fraction",
            va="center",
            fontsize=7,
            color=colors[i],
            arrowprops={"arrowstyle": "-", "color": colors[i], "lw": 0.4, "alpha": 0.6, "shrinkA": 0, "shrinkB": 0},
            annotation_clip=False,
        )


def _spectra(
    positions: NDArray[np.float64],
    profiles: NDArray[np.float64],
    values: NDArray[np.float64],
    dim: str,
    ax: Axes | None,
) -> Axes:
    """Whole profiles, coloured by step."""
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    ax = axes(ax, figsize=(6.0, 3.2))
    colors = ScalarMappable(Normalize(values[0], values[-1]), colormaps["viridis"])
    for value, profile in zip(values, profiles.T, strict=True):
        ax.plot(positions, profile, color=colors.to_rgba(value), lw=1.0)
    ax.margins(x=0)
    color_bar(ax, colors, dim, shrink=0.8)
    return ax
