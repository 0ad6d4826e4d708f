"""Plot of a cross-validation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from scwhatif._keys import Key
from scwhatif.pl._stored import stored, stored_rows
from scwhatif.pl._style import OKABE_ITO, TEXT, axes, finish

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from mudata import MuData

_COLORS = {"covariates": OKABE_ITO["green"], "ridge": OKABE_ITO["blue"], "mean": TEXT}
_TITLES = {
    "reconstruction": "reconstruction: the layer itself is visible",
    "imputation": "imputation: all other layers are visible",
    "drivers": "drivers alone are visible",
}
_SPREAD = 0.6
# An interval from few folds may be wider than anything worth drawing.
_BEYOND = 0.3


def cross_validate(
    mdata: MuData,
    *,
    inputs: Literal["reconstruction", "imputation", "drivers"] = "imputation",
    methods: Sequence[str] | None = None,
    key: str = Key.uns.CROSS_VALIDATE,
    ax: Axes | None = None,
    show: bool | None = None,
) -> Axes:
    """Draw the R² of every layer by model and baselines, as means over folds with their intervals.

    The training mean is the line at 0. Intervals are cut off where they go far beyond all means.

    Parameters
    ----------
    mdata
        After :func:`scwhatif.tl.cross_validate`.
    inputs
        What was visible.
    methods
        Model and baselines to draw; ``None`` draws all but ``"mean"``.
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
        The cross-validation was not run under this key, or not with these inputs or methods.

    Examples
    --------
    >>> import scwhatif as wi
    >>> mdata = wi.datasets.simulate_flow(60, n_rna=8, n_protein=6, n_ptm=(5,), n_metabolites=4, fusion_layer=0)
    >>> wi.tl.cross_validate(
    ...     mdata,
    ...     cv=2,
    ...     setup_kwargs={"rna": "rna", "protein": "protein", "ptm": ["ptm_0"], "metabolome": "metabolome"},
    ...     model_kwargs={"n_latent": 2, "n_hidden": 4},
    ...     train_kwargs={"max_epochs": 1},
    ...     progress=False,
    ... )
    >>> ax = wi.pl.cross_validate(mdata, show=False)
    >>> [label.get_text() for label in ax.get_yticklabels()]
    ['rna', 'protein', 'ptm_0', 'metabolome']
    """
    stored(mdata, key, "folds", "cross-validation", "scwhatif.tl.cross_validate(mdata")
    rows = stored_rows(mdata, key, "summary", inputs=inputs)
    known = [str(each) for each in rows["method"].cat.categories if (rows["method"] == each).any()]
    drawn = [each for each in known if each != "mean"] if methods is None else list(methods)
    unknown = [each for each in drawn if each not in known]
    if unknown or not drawn:
        msg = f"methods={unknown or drawn} are not in mdata.uns[{key!r}] for inputs={inputs!r}; it holds {known}."
        raise KeyError(msg)
    layers = list(dict.fromkeys(rows["layer"].astype(str)))

    ax = axes(ax, figsize=(4.8, 0.16 * len(layers) * (len(drawn) + 1) + 1.1))
    offsets = (np.arange(len(drawn)) - (len(drawn) - 1) / 2) * _SPREAD / len(drawn)
    for method, offset in zip(drawn, offsets, strict=True):
        part = rows[rows["method"] == method]
        places = np.array([layers.index(layer) for layer in part["layer"].astype(str)]) + offset
        color = _COLORS.get(method, OKABE_ITO["vermillion"])
        ax.hlines(places, part["low"], part["high"], color=color, lw=1.2, alpha=0.6)
        ax.plot(part["r2"], places, ls="", marker="o", ms=4.5, color=color, label=method)
    ax.axvline(0, color=TEXT, lw=0.8)
    shown = rows[rows["method"].isin(drawn)]
    left = np.nanmax([shown["low"].min(), shown["r2"].min() - _BEYOND])
    right = np.nanmin([shown["high"].max(), shown["r2"].max() + _BEYOND])
    ax.set_xlim(min(left, 0) - 0.02, max(right, 0) + 0.02)
    ax.set_yticks(range(len(layers)), layers)
    ax.set_ylim(len(layers) - 0.5, -0.5)
    ax.tick_params(axis="y", length=0)
    ax.set_xlabel("R² of held-out samples")
    ax.set_title(_TITLES[inputs], loc="left", fontsize="small", pad=20)
    ax.legend(
        frameon=False, fontsize="small", loc="lower left", bbox_to_anchor=(0, 1.0), ncols=len(drawn), borderaxespad=0
    )
    finish(ax, show)
    ax.spines["left"].set_visible(False)
    return ax
