"""What changes along one latent dimension or axis."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from scwhatif._keys import Key
from scwhatif._provenance import params
from scwhatif.tl._axis import check_space, positions
from scwhatif.tl._latent_state import (
    OBSERVED_QUANTILES,
    change,
    change_name,
    check_decodable,
    dimension_positions,
    fold_pseudo_count,
    neutral_positions,
    posterior_means,
    reference_code,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from anndata import AnnData
    from numpy.typing import NDArray
    from scvi.model.base import BaseModelClass


# Of the largest value of a feature: what float32 rounds away is no change of direction.
_TOLERANCE = 1e-6


def traverse(
    adata: AnnData,
    model: BaseModelClass,
    dim: str | int,
    *,
    n_steps: int = 9,
    quantiles: tuple[float, float] = OBSERVED_QUANTILES,
    reference: Literal["mean", "zero"] = "mean",
    neutral: str | int | Sequence[str | int] | None = None,
    use_rep: str | None = None,
    library_size: float = 1e4,
    batch: str | Sequence[str] | None = None,
    covariates: Mapping[str, Any] | None = None,
    n_top: int = 25,
    axis_key: str = Key.uns.AXIS,
    key_added: str = Key.uns.TRAVERSE,
    copy: bool = False,
) -> AnnData | None:
    """Move one latent dimension, or along an axis, through the observed range and decode every step.

    All other dimensions stay at the reference. The ends are quantiles of the posterior means, so a step never leaves
    what was observed of this dimension; where it is correlated with others, the combination may still be one that no
    cell has. To decode beyond, name the values to :func:`scwhatif.tl.pseudo_profiles`, which flags them.

    Parameters
    ----------
    adata
        The model's data, or data like it.
    model
        A trained model of the scvi-tools kind that :func:`scwhatif.tl.decode` decodes.
    dim
        The dimension, as ``"z3"`` or 3; or the name of an axis from :func:`scwhatif.tl.axis` in the model's latent
        space, whose values are positions from 0, its first state, to 1, its second.
    n_steps
        Number of steps, equally spaced.
    quantiles
        Where the first and the last step stand among the cells; (0, 1) is the full range.
    reference
        Where the other dimensions are held: at their ``"mean"`` over the cells, or at ``"zero"``, the mean of the
        prior.
    neutral
        Dimensions held at 0 in any case, such as those that carry technical variation.
    use_rep
        Key of ``obsm`` with the posterior means; ``None`` takes them from the model.
    library_size
        Total counts of the profiles; ignored for continuous features.
    batch, covariates
        As in :func:`scwhatif.tl.decode`. Decoded for one batch, log-rates are linear in the
        dimension up to the constant that normalises over genes; averaged over several, they are so but nearly.
    n_top
        Number of features listed.
    key_added
        Key of ``varm`` and ``uns`` to write to.
    axis_key
        ``key_added`` of :func:`scwhatif.tl.axis`.
    copy
        Whether to return a copy instead of writing into ``adata``.

    Returns
    -------
    ``None``, or the copy, with

    ``varm["traverse"]`` : array (``n_vars`` × ``n_steps``), float32
        Expected counts at ``library_size``, or expected values of continuous features, from the low to the high end.
    ``uns["traverse"]["steps"]`` : DataFrame
        One row per step: ``value``; ``quantile`` (share of cells at or below it); ``n_cells`` (for which it is the
        nearest step, which says how well the step is supported).
    ``uns["traverse"]["top"]`` : DataFrame
        The ``n_top`` features that move most, first the one with the largest ``span``: ``gene``; ``first``, ``last``
        (its values at both ends); ``log2_fold_change`` from the first to the last with one count in ten thousand
        added to both (``difference`` for continuous features); ``span`` (largest minus smallest over the steps, in
        the same unit); ``monotone`` (bool).
    ``uns["traverse"]["monotone_fraction"]`` : float
        Share of the features that never turn back along the way.
    ``uns["traverse"]["params"]`` : dict
        Arguments, ``pseudo_count`` (what is added to counts), versions, model class and hash of its weights.

    Raises
    ------
    KeyError
        The dimension or axis, representation, batch or category does not exist.
    TypeError
        The model cannot be decoded from a latent code.
    ValueError
        Quantiles outside 0 to 1 or out of order; fewer than two steps; a dimension that is neutral, or the same in
        all cells; a setting out of range; other features than the model's; a representation of another width than the
        model's, or an axis in another.

    Examples
    --------
    >>> import scwhatif as wi
    >>> adata = wi.datasets.simulate_factors(100, 50, 4)
    >>> wi.model.BetaLinearSCVI.setup_anndata(adata)
    >>> model = wi.model.BetaLinearSCVI(adata, n_latent=3, seed=0)
    >>> model.train(max_epochs=1, seed=0, enable_progress_bar=False)
    >>> wi.tl.traverse(adata, model, "z0", n_steps=5)
    >>> adata.varm["traverse"].shape, int(adata.uns["traverse"]["steps"]["n_cells"].sum())
    ((50, 5), 100)
    """
    decoder = check_decodable(adata, model, reference=reference, library_size=library_size)
    _check_settings(n_steps, quantiles, n_top)
    z = posterior_means(adata, model, use_rep)
    line = _line(adata, dim, axis_key, z)
    held = neutral_positions(neutral, line.moved, z.shape[1])
    low, high = np.quantile(line.of(z), quantiles)
    if not low < high:
        msg = (
            f"{line.name} is {low:.4g} at both ends of quantiles={tuple(quantiles)}: there is no range to move it "
            "through."
        )
        raise ValueError(msg)
    values = np.linspace(low, high, n_steps)
    origin = reference_code(z, reference, held)
    codes = origin + (values - line.of(origin))[:, None] * line.vector
    codes[:, held] = 0.0
    profiles = decoder.decode(codes, library_size=library_size, batch=batch, covariates=covariates).to_numpy().T
    monotone = _monotone(profiles)
    pseudo_count = fold_pseudo_count(decoder, library_size)

    target = adata.copy() if copy else adata
    target.varm[key_added] = profiles
    target.uns[key_added] = {
        Key.uns.PARAMS: params(
            model,
            dim=line.name,
            n_steps=n_steps,
            quantiles=[float(each) for each in quantiles],
            reference=reference,
            neutral=[f"z{k}" for k in held],
            use_rep=use_rep,
            library_size=library_size,
            batch=batch,
            covariates=None if covariates is None else dict(covariates),
            n_top=n_top,
            axis_key=None if line.moved else axis_key,
            pseudo_count=pseudo_count,
        ),
        "steps": _steps(line.of(z), values),
        "top": _top(profiles, monotone, adata.var_names, n_top, pseudo_count),
        "monotone_fraction": float(monotone.mean()),
    }
    return target if copy else None


def _check_settings(n_steps: int, quantiles: tuple[float, float], n_top: int) -> None:
    if n_steps < 2 or n_top < 1:
        msg = f"n_steps={n_steps} must be at least 2, and n_top={n_top} at least 1."
        raise ValueError(msg)
    if len(quantiles) != 2 or not 0 <= quantiles[0] < quantiles[1] <= 1:
        msg = (
            f"quantiles={quantiles!r} must be two numbers from 0 to 1, the lower first: a dimension is moved through "
            "its observed range only. To decode beyond it, use scwhatif.tl.pseudo_profiles(adata, model, dims=…, "
            "values=…)."
        )
        raise ValueError(msg)


@dataclass(frozen=True, eq=False)
class _Line:
    """A straight way through latent space, and where codes stand along it."""

    name: str
    moved: list[int]
    vector: NDArray[np.float64]
    of: Callable[[NDArray[np.float64]], NDArray[np.float64]]


def _line(adata: AnnData, dim: str | int, axis_key: str, z: NDArray[np.float64]) -> _Line:
    axes = adata.uns.get(axis_key, {})
    if isinstance(dim, str) and dim in axes:
        check_space(adata, dim, axes[dim], z)
        return _Line(dim, [], np.asarray(axes[dim]["vector"]), partial(positions, found=axes[dim]))
    (j,) = dimension_positions([dim], z.shape[1], "dim")
    return _Line(f"z{j}", [j], np.eye(z.shape[1])[j], lambda codes: codes[..., j])


def _steps(z: NDArray[np.float64], values: NDArray[np.float64]) -> pd.DataFrame:
    nearest = np.searchsorted((values[1:] + values[:-1]) / 2, z)
    return pd.DataFrame(
        {
            "value": values,
            "quantile": np.searchsorted(np.sort(z), values, side="right") / len(z),
            "n_cells": np.bincount(nearest, minlength=len(values)),
        },
        index=[str(step) for step in range(len(values))],
    )


def _monotone(profiles: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Which features never turn back along the steps."""
    tolerance = _TOLERANCE * np.abs(profiles).max(axis=1, keepdims=True)
    ways = np.diff(profiles, axis=1)
    return np.all(ways >= -tolerance, axis=1) | np.all(ways <= tolerance, axis=1)


def _top(
    profiles: NDArray[np.float32],
    monotone: NDArray[np.bool_],
    features: pd.Index,
    n_top: int,
    pseudo_count: float | None,
) -> pd.DataFrame:
    """Features that move most."""
    first, last = profiles[:, 0], profiles[:, -1]
    span = change(profiles.max(axis=1), profiles.min(axis=1), pseudo_count)
    top = np.argsort(-span, kind="stable")[:n_top]
    return pd.DataFrame(
        {
            "gene": np.asarray(features, dtype=object)[top],
            "first": first[top],
            "last": last[top],
            change_name(pseudo_count): change(last, first, pseudo_count)[top],
            "span": span[top],
            "monotone": monotone[top],
        },
        index=[str(rank) for rank in range(len(top))],
    )
