"""Plot of two decoded profiles over each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scwhatif._keys import Key
from scwhatif.pl._profile_axis import profile_axis, stored_profiles, value_label
from scwhatif.pl._style import BACKGROUND, OKABE_ITO, TEXT, axes, finish, plain_log

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

_COLORS = (OKABE_ITO["vermillion"], OKABE_ITO["blue"])
_INTERVAL_LABEL = "95 % interval"


def profile_overlay(
    adata: AnnData,
    states: tuple[str, str] | None = None,
    *,
    x: str | None = None,
    n_top: int = 25,
    key: str = Key.uns.PSEUDO_PROFILES,
    ax: Axes | None = None,
    show: bool | None = None,
) -> Axes:
    """Draw two decoded profiles over each other, with the difference between them in colour.

    Along a numeric axis, such as a wavenumber, the whole profiles are drawn and the area between them is shaded in the
    colour of the state that is higher. Without one, the features that differ most are drawn as two points joined by a
    bar. Where the states were contrasted, a grey band (or line) around the first is the 95 % interval of the
    difference, added to the second.

    Parameters
    ----------
    adata
        After :func:`scwhatif.tl.pseudo_profiles`.
    states
        Names of two states; ``None`` draws those of its ``contrast``.
    x
        Numeric column of ``var``.
    n_top
        Number of features drawn without ``x``.
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
        The profiles were not decoded under this key, do not have such a state, or were not contrasted; there is no
        such column.
    TypeError
        The column ``x`` does not hold numbers.
    ValueError
        ``states`` are other than two different ones.

    Examples
    --------
    >>> import scwhatif as wi
    >>> adata = wi.datasets.simulate_factors(100, 50, 4)
    >>> wi.model.BetaLinearSCVI.setup_anndata(adata)
    >>> model = wi.model.BetaLinearSCVI(adata, n_latent=3, seed=0)
    >>> model.train(max_epochs=1, seed=0, enable_progress_bar=False)
    >>> wi.tl.pseudo_profiles(adata, model, "cell_type", contrast=("type_1", "type_0"), n_samples=20)
    >>> ax = wi.pl.profile_overlay(adata, n_top=10, show=False)
    >>> [text.get_text() for text in ax.get_legend().get_texts()]
    ['type_1', 'type_0', '95 % interval']
    """
    result = stored_profiles(adata, key)
    contrasted = [str(name) for name in result[Key.uns.PARAMS].get("contrast", ())]
    first, second = _chosen(states, contrasted, list(result["states"].index), key)
    names = list(result["states"].index)
    profiles = np.asarray(adata.varm[key], dtype=np.float64)[:, [names.index(first), names.index(second)]].T
    params = result[Key.uns.PARAMS]
    pseudo_count = params.get("pseudo_count")
    interval = None
    if "contrast" in result and {first, second} == set(contrasted):
        table = result["contrast"].loc[adata.var_names]
        interval = _interval(table, profiles[1], pseudo_count, flip=contrasted[0] == second)
    if x is None:
        ax = _dumbbells(adata.var_names, profiles, interval, (first, second), n_top, pseudo_count, ax)
        ax.set_xlabel(value_label(params))
    else:
        positions, order = profile_axis(adata, x)
        ax = _area(positions, profiles[:, order], None if interval is None else interval[:, order], (first, second), ax)
        ax.set_xlabel(x)
        ax.set_ylabel(value_label(params))
    return finish(ax, show)


def _chosen(states: tuple[str, str] | None, contrasted: list[str], known: list[str], key: str) -> tuple[str, str]:
    if states is None and not contrasted:
        msg = (
            f"adata.uns[{key!r}] holds no contrast: name two of {known} as states, or run "
            f"scwhatif.tl.pseudo_profiles(adata, model, groupby, contrast=(…, …), key_added={key!r})."
        )
        raise KeyError(msg)
    chosen = contrasted if states is None else list(states)
    if isinstance(states, str) or len(chosen) != 2 or chosen[0] == chosen[1]:
        msg = f"states={states!r} must be two different states."
        raise ValueError(msg)
    unknown = [state for state in chosen if state not in known]
    if unknown:
        msg = f"states={unknown} are not in adata.uns[{key!r}]; it holds {known}."
        raise KeyError(msg)
    return chosen[0], chosen[1]


def _interval(
    contrast: pd.DataFrame, second: NDArray[np.float64], pseudo_count: float | None, *, flip: bool
) -> NDArray[np.float64]:
    """Between what the first profile is, given the second and the interval of their difference, ``(2, n_vars)``."""
    bounds = contrast[["lower", "upper"]].to_numpy().T
    if flip:
        bounds = -bounds[::-1]
    if pseudo_count is None:
        return second + bounds
    return ((second + pseudo_count) * 2**bounds - pseudo_count).clip(min=0)


def _area(
    positions: NDArray[np.float64],
    profiles: NDArray[np.float64],
    interval: NDArray[np.float64] | None,
    names: tuple[str, str],
    ax: Axes | None,
) -> Axes:
    """Whole profiles, the area between them shaded."""
    first, second = profiles
    ax = axes(ax, figsize=(6.0, 3.2))
    for color, higher in zip(_COLORS, (first >= second, second >= first), strict=True):
        ax.fill_between(
            positions, first, second, where=higher.tolist(), interpolate=True, color=color, alpha=0.25, lw=0
        )
    for profile, name, color in zip(profiles, names, _COLORS, strict=True):
        ax.plot(positions, profile, color=color, lw=1.3, label=name)
    if interval is not None:
        ax.fill_between(positions, *interval, color=TEXT, alpha=0.3, lw=0, label=_INTERVAL_LABEL)
    ax.margins(x=0)
    ax.legend(frameon=False, fontsize="small")
    return ax


def _dumbbells(
    features: pd.Index,
    profiles: NDArray[np.float64],
    interval: NDArray[np.float64] | None,
    names: tuple[str, str],
    n_top: int,
    pseudo_count: float | None,
    ax: Axes | None,
) -> Axes:
    """Features that differ most, each as two points and a bar."""
    shown = profiles if pseudo_count is None else np.log2(profiles + pseudo_count)
    difference = shown[0] - shown[1]
    top = np.argsort(-np.abs(difference), kind="stable")[:n_top]
    top = top[np.argsort(-difference[top], kind="stable")]
    rows = np.arange(len(top))
    ax = axes(ax, figsize=(5.4, 0.2 * len(top) + 1.2))
    colors = [_COLORS[0] if each >= 0 else _COLORS[1] for each in difference[top]]
    ax.hlines(rows, *profiles[:, top], color=colors, alpha=0.3, lw=5)
    for profile, name, color in zip(profiles, names, _COLORS, strict=True):
        ax.scatter(profile[top], rows, s=22, color=color, label=name, zorder=3, lw=0)
    if interval is not None:
        ax.hlines(rows, *interval[:, top], color=TEXT, lw=1.2, zorder=4, label=_INTERVAL_LABEL)
    ax.set_yticks(rows, features[top], fontsize=8)
    ax.set_ylim(len(top) - 0.4, -0.6)
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="x", color=BACKGROUND, lw=0.4, alpha=0.5)
    ax.set_axisbelow(True)
    if pseudo_count is not None:
        plain_log(ax, x=True)
    ax.legend(frameon=False, fontsize="small", loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return ax
