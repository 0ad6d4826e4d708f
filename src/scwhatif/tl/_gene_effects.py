"""What the loss of each gene does to every other, as far as a model knows."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scwhatif._keys import Key
from scwhatif._provenance import params
from scwhatif.tl._encoder_source import encoder_source
from scwhatif.tl._gaussian_posterior import factorised_posterior
from scwhatif.tl._latent_change import CellGroups
from scwhatif.tl._latent_state import checked_decoder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from anndata import AnnData
    from numpy.typing import NDArray
    from scvi.model.base import BaseModelClass

    from scwhatif.model._decoder import Decoder
    from scwhatif.perturbation import Edit

# Any name will do: the operation is carried out on one gene after another.
_TARGET = "gene"
# Entries of the decoded profiles held at once.
_BLOCK_ENTRIES = 2**22


def gene_effects(
    adata: AnnData,
    model: BaseModelClass,
    genes: str | Sequence[str] | None = None,
    *,
    op: str = "ko",
    groupby: str | None = None,
    batch: str | Sequence[str] | None = None,
    covariates: Mapping[str, Any] | None = None,
    n_top: int = 25,
    seed: int = 0,
    key_added: str = Key.uns.GENE_EFFECTS,
    progress: bool = True,
    copy: bool = False,
) -> AnnData | None:
    r"""Tell from the encoder where a cell goes without a gene, and from the decoder what all others do there.

    Every gene is edited alone in all cells, and the mean shift :math:`\Delta z` of their codes taken. Its effect on
    gene :math:`h` is the change of the decoded expression from the centroid :math:`\bar z` of the cells,

    .. math::
        \log_2 \mu_h(\bar z + \Delta z) - \log_2 \mu_h(\bar z),

    the mean over batches. With a linear decoder of loadings :math:`W` this is :math:`W_h \Delta z` up to the constant
    that keeps the total. It is the model's **association**, seen from the encoder, not a causal effect: the edited gene
    is one of many that mark a state, and those that mark the same state follow.

    Parameters
    ----------
    adata
        The model's data, or data like it.
    model
        A trained model of the scvi-tools kind that :func:`scwhatif.tl.decode` decodes.
    genes
        Genes to edit, one after another; ``None`` takes all. The result has one column for each.
    op
        What is done to each, as in :func:`scwhatif.tl.knockout`: ``"ko"``, ``"x0.5"``, ``"=1"``, ``"+3"``.
    groupby
        Column of ``obs`` whose groups are analysed too, each by its own centroid and shifts.
    batch, covariates
        As in :func:`scwhatif.tl.decode`.
    n_top
        Number of genes listed for each gene edited.
    seed
        Seed of ``op="thin…"``.
    key_added
        Key of ``varm`` and ``uns`` to write to.
    progress
        Whether to show a progress bar, in the style of ``scvi.settings.progress_bar_style``.
    copy
        Whether to return a copy instead of writing into ``adata``.

    Returns
    -------
    ``None``, or the copy, with

    ``varm["gene_effects"]`` : array (``n_vars`` × genes), float32
        Effect over all cells on every gene (rows) of editing each gene (columns, in the order of ``genes``): log2
        fold change, or difference of continuous features. 0 for a gene that no cell expresses.
    ``uns["gene_effects"]["genes"]`` : array of str
        The genes edited.
    ``uns["gene_effects"]["by_group"]`` : DataFrame
        One row per group (category; ``"all"`` first) and gene: ``group``, ``gene`` (category); ``n_changed`` (cells
        that the edit changes); ``shift_norm`` (length of the mean shift); ``own_effect`` (on the edited gene itself);
        ``other_effect`` (root mean square over all others).
    ``uns["gene_effects"]["top"]`` : DataFrame
        One row per group, gene and one of the ``n_top`` others that it moves most: ``group``, ``gene`` (category),
        ``target``, ``log2_fold_change`` (``difference``).
    ``uns["gene_effects"]["params"]`` : dict
        Arguments, ``plan`` (how cells were encoded), versions, model class and hash of its weights.

    Raises
    ------
    KeyError
        A gene is not in ``adata`` (the message offers close matches), or a column, batch or category does not exist.
    TypeError
        The model cannot be decoded from a latent code, or has no Gaussian posterior.
    ValueError
        The model is not trained, or its data or ``adata`` are minified; other features than the model's; ``op`` is no
        operation on a gene; ``genes`` is empty; a setting is out of range.

    Examples
    --------
    >>> import scwhatif as wi
    >>> adata = wi.datasets.simulate_factors(100, 50, 4)
    >>> wi.model.BetaLinearSCVI.setup_anndata(adata)
    >>> model = wi.model.BetaLinearSCVI(adata, n_latent=3, seed=0)
    >>> model.train(max_epochs=2, seed=0, enable_progress_bar=False)
    >>> wi.tl.gene_effects(adata, model, ["gene_0", "gene_7"], progress=False)
    >>> adata.varm["gene_effects"].shape
    (50, 2)
    """
    from scvi.utils import track

    edit = _read_op(op)
    if n_top < 1:
        msg = f"n_top={n_top} must be at least 1."
        raise ValueError(msg)
    decoder = checked_decoder(adata, model)
    fields = decoder.fields(batch, covariates)
    columns = _columns(adata, genes)
    groups = CellGroups.read(adata, groupby)
    posterior = factorised_posterior(model, adata)
    screening = partial(track, description=f"Screening {op}", disable=not progress)
    shifts = _mean_shifts(adata, model, columns, edit, groups, seed=seed, track=screening)
    centroids = groups.sums(posterior.mean @ posterior.rotation) / groups.sizes[:, None]

    names = np.asarray(adata.var_names, dtype=object)
    effect_name = "log2_fold_change" if decoder.plan.log_link else "difference"
    overall = np.empty((adata.n_vars, len(columns)), dtype=np.float32)
    summaries, tops = [], []
    for i in range(len(groups.names)):
        effects = _effects(decoder, fields, centroids[i], shifts.shift[:, i])
        if i == 0:
            overall[:] = effects.T
        summary, top = _group_tables(
            effects, columns, names, shifts.n_changed[:, i], shifts.shift[:, i], n_top, effect_name
        )
        summaries.append(summary)
        tops.append(top)

    target = adata.copy() if copy else adata
    target.varm[key_added] = overall
    target.uns[key_added] = {
        Key.uns.PARAMS: params(
            model,
            genes=None if genes is None else list(names[columns]),
            op=op,
            groupby=groupby,
            batch=batch,
            covariates=None if covariates is None else dict(covariates),
            n_top=n_top,
            seed=seed,
            plan=shifts.kind,
        ),
        "genes": names[columns],
        "by_group": _stacked(summaries, groups.names, names[columns]),
        "top": _stacked(tops, groups.names, names[columns]),
    }
    return target if copy else None


def _read_op(op: str) -> Edit:
    from scwhatif.perturbation import Perturbation

    edits = Perturbation.parse(f"{_TARGET}:{op}").edits
    if len(edits) != 1 or edits[0].kind != "feature":
        msg = f"op={op!r} is not one operation on a gene, such as 'ko', 'x0.5', '=1', '+3' or 'thin0.5'."
        raise ValueError(msg)
    return edits[0]


def _columns(adata: AnnData, genes: str | Sequence[str] | None) -> NDArray[np.int64]:
    """Columns of the genes asked for, each once, in the order given."""
    from scwhatif.perturbation import Perturbation

    if genes is None:
        return np.arange(adata.n_vars)
    wanted = list(dict.fromkeys([genes] if isinstance(genes, str) else genes))
    if not wanted:
        msg = "genes is empty; pass None to edit all, one after another."
        raise ValueError(msg)
    Perturbation.knockout(wanted).feature_edits(adata.var_names)
    return adata.var_names.get_indexer(wanted)


@dataclass(frozen=True, eq=False)
class _Shifts:
    """Mean shift of each group for each gene, ``(n_genes, n_groups, n_latent)`` in reported axes, "all" first."""

    shift: NDArray[np.float64]
    n_changed: NDArray[np.int64]
    kind: str


def _mean_shifts(
    adata: AnnData,
    model: BaseModelClass,
    columns: NDArray[np.int64],
    edit: Edit,
    groups: CellGroups,
    *,
    seed: int,
    track: Callable[[range], Iterable[int]],
) -> _Shifts:
    from scwhatif.engine import Screen

    source = encoder_source(adata, model)
    codes = np.zeros(adata.n_obs, dtype=np.int64) if groups.codes is None else groups.codes
    sums = Screen(
        source.plan,
        source.x,
        source.fields,
        codes,
        max(len(groups.names) - 1, 1),
        [((int(column), edit),) for column in columns],
        seed=seed,
        track=track,
    ).run()
    shift, n_changed = sums.shift, sums.n_changed
    if groups.codes is not None:
        shift = np.concatenate([shift.sum(axis=1, keepdims=True), shift], axis=1)
        n_changed = np.concatenate([n_changed.sum(axis=1, keepdims=True), n_changed], axis=1)
    return _Shifts(source.plan.to_reported_axes(shift) / groups.sizes[:, None], n_changed, source.plan.kind)


def _effects(
    decoder: Decoder, fields: list[dict[str, Any]], centroid: NDArray[np.float64], shift: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Change of what decodes from a centroid when it is shifted, mean over batches, ``(n_shifts, n_vars)``."""
    import torch

    start = torch.from_numpy(centroid[None].astype(np.float32))
    codes = torch.from_numpy((centroid + shift).astype(np.float32))
    effects = np.zeros((len(shift), len(decoder.features)))
    step = max(1, _BLOCK_ENTRIES // len(decoder.features))
    unit = np.log(2.0) if decoder.plan.log_link else 1.0
    with torch.inference_mode():
        for each in fields:
            before = decoder.plan.predictor(start, 1.0, each)
            for at in range(0, len(codes), step):
                change = decoder.plan.predictor(codes[at : at + step], 1.0, each) - before
                effects[at : at + step] += change.cpu().numpy() / (unit * len(fields))
    # where no cell changed there is no effect, rounding included
    effects[(shift == 0).all(axis=1)] = 0.0
    return effects


def _group_tables(
    effects: NDArray[np.float64],
    columns: NDArray[np.int64],
    names: NDArray[np.object_],
    n_changed: NDArray[np.int64],
    shift: NDArray[np.float64],
    n_top: int,
    effect_name: str,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Effects of one group summed up per gene, and the genes that each moves most."""
    rows = np.arange(len(columns))
    others = effects.copy()
    others[rows, columns] = 0.0
    summary = pd.DataFrame(
        {
            "gene": names[columns],
            "n_changed": n_changed,
            "shift_norm": np.linalg.norm(shift, axis=1),
            "own_effect": effects[rows, columns],
            "other_effect": np.sqrt(np.square(others).sum(axis=1) / max(len(names) - 1, 1)),
        }
    )
    strength = np.abs(others)
    # below any effect, so that the gene itself comes last
    strength[rows, columns] = -1.0
    order = np.argsort(-strength, axis=1, kind="stable")[:, : min(n_top, len(names) - 1)]
    top = pd.DataFrame(
        {
            "gene": np.repeat(names[columns], order.shape[1]),
            "target": names[order.ravel()],
            effect_name: np.take_along_axis(others, order, axis=1).ravel(),
        }
    )
    return summary, top


def _stacked(tables: list[pd.DataFrame], groups: list[str], genes: NDArray[np.object_]) -> pd.DataFrame:
    """Tables of all groups, one below the other."""
    whole = pd.concat(tables, keys=groups, names=["group", None]).reset_index(level=0).reset_index(drop=True)
    whole["group"] = pd.Categorical(whole["group"], categories=groups)
    whole["gene"] = pd.Categorical(whole["gene"], categories=list(genes))
    whole.index = whole.index.astype(str)
    return whole
