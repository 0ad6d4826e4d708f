"""Cells moved through latent space by hand."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from scwhatif._keys import Key
from scwhatif._provenance import params
from scwhatif.tl._axis import check_space, positions
from scwhatif.tl._decoded_change import check_readout, decoded_readout
from scwhatif.tl._gaussian_posterior import factorised_posterior
from scwhatif.tl._latent_change import CellGroups, latent_change, write_change
from scwhatif.tl._latent_state import OBSERVED_QUANTILES, checked_decoder

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import ArrayLike, NDArray
    from scvi.model.base import BaseModelClass

    from scwhatif.perturbation import Perturbation


def latent_edit(
    adata: AnnData,
    model: BaseModelClass,
    edit: Perturbation | str,
    *,
    step: float = 1.0,
    cells: ArrayLike | None = None,
    clamp: bool = True,
    decode: bool = True,
    groupby: str | None = None,
    n_top: int = 25,
    layer_added: str | None = None,
    axis_key: str = Key.uns.AXIS,
    seed: int = 0,
    key_added: str = Key.uns.LATENT_EDIT,
    progress: bool = True,
    copy: bool = False,
) -> AnnData | None:
    """Move the codes of cells along an axis or dimension, and decode what they would express there.

    This is the latent arithmetic of scGen :cite:p:`Lotfollahi2019`: along the axis from one state to another, every
    cell keeps what sets it apart and changes what sets the states apart. That the decoder has something to say about
    a place does not mean that it has seen cells there, so a step is kept within the observed range of its direction,
    and cells that end up away from all others are flagged.

    Parameters
    ----------
    adata
        The model's data, or data like it.
    model
        A trained model of the scvi-tools kind that :func:`scwhatif.tl.decode` decodes.
    edit
        Name of an axis from :func:`scwhatif.tl.axis` in the model's latent space, or a
        :class:`scwhatif.Perturbation` of latent dimensions such as ``"z3:+2"``.
    step
        How far: 1 is the whole way from the centre of one state to that of the other, or the whole edit; -1 leads
        back.
    cells
        Which cells to move: one truth value per cell, such as ``adata.obs["condition"] == "control"``, or names of
        cells. ``None`` moves all.
    clamp
        Whether a move ends where 99 % of the cells end, at the 0.5 % or 99.5 % quantile along its direction. Cells
        beyond it are not moved back.
    decode, groupby, n_top, layer_added, seed, progress
        As in :func:`scwhatif.tl.perturb`.
    axis_key
        ``key_added`` of :func:`scwhatif.tl.axis`.
    key_added
        Prefix of everything written.
    copy
        Whether to return a copy instead of writing into ``adata``.

    Returns
    -------
    ``None``, or the copy, with the same as :func:`scwhatif.tl.perturb` writes under its key:

    ``obsm["latent_edit_shift"]`` : array (``n_obs`` × ``n_latent``), float32
        The move; exactly 0 for cells that are not moved.
    ``obs["latent_edit_norm"]``, ``obs["latent_edit_distance"]``, ``obs["latent_edit_kl"]`` : float64
        Its length, plainly, in the cell's own posterior standard deviations, and as a divergence in nats.
    ``obs["latent_edit_outlier"]`` : bool
        Whether the new code lies out of distribution.
    ``layers[layer_added]`` : array (``n_obs`` × ``n_vars``), float32
        Only with ``layer_added``: what the model expects of every cell after.
    ``uns["latent_edit"]["by_group"]``, ``uns["latent_edit"]["genes"]`` : DataFrame
        What happened to groups of cells, and which features change most (with ``decode``).
    ``uns["latent_edit"]["params"]`` : dict
        Arguments, ``clamped_share`` (of the moved cells, those that would have left the observed range),
        ``pseudo_count``, ``outlier_threshold``, versions, model class and hash of its weights.

    Raises
    ------
    KeyError
        There is no such axis, cell or column.
    TypeError
        The model cannot be decoded from a latent code, or has no Gaussian posterior.
    ValueError
        The axis lies in another space than the model's; the edit moves nothing or is one of features; ``cells`` names
        none; the model is not trained; ``adata`` has other features; a setting is out of range.

    Examples
    --------
    >>> import scwhatif as wi
    >>> adata = wi.datasets.simulate_factors(200, 50, 4)
    >>> wi.model.BetaLinearSCVI.setup_anndata(adata)
    >>> model = wi.model.BetaLinearSCVI(adata, n_latent=3, seed=0)
    >>> model.train(max_epochs=20, batch_size=32, seed=0, enable_progress_bar=False)
    >>> adata.obsm["X_wi"] = model.get_latent_representation()
    >>> wi.tl.axis(adata, "cell_type", ("type_0", "type_1"))
    >>> start = adata.obs["cell_type"] == "type_0"
    >>> wi.tl.latent_edit(adata, model, "type_0_to_type_1", cells=start, progress=False)
    >>> bool((adata.obs["latent_edit_norm"] > 0).sum() == start.sum())
    True
    """
    from scvi.utils import track

    check_readout(n_top, decode=decode, layer_added=layer_added)
    if not (np.isfinite(step) and step != 0):
        msg = f"step={step} must be finite and other than 0."
        raise ValueError(msg)
    chosen = _chosen(adata, cells)
    decoder = checked_decoder(adata, model)
    direction = _direction(adata, edit, axis_key, decoder.plan.n_latent)
    groups = CellGroups.read(adata, groupby)
    posterior = factorised_posterior(model, adata)
    if isinstance(direction, _AxisMove):
        check_space(adata, direction.name, direction.found, posterior.mean @ posterior.rotation)
    move = _Move(direction, step, chosen, clamp=clamp)
    change = latent_change(posterior, None, move)
    if not change.changed.any():
        msg = f"edit={str(edit)!r} with step={step:g} moves no cell: all stand where it leads or end where others end."
        raise ValueError(msg)
    result: dict[str, Any] = {}
    decoded = None
    if decode:
        result["genes"], decoded = decoded_readout(
            adata,
            model,
            decoder,
            change,
            groups,
            columns=np.zeros(0, dtype=np.int64),
            n_top=n_top,
            keep_cells=layer_added is not None,
            track=partial(track, description="Decoding", disable=not progress),
        )

    target = adata.copy() if copy else adata
    result["by_group"], outliers = write_change(target, key_added, change, groups, seed=seed)
    if layer_added is not None and decoded is not None:
        target.layers[layer_added] = decoded.cells
    recorded = params(
        model,
        edit=str(edit),
        step=step,
        n_cells=int(chosen.sum()),
        clamp=clamp,
        clamped_share=move.clamped_share,
        decode=decode,
        groupby=groupby,
        n_top=n_top,
        layer_added=layer_added,
        axis_key=axis_key if isinstance(direction, _AxisMove) else None,
        seed=seed,
        pseudo_count=None if decoded is None else decoded.pseudo_count,
        **outliers,
    )
    target.uns[key_added] = {Key.uns.PARAMS: recorded, **result}
    return target if copy else None


def _chosen(adata: AnnData, cells: ArrayLike | None) -> NDArray[np.bool_]:
    """Which cells to move."""
    if cells is None:
        return np.ones(adata.n_obs, dtype=bool)
    given = np.asarray(cells)
    if given.dtype == bool:
        if given.shape != (adata.n_obs,):
            msg = f"cells holds {given.shape} truth values; one for each of the {adata.n_obs} cells is needed."
            raise ValueError(msg)
        chosen = given
    else:
        unknown = [name for name in given.ravel().tolist() if name not in adata.obs_names]
        if unknown:
            msg = f"cells={unknown[:5]} are not in adata.obs_names."
            raise KeyError(msg)
        chosen = np.asarray(adata.obs_names.isin(given.ravel().tolist()))
    if not chosen.any():
        msg = "cells names none; pass None to move all."
        raise ValueError(msg)
    return chosen


def _direction(adata: AnnData, edit: Perturbation | str, axis_key: str, n_latent: int) -> _AxisMove | _DimensionMove:
    from scwhatif.perturbation import Perturbation, PerturbationSyntaxError

    known = adata.uns.get(axis_key, {})
    if isinstance(edit, str) and edit in known:
        return _AxisMove(edit, known[edit])
    try:
        spec = Perturbation.coerce(edit)
    except PerturbationSyntaxError as error:
        msg = (
            f"edit={edit!r} is neither an axis in adata.uns[{axis_key!r}], which holds {list(known)}, nor an edit of a "
            "latent dimension such as 'z3:+2'. Axes are made by scwhatif.tl.axis."
        )
        raise KeyError(msg) from error
    if spec.kinds != ("latent",):
        msg = (
            f"edit={str(spec)!r} must move latent dimensions and nothing else; scwhatif.tl.perturb carries out others."
        )
        raise ValueError(msg)
    return _DimensionMove(spec, np.unique([dim for dim, _ in spec.latent_edits(n_latent)]))


@dataclass(frozen=True, eq=False)
class _AxisMove:
    """Positions along an axis."""

    name: str
    found: dict[str, Any]

    def at(self, z: NDArray[np.float64]) -> NDArray[np.float64]:
        return positions(z, self.found)[:, None]

    def wanted(self, z: NDArray[np.float64], step: float) -> NDArray[np.float64]:
        return self.at(z) + step

    def back(self, z: NDArray[np.float64], moved: NDArray[np.float64]) -> NDArray[np.float64]:
        return z + (moved - self.at(z)) * np.asarray(self.found["vector"])


@dataclass(frozen=True, eq=False)
class _DimensionMove:
    """Values of some dimensions."""

    spec: Perturbation
    dims: NDArray[np.int64]

    def at(self, z: NDArray[np.float64]) -> NDArray[np.float64]:
        return z[:, self.dims]

    def wanted(self, z: NDArray[np.float64], step: float) -> NDArray[np.float64]:
        return self.at(z) + step * (self.spec.apply_latent(z) - z)[:, self.dims]

    def back(self, z: NDArray[np.float64], moved: NDArray[np.float64]) -> NDArray[np.float64]:
        there = z.copy()
        there[:, self.dims] = moved
        return there


class _Move:
    """A step of some cells along a direction, within what was observed of it."""

    def __init__(
        self, direction: _AxisMove | _DimensionMove, step: float, chosen: NDArray[np.bool_], *, clamp: bool
    ) -> None:
        self.direction, self.step, self.chosen, self.clamp = direction, step, chosen, clamp
        self.clamped_share = 0.0

    def __call__(self, z: NDArray[np.float64]) -> NDArray[np.float64]:
        now = self.direction.at(z)
        wanted = self.direction.wanted(z, self.step)
        moved = wanted
        if self.clamp:
            low, high = np.quantile(now, OBSERVED_QUANTILES, axis=0)
            moved = np.clip(wanted, np.minimum(low, now), np.maximum(high, now))
            self.clamped_share = float((moved != wanted).any(axis=1)[self.chosen].mean())
        return np.where(self.chosen[:, None], self.direction.back(z, moved), z)
