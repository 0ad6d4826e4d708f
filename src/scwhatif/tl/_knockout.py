"""What the encoder makes of a cell without one of its genes."""

from __future__ import annotations

import warnings
from functools import partial
from typing import TYPE_CHECKING, get_args

import numpy as np

from scwhatif._keys import Key
from scwhatif._provenance import params
from scwhatif._validation import check_at_least_one
from scwhatif.metrics import MIN_MATCHED
from scwhatif.tl._cell_groups import ALL_CELLS, cell_groups
from scwhatif.tl._encoder_source import encoder_source
from scwhatif.tl._identity_share import identity_share
from scwhatif.tl._screen_axis import axis_columns, plan_direction
from scwhatif.tl._screen_settings import (
    Library,
    Pairs,
    check_match_on,
    check_n_null,
    check_pairs,
    check_plan,
    gene_columns,
    open_store,
    read_op,
)
from scwhatif.tl._screen_table import Covariate, gene_covariates, screen_table, stratify, with_matches

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import pandas as pd
    from anndata import AnnData
    from numpy.typing import NDArray
    from scipy import sparse
    from scvi.model.base import BaseModelClass


def knockout(
    adata: AnnData,
    model: BaseModelClass,
    genes: str | Sequence[str] | None = None,
    *,
    op: str = "ko",
    library: Library = "original",
    axis: str | tuple[str, str] | None = None,
    axis_key: str = Key.uns.AXIS,
    groupby: str | None = None,
    donor: str | None = None,
    n_null: int = 100,
    match_on: Sequence[Covariate] = ("mean", "detection"),
    min_cells: int = 20,
    pairs: Pairs | None = None,
    store: str | Path | None = None,
    key_added: str = Key.uns.KNOCKOUT,
    n_jobs: int | None = None,
    batch_size: int | None = None,
    seed: int = 0,
    progress: bool = True,
    copy: bool = False,
) -> AnnData | None:
    r"""Knock out one gene after another in every cell, and see how far each moves the latent code.

    The result is the **sensitivity of the encoder** to a gene, not a causal effect of the gene: no other gene
    responds, and a gene the encoder does not read has no effect whatever it does in the cell. Effects are exact: equal
    to encoding the cell anew, at a fraction of the cost, because only cells that express a gene are encoded again and,
    where the encoder starts with a linear layer, only one row of it is read. Any other encoder runs in full for each
    of these cells.

    A highly expressed gene moves the code whatever it is. ``score`` is therefore compared with the ``n_null`` genes
    of the same group of cells that are most alike in ``match_on``, see
    :func:`scwhatif.metrics.matched_null_pvalues`. A small ``pval`` says that the encoder reads more from a gene than
    from the bulk of such genes. It rests on scores scattering log-normally about the local trend; ``pval_rank`` does
    not, but being a rank among genes it cannot survive correction for testing all of them. Many significant genes, or
    none, are both possible for a good model: where the encoder reads most genes, none stands out.

    Neither p-value knows of donors: cells of one donor are alike, and a gene may stand out in one of them only. With
    ``donor``, each donor is screened against its own matched genes, and ``pval_donor`` tests whether the residuals of
    the donors lie above 0. It asks whether a gene would exceed what is expected of it in further donors as well,
    however little, and not whether it stands out: where donors agree, up to half of all genes pass. Read it beside
    ``pval``, never alone.

    How much of the screen was known beforehand is recorded with it: ``r2_identity`` is the share of the variance of
    log score that mean expression and detection explain in genes left out of the fit, and ``r2_identity_weight`` the
    share explained if the length of a gene's first-layer weights is known as well. What is left is all that running
    the screen adds.

    Parameters
    ----------
    adata
        The model's data, or data like it; in memory, backed, or in dask.
    model
        A trained model of the scvi-tools kind whose latent code is Gaussian: :class:`scwhatif.model.BetaLinearSCVI`,
        ``scvi.model.SCVI``, ``SCANVI``, ``LinearSCVI``, ``TOTALVI`` (its genes) and others like them.
    genes
        Genes to test; ``None`` tests all. Their values do not depend on which others are tested, save ``padj``.
    op
        What is done to each gene, in the grammar of :class:`scwhatif.Perturbation`: ``"ko"``, ``"x0.5"``, ``"=1"``,
        ``"+3"``, ``"thin0.5"``. An operation that turns zeros into something else touches every cell.
    library
        ``"original"`` leaves all other genes of the cell as they are. ``"renorm"`` scales the edited cell back to the
        total count it had, so that what the gene gives up is shared among the others.
    axis
        Direction of the latent space along which the change is measured too, named as the target of
        :func:`scwhatif.tl.master_regulators`: an axis from :func:`scwhatif.tl.axis`, a dimension such as ``"z3"``, or a
        column of ``obs`` and one of its groups. All genes are then screened, whichever are asked for.
    axis_key
        ``key_added`` of :func:`scwhatif.tl.axis`.
    groupby
        Column of ``obs`` whose groups are analysed too, each as if alone.
    donor
        Column of ``obs`` with the donors, three or more.
    n_null
        Number of matched genes. 0 computes effects only.
    match_on
        What genes are matched on: ``"mean"`` (log mean expression) and ``"detection"`` (share of cells expressing
        the gene) belong to the data. ``"weight"`` (log length of the first-layer weights) is what the encoder learned
        of a gene's importance; with it, a gene can stand out only by where its weights point, and most of what marks
        the genes that matter is matched away.
    min_cells
        Genes that the operation changes in fewer cells of a group (or of a donor in it) are not tested there.
    pairs
        Keep the score of every cell and gene asked for: ``"layer"`` in ``layers``, ``"zarr"`` in ``store``.
    store
        Folder for checkpoints: a screen that was stopped goes on from the last one and ends with the same numbers. A
        folder with another screen is refused.
    key_added
        Prefix of everything written.
    n_jobs
        Worker processes, as joblib understands it: ``None`` is 1 unless :class:`joblib.parallel_config` says otherwise,
        for instance ``backend="dask"``. Results do not depend on it.
    batch_size
        (cell, gene) pairs encoded at once where the encoder does not fit the compiled loop; ``None`` chooses for the
        model's device. Results do not depend on it.
    seed
        Seed of ``op="thin…"``, the only operation that draws.
    progress
        Whether to show a progress bar, in the style of ``scvi.settings.progress_bar_style``.
    copy
        Whether to return a copy instead of writing into ``adata``.

    Returns
    -------
    ``None``, or the copy, with

    ``varm["knockout_shift"]`` : array (``n_vars`` × ``n_latent``), float64
        Mean change of the latent code over **all** cells: the displacement of their centre.
    ``var["knockout_n_cells"]`` : int64
        Cells that the operation changes: for a knockout, those expressing the gene.
    ``var["knockout_score"]`` : float64
        Length of the change in units of the cell's own posterior standard deviations (diagonal Mahalanobis
        distance), mean over the cells **changed**.
    ``var["knockout_pval"]``, ``var["knockout_padj"]`` : float64
        One-sided p-value against the matched genes, and adjusted over the genes tested :cite:p:`Benjamini1995`.
    ``var["knockout_pval_donor"]``, ``var["knockout_padj_donor"]`` : float64
        With ``donor``: one-sided t-test over donors of the log2 of score over expectation, and adjusted.
    ``var["knockout_axis_shift"]``, ``var["knockout_axis_padj"]`` : float64
        With ``axis``: change of the position along it, and adjusted p-value.
    ``layers["knockout_distance"]`` : csr_matrix, float32
        With ``pairs="layer"``: the score of each cell and gene. It has the pattern of the values changed, those whose
        score is 0 included; genes not asked for are empty. With ``pairs="zarr"``, ``store`` holds the same, cells ×
        genes asked for, in AnnData's format under ``"distance"``.
    ``uns["knockout"]["by_group"]`` : DataFrame
        One row per group and gene asked for; group ``"all"`` holds all cells. ``group`` and ``gene`` (category),
        ``n_cells``, ``mean_expression`` (over the group), ``score``, ``kl`` (divergence of the new from the old
        posterior in nats, mean over the cells changed), ``shift_norm`` (length of the mean shift over the group),
        ``score_expected`` (from the matched genes), ``score_residual`` (log2 of score over expected), ``pval_rank``,
        ``pval``, ``padj`` (adjusted within the group); with ``donor`` also ``n_donors`` (in which it was tested),
        ``pval_donor``, ``padj_donor``. With ``axis`` also ``axis_shift`` (change of the position along it, mean over
        the group; over its donors, each with equal weight, with ``donor``), ``axis_null_sd`` (spread of that of the
        matched genes, see :func:`scwhatif.metrics.signed_null_pvalues`), ``axis_pval_rank``, ``axis_pval`` (of either
        sign), ``axis_padj``; with ``donor``, ``axis_low`` and ``axis_high`` (95 % interval of Student's t over
        donors).
    ``uns["knockout"]["params"]`` : dict
        Arguments, versions, model class and hash of its weights, ``plan`` (``"row-update"`` or ``"general"``),
        ``r2_identity``, ``r2_identity_weight``, and ``spearman_score_mean_expression``: how much of the ranking over
        all cells is just expression.

    Genes that were not tested hold NaN in all but the counts; so do p-values where a group has 20 or fewer genes to
    test, with a warning.

    Raises
    ------
    KeyError
        A gene is not in ``adata`` (the message offers close matches), or ``groupby`` or ``donor`` not in ``obs``;
        there is no such ``axis``.
    ValueError
        The model is not trained, or its data or ``adata`` are minified; ``adata`` has other features than the model;
        ``groupby`` holds NaN or a group called ``"all"``; there are fewer than three donors; ``op`` is no operation on
        a gene; ``match_on="weight"`` for an encoder without weights per gene; ``library="renorm"`` for continuous
        data; ``axis`` lies in another space, or the model's codes are shares; ``store`` holds another screen; a number
        is out of range.
    TypeError
        The model's latent code is not Gaussian.

    Examples
    --------
    >>> import scwhatif as wi
    >>> adata = wi.datasets.pbmc68k()
    >>> wi.model.BetaLinearSCVI.setup_anndata(adata)
    >>> model = wi.model.BetaLinearSCVI(adata, n_latent=5, seed=0)
    >>> model.train(max_epochs=2, seed=0, enable_progress_bar=False)
    >>> wi.tl.knockout(adata, model, progress=False)
    >>> adata.varm["knockout_shift"].shape
    (765, 5)
    >>> int(adata.var["knockout_score"].notna().sum())
    728
    """
    edit = read_op(op)
    _check_settings(n_null=n_null, match_on=match_on, min_cells=min_cells, batch_size=batch_size)
    check_pairs(pairs, store)
    groups = cell_groups(adata, groupby, donor)
    columns = gene_columns(adata, genes)
    source = encoder_source(adata, model)
    check_plan(source.plan, type(model).__name__, library=library, match_on=match_on)
    direction = None if axis is None else plan_direction(adata, model, source.plan, axis, axis_key)

    from dataclasses import replace

    from scvi.utils import track

    from scwhatif.engine import Screen

    items = [((column, edit),) for column in range(adata.n_vars)]
    recorded = params(
        model,
        genes=None if genes is None else list(adata.var_names[columns]),
        op=op,
        library=library,
        axis=axis if axis is None or isinstance(axis, str) else list(axis),
        axis_key=axis_key,
        groupby=groupby,
        donor=donor,
        n_null=n_null,
        match_on=list(match_on),
        min_cells=min_cells,
        pairs=pairs,
        seed=seed,
        batch_size=batch_size,
        plan=source.plan.kind,
    )
    screen = Screen(
        source.plan,
        source.x,
        source.fields,
        groups.codes,
        groups.n_parts,
        items,
        library=library,
        seed=seed,
        batch_size=batch_size,
        n_jobs=n_jobs,
        store=open_store(store, recorded),
        track=partial(track, description=f"Screening {op}", disable=not progress),
    )
    log_weight = source.log_weight
    describe = partial(stratify, groups=groups, log_weight=log_weight, match_on=match_on, min_cells=min_cells)
    if genes is None or direction is not None:
        screened = np.arange(adata.n_vars)
        sums = replace(screen, keep=columns if pairs else None).run()
        counts = sums.counts
        strata = describe(counts)
    else:
        counts = screen.count()
        strata = describe(counts)
        screened = with_matches(strata, columns, n_null)
        keep = np.searchsorted(screened, columns) if pairs else None
        sums = replace(screen, items=[items[column] for column in screened], keep=keep).run()
    table = screen_table(strata, sums, screened, columns, adata.var_names, n_null)
    if direction is not None:
        table = table.assign(**axis_columns(sums, direction, groups, strata, columns, n_null))
    _warn_unmatched(table, n_null)

    target = adata.copy() if copy else adata
    overall = table[table["group"] == ALL_CELLS]
    shift = source.plan.to_reported_axes(strata[0].mean_shift(sums)[np.searchsorted(screened, columns)])
    _write(target, key_added, columns, overall, shift)
    target.var[f"{key_added}_n_cells"] = strata[0].n_changed
    if sums.pairs is not None:
        target.layers[f"{key_added}_distance"] = _all_columns(sums.pairs, columns, adata.n_vars)
    known = partial(gene_covariates, counts, strata[0].members, log_weight)
    score = overall["score"].to_numpy()
    recorded["r2_identity"] = identity_share(score, known(("mean", "detection"))[columns])
    if log_weight is not None:
        recorded["r2_identity_weight"] = identity_share(score, known(get_args(Covariate))[columns])
    recorded["spearman_score_mean_expression"] = float(
        overall["score"].corr(overall["mean_expression"], method="spearman")
    )
    target.uns[key_added] = {Key.uns.PARAMS: recorded, "by_group": table}
    return target if copy else None


def _check_settings(*, n_null: int, match_on: Sequence[str], min_cells: int, batch_size: int | None) -> None:
    check_n_null(n_null)
    check_match_on(match_on)
    check_at_least_one(min_cells=min_cells, batch_size=batch_size)


def _warn_unmatched(table: pd.DataFrame, n_null: int) -> None:
    if n_null == 0:
        return
    tested = table[table["score"].notna()]
    unmatched = tested.loc[tested["pval"].isna(), "group"].unique()
    if len(unmatched):
        warnings.warn(
            f"No p-values for {', '.join(map(repr, unmatched))}: a gene needs {MIN_MATCHED} others to be compared "
            "with. Lower min_cells, or use larger groups.",
            UserWarning,
            stacklevel=3,
        )


def _write(
    adata: AnnData, key: str, columns: NDArray[np.int64], overall: pd.DataFrame, shift: NDArray[np.float64]
) -> None:
    """Effects over all cells, one row or entry per gene of ``adata``."""
    full = np.full((adata.n_vars, shift.shape[1]), np.nan)
    full[columns] = np.where(overall["score"].notna().to_numpy()[:, None], shift, np.nan)
    adata.varm[f"{key}_shift"] = full
    for name in ("score", "pval", "padj", "pval_donor", "padj_donor", "axis_shift", "axis_padj"):
        if name in overall:
            values = np.full(adata.n_vars, np.nan)
            values[columns] = overall[name]
            adata.var[f"{key}_{name}"] = values


def _all_columns(pairs: sparse.csr_matrix, columns: NDArray[np.int64], n_vars: int) -> sparse.csr_matrix:
    """Pairs of the genes asked for, in the columns of all genes."""
    from scipy import sparse

    indices = columns[pairs.indices].astype(pairs.indices.dtype)
    return sparse.csr_matrix((pairs.data, indices, pairs.indptr), shape=(pairs.shape[0], n_vars))
