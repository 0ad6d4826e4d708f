"""What the encoder makes of a cell without one of its genes."""

from __future__ import annotations

import warnings
from functools import partial
from typing import TYPE_CHECKING, get_args

import numpy as np

from scwhatif._keys import Key
from scwhatif._provenance import params
from scwhatif._validation import check_obs_key
from scwhatif.metrics import MIN_MATCHED
from scwhatif.tl._screen_table import ALL_CELLS, Covariate, screen_table, stratify, with_matches

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from anndata import AnnData
    from numpy.typing import NDArray
    from scvi.model.base import BaseModelClass

    from scwhatif.engine import EncoderPlan
    from scwhatif.perturbation import Edit

# Any name will do: the operation is carried out on one gene after another.
_TARGET = "gene"


def knockout(
    adata: AnnData,
    model: BaseModelClass,
    genes: str | Sequence[str] | None = None,
    *,
    op: str = "ko",
    groupby: str | None = None,
    n_null: int = 100,
    match_on: Sequence[Covariate] = ("mean", "detection"),
    min_cells: int = 20,
    key_added: str = Key.uns.KNOCKOUT,
    seed: int = 0,
    batch_size: int | None = None,
    progress: bool = True,
    copy: bool = False,
) -> AnnData | None:
    r"""Knock out one gene after another in every cell, and see how far each moves the latent code.

    The result is the **sensitivity of the encoder** to a gene, not a causal effect of the gene: no other gene
    responds, and a gene the encoder does not read has no effect whatever it does in the cell. The encoder sees log1p
    of raw counts, so a knockout changes the entry of that gene and nothing else; the library size of the decoder
    stays that of the cell. Effects are exact: equal to encoding the cell anew, at a fraction of the cost, because
    only cells that express a gene are encoded again and only one row of the first layer is read.

    A highly expressed gene moves the code whatever it is. ``score`` is therefore compared with the ``n_null`` genes
    of the same group of cells that are most alike in ``match_on``, see
    :func:`scwhatif.metrics.matched_null_pvalues`. A small ``pval`` says that the encoder reads more from a gene than
    from the bulk of such genes. It rests on scores scattering log-normally about the local trend; ``pval_rank`` does
    not, but being a rank among genes it cannot survive correction for testing all of them. Many significant genes, or
    none, are both possible for a good model: where the encoder reads most genes, none stands out.

    Parameters
    ----------
    adata
        The model's data, or data like it.
    model
        A trained :class:`scwhatif.model.BetaLinearSCVI`.
    genes
        Genes to test; ``None`` tests all. Their values do not depend on which others are tested, save ``padj``.
    op
        What is done to each gene, in the grammar of :class:`scwhatif.Perturbation`: ``"ko"``, ``"x0.5"``, ``"=1"``,
        ``"+3"``, ``"thin0.5"``. An operation that turns zeros into something else touches every cell.
    groupby
        Column of ``obs`` whose groups are analysed too, each as if alone.
    n_null
        Number of matched genes. 0 computes effects only.
    match_on
        What genes are matched on: ``"mean"`` (log mean expression) and ``"detection"`` (share of cells expressing
        the gene) belong to the data. ``"weight"`` (log length of the first-layer weights) is what the encoder learned
        of a gene's importance; with it, a gene can stand out only by where its weights point, and most of what marks
        the genes that matter is matched away.
    min_cells
        Genes that the operation changes in fewer cells of a group are not tested there.
    key_added
        Prefix of everything written.
    seed
        Seed of ``op="thin…"``, the only operation that draws.
    batch_size
        (cell, gene) pairs encoded at once; ``None`` chooses for the model's device. Results do not depend on it.
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
    ``uns["knockout"]["by_group"]`` : DataFrame
        One row per group and gene asked for; group ``"all"`` holds all cells. ``group`` and ``gene`` (category),
        ``n_cells``, ``mean_expression`` (over the group), ``score``, ``kl`` (divergence of the new from the old
        posterior in nats, mean over the cells changed), ``shift_norm`` (length of the mean shift over the group),
        ``score_expected`` (from the matched genes), ``score_residual`` (log2 of score over expected), ``pval_rank``,
        ``pval``, ``padj`` (adjusted within the group).
    ``uns["knockout"]["params"]`` : dict
        Arguments, versions, model class and hash of its weights, and ``spearman_score_mean_expression``: how much of
        the ranking over all cells is just expression.

    Genes that were not tested hold NaN in all but the counts; so do p-values where a group has 20 or fewer genes to
    test, with a warning.

    Raises
    ------
    KeyError
        A gene is not in ``adata`` (the message offers close matches), or ``groupby`` not in ``obs``.
    ValueError
        The model is not trained, or its data or ``adata`` are minified; ``adata`` has other features than the model;
        ``groupby`` holds NaN or a group called ``"all"``; ``op`` is no operation on a gene; a number is out of range.
    TypeError
        The model's encoder is of a kind that is not supported.

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
    edit = _read_op(op)
    _check_settings(n_null=n_null, match_on=match_on, min_cells=min_cells, batch_size=batch_size)
    codes, names = _groups(adata, groupby)
    columns = _columns(adata, genes)
    plan = _plan(adata, model)

    from scvi.utils import track

    from scwhatif._compat import registered_data
    from scwhatif.engine import FeatureScreen

    data = registered_data(model, adata)
    screen = FeatureScreen(
        plan,
        data.x,
        (data.batch, data.cat_covs, data.cont_covs),
        codes,
        max(len(names), 1),
        edit,
        signed=not plan.log1p,
        seed=seed,
        batch_size=batch_size,
        track=partial(track, description=f"Screening {op}", disable=not progress),
    )
    strata = stratify(screen.count(), names, plan.weight_norm, match_on, min_cells=min_cells)
    screened = with_matches(strata, columns, n_null)
    sums = screen.run(screened)
    table = screen_table(strata, sums, screened, columns, adata.var_names, n_null)
    _warn_unmatched(table, n_null)

    target = adata.copy() if copy else adata
    overall = table[table["group"] == ALL_CELLS]
    shift = plan.to_reported_axes(strata[0].mean_shift(sums)[np.searchsorted(screened, columns)])
    _write(target, key_added, columns, overall, shift)
    target.var[f"{key_added}_n_cells"] = strata[0].n_changed
    recorded = params(
        model,
        genes=None if genes is None else list(adata.var_names[columns]),
        op=op,
        library="original",
        groupby=groupby,
        n_null=n_null,
        match_on=list(match_on),
        min_cells=min_cells,
        seed=seed,
        batch_size=batch_size,
        spearman_score_mean_expression=overall["score"].corr(overall["mean_expression"], method="spearman"),
    )
    target.uns[key_added] = {Key.uns.PARAMS: recorded, "by_group": table}
    return target if copy else None


def _read_op(op: str) -> Edit:
    from scwhatif.perturbation import Perturbation

    edits = Perturbation.parse(f"{_TARGET}:{op}").edits
    if len(edits) != 1 or edits[0].kind != "feature":
        msg = f"op={op!r} is not one operation on a gene, such as 'ko', 'x0.5', '=1', '+3' or 'thin0.5'."
        raise ValueError(msg)
    return edits[0]


def _check_settings(*, n_null: int, match_on: Sequence[str], min_cells: int, batch_size: int | None) -> None:
    if n_null != 0 and n_null < MIN_MATCHED:
        msg = (
            f"n_null={n_null} is too few to estimate a trend and its scatter; use {MIN_MATCHED} or more, or 0 for none."
        )
        raise ValueError(msg)
    known = get_args(Covariate)
    if isinstance(match_on, str) or not match_on or not set(match_on) <= set(known):
        msg = f"match_on={match_on!r} must hold one or more of {known}."
        raise ValueError(msg)
    for name, value in (("min_cells", min_cells), ("batch_size", batch_size)):
        if value is not None and value < 1:
            msg = f"{name}={value} must be at least 1."
            raise ValueError(msg)


def _groups(adata: AnnData, groupby: str | None) -> tuple[NDArray[np.int64], list[str]]:
    """Group of each cell, and the names of the groups; no names if cells are not grouped."""
    if groupby is None:
        return np.zeros(adata.n_obs, dtype=np.int64), []
    check_obs_key(adata, groupby, "groupby")
    labels = adata.obs[groupby]
    n_missing = int(labels.isna().sum())
    if n_missing:
        msg = (
            f"adata.obs[{groupby!r}] is missing for {n_missing} cell(s). Name their group, or remove them with "
            f"adata[adata.obs[{groupby!r}].notna()]."
        )
        raise ValueError(msg)
    categories = labels.astype("category").cat.remove_unused_categories().cat
    names = [str(name) for name in categories.categories]
    if ALL_CELLS in names:
        msg = f"adata.obs[{groupby!r}] has a group called {ALL_CELLS!r}, the name of all cells together; rename it."
        raise ValueError(msg)
    return categories.codes.to_numpy().astype(np.int64), names


def _columns(adata: AnnData, genes: str | Sequence[str] | None) -> NDArray[np.int64]:
    """Columns of the genes asked for, sorted."""
    from scwhatif.perturbation import Perturbation

    if genes is None:
        return np.arange(adata.n_vars)
    if not len(genes):
        msg = "genes is empty; pass None to test all."
        raise ValueError(msg)
    edits = Perturbation.knockout(genes).feature_edits(adata.var_names)
    return np.array(sorted(column for column, _ in edits))


def _plan(adata: AnnData, model: BaseModelClass) -> EncoderPlan:
    """The model's encoder, if there is something for it to read."""
    from scwhatif._compat import minified_type
    from scwhatif.engine import EncoderPlan

    plan = EncoderPlan.from_module(model.module)
    if not model.is_trained_:
        msg = "the model has not been trained, so its encoder means nothing yet; call model.train() first."
        raise ValueError(msg)
    if minified_type(adata) is not None or getattr(model, "minified_data_type", None) is not None:
        msg = (
            "the data were minified, which keeps latent codes and drops the counts that an encoder reads. Load the "
            f"model with its counts: {type(model).__name__}.load(folder, adata=adata_with_counts)."
        )
        raise ValueError(msg)
    return plan


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
    for name in ("score", "pval", "padj"):
        values = np.full(adata.n_vars, np.nan)
        values[columns] = overall[name]
        adata.var[f"{key}_{name}"] = values
