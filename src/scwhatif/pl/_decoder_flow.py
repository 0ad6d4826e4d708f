"""Plot of the ways along which a gene rises or falls."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from scwhatif._keys import Key
from scwhatif.pl._group_colors import group_colors
from scwhatif.pl._profile_axis import value_label
from scwhatif.pl._stored import stored
from scwhatif.pl._style import BACKGROUND, OKABE_ITO, TEXT, axes, color_bar, finish, plain_log

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from matplotlib.axes import Axes

# Inches per letter of the legend.
_LETTER = 0.085


def decoder_flow(
    adata: AnnData,
    *,
    kind: Literal["genes", "path"] = "genes",
    n_top: int = 20,
    key: str = Key.uns.DECODER_FLOW,
    ax: Axes | None = None,
    show: bool | None = None,
) -> Axes:
    """Draw what moves with a gene, or how far it moves.

    Parameters
    ----------
    adata
        After :func:`scwhatif.tl.decoder_flow`.
    kind
        ``"genes"``: change of the gene and of those that move most with it, from the start to the end of the way; a
        bar each, or a heat map where there are several groups. ``"path"``: expression of the gene along the way, one
        line per group; a cross marks where it would have left the cloud of cells.
    n_top
        Number of genes beside the gene itself, at most as many as the tool listed.
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
        The flow was not computed under this key.
    ValueError
        ``kind`` is another, or ``n_top`` is not positive.

    Examples
    --------
    >>> import scwhatif as wi
    >>> adata = wi.datasets.simulate_factors(100, 50, 4)
    >>> wi.model.BetaLinearSCVI.setup_anndata(adata)
    >>> model = wi.model.BetaLinearSCVI(adata, n_latent=3, seed=0)
    >>> model.train(max_epochs=20, seed=0, enable_progress_bar=False)
    >>> wi.tl.decoder_flow(adata, model, "gene_3", n_steps=5)
    >>> ax = wi.pl.decoder_flow(adata, n_top=10, show=False)
    >>> len(ax.patches)
    11
    """
    if kind not in ("genes", "path") or n_top < 1:
        msg = f"kind={kind!r} must be 'genes' or 'path', and n_top={n_top} at least 1."
        raise ValueError(msg)
    result = stored(adata, key, "path", "flow", "scwhatif.tl.decoder_flow(adata, model, gene", matrix="varm")
    table, done = result["by_group"], result[Key.uns.PARAMS]
    groups = [str(name) for name in table["group"]]
    gene = str(done["gene"])
    if kind == "path":
        ax = _paths(adata, result, groups, ax)
        ax.set(xlabel="steps", ylabel=f"{gene}, {value_label(done)}")
    else:
        names = _names(result["genes"], gene, n_top)
        changes = np.asarray(adata.varm[key], dtype=np.float64)[adata.var_names.get_indexer(names)]
        label = "log2 fold change" if "pseudo_count" in done else "change"
        ax = (
            _bars(names, changes[:, 0], label, ax) if len(groups) == 1 else _heat_map(names, changes, groups, label, ax)
        )
    _title(ax, table, gene, str(done["direction"]))
    return finish(ax, show)


def _names(genes: pd.DataFrame, gene: str, n_top: int) -> list[str]:
    """The gene, then those that move most with it in any group, from what rises to what falls."""
    column = "difference" if "difference" in genes else "log2_fold_change"
    others = genes[genes["gene"] != gene]
    strongest = others.loc[others[column].abs().groupby(others["gene"]).idxmax()]
    top = strongest.reindex(strongest[column].abs().sort_values(ascending=False, kind="stable").index)[:n_top]
    return [gene, *top.sort_values(column, ascending=False, kind="stable")["gene"]]


def _bars(names: list[str], changes: np.ndarray, label: str, ax: Axes | None) -> Axes:
    ax = axes(ax, figsize=(3.6, 0.19 * len(names) + 1.0))
    colors = [OKABE_ITO["vermillion" if value > 0 else "blue"] for value in changes]
    ax.barh(np.arange(len(names)), changes, color=colors, height=0.75)
    ax.axvline(0, color=TEXT, lw=0.8)
    ax.set_yticks(np.arange(len(names)), names, fontsize=8)
    ax.get_yticklabels()[0].set_fontweight("bold")
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    ax.invert_yaxis()
    ax.set_xlabel(label)
    return ax


def _heat_map(names: list[str], changes: np.ndarray, groups: list[str], label: str, ax: Axes | None) -> Axes:
    ax = axes(ax, figsize=(0.32 * len(groups) + 2.6, 0.19 * len(names) + 1.6))
    limit = max(float(np.abs(changes).max()), np.finfo(float).tiny)
    image = ax.pcolormesh(changes, cmap="RdBu_r", vmin=-limit, vmax=limit, edgecolors="white", linewidth=0.5)
    ax.set_yticks(np.arange(len(names)) + 0.5, names, fontsize=8)
    ax.get_yticklabels()[0].set_fontweight("bold")
    ax.set_xticks(np.arange(len(groups)) + 0.5, groups, fontsize=8, rotation=45, ha="right", rotation_mode="anchor")
    ax.tick_params(length=0)
    ax.invert_yaxis()
    ax.spines[:].set_visible(False)
    color_bar(ax, image, label)
    return ax


def _paths(adata: AnnData, result: dict[str, Any], groups: list[str], ax: Axes | None) -> Axes:
    path, table = result["path"], result["by_group"]
    groupby = result[Key.uns.PARAMS].get("groupby")
    letters = 0 if groupby is None else max(map(len, [groupby, *groups]))
    ax = axes(ax, figsize=(3.6 + (0.0 if groupby is None else 0.6 + _LETTER * letters), 3.2))
    colors = group_colors(adata, groupby, groups) if groupby is not None else {groups[0]: OKABE_ITO["blue"]}
    for name, stopped in zip(groups, table["stopped"], strict=True):
        here = path[path["group"] == name]
        ax.plot(here["step"], here["expression"], color=colors[name], lw=1.4, label=name)
        if stopped == "outside":
            ax.plot(
                here["step"].iloc[-1], here["expression"].iloc[-1], marker="x", ms=6, mew=1.6, color=colors[name], ls=""
            )
    if "pseudo_count" in result[Key.uns.PARAMS]:
        plain_log(ax, y=True)
    if (table["stopped"] == "outside").any():
        ax.plot([], [], marker="x", ls="", color=BACKGROUND, label="end of the cells")
    if len(ax.get_legend_handles_labels()[0]) > 1:
        ax.legend(frameon=False, fontsize="small", loc="upper left", bbox_to_anchor=(1.0, 1.0), title=groupby)
    return ax


def _title(ax: Axes, table: pd.DataFrame, gene: str, direction: str) -> None:
    title = f"{gene} {direction}"
    if "agreement" in table:
        agreement = table["agreement"].to_numpy(dtype=float)
        known = agreement[np.isfinite(agreement)]
        if len(known) == 1:
            title += f"\nagreement with its knockout {_number(known[0])}"
        elif len(known):
            title += f"\nagreement with its knockout {_number(known.min())} to {_number(known.max())}"
    ax.set_title(title, fontsize="small", loc="left", color=TEXT)


def _number(value: float) -> str:
    return f"{value:.2f}".replace("-", "−")
