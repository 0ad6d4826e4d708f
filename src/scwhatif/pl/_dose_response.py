"""Plot of a screen of doses."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scwhatif._keys import Key
from scwhatif.pl._stored import stored, stored_rows
from scwhatif.pl._style import BACKGROUND, OKABE_ITO, TEXT, axes, finish, short_name
from scwhatif.tl._cell_groups import ALL_CELLS

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from anndata import AnnData
    from matplotlib.axes import Axes

_FDR = 0.05
_LABELS = {"x": "factor", "+": "counts added", "=": "set to", "thin": "share of counts kept"}
# Doses that leave a gene as it is, where there is one.
_AS_IS = {"x": 1.0, "+": 0.0, "thin": 1.0}


def dose_response(
    adata: AnnData,
    targets: str | Sequence[str] | None = None,
    *,
    op: str | None = None,
    key: str = Key.uns.SCREEN,
    group: str | None = None,
    ax: Axes | None = None,
    show: bool | None = None,
) -> Axes:
    """Draw how far each dose of a gene or gene set moves the latent code.

    Solid lines are the doses of a target, dashed ones of the same colour what random stand-ins do at that dose; filled
    points are significant at a false discovery rate below 5 %. Factors are drawn on a logarithmic axis with 0 at its
    left end, where a knockout counts as a factor of 0. Nothing moves where a dotted line stands.

    Parameters
    ----------
    adata
        After :func:`scwhatif.tl.screen` with perturbations such as ``"MYC:x0.5"``.
    targets
        Which genes or sets, as in the column ``target`` of its table; ``None`` takes all with two doses or more.
    op
        The operation, ``"x"``, ``"+"``, ``"="`` or ``"thin"``; ``None`` if there is only one.
    key
        Its ``key_added``.
    group
        One of the groups of its ``groupby``; ``None`` is all cells.
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
        There is no screen under this key, no such group, or no such target.
    ValueError
        There are no doses, or doses of several operations and ``op`` does not say which.

    Examples
    --------
    >>> import scwhatif as wi
    >>> adata = wi.datasets.pbmc68k()
    >>> wi.model.BetaLinearSCVI.setup_anndata(adata)
    >>> model = wi.model.BetaLinearSCVI(adata, n_latent=5, seed=0)
    >>> model.train(max_epochs=2, seed=0, enable_progress_bar=False)
    >>> doses = [f"{gene}:x{dose}" for gene in ("LYZ", "NKG7") for dose in (0, 0.5, 2, 4)]
    >>> wi.tl.screen(adata, model, doses, progress=False)
    >>> ax = wi.pl.dose_response(adata, show=False)
    >>> [text.get_text() for text in ax.get_legend().get_texts()]
    ['LYZ', 'NKG7', 'random stand-ins', 'FDR < 5%']
    """
    stored(adata, key, "by_group", "screen", "scwhatif.tl.screen(adata, model, doses")
    table = stored_rows(adata, key, "by_group", group=ALL_CELLS if group is None else group)
    op, doses = _doses(table, targets, op, key)
    ax = axes(ax)
    if op in _AS_IS:
        ax.axvline(_AS_IS[op], color=BACKGROUND, lw=1, ls=":", zorder=0)
    colors = list(OKABE_ITO.values())
    for i, (target, rows) in enumerate(doses.items()):
        color = colors[i % len(colors)]
        significant = (rows["padj"] < _FDR).to_numpy()
        ax.plot(rows["value"], rows["score"], color=color, lw=1.4, label=short_name(target))
        ax.plot(rows["value"], rows["score_expected"], color=color, lw=0.9, ls="--", alpha=0.8)
        for chosen, face in ((significant, color), (~significant, "white")):
            part = rows[chosen]
            ax.scatter(part["value"], part["score"], s=18, color=face, edgecolors=color, lw=1, zorder=3)
    _scale_axis(ax, op, doses)
    ax.set_ylim(bottom=0)
    ax.set(xlabel=_LABELS[op], ylabel="latent shift (posterior s.d.)")
    if group is not None:
        ax.set_title(group, fontsize="medium", loc="left")
    if any(rows["score_expected"].notna().any() for rows in doses.values()):
        ax.plot([], [], color=TEXT, lw=0.9, ls="--", label="random stand-ins")
        ax.scatter([], [], s=18, color=TEXT, label=f"FDR < {_FDR:.0%}")
    ax.legend(frameon=False, fontsize="small", borderaxespad=0)
    return finish(ax, show)


def _doses(
    table: pd.DataFrame, targets: str | Sequence[str] | None, op: str | None, key: str
) -> tuple[str, dict[str, pd.DataFrame]]:
    """The operation, and the tested doses of each target in order."""
    single = table[table["value"].notna() | (table["op"] == "ko")].astype({"target": str, "op": str})
    # a knockout is a dose of 0, not an operation of its own beside others
    found = [each for each in dict.fromkeys(single["op"]) if each != "ko"]
    if op is None:
        if len(found) != 1:
            what = f"doses of {found}; choose one with op=" if found else "no doses, such as 'MYC:x0.5' and 'MYC:x2'"
            msg = f"adata.uns[{key!r}] holds {what}."
            raise ValueError(msg)
        op = found[0]
    elif op not in found:
        msg = f"op={op!r} is not among the doses in adata.uns[{key!r}], which are of {found}."
        raise ValueError(msg)
    chosen = single[single["op"] == op]
    if op == "x":
        knocked = single[single["op"] == "ko"].assign(value=0.0)
        chosen = single[single["op"] == op].merge(knocked, how="outer") if len(knocked) else chosen
    by_target = {str(target): rows.sort_values("value") for target, rows in chosen.groupby("target", sort=False)}
    wanted = [targets] if isinstance(targets, str) else targets
    if wanted is None:
        return op, {target: rows for target, rows in by_target.items() if len(rows) > 1}
    unknown = [target for target in wanted if target not in by_target]
    if unknown:
        msg = f"targets={unknown} have no doses in adata.uns[{key!r}]; it holds {list(by_target)}."
        raise KeyError(msg)
    return op, {target: by_target[target] for target in wanted}


def _scale_axis(ax: Axes, op: str, doses: dict[str, pd.DataFrame]) -> None:
    """Factors on a logarithmic axis that ends in 0, with a tick at every dose."""
    values = np.unique(np.concatenate([rows["value"].to_numpy() for rows in doses.values()]))
    if op == "x" and (values > 0).any():
        least = float(values[values > 0].min())
        ax.set_xscale("symlog", base=2, linthresh=least, linscale=1)
        ax.minorticks_off()
    ax.set_xticks(values, [f"{value:g}" for value in values])
