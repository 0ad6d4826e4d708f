"""Plot of decoded profiles."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scwhatif._keys import Key
from scwhatif.pl._profile_axis import stored_profiles, value_label
from scwhatif.pl._style import axes, color_bar, finish

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.colorbar import Colorbar


def pseudo_profiles(
    adata: AnnData,
    *,
    states: Sequence[str] | None = None,
    n_top: int = 5,
    key: str = Key.uns.PSEUDO_PROFILES,
    ax: Axes | None = None,
    show: bool | None = None,
) -> Axes:
    """Draw the decoded expression of each state's top marker genes in all states.

    Parameters
    ----------
    adata
        After :func:`scwhatif.tl.pseudo_profiles`.
    states
        States to draw, in this order; ``None`` draws all.
    n_top
        Markers per state; a gene that marks several states stands with the first.
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
        The profiles were not decoded under this key, or do not have such a state.

    Examples
    --------
    >>> import scwhatif as wi
    >>> adata = wi.datasets.simulate_factors(100, 50, 4)
    >>> wi.model.BetaLinearSCVI.setup_anndata(adata)
    >>> model = wi.model.BetaLinearSCVI(adata, n_latent=3, seed=0)
    >>> model.train(max_epochs=1, seed=0, enable_progress_bar=False)
    >>> wi.tl.pseudo_profiles(adata, model, "cell_type")
    >>> ax = wi.pl.pseudo_profiles(adata, n_top=3, show=False)
    >>> [label.get_text() for label in ax.get_yticklabels()]
    ['type_0', 'type_1', 'type_2', 'type_3']
    """
    result = stored_profiles(adata, key)
    known = list(result["states"].index)
    drawn = known if states is None else list(states)
    unknown = [state for state in drawn if state not in known]
    if unknown:
        msg = f"states={unknown} are not in adata.uns[{key!r}]; it holds {known}."
        raise KeyError(msg)
    genes, edges = _marker_genes(result["markers"], drawn, n_top)
    columns = adata.var_names.get_indexer(genes)
    rows = [known.index(state) for state in drawn]
    values = np.asarray(adata.varm[key])[np.ix_(columns, rows)].T
    is_counts = "log2_fold_change" in result["markers"]

    ax = axes(ax, figsize=(0.16 * len(genes) + 3.2, 0.27 * len(drawn) + 1.5))
    image = ax.pcolormesh(np.log10(1 + values) if is_counts else values, cmap="Blues")
    ax.set_xticks(np.arange(len(genes)) + 0.5, genes, rotation=90, fontsize=7)
    ax.set_yticks(np.arange(len(drawn)) + 0.5, drawn)
    for edge in edges:
        ax.axvline(edge, color="white", lw=2)
    ax.hlines(np.arange(1, len(drawn)), 0, len(genes), color="white", lw=1)
    ax.tick_params(length=0)
    ax.invert_yaxis()
    ax.spines[:].set_visible(False)
    bar = color_bar(ax, image, value_label(result[Key.uns.PARAMS]).replace(" per ", "\nper "), shrink=0.8)
    if is_counts:
        _label_in_counts(bar, values.max())
    return finish(ax, show)


def _marker_genes(markers: pd.DataFrame, states: list[str], n_top: int) -> tuple[list[str], list[int]]:
    """Distinct top genes state by state, and where the next state's begin."""
    genes: list[str] = []
    edges = []
    for state in states:
        top = markers.loc[markers["state"] == state, "gene"].head(n_top)
        genes += [gene for gene in top if gene not in genes]
        edges.append(len(genes))
    return genes, edges[:-1]


def _label_in_counts(bar: Colorbar, largest: float) -> None:
    """Ticks at whole powers of ten and zero, though the colour is ``log10(1 + counts)``."""
    counts = [0.0, *10.0 ** np.arange(0, np.floor(np.log10(max(largest, 1.0))) + 1)]
    bar.set_ticks(np.log10(1 + np.array(counts)), labels=[f"{count:,.0f}" for count in counts])
    bar.ax.minorticks_off()
