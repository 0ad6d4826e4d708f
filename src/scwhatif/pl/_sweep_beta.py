"""Plot of a sweep over β."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scwhatif._keys import Key
from scwhatif.pl._stored import stored
from scwhatif.pl._style import BACKGROUND, OKABE_ITO, TEXT, finish, panels, plain_log

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from matplotlib.axes import Axes

_LABELS = {
    "elbo": "held-out ELBO (nats)",
    "elbo_gain": "held-out gain over no code (nats)",
    "reconstruction": "held-out reconstruction loss (nats)",
    "kl": "held-out KL (nats)",
    "n_active": "active dimensions",
    "max_correlation": "largest |correlation|",
    "total_correlation": "total correlation (nats)",
    "auc": "AUC of the best dimension",
    "stability": "stability over seeds",
}
_DEFAULT = ("elbo_gain", "reconstruction", "n_active", "max_correlation", "stability", "auc", "LMS-SMI", "LMS-SPN")
_MARGIN = 1.3
_FAILED = ("total_collapse", "diverged")


def sweep_beta(
    adata: AnnData,
    *,
    metrics: Sequence[str] | None = None,
    key: str = Key.uns.SWEEP_BETA,
    ax: Axes | Sequence[Axes] | None = None,
    show: bool | None = None,
) -> list[Axes]:
    """Draw measures of a sweep against β: a point per fit, and the mean over seeds as a line.

    Totally collapsed fits are crosses. The dotted line is the recommended β.

    Parameters
    ----------
    adata
        After :func:`scwhatif.tl.sweep_beta`.
    metrics
        Columns of its tables, one panel each; ``None`` draws a choice of those that are there.
    key
        Its ``key_added``.
    ax
        As many axes as metrics; ``None`` makes a figure.
    show
        Whether to show the figure; ``None`` shows it where matplotlib is interactive.

    Returns
    -------
    One Axes per metric.

    Raises
    ------
    KeyError
        The sweep was not run under this key, or did not measure a metric.
    ValueError
        There are fewer or more axes than metrics.

    Examples
    --------
    >>> import scwhatif as wi
    >>> adata = wi.datasets.simulate_factors(150, 30, 3, n_cell_types=3, n_batches=1, likelihood="normal")
    >>> wi.tl.sweep_beta(
    ...     adata,
    ...     [1.0, 200.0],
    ...     seeds=1,
    ...     model_kwargs={"n_latent": 3, "gene_likelihood": "normal"},
    ...     train_kwargs={"max_epochs": 20, "batch_size": 32},
    ...     progress=False,
    ... )
    >>> panels = wi.pl.sweep_beta(adata, metrics=["elbo_gain", "n_active"], show=False)
    >>> [panel.get_title(loc="left") for panel in panels]
    ['held-out gain over no code (nats)', 'active dimensions']
    """
    result = stored(adata, key, "recommended_beta", "sweep", "scwhatif.tl.sweep_beta(adata, betas")
    table, summary = result["table"], result["summary"]
    known = [name for name in summary if not name.endswith("_sd") and name != "beta"]
    measured = [name for name in _DEFAULT if name in known and summary[name].notna().any()]
    drawn = measured if metrics is None else list(metrics)
    unknown = [name for name in drawn if name not in known]
    if unknown or not drawn:
        msg = f"metrics={unknown or drawn} are not in adata.uns[{key!r}]; it holds {known}."
        raise KeyError(msg)

    made = panels(ax, len(drawn), "metrics", per_row=4, size=(2.6, 2.2))
    recommended = float(result["recommended_beta"])
    failed = table["verdict"].isin(_FAILED)
    for panel, name in zip(made, drawn, strict=True):
        if np.isfinite(recommended):
            panel.axvline(recommended, color=TEXT, lw=1, ls=":")
        panel.plot(summary["beta"], summary[name], color=OKABE_ITO["blue"], lw=1.5)
        if name in table:
            for rows, marker, color in ((~failed, "o", OKABE_ITO["blue"]), (failed, "x", OKABE_ITO["vermillion"])):
                part = table[rows]
                panel.plot(part["beta"], part[name], ls="", marker=marker, ms=4, color=color, alpha=0.7)
        else:
            panel.plot(summary["beta"], summary[name], ls="", marker="s", ms=4, color=OKABE_ITO["blue"])
        if name == "elbo_gain":
            panel.axhline(0, color=BACKGROUND, lw=1, zorder=0)
        # of all that were tried, also where a measure is missing for some
        panel.set_xlim(summary["beta"].min() / _MARGIN, summary["beta"].max() * _MARGIN)
        plain_log(panel, x=True)
        panel.set_title(_LABELS.get(name, name), loc="left", fontsize="small")
        panel.set_xlabel("β", fontsize="small")
        panel.tick_params(labelsize="small")
        finish(panel, show=False)
    if np.isfinite(recommended):
        made[0].annotate(
            "recommended",
            (recommended, 0.1),
            xycoords=("data", "axes fraction"),
            xytext=(3, 0),
            textcoords="offset points",
            fontsize="x-small",
            color=TEXT,
        )
    finish(made[-1], show)
    return made
