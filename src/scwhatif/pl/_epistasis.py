"""Plot of the epistasis of pairs of genes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scwhatif._keys import Key
from scwhatif.pl._stored import stored
from scwhatif.pl._style import BACKGROUND, TEXT, axes, color_bar, finish

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from anndata import AnnData
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

# Inches per gene.
_CELL = 0.19


def epistasis(
    adata: AnnData,
    genes: Sequence[str] | None = None,
    *,
    key: str = Key.uns.EPISTASIS,
    n_top: int = 25,
    ax: Axes | None = None,
    show: bool | None = None,
) -> Axes:
    """Draw a heat map of how far knocking out two genes is from the sum of both.

    Colour is the epistasis of a pair in posterior standard deviations; pairs without any (too few cells express both)
    are grey.

    Parameters
    ----------
    adata
        After :func:`scwhatif.tl.epistasis`.
    genes
        Genes to draw, in this order; ``None`` takes those of the strongest pairs.
    key
        Its ``key_added``.
    n_top
        How many genes to take from the strongest pairs.
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
        The pairs were not knocked out under this key, or a gene is not in ``adata``.
    ValueError
        There is no pair to draw.

    Examples
    --------
    >>> import scwhatif as wi
    >>> adata = wi.datasets.pbmc68k()
    >>> wi.model.BetaLinearSCVI.setup_anndata(adata)
    >>> model = wi.model.BetaLinearSCVI(adata, n_latent=5, seed=0)
    >>> model.train(max_epochs=2, seed=0, enable_progress_bar=False)
    >>> wi.tl.epistasis(adata, model, ["CD3D", "CD3E", "LYZ", "NKG7"], progress=False)
    >>> len(wi.pl.epistasis(adata, show=False).get_xticklabels())
    4
    """
    result = stored(adata, key, "pairs", "epistasis", "scwhatif.tl.epistasis(adata, model", matrix="varp")
    names = _strongest(result["pairs"], n_top) if genes is None else list(genes)
    columns = adata.var_names.get_indexer(names)
    unknown = [name for name, column in zip(names, columns, strict=True) if column < 0]
    if unknown:
        msg = f"genes={unknown} are not in adata.var_names."
        raise KeyError(msg)
    if len(names) < 2:
        msg = f"{len(names)} gene(s) make no pair; name more genes, or lower min_cells of scwhatif.tl.epistasis."
        raise ValueError(msg)
    values = _dense(adata.varp[key][columns][:, columns])

    size = _CELL * len(names)
    ax = axes(ax, figsize=(max(size, 1.5) + 2.0, max(size, 1.5) + 1.0))
    ax.set_facecolor(BACKGROUND)
    image = ax.pcolormesh(np.ma.masked_less_equal(values, 0), cmap="viridis", vmin=0, edgecolors="white", linewidth=0.3)
    ticks = np.arange(len(names)) + 0.5
    ax.set_xticks(ticks, names, rotation=90, fontsize=7)
    ax.set_yticks(ticks, names, fontsize=7)
    ax.tick_params(length=0, labelcolor=TEXT)
    ax.set_aspect("equal")
    ax.invert_yaxis()
    color_bar(ax, image, "epistasis (posterior s.d.)")
    ax.spines[:].set_visible(False)
    return finish(ax, show)


def _strongest(pairs: pd.DataFrame, n_top: int) -> list[str]:
    """Genes of the strongest pairs, in the order they appear."""
    both = np.column_stack([pairs["gene_a"].astype(str), pairs["gene_b"].astype(str)]).ravel()
    return list(dict.fromkeys(both))[:n_top]


def _dense(values: object) -> NDArray[np.floating]:
    return values.toarray() if hasattr(values, "toarray") else np.asarray(values)
