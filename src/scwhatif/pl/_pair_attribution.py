"""Plot of the features or bases that predictions of pairs rest on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scwhatif._keys import Key
from scwhatif.pl._stored import stored, stored_rows
from scwhatif.pl._style import BACKGROUND, OKABE_ITO, TEXT, axes, finish

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes

_CALL = "scwhatif.tl.pair_attribution(adata, model"
_WHAT = {"probability": "log-odds", "score": "score U", "energy": "energy R"}
_RAISES, _LOWERS = OKABE_ITO["vermillion"], OKABE_ITO["blue"]


def pair_attribution(
    adata: AnnData,
    pair: str | None = None,
    *,
    cell_line: str | None = None,
    n_top: int = 15,
    key: str = Key.uns.PAIR_ATTRIBUTION,
    ax: Axes | None = None,
    show: bool | None = None,
) -> Axes:
    """Draw what the features of pairs are attributed, or the contribution of every base of a pair.

    Bars are as long as the mean absolute attribution over pairs, and coloured by whether more of the feature raises or
    lowers what is explained, or where that is not known by the sign of the mean. With a pair, of features the
    attributions to this pair are drawn, of sequences the contributions of its bases with the windows in which they
    gather.

    Parameters
    ----------
    adata
        After :func:`scwhatif.tl.pair_attribution`.
    pair
        Name of a pair; ``None`` draws the mean over pairs.
    cell_line
        Line over whose pairs the mean is; ``None`` takes all, or with energies the first.
    n_top
        Most features.
    key
        Its ``key_added``.
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
        Nothing was attributed under this key, or there is no such pair or line.

    Examples
    --------
    >>> import scwhatif as wi
    >>> adata = wi.datasets.simulate_pairs(3, 4, 10)
    >>> wi.model.CellLineEnergyModel.setup_anndata(adata, label_key="label", cell_line_key="cell_line")
    >>> model = wi.model.CellLineEnergyModel(adata, trees_weight=0.0, n_hidden=16)
    >>> model.train(max_epochs=3, enable_progress_bar=False)
    >>> wi.tl.pair_attribution(adata, model)
    >>> ax = wi.pl.pair_attribution(adata, n_top=5, show=False)
    >>> len(ax.get_yticklabels())
    5
    """
    result = stored(adata, key, "lines", "attributions to features of pairs", _CALL)
    table, what = result["table"], _WHAT[result[Key.uns.PARAMS]["target"]]
    if pair is not None and "contributions" in result:
        return finish(_bases(adata, key, pair, what, ax), show)
    if pair is None:
        rows = stored_rows(adata, key, "table", cell_line=cell_line or str(table["cell_line"].cat.categories[0]))
        length, label = rows["size"], f"mean |attribution| to the {what}"
    else:
        rows = _of_pair(adata, key, pair)
        length, label = rows["attribution"], f"attribution to the {what}"
    ax = _bars(rows.iloc[:n_top], length.iloc[:n_top].to_numpy(), ax)
    ax.set_xlabel(label)
    return finish(ax, show)


def _of_pair(adata: AnnData, key: str, pair: str) -> pd.DataFrame:
    found = adata.obsm.get(key)
    if found is None or pair not in adata.obs_names or found.loc[pair].isna().all():
        msg = f"pair={pair!r} has no attributions in adata.obsm[{key!r}]; name it in the indices of the tool."
        raise KeyError(msg)
    values = found.loc[pair].dropna()
    rows = pd.DataFrame({"feature": values.index, "attribution": values.to_numpy()})
    return rows.sort_values("attribution", key=np.abs, ascending=False, kind="stable")


def _bars(rows: pd.DataFrame, length: np.ndarray, ax: Axes | None) -> Axes:
    ax = axes(ax, figsize=(4.5, 0.24 * len(rows) + 1.1))
    sign = rows["attribution"]
    if "direction" in rows:
        sign = rows["direction"].fillna(sign)
    raises = (sign > 0).to_numpy()
    places = np.arange(len(rows))
    more = "more of it " if "direction" in rows and rows["direction"].notna().any() else ""
    for used, color, name in ((raises, _RAISES, f"{more}raises"), (~raises, _LOWERS, f"{more}lowers")):
        if used.any():
            ax.barh(places[used], length[used], height=0.55, color=color, lw=0, label=name)
    ax.axvline(0, color=TEXT, lw=0.8)
    ax.set_yticks(places, rows["feature"].astype(str).tolist())
    ax.invert_yaxis()
    ax.tick_params(axis="y", length=0)
    ax.locator_params(axis="x", nbins=5)
    if "direction" in rows:
        ax.legend(frameon=False, fontsize="small", loc="lower right")
    return ax


def _bases(adata: AnnData, key: str, pair: str, what: str, ax: Axes | None) -> Axes:
    result = adata.uns[key]
    names = [str(name) for name in result["pairs"]]
    if pair not in names:
        msg = f"pair={pair!r} has no contributions in adata.uns[{key!r}]; name it in the indices of the tool."
        raise KeyError(msg)
    values = np.asarray(result["contributions"])[names.index(pair)]
    border = int(result[Key.uns.PARAMS]["enhancer_length"])
    ax = axes(ax, figsize=(7.0, 2.4))
    at = np.arange(len(values))
    ax.vlines(at, 0, values, color=np.where(values > 0, _RAISES, _LOWERS), lw=0.8)
    ax.axhline(0, color=TEXT, lw=0.8)
    ax.axvline(border - 0.5, color=BACKGROUND, lw=1, ls="--")
    low, high = min(float(values.min()), 0.0), max(float(values.max()), 1e-12)
    for row in result["windows"].query("pair == @pair").to_dict("records"):
        first = row["start"] + (border if row["end"] == "promoter" else 0)
        ax.axvspan(first - 0.5, first + row["stop"] - row["start"] - 0.5, color=BACKGROUND, alpha=0.35, lw=0)
    ax.set_ylim(1.1 * low, high + 0.25 * (high - low))
    for middle, name in ((border / 2, "enhancer"), ((border + len(values)) / 2, "promoter")):
        ax.text(middle, 0.99, name, ha="center", va="top", color=TEXT, transform=ax.get_xaxis_transform())
    ax.set_xlim(-1, len(values))
    ax.set_xlabel("position")
    ax.set_ylabel(f"contribution to the {what}")
    return ax
