"""Where the decoder leads when one gene is to rise or fall."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from scwhatif._keys import Key
from scwhatif._provenance import params
from scwhatif.tl._edited_cells import encode_edited
from scwhatif.tl._latent_change import CellGroups
from scwhatif.tl._latent_state import (
    change,
    change_name,
    check_decodable,
    fold_pseudo_count,
    posterior_means,
)
from scwhatif.tl._training_cloud import TrainingCloud

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anndata import AnnData
    from numpy.typing import NDArray
    from scvi.model.base import BaseModelClass

    from scwhatif.model._decoder import Decoder

# Below this slope there is no direction to follow.
_FLAT = 1e-8


def decoder_flow(
    adata: AnnData,
    model: BaseModelClass,
    gene: str,
    *,
    direction: Literal["up", "down"] = "up",
    n_steps: int = 20,
    step: float = 0.1,
    groupby: str | None = None,
    use_rep: str | None = None,
    library_size: float = 1e4,
    batch: str | Sequence[str] | None = None,
    covariates: Mapping[str, Any] | None = None,
    n_top: int = 25,
    compare: bool = True,
    seed: int = 0,
    key_added: str = Key.uns.DECODER_FLOW,
    copy: bool = False,
) -> AnnData | None:
    r"""Follow the steepest way through latent space along which one gene rises or falls, and see what moves with it.

    An encoder tells what state a cell without the gene would be taken for; the decoder tells through which states the
    gene changes :cite:p:`Bjerregaard2025`. From the centroid of each group every step goes along

    .. math::
        \pm \frac{\nabla_z \log \mu_g(z)}{\lVert \nabla_z \log \mu_g(z) \rVert}

    (:math:`\mu_g` itself for continuous features), so genes that the model ties to this one move with it. The way ends
    where it would leave the cloud of cells; a centroid that lies in a gap between cells is replaced by the cell nearest
    to it. Also genes that encoder and decoder read differently are found: with ``compare``, the gene is knocked out in
    the cells of the group, and what decodes from *their* shift is compared.

    Parameters
    ----------
    adata
        The model's data, or data like it.
    model
        A trained model of the scvi-tools kind that :func:`scwhatif.tl.decode` decodes.
    gene
        The gene to move.
    direction
        ``"up"`` or ``"down"``.
    n_steps
        Largest number of steps.
    step
        Length of each, in latent units.
    groupby
        Column of ``obs`` from the centroids of whose groups to start; ``None`` starts from that of all cells.
    use_rep
        Key of ``obsm`` with the posterior means; ``None`` takes them from the model.
    library_size
        Total counts of the profiles; ignored for continuous features.
    batch, covariates
        As in :func:`scwhatif.tl.decode`.
    n_top
        Number of genes listed per group.
    compare
        Whether to compare with the knockout of the gene. It needs the counts, and nothing else does; continuous
        features have no knockout to compare with.
    seed
        Of the cells that stand for the cloud, where there are more than 20 000.
    key_added
        Key of ``varm`` and ``uns`` to write to.
    copy
        Whether to return a copy instead of writing into ``adata``.

    Returns
    -------
    ``None``, or the copy, with

    ``varm["decoder_flow"]`` : array (``n_vars`` × groups), float32
        Change of every feature from the start to the end of the way, in the order of ``by_group``: log2 fold change
        with one count in ten thousand added to both (difference for continuous features).
    ``uns["decoder_flow"]["path"]`` : DataFrame
        One row per group and step, the start being step 0: ``group`` (category), ``step``, ``expression`` (of the
        gene), ``slope`` (length of the gradient: change of its log, or of itself, per latent unit),
        ``cloud_distance`` (to the nearest cells, 1 where the cloud ends), and the latent code, one column per
        dimension.
    ``uns["decoder_flow"]["genes"]`` : DataFrame
        The gene itself, then the ``n_top`` others that change most: ``group`` (category), ``gene``, ``before``,
        ``after``, ``log2_fold_change`` (``difference``).
    ``uns["decoder_flow"]["by_group"]`` : DataFrame
        One row per group (category; ``"all"`` without ``groupby``): ``n_cells``; ``start``
        (``"centroid"``, or ``"cell"`` for the one nearest to a centroid outside the cloud); ``n_steps`` taken;
        ``stopped``
        (``"steps"``: as many as were asked for; ``"outside"``: the next would leave the cloud; ``"flat"``: no
        slope); ``log2_fold_change`` of the gene (``difference``); and with ``compare`` ``n_knocked_out`` (cells that
        express it), ``knockout_cosine`` (of the way with the mean shift of the knockout, turned round for ``"up"``),
        ``agreement`` (rank correlation, over all other genes, of what decodes from both) and ``disagrees`` (bool:
        ``agreement`` is not above 0). Without such cells, the last but one are NaN.
    ``uns["decoder_flow"]["params"]`` : dict
        Arguments, ``pseudo_count``, ``outlier_threshold`` (where the cloud ends), versions, model class and hash of
        its weights.

    Raises
    ------
    KeyError
        The gene, column, representation, batch or category does not exist.
    TypeError
        The model cannot be decoded from a latent code.
    ValueError
        A setting is out of range; other features than the model's; a representation of another width than the
        model's; the data are minified and ``compare`` is wanted.

    Examples
    --------
    >>> import scwhatif as wi
    >>> adata = wi.datasets.simulate_factors(100, 50, 4)
    >>> wi.model.BetaLinearSCVI.setup_anndata(adata)
    >>> model = wi.model.BetaLinearSCVI(adata, n_latent=3, seed=0)
    >>> model.train(max_epochs=20, seed=0, enable_progress_bar=False)
    >>> wi.tl.decoder_flow(adata, model, "gene_3", n_steps=5)
    >>> path = adata.uns["decoder_flow"]["path"]
    >>> bool(path["expression"].is_monotonic_increasing)
    True
    """
    from scwhatif.perturbation import Perturbation

    decoder = check_decodable(adata, model, reference="mean", library_size=library_size)
    _check_settings(direction, n_steps, step, n_top)
    knockout = Perturbation.knockout(gene)
    ((target, _),) = knockout.feature_edits(adata.var_names)
    groups = CellGroups.read(adata, groupby)
    z = posterior_means(adata, model, use_rep)
    fields = decoder.fields(batch, covariates)
    names = groups.names if groupby is None else groups.names[1:]
    n_cells = groups.sizes[-len(names) :]
    cloud = TrainingCloud.fit(z, seed)
    start, is_cell = _starts(z, (groups.sums(z) / groups.sizes[:, None])[-len(names) :], cloud)
    climb = _Climb(decoder, fields, target, 1 if direction == "up" else -1, step)
    flow = climb.follow(start, cloud, n_steps)

    def profile(codes: NDArray[np.float64]) -> NDArray[np.float64]:
        decoded = decoder.decode(codes, library_size=library_size, batch=batch, covariates=covariates)
        return decoded.to_numpy().astype(np.float64)

    pseudo_count = fold_pseudo_count(decoder, library_size)
    end = np.stack([flow.codes[flow.n_taken[i], i] for i in range(len(names))])
    before, after = profile(start), profile(end)
    by = change(after, before, pseudo_count)
    table = pd.DataFrame(
        {
            "group": pd.Categorical(names, categories=names),
            "n_cells": n_cells,
            "start": np.where(is_cell, "cell", "centroid").astype(object),
            "n_steps": flow.n_taken,
            "stopped": np.array(flow.stopped, dtype=object),
            change_name(pseudo_count): by[:, target],
        },
        index=[str(i) for i in range(len(names))],
    )
    if compare and decoder.plan.log_link:
        n_changed, shift = _mean_knockout(adata, model, knockout, groups, len(names))
        lost = change(profile(start + shift), before, pseudo_count)
        others = np.arange(adata.n_vars) != target
        table["n_knocked_out"] = n_changed
        table["knockout_cosine"] = climb.sign * -_cosines(end - start, shift)
        table["agreement"] = climb.sign * -_rank_correlations(by[:, others], lost[:, others])
        table["disagrees"] = table["agreement"] <= 0

    path = _path_table(flow, names, np.stack([profile(codes)[:, target] for codes in flow.codes]))
    result = adata.copy() if copy else adata
    result.varm[key_added] = by.T.astype(np.float32)
    result.uns[key_added] = {
        Key.uns.PARAMS: params(
            model,
            gene=gene,
            direction=direction,
            n_steps=n_steps,
            step=step,
            groupby=groupby,
            use_rep=use_rep,
            library_size=library_size,
            batch=batch,
            covariates=None if covariates is None else dict(covariates),
            n_top=n_top,
            compare=compare,
            seed=seed,
            pseudo_count=pseudo_count,
            outlier_threshold=cloud.threshold,
        ),
        "path": path,
        "genes": _gene_table(before, after, by, names, adata.var_names, target, n_top, change_name(pseudo_count)),
        "by_group": table,
    }
    return result if copy else None


def _check_settings(direction: str, n_steps: int, step: float, n_top: int) -> None:
    if direction not in ("up", "down"):
        msg = f"direction={direction!r} must be 'up' or 'down'."
        raise ValueError(msg)
    if n_steps < 1 or n_top < 1 or not (np.isfinite(step) and step > 0):
        msg = f"n_steps={n_steps} and n_top={n_top} must be at least 1, and step={step} above 0."
        raise ValueError(msg)


def _starts(
    z: NDArray[np.float64], centroids: NDArray[np.float64], cloud: TrainingCloud
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Centroids, or the cells nearest to those outside the cloud, and which are cells."""
    is_cell = cloud.outside(centroids)
    nearest = cloud.cells[cloud.neighbors.kneighbors(centroids, 1, return_distance=False)[:, 0]]
    return np.where(is_cell[:, None], z[nearest], centroids), is_cell


@dataclass(frozen=True, eq=False)
class _Flow:
    """Ways from several starts; one that has ended stays where it ended."""

    codes: NDArray[np.float64]  # (n_steps + 1, n_starts, n_latent)
    slopes: NDArray[np.float64]  # (n_steps + 1, n_starts)
    distances: NDArray[np.float64]  # (n_steps + 1, n_starts), 1 where the cloud ends
    n_taken: NDArray[np.int64]
    stopped: list[str]


@dataclass(frozen=True, eq=False)
class _Climb:
    """Steps along the gradient of one feature."""

    decoder: Decoder
    fields: list[dict[str, Any]]
    target: int
    sign: int
    step: float

    def gradient(self, z: NDArray[np.float64]) -> NDArray[np.float64]:
        """Of the feature's logarithm, or of itself if continuous, mean over batches."""
        import torch

        codes = torch.from_numpy(z.astype(np.float32)).requires_grad_()
        predicted = torch.stack([self.decoder.plan.predictor(codes, 1.0, fields) for fields in self.fields])
        (gradient,) = torch.autograd.grad(predicted.mean(0)[:, self.target].sum(), codes)
        return gradient.cpu().numpy().astype(np.float64)

    def follow(self, start: NDArray[np.float64], cloud: TrainingCloud, n_steps: int) -> _Flow:
        codes = start.copy()
        distance = cloud.distances(codes) / cloud.threshold
        # a cell may lie apart from the others: from there a way may lead, but not further out
        allowed = np.maximum(distance, 1.0)
        gradient = self.gradient(codes)
        slope = np.linalg.norm(gradient, axis=1)
        n_taken = np.zeros(len(start), dtype=np.int64)
        stopped = ["steps"] * len(start)
        moving = np.ones(len(start), dtype=bool)
        trace = [(codes.copy(), slope, distance)]
        for _ in range(n_steps):
            flat = moving & (slope < _FLAT)
            unit = gradient / np.maximum(slope, _FLAT)[:, None]
            there = codes + self.sign * self.step * unit
            reached = cloud.distances(there) / cloud.threshold
            outside = moving & ~flat & (reached > allowed)
            for reason, ended in (("flat", flat), ("outside", outside)):
                for i in np.flatnonzero(ended):
                    stopped[i] = reason
            moving &= ~(flat | outside)
            codes = np.where(moving[:, None], there, codes)
            distance = np.where(moving, reached, distance)
            gradient = self.gradient(codes)
            slope = np.linalg.norm(gradient, axis=1)
            n_taken += moving
            trace.append((codes.copy(), slope, distance))
        steps, slopes, distances = (np.stack(parts) for parts in zip(*trace, strict=True))
        return _Flow(steps, slopes, distances, n_taken, stopped)


def _mean_knockout(
    adata: AnnData, model: BaseModelClass, knockout: Any, groups: CellGroups, n_names: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Cells that express the gene in each group, and the mean shift over the group when it is knocked out."""
    from scwhatif.tl._gaussian_posterior import factorised_posterior

    rotation = factorised_posterior(model, adata).rotation
    shift = np.zeros((adata.n_obs, len(rotation)))
    changed = np.zeros((adata.n_obs, 1))
    edited = encode_edited(adata, model, knockout, library="original", seed=0)
    shift[edited.rows] = (edited.new_mean - edited.mean) @ rotation
    changed[edited.rows] = 1.0
    mean = groups.sums(shift) / groups.sizes[:, None]
    return groups.sums(changed)[-n_names:, 0].astype(np.int64), mean[-n_names:]


def _cosines(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of each row with its counterpart, NaN where either is 0."""
    norms = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    return np.divide((first * second).sum(axis=1), norms, out=np.full(len(first), np.nan), where=norms > 0)


def _rank_correlations(first: NDArray[np.floating], second: NDArray[np.floating]) -> NDArray[np.float64]:
    """Spearman's, of each row with its counterpart, NaN where either is constant."""
    from scipy.stats import spearmanr

    flat = [np.ptp(a) == 0 or np.ptp(b) == 0 for a, b in zip(first, second, strict=True)]
    return np.array([np.nan if f else spearmanr(a, b).statistic for a, b, f in zip(first, second, flat, strict=True)])


def _path_table(flow: _Flow, names: list[str], expression: NDArray[np.float64]) -> pd.DataFrame:
    frames = []
    for i, name in enumerate(names):
        taken = slice(0, int(flow.n_taken[i]) + 1)
        codes = flow.codes[taken, i]
        frame = pd.DataFrame(
            {
                "group": name,
                "step": np.arange(len(codes)),
                "expression": expression[taken, i],
                "slope": flow.slopes[taken, i],
                "cloud_distance": flow.distances[taken, i],
                **{f"z{j}": codes[:, j] for j in range(codes.shape[1])},
            }
        )
        frames.append(frame)
    table = pd.concat(frames, ignore_index=True)
    table["group"] = pd.Categorical(table["group"], categories=names)
    table.index = table.index.astype(str)
    return table


def _gene_table(
    before: NDArray[np.float64],
    after: NDArray[np.float64],
    by: NDArray[np.floating],
    names: list[str],
    features: pd.Index,
    target: int,
    n_top: int,
    column: str,
) -> pd.DataFrame:
    """The gene itself, then those that move most with it."""
    frames = []
    for i, name in enumerate(names):
        order = np.argsort(-np.abs(by[i]), kind="stable")
        top = np.concatenate([[target], order[order != target][:n_top]])
        frames.append(
            pd.DataFrame(
                {
                    "group": name,
                    "gene": np.asarray(features, dtype=object)[top],
                    "before": before[i, top],
                    "after": after[i, top],
                    column: by[i, top],
                }
            )
        )
    table = pd.concat(frames, ignore_index=True)
    table["group"] = pd.Categorical(table["group"], categories=names)
    table.index = table.index.astype(str)
    return table
