"""Plot of latent dimensions as markers of labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scwhatif._keys import Key
from scwhatif.pl._stored import stored
from scwhatif.pl._style import TEXT, axes, color_bar, finish

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from matplotlib.axes import Axes

_FDR = 0.05
# Width of a cell in inches, and the AUC from which its colour is dark.
_CELL = 0.42
_DARK = 0.8
# Columns of the floors and what they are called.
_CODES = {"pc_auc": "PC", "ica_auc": "IC", "fa_auc": "FA"}


def rank_latent(
    adata: AnnData,
    *,
    key: str = Key.uns.RANK_LATENT,
    floors: bool = True,
    ax: Axes | None = None,
    show: bool | None = None,
) -> Axes:
    """Draw how well each latent dimension separates each group from all other cells.

    Colour tells at which end of the dimension the group lies. A dot marks a false discovery rate below 5 %; the best
    dimension of each group carries its AUC instead, in bold if it is below 5 % too. On the right stands what needs no
    model: the best component of as many principal (PC) or independent components (IC) or factors (FA), and the best
    single gene.

    Parameters
    ----------
    adata
        After :func:`scwhatif.tl.rank_latent`.
    key
        Its ``key_added``.
    floors
        Whether to write the floors on the right.
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
        The ranking was not run under this key.

    Examples
    --------
    >>> import scwhatif as wi
    >>> adata = wi.datasets.simulate_factors(200, 100, 4, n_cell_types=3)
    >>> wi.tl.rank_latent(adata, "cell_type", use_rep="true_factors")
    >>> ax = wi.pl.rank_latent(adata, show=False)
    >>> [label.get_text() for label in ax.get_yticklabels()]
    ['type_0', 'type_1', 'type_2']
    """
    call = "scwhatif.tl.rank_latent(adata, groupby"
    result = stored(adata, key, "floors", "ranking of latent dimensions", call)
    table = result["table"]
    dims, groups = list(table["dimension"].cat.categories), list(table["group"].cat.categories)
    high = (table["auc"] - 0.5) * table["direction"] + 0.5
    auc = high.groupby([table["group"], table["dimension"]], observed=False).first().unstack().to_numpy()
    best = table.drop_duplicates("group")
    significant = table[table["padj"] < _FDR].drop(index=best.index, errors="ignore")

    size = (_CELL * len(dims) + (4.6 if floors else 3.2), _CELL * 0.75 * len(groups) + 1.0)
    ax = axes(ax, figsize=size)
    image = ax.pcolormesh(auc, cmap="RdBu_r", vmin=0, vmax=1, edgecolors="white", linewidth=1)
    x, y = _positions(significant, dims, groups)
    ax.scatter(x, y, s=6, color=_on_colour(significant["auc"]), lw=0)
    x, y = _positions(best, dims, groups)
    colors = _on_colour(best["auc"])
    for column, row, color, score, padj in zip(x, y, colors, best["auc"], best["padj"], strict=True):
        ax.text(
            column,
            row,
            f"{score:.2f}".removeprefix("0"),
            ha="center",
            va="center_baseline",
            fontsize="small",
            fontweight="bold" if padj < _FDR else "normal",
            color=color,
        )
    ax.set_xticks(np.arange(len(dims)) + 0.5, dims)
    ax.set_yticks(np.arange(len(groups)) + 0.5, groups)
    ax.set_xlabel(f"latent dimension (• FDR < {_FDR:.0%})", fontsize="small")
    ax.tick_params(length=0)
    ax.invert_yaxis()
    if floors:
        _write_floors(ax, result["floors"])
    bar = color_bar(ax, image, "AUC, group against all others", ticks=[0, 0.5, 1])
    bar.ax.set_yticklabels(["0\nlow end", "0.5", "1\nhigh end"])
    ax.spines[:].set_visible(False)
    return finish(ax, show)


def _positions(rows: pd.DataFrame, dims: list[str], groups: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Middle of the cell of each row of the table."""
    columns = np.array([dims.index(dim) for dim in rows["dimension"]], dtype=float)
    lines = np.array([groups.index(group) for group in rows["group"]], dtype=float)
    return columns + 0.5, lines + 0.5


def _on_colour(auc: pd.Series) -> list[str]:
    """Colour that can be read on a cell of that AUC."""
    return ["white" if value > _DARK else TEXT for value in auc]


def _write_floors(ax: Axes, floors: pd.DataFrame) -> None:
    right = ax.secondary_yaxis("right")
    texts = [_floor_text(row) for _, row in floors.iterrows()]
    right.set_yticks(np.arange(len(texts)) + 0.5, texts, fontsize="small", color=TEXT)
    right.tick_params(length=0)
    right.spines[:].set_visible(False)


def _floor_text(row: pd.Series) -> str:
    """Best of the codes that were tried, and the best gene."""
    codes = {name: row[column] for column, name in _CODES.items() if column in row}
    best = max(codes, key=codes.__getitem__, default=None)
    texts = [] if best is None else [f"{best} {codes[best]:.2f}"]
    return ", ".join([*texts, f"{row['gene']} {row['gene_auc']:.2f}"] if "gene" in row else texts)
