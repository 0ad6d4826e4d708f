"""Plot of loadings."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from scwhatif._keys import Key
from scwhatif.pl._style import OKABE_ITO, TEXT, finish, panels

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from matplotlib.axes import Axes

_PER_ROW = 5


def loadings(
    adata: AnnData,
    *,
    dims: str | Sequence[str] | None = None,
    n_top: int = 8,
    key: str = Key.varm.LOADINGS,
    ax: Axes | Sequence[Axes] | None = None,
    show: bool | None = None,
) -> list[Axes]:
    """Draw the features with the largest positive and negative loadings of each latent dimension.

    Parameters
    ----------
    adata
        After :func:`scwhatif.tl.loadings`.
    dims
        Dimensions, such as ``"z0"``; ``None`` draws all.
    n_top
        Features at each end; those without a loading of that sign are left out.
    key
        The tool's ``key_added``, or any data frame in ``varm``.
    ax
        As many axes as dimensions; ``None`` makes a figure.
    show
        Whether to show the figure; ``None`` shows it where matplotlib is interactive.

    Returns
    -------
    One axes per dimension.

    Raises
    ------
    KeyError
        Loadings were not written under this key, or have no such dimension.
    ValueError
        The number of axes is not that of the dimensions.

    Examples
    --------
    >>> import scwhatif as wi
    >>> adata = wi.datasets.simulate_factors(100, 50, 4)
    >>> wi.model.BetaLinearSCVI.setup_anndata(adata)
    >>> model = wi.model.BetaLinearSCVI(adata, n_latent=3, seed=0)
    >>> model.train(max_epochs=1, seed=0, enable_progress_bar=False)
    >>> wi.tl.loadings(adata, model)
    >>> [ax.get_title(loc="left").split()[0] for ax in wi.pl.loadings(adata, show=False)]
    ['z0', 'z1', 'z2']
    """
    table = _table(adata, key)
    wanted = list(table.columns) if dims is None else [dims] if isinstance(dims, str) else list(dims)
    unknown = [dim for dim in wanted if dim not in table.columns]
    if unknown:
        msg = f"dims={unknown} are not in adata.varm[{key!r}]; it holds {list(table.columns)}."
        raise KeyError(msg)
    drawn = panels(ax, len(wanted), "dimensions", per_row=_PER_ROW, size=(1.95, 0.26 * n_top + 0.8), sharex=True)
    described = adata.uns.get(key, {})
    share = described["dimensions"]["explained_share"] if described else {}
    unit = "log fold change per unit" if described and described[Key.uns.PARAMS]["log_scale"] else "loading"
    for each, dim in zip(drawn, wanted, strict=True):
        _draw(each, table[dim], n_top)
        explained = f"  {share[dim]:.0%}" if dim in share else ""
        each.set_title(f"{dim}{explained}", fontsize="medium", loc="left")
        finish(each, show=False)
    if ax is None:
        drawn[0].figure.supxlabel(unit, fontsize="medium")
    else:
        drawn[-1].set_xlabel(unit)
    finish(drawn[-1], show)
    return drawn


def _table(adata: AnnData, key: str) -> pd.DataFrame:
    table = adata.varm.get(key)
    if not isinstance(table, pd.DataFrame):
        msg = f"adata.varm[{key!r}] holds no loadings; run scwhatif.tl.loadings(adata, model, key_added={key!r})."
        raise KeyError(msg)
    return table


def _draw(ax: Axes, column: pd.Series, n_top: int) -> None:
    ordered = column.sort_values(ascending=False, kind="stable")
    up = ordered[ordered > 0].head(n_top)
    down = ordered[ordered < 0].tail(n_top)
    # a gap of one row between the two ends
    y = [*range(len(up)), *range(len(up) + 1, len(up) + 1 + len(down))]
    values = pd.concat([up, down])
    colors = [OKABE_ITO["vermillion"] if value > 0 else OKABE_ITO["blue"] for value in values]
    ax.barh(y, values, color=colors, height=0.75)
    ax.axvline(0, color=TEXT, lw=0.6)
    ax.set_yticks(y, values.index, fontsize=7)
    ax.tick_params(axis="y", length=0)
    ax.tick_params(axis="x", labelsize=7, labelbottom=True)
    ax.spines["left"].set_visible(False)
    ax.invert_yaxis()
