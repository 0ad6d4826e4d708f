"""Which genes a readout of the latent code hangs on."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

import numpy as np
import pandas as pd

from scwhatif._keys import Key
from scwhatif._provenance import params
from scwhatif.metrics import MIN_MATCHED
from scwhatif.tl._cell_bins import CellBins
from scwhatif.tl._cell_groups import ALL_CELLS, cell_groups
from scwhatif.tl._encoder_source import encoder_source
from scwhatif.tl._gaussian_posterior import factorised_posterior
from scwhatif.tl._gene_readout import gene_columns, gradient_readout, knockout, screen_readout
from scwhatif.tl._readout_target import readout_target, state_members
from scwhatif.tl._regulator_table import agreement, effect_statistics, ends, stack, warn_unmatched
from scwhatif.tl._screen_settings import check_match_on, check_plan
from scwhatif.tl._screen_table import Covariate, gene_covariates

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from anndata import AnnData
    from numpy.typing import NDArray
    from scvi.model.base import BaseModelClass
    from torch import nn

    from scwhatif.engine import FeatureCounts, LinearReadout
    from scwhatif.tl._cell_bins import BinMeans
    from scwhatif.tl._encoder_source import EncoderSource

Method = Literal["ko", "jacobian", "integrated_gradients", "expected_gradients"]


def master_regulators(
    adata: AnnData,
    model: BaseModelClass,
    target: str | tuple[str, str],
    *,
    candidates: str | Sequence[str] | None = None,
    method: Method | Sequence[Method] = "ko",
    groupby: str | None = None,
    within: tuple[str, str] | None = None,
    donor: str | None = None,
    n_null: int = 100,
    match_on: Sequence[Covariate] = ("mean", "detection"),
    min_cells: int = 20,
    n_steps: int = 512,
    n_baselines: int = 16,
    axis_key: str = Key.uns.AXIS,
    seed: int = 0,
    n_jobs: int | None = None,
    progress: bool = True,
    key_added: str = Key.uns.MASTER_REGULATORS,
    copy: bool = False,
) -> AnnData | None:
    r"""Rank genes by how far they move cells along one direction of the latent space.

    The direction is the *target*; the position of a cell along it, :math:`r(z) = v^\top z + c`, is the readout. What a
    gene does to it is the **sensitivity of the encoder** to that gene, not a regulation: an encoder reads what is
    measured well, which is more often the many targets of a regulator than the regulator. Compare with the matched
    genes, and with the floor in ``methods``: a ranking that follows mean expression needs no model.

    ======================== ============================================================ =============================
    method                   effect of a gene, mean over cells                            cost
    ======================== ============================================================ =============================
    ``ko``                   change of the readout when the gene is set to 0, exact       cells that express it
    ``jacobian``             derivative by the gene on the encoder's scale (log1p of      one gradient per cell
                             counts; the value itself of continuous features)
    ``integrated_gradients`` the gene's share of the readout of the cell less that of a   ``n_steps`` gradients
                             cell without any counts :cite:p:`Sundararajan2017`
    ``expected_gradients``   the same less that of ``n_baselines`` other cells            ``n_steps`` gradients
                             :cite:p:`Erion2021`
    ======================== ============================================================ =============================

    A knockout lowers what a positive gradient raises: compare signs accordingly. Shares of the two last methods add
    up to the difference that they explain. So that cells above and below a baseline do not cancel, a share counts with
    the opposite sign in cells that have less of the gene than the baselines have on average: positive means that more
    of the gene leads along the direction.

    Parameters
    ----------
    adata
        The model's data, or data like it.
    model
        A trained model of the scvi-tools kind with a Gaussian posterior.
    target
        Name of an axis from :func:`scwhatif.tl.axis` in the model's latent space, a dimension such as ``"z3"``, or a
        column of ``obs`` and one of its groups such as ``("cell_type", "B cell")``: the straight line from the mean of
        all other cells (0) to the mean of the group (1).
    candidates
        Genes to report and to correct for; ``None`` takes all.
    method
        One or several of those above.
    groupby
        Column of ``obs`` for whose groups effects are given too.
    within
        Column of ``obs`` and the group whose cells alone are averaged over; ``None`` takes all cells.
    donor
        Column of ``obs`` with independent units, such as donors: effects are then means of their means, each with
        equal weight, with an interval. Cells of one donor are not independent, so without it there is none.
    n_null
        Number of matched genes, see :func:`scwhatif.metrics.signed_null_pvalues`; 0 computes effects only.
    match_on
        What genes are matched on: ``"mean"``, ``"detection"``, ``"weight"``, as in :func:`scwhatif.tl.knockout`.
    min_cells
        Genes in fewer cells of a group are not tested there.
    n_steps
        Gradients taken per cell for an integral; what shares lack to add up falls as their number grows.
    n_baselines
        Baselines of ``expected_gradients``, drawn from the cells averaged over, which share out the gradients.
    axis_key
        ``key_added`` of :func:`scwhatif.tl.axis`.
    seed
        Seed of the baselines.
    n_jobs
        Workers of ``ko``, as joblib understands it.
    progress
        Whether to show progress bars, in the style of ``scvi.settings.progress_bar_style``.
    key_added
        Key of ``uns`` and prefix of the columns.
    copy
        Whether to return a copy instead of writing into ``adata``.

    Returns
    -------
    ``None``, or the copy, with

    ``var["master_regulators_<method>"]`` : float64
        Effect over all cells; NaN for genes that were not asked for or not tested.
    ``var["master_regulators_<method>_padj"]`` : float64
        Adjusted p-value.
    ``uns["master_regulators"]["table"]`` : DataFrame
        One row per method, group (category; ``"all"`` first) and gene, largest effect of either sign first:
        ``method``, ``group``, ``gene``; ``n_cells`` (that have the gene), ``mean_expression``; ``effect``; ``size``
        (mean of its absolute value over cells: larger than \|effect\| where cells disagree); with ``donor``, ``low``
        and ``high`` (95 % interval of Student's t over donors); ``null_sd`` (spread of the effects of genes like it),
        ``pval_rank``, ``pval``, ``padj`` :cite:p:`Benjamini1995` (within method and group).
    ``uns["master_regulators"]["methods"]`` : DataFrame
        One row per method, over all cells: ``method``; ``n_tested``; ``n_significant`` (``padj`` below 5 %);
        ``spearman_mean_expression`` (of \|effect\|: how much of the ranking is just expression); ``completeness`` (what
        shares lack to add up, relative to the difference they explain; NaN for the two first methods).
    ``uns["master_regulators"]["agreement"]`` : DataFrame
        ``method_a``, ``method_b``, ``spearman`` of their effects over all cells, knockouts with the opposite sign.
    ``uns["master_regulators"]["params"]`` : dict
        Arguments, ``plan`` (how cells were encoded), versions, model class and hash of its weights.

    Raises
    ------
    KeyError
        A gene, axis, dimension, column or group does not exist.
    TypeError
        The model has no Gaussian posterior.
    ValueError
        The model is not trained, its data are minified, or its codes are shares; other features than the model's; the
        axis lies in another space; a setting is out of range.

    Examples
    --------
    >>> import scwhatif as wi
    >>> adata = wi.datasets.simulate_factors(150, 60, 4)
    >>> wi.model.BetaLinearSCVI.setup_anndata(adata)
    >>> model = wi.model.BetaLinearSCVI(adata, n_latent=3, seed=0)
    >>> model.train(max_epochs=2, seed=0, enable_progress_bar=False)
    >>> wi.tl.master_regulators(adata, model, "z0", method=["ko", "jacobian"], progress=False)
    >>> adata.uns["master_regulators"]["table"].groupby("method", observed=True).size().to_dict()
    {'ko': 60, 'jacobian': 60}
    """
    methods = _checked_methods(method)
    _check_settings(n_null=n_null, match_on=match_on, min_cells=min_cells, n_steps=n_steps, n_baselines=n_baselines)
    columns = gene_columns(adata, candidates, "candidates")
    taking_part = None if within is None else state_members(adata, within, "within")
    bins = CellBins.of(cell_groups(adata, groupby, donor), taking_part)
    source = encoder_source(adata, model)
    check_plan(source.plan, type(model).__name__, library="original", match_on=match_on)
    posterior = factorised_posterior(model, adata)
    aim = readout_target(adata, posterior.mean @ posterior.rotation, target, axis_key)
    effects = _effects(
        source,
        model.module,
        aim.readout,
        bins,
        methods,
        n_steps=n_steps,
        n_baselines=n_baselines,
        seed=seed,
        n_jobs=n_jobs,
        progress=progress,
    )
    table = _table(effects, source, bins, columns, adata.var_names, n_null, match_on, min_cells)
    if n_null:
        warn_unmatched(table, "effect", "pval")

    found = adata.copy() if copy else adata
    overall = {
        name: table[(table["method"] == name) & (table["group"] == ALL_CELLS)]
        .set_index("gene")
        .loc[adata.var_names[columns]]
        for name in methods
    }
    for name, rows in overall.items():
        for suffix, column in (("", "effect"), ("_padj", "padj")):
            values = np.full(adata.n_vars, np.nan)
            values[columns] = rows[column]
            found.var[f"{key_added}_{name}{suffix}"] = values
    found.uns[key_added] = {
        Key.uns.PARAMS: params(
            model,
            target=list(target) if not isinstance(target, str) else target,
            target_name=aim.name,
            candidates=None if candidates is None else list(adata.var_names[columns]),
            method=list(methods),
            groupby=groupby,
            within=None if within is None else list(within),
            donor=donor,
            n_null=n_null,
            match_on=list(match_on),
            min_cells=min_cells,
            n_steps=n_steps,
            n_baselines=n_baselines,
            axis_key=axis_key,
            seed=seed,
            plan=source.plan.kind,
        ),
        "table": table,
        "methods": _summary(overall, effects),
        "agreement": agreement(
            {name: rows["effect"].to_numpy() * (-1 if name == "ko" else 1) for name, rows in overall.items()}
        ),
    }
    return found if copy else None


class _Effects(NamedTuple):
    """Of every gene, and what the data say of them."""

    change: dict[str, BinMeans]
    size: dict[str, BinMeans]
    completeness: dict[str, float]
    counts: FeatureCounts


def _checked_methods(method: str | Sequence[str]) -> tuple[str, ...]:
    methods = tuple(dict.fromkeys([method] if isinstance(method, str) else method))
    known = get_args(Method)
    if not methods or not set(methods) <= set(known):
        msg = f"method={method!r} must be one or more of {known}."
        raise ValueError(msg)
    return methods


def _check_settings(*, n_null: int, match_on: Sequence[str], min_cells: int, n_steps: int, n_baselines: int) -> None:
    if n_null != 0 and n_null < MIN_MATCHED:
        msg = f"n_null={n_null} is too few to estimate a spread; use {MIN_MATCHED} or more, or 0 for none."
        raise ValueError(msg)
    check_match_on(match_on)
    for name, value in (("min_cells", min_cells), ("n_steps", n_steps), ("n_baselines", n_baselines)):
        if value < 1:
            msg = f"{name}={value} must be at least 1."
            raise ValueError(msg)


def _effects(
    source: EncoderSource,
    module: nn.Module,
    readout: LinearReadout,
    bins: CellBins,
    methods: Sequence[str],
    *,
    n_steps: int,
    n_baselines: int,
    seed: int,
    n_jobs: int | None,
    progress: bool,
) -> _Effects:
    from scvi.utils import track

    from scwhatif.engine import read_rows

    knockouts = [knockout(gene) for gene in range(source.plan.n_features)]
    found = _Effects({}, {}, {}, None)  # type: ignore[arg-type]
    counts = None
    for name in methods:
        bar: Callable[..., Any] = partial(track, description=f"Effects by {name}", disable=not progress)
        sums: Any
        if name == "ko":
            sums = screen_readout(source, readout, bins, knockouts, n_jobs=n_jobs, track=bar)
            counts = sums.counts
            found.completeness[name] = np.nan
        else:
            baselines = None
            if name == "integrated_gradients":
                baselines = np.zeros((1, source.plan.n_features), np.float32)
            elif name == "expected_gradients":
                cells = bins.taking_part
                drawn = np.random.default_rng(seed).choice(cells, min(n_baselines, len(cells)), replace=False)
                rows = [read_rows(source.x, slice(int(row), int(row) + 1)).toarray() for row in np.sort(drawn)]
                baselines = np.concatenate(rows)
            sums = gradient_readout(source, module, readout, bins, baselines=baselines, n_steps=n_steps, track=bar)
            found.completeness[name] = sums.completeness
        found.change[name], found.size[name] = bins.means(sums.change), bins.means(sums.size)
    return found._replace(counts=_counts(source, bins) if counts is None else counts)


def _counts(source: EncoderSource, bins: CellBins) -> FeatureCounts:
    """What the data say of every gene, without encoding."""
    from scwhatif.engine import Screen

    return Screen(source.plan, source.x, {}, bins.codes, bins.n_bins + 1, [knockout(0)]).count()


def _table(
    effects: _Effects,
    source: EncoderSource,
    bins: CellBins,
    columns: NDArray[np.int64],
    var_names: pd.Index,
    n_null: int,
    match_on: Sequence[Covariate],
    min_cells: int,
) -> pd.DataFrame:
    n_cells, total = (bins.sums(each[:, : bins.n_bins]) for each in (effects.counts.n_nonzero, effects.counts.total))
    mean = total / bins.sums(bins.sizes[None])
    names = [name for name, _ in bins.strata]
    blocks = []
    for method, change in effects.change.items():
        for i, (name, parts) in enumerate(bins.strata):
            covariates = gene_covariates(effects.counts, parts, source.log_weight, match_on)
            tested = n_cells[:, i] >= min_cells
            effect = np.where(tested, change.mean[:, i], np.nan)
            block = pd.DataFrame(
                {
                    "method": method,
                    "group": name,
                    "gene": np.asarray(var_names[columns], dtype=object),
                    "n_cells": n_cells[columns, i],
                    "mean_expression": mean[columns, i],
                    "effect": effect[columns],
                    "size": np.where(tested, effects.size[method].mean[:, i], np.nan)[columns],
                    **ends(change, (columns, i)),
                    **effect_statistics(effect, covariates, tested, columns, n_null),
                }
            )
            blocks.append(block.sort_values("effect", key=lambda values: -values.abs(), kind="stable"))
    return stack(blocks, method=list(effects.change), group=names, gene=list(var_names[columns]))


def _summary(overall: dict[str, pd.DataFrame], effects: _Effects) -> pd.DataFrame:
    table = pd.DataFrame(
        [
            {
                "method": name,
                "n_tested": int(rows["effect"].notna().sum()),
                "n_significant": int((rows["padj"] < 0.05).sum()),
                "spearman_mean_expression": rows["effect"].abs().corr(rows["mean_expression"], method="spearman"),
                "completeness": effects.completeness[name],
            }
            for name, rows in overall.items()
        ]
    )
    table.index = table.index.astype(str)
    return table
