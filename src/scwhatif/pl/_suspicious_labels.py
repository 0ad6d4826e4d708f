"""Plot of how well cells fit their labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scwhatif._keys import Key
from scwhatif.pl._stored import stored
from scwhatif.pl._style import OKABE_ITO, TEXT, axes, finish

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes


def suspicious_labels(
    adata: AnnData,
    *,
    key: str = Key.uns.SUSPICIOUS_LABELS,
    bins: int = 40,
    ax: Axes | None = None,
    show: bool | None = None,
) -> Axes:
    """Draw how many cells have which score, as labelled and with other labels.

    Bars are cells as labelled, those flagged in red; the outline is the mean score that the same cells would have with
    one of the other identities. The dotted line is the threshold. The count axis is logarithmic above 10, since few
    cells are flagged. The title says how many are, and which share of these is wrong at most, if mistakes are made
    at random.

    Parameters
    ----------
    adata
        After :func:`scwhatif.tl.suspicious_labels`.
    key
        Its ``key_added``.
    bins
        Number of bars.
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
        Labels were not judged under this key.

    Examples
    --------
    >>> import scwhatif as wi
    >>> adata = wi.datasets.simulate_factors(200, 30, 4, n_cell_types=3, n_batches=1, seed=0)
    >>> adata.obsm["X_wi"] = adata.obsm["true_factors"]
    >>> wi.tl.suspicious_labels(adata, identity_key="cell_type")
    >>> ax = wi.pl.suspicious_labels(adata, show=False)
    >>> ax.get_xlabel(), ax.get_ylabel()
    ('score (above 0 another label is nearer)', 'cells')
    """
    call = "scwhatif.tl.suspicious_labels(adata, identity_key=…"
    result = stored(adata, key, "planted", "suspicious labels", call)
    score, null = (adata.obs[f"{key}_{name}"].to_numpy(float) for name in ("score", "null"))
    flagged = adata.obs[f"{key}_flagged"].to_numpy(bool)
    known = np.concatenate([score[np.isfinite(score)], null[np.isfinite(null)]])
    edges = np.linspace(known.min(), known.max(), bins + 1).tolist()
    ax = axes(ax, figsize=(5.2, 3.4))
    # stacked, since the bar of the threshold holds cells of both kinds
    ax.hist(
        [score[~flagged], score[flagged]],
        edges,
        stacked=True,
        color=[OKABE_ITO["blue"], OKABE_ITO["vermillion"]],
        label=["as labelled", "flagged"],
    )
    ax.hist(null, edges, histtype="step", color=TEXT, lw=1.2, label="with another label")
    threshold = float(result["threshold"])
    if np.isfinite(threshold):
        ax.axvline(threshold, color=TEXT, lw=1, ls=":")
    ax.set_yscale("symlog", linthresh=10)
    ax.yaxis.set_major_formatter("{x:g}")
    ax.set_ylim(bottom=0)
    ax.set_xlabel("score (above 0 another label is nearer)")
    ax.set_ylabel("cells")
    said = f"{int(flagged.sum())} of {len(flagged)} cells flagged"
    if flagged.any():
        said += f", at most {float(result['estimate']['precision']):.0%} of them wrong"
    ax.set_title(said, loc="left", fontsize="medium")
    ax.legend(frameon=False, fontsize="small", loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return finish(ax, show)
