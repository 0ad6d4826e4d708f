"""Plot of how methods do on held-out cell lines and chromosomes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scwhatif._keys import Key
from scwhatif.pl._stored import stored, stored_rows
from scwhatif.pl._style import BACKGROUND, OKABE_ITO, TEXT, axes, finish

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes

_LABELS = {
    "aupr": "area under the precision–recall curve",
    "lift": "area under the precision–recall curve / prevalence",
    "aupr_at_half": "area under the precision–recall curve at prevalence 1/2",
    "auroc": "area under the ROC curve",
    "f1": "F1 at the validation threshold",
    "precision": "precision at the validation threshold",
    "recall": "recall at the validation threshold",
    "ece": "expected calibration error",
    "brier": "Brier score",
    "calibration_slope": "calibration slope",
    "calibration_intercept": "calibration intercept",
}
# What is right where neither more nor less is better.
_RIGHT = {"calibration_slope": 1.0, "calibration_intercept": 0.0}
_CALL = "scwhatif.tl.cross_context_validate(adata"
# Height of a method in inches, and of a fold's point above the middle of its row.
_ROW, _SPREAD = 0.42, 0.28


def cross_context_validate(
    adata: AnnData,
    score: str = "aupr",
    *,
    key: str = Key.uns.CROSS_CONTEXT_VALIDATE,
    ax: Axes | None = None,
    show: bool | None = None,
) -> Axes:
    """Draw a score of every method: a point per held-out line × fold, and the mean with its interval.

    Parameters
    ----------
    adata
        After :func:`scwhatif.tl.cross_context_validate`.
    score
        Which of its scores.
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
        The validation was not run under this key, or has no such score.

    Examples
    --------
    >>> import scwhatif as wi
    >>> adata = wi.datasets.simulate_pairs(2, 3, 15)
    >>> wi.tl.cross_context_validate(adata, n_chrom_folds=3, baselines=["prevalence", "logistic"])
    >>> ax = wi.pl.cross_context_validate(adata, show=False)
    >>> [label.get_text() for label in ax.get_yticklabels()]
    ['prevalence', 'logistic']
    """
    result = stored(adata, key, "reliability", "validation across cell lines", _CALL)
    table = result["table"]
    summary = stored_rows(adata, key, "summary", score=score).set_index("method")
    methods = list(table["method"].cat.categories)
    lines = list(table["cell_line"].cat.categories)
    colors = dict(zip(lines, np.resize(list(OKABE_ITO.values()), len(lines)), strict=True))
    ax = axes(ax, figsize=(5.5, 1.3 + _ROW * len(methods)))
    for line, of_line in table.groupby("cell_line", observed=True):
        offset = _SPREAD * (np.linspace(-1, 1, len(lines))[lines.index(line)] if len(lines) > 1 else 0)
        rows = [methods.index(method) + offset for method in of_line["method"]]
        ax.plot(of_line[score], rows, "o", ms=3, mew=0, alpha=0.7, color=colors[line], label=line, zorder=2)
    for row, method in enumerate(methods):
        mean, low, high = summary.loc[method, ["mean", "low", "high"]]
        ax.plot([low, high], [row, row], color=TEXT, lw=1.2, zorder=3)
        ax.plot(mean, row, "D", ms=5, color=TEXT, mec="white", mew=0.8, zorder=4)
    if score in _RIGHT:
        ax.axvline(_RIGHT[score], color=BACKGROUND, lw=1, ls=":", zorder=1)
    ax.set_yticks(range(len(methods)), methods)
    ax.set_ylim(len(methods) - 0.4, -0.6)
    ax.set_xlabel(_LABELS.get(score, score))
    ax.tick_params(axis="y", length=0)
    ax.legend(title="held out", frameon=False, fontsize="small", loc="center left", bbox_to_anchor=(1, 0.5))
    return finish(ax, show)
