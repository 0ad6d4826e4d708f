"""Which genes a readout of the latent code hangs on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from scwhatif._keys import Key
from scwhatif._mudata import without_pulling
from scwhatif._provenance import params
from scwhatif._validation import check_at_least_one
from scwhatif.tl._cell_bins import CellBins
from scwhatif.tl._cell_groups import ALL_CELLS, cell_groups
from scwhatif.tl._encoder_source import encoder_source
from scwhatif.tl._gaussian_posterior import factorised_posterior
from scwhatif.tl._gene_readout import gene_columns
from scwhatif.tl._readout_target import readout_target, state_members
from scwhatif.tl._regulator_effects import method_summary, regulator_effects, regulator_table
from scwhatif.tl._regulator_table import agreement, warn_unmatched
from scwhatif.tl._screen_settings import check_match_on, check_n_null, check_plan
from scwhatif.tl._storm_settings import COHORT, STORM, check_defaults, check_single, in_mudata

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from mudata import MuData
    from scvi.model.base import BaseModelClass

    from scwhatif.model import MultiOmicLPM
    from scwhatif.tl._screen_table import Covariate
    from scwhatif.tl._storm_regulators import StormMethod

Method = Literal["ko", "jacobian", "integrated_gradients", "expected_gradients"]


def master_regulators(
    adata: AnnData | MuData,
    model: BaseModelClass | Sequence[MultiOmicLPM],
    target: str | tuple[str, str],
    *,
    candidates: str | Sequence[str] | None = None,
    method: Method | StormMethod | Sequence[Method | StormMethod] | None = None,
    groupby: str | None = None,
    within: tuple[str, str] | None = None,
    donor: str | None = None,
    reference: tuple[str, str] | Literal["cohort"] | None = None,
    strata: str | Sequence[str] | None = None,
    n_null: int | None = None,
    match_on: Sequence[Covariate] = ("mean", "detection"),
    min_cells: int | None = None,
    n_steps: int = 512,
    n_baselines: int = 16,
    axis_key: str = Key.uns.AXIS,
    seed: int = 0,
    n_jobs: int | None = None,
    progress: bool = True,
    key_added: str = Key.uns.MASTER_REGULATORS,
    copy: bool = False,
) -> AnnData | MuData | None:
    r"""Rank genes by how far they move cells along a direction of the latent space, or drivers by the PTM storm.

    **With AnnData** the direction is the *target*; the position of a cell along it, :math:`r(z) = v^\top z + c`, is the
    readout. What a gene does to it is the **sensitivity of the encoder** to that gene, not a regulation: an encoder
    reads what is measured well, which is more often the many targets of a regulator than the regulator. Compare with
    the matched genes, and with the floor in ``methods``: a ranking that follows mean expression needs no model.

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

    **With MuData** and a :class:`scwhatif.model.MultiOmicLPM` the target is ``"storm"``, how far modified sites are
    from a reference once their parent proteins are accounted for:

    .. math::
        S = \mathrm{mean}_k \sqrt{\mathrm{mean}_j\, u_{kj}^2}, \qquad u_{kj} = (r_{kj} - \mu_{kj}) / s_{kj}

    over the sites :math:`j` of each PTM layer :math:`k`; :math:`r` is what a regression on the proteins of the same
    gene leaves of a site (all of it where there is none), :math:`\mu` and :math:`s` its mean and standard deviation in
    the reference, all from the samples that a model was fitted to.

    ======================== ============================================================ =============================
    method                   effect of a driver on the decoded storm                      mean over
    ======================== ============================================================ =============================
    ``difference``           storm with the driver less that without it, starting from    all samples
                             the state that the other layers of a sample show
    ``integrated_gradients`` the driver's share of the storm less that without any driver its carriers
    ======================== ============================================================ =============================

    Given the models of a cross-validation, each sample is asked of the models that have not seen it. p-values ask
    whether carriers differ from others of their stratum, in the storm that was *measured* less what the other drivers
    explain, in the direction of the effect (:func:`scwhatif.metrics.holdout_randomization`); as models of a
    cross-validation learned from each other's samples they are doubled. A storm is a length, which most small steps
    raise whatever their direction, so a small effect means little unless it was observed. This is the sensitivity of a
    model, not the effect of an intervention, and no hierarchy among drivers.

    Parameters
    ----------
    adata
        The model's data, or data like it.
    model
        A trained model of the scvi-tools kind with a Gaussian posterior. With MuData, models of the folds of a
        cross-validation, or a single one, which is asked about all samples; if it was fitted to them, p-values are too
        small and there is a warning.
    target
        ``"storm"`` with MuData. Otherwise name of an axis from :func:`scwhatif.tl.axis` in the model's latent space, a
        dimension such as ``"z3"``, or a column of ``obs`` and one of its groups such as ``("cell_type", "B cell")``:
        the straight line from the mean of all other cells (0) to the mean of the group (1).
    candidates
        Genes, or drivers, to report and to correct for; ``None`` takes all.
    method
        One or several of those above; ``None`` is the first.
    groupby
        Column of ``obs`` for whose groups effects are given too.
    within
        Column of ``obs`` and the group whose cells alone are averaged over; ``None`` takes all cells.
    donor
        Column of ``obs`` with independent units, such as donors: effects are then means of their means, each with
        equal weight, with an interval. Cells of one donor are not independent, so without it there is none.
    reference
        MuData only. Column of ``obs`` and the group that storms are measured against; ``None`` and ``"cohort"`` take
        all samples.
    strata
        MuData only. Columns of ``obs`` within which carriers are compared with others; ``None`` takes the model's
        categorical covariates, and an empty list compares all with all.
    n_null
        Number of matched genes, 100 if ``None``, see :func:`scwhatif.metrics.signed_null_pvalues`; with MuData most
        draws of carriers, 100 000 if ``None``. 0 computes effects only.
    match_on
        What genes are matched on: ``"mean"``, ``"detection"``, ``"weight"``, as in :func:`scwhatif.tl.knockout`.
    min_cells
        Genes in fewer cells of a group (20 if ``None``) are not tested there, nor drivers with fewer carriers or
        fewer others (5 if ``None``).
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
    ``None``, or the copy. With AnnData,

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

    With MuData,

    ``obs["master_regulators_storm"]`` : float64
        Storm as measured; NaN for samples without any PTM layer, or that no model may be asked about.
    ``uns["master_regulators"]["table"]`` : DataFrame
        One row per method and driver (categories), largest effect first: ``driver``, ``method``; ``effect``, ``se``,
        ``low``, ``high`` (95 % interval; it allows for the spread between models and for how few carriers there are to
        tell by); ``observed``, ``observed_se`` (measured difference between carriers and others within strata, less
        what the other drivers explain); ``n_carriers``, ``n_models``; ``statistic`` (in standard deviations of the
        null), ``pval``, ``padj`` :cite:p:`Benjamini1995`; ``selection_probability`` (share of half-samples that confirm
        the direction at 5 %); ``master`` (bool: at least .8, and the driver raises the storm).
    ``uns["master_regulators"]["layers"]`` : DataFrame
        ``method``, ``driver``, ``layer`` (categories), ``effect`` on the storm of that layer.
    ``uns["master_regulators"]["methods"]`` : DataFrame
        ``method``, ``n_tested``, ``n_significant``, ``completeness`` as above; ``spearman_carriers`` (of \|effect\|
        with the number of carriers); ``spearman_random`` (of effects with those of models whose weights are in random
        order, the floor: near 0).
    ``uns["master_regulators"]["agreement"]``, ``["params"]``
        As above; ``params`` with ``held_out`` (whether no model was asked about samples it was fitted to),
        ``n_models``, and the hash of the first model.

    Raises
    ------
    KeyError
        A gene, axis, dimension, column or group does not exist.
    TypeError
        The model has no Gaussian posterior, or there are several for AnnData.
    ValueError
        The model is not trained, its data are minified, or its codes are shares; other features than the model's; the
        axis lies in another space; a setting is out of range, or does not apply to this kind of data; the model has no
        drivers or PTM layers, or the reference fewer than two samples.

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

    >>> mdata = wi.datasets.simulate_flow(60, n_drivers=5, n_rna=9, n_protein=6, n_ptm=(5,), fusion_layer=0)
    >>> wi.model.MultiOmicLPM.setup_mudata(mdata, rna="rna", protein="protein", ptm="ptm_0")
    >>> models = []
    >>> for test in (range(30), range(30, 60)):
    ...     rest = np.setdiff1d(np.arange(60), test)
    ...     model = wi.model.MultiOmicLPM(mdata, n_latent=2, n_hidden=4, evidence=None)
    ...     model.train(2, external_indexing=[rest[5:], rest[:5], test], enable_progress_bar=False)
    ...     models.append(model)
    >>> wi.tl.master_regulators(mdata, models, "storm", n_null=500, progress=False)
    >>> mdata.uns["master_regulators"]["table"].shape
    (5, 15)
    """
    if in_mudata(adata):
        given = {"groupby": groupby, "within": within, "donor": donor, "match_on": match_on, "axis_key": axis_key}
        check_defaults(master_regulators, {**given, "n_baselines": n_baselines, "n_jobs": n_jobs}, "MuData")
        if target != STORM:
            msg = f"target={target!r} must be {STORM!r} with MuData."
            raise ValueError(msg)
        from scwhatif.tl._storm_regulators import storm_regulators

        storm = storm_regulators(
            adata,
            model,
            candidates=candidates,
            method="difference" if method is None else method,
            reference=COHORT if reference is None else reference,
            strata=strata,
            n_null=100_000 if n_null is None else n_null,
            min_carriers=5 if min_cells is None else min_cells,
            n_steps=n_steps,
            seed=seed,
            progress=progress,
        )
        with without_pulling():
            result = adata.copy() if copy else adata
        result.uns[key_added] = storm.stored
        result.obs[f"{key_added}_storm"] = storm.storm
        return result if copy else None
    check_defaults(master_regulators, {"reference": reference, "strata": strata}, "AnnData")
    model = check_single(model)
    n_null, min_cells = 100 if n_null is None else n_null, 20 if min_cells is None else min_cells
    methods = _checked_methods("ko" if method is None else method)
    _check_settings(n_null=n_null, match_on=match_on, min_cells=min_cells, n_steps=n_steps, n_baselines=n_baselines)
    columns = gene_columns(adata, candidates, "candidates")
    taking_part = None if within is None else state_members(adata, within, "within")
    bins = CellBins.of(cell_groups(adata, groupby, donor), taking_part)
    source = encoder_source(adata, model)
    check_plan(source.plan, type(model).__name__, library="original", match_on=match_on)
    posterior = factorised_posterior(model, adata)
    aim = readout_target(adata, posterior.mean @ posterior.rotation, target, axis_key)
    effects = regulator_effects(
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
    table = regulator_table(effects, source, bins, columns, adata.var_names, n_null, match_on, min_cells)
    if n_null:
        warn_unmatched(table, "effect", "pval")

    result = adata.copy() if copy else adata
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
            result.var[f"{key_added}_{name}{suffix}"] = values
    result.uns[key_added] = {
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
        "methods": method_summary(overall, effects),
        "agreement": agreement(
            {name: rows["effect"].to_numpy() * (-1 if name == "ko" else 1) for name, rows in overall.items()}
        ),
    }
    return result if copy else None


def _checked_methods(method: str | Sequence[str]) -> tuple[str, ...]:
    methods = tuple(dict.fromkeys([method] if isinstance(method, str) else method))
    known = get_args(Method)
    if not methods or not set(methods) <= set(known):
        msg = f"method={method!r} must be one or more of {known}."
        raise ValueError(msg)
    return methods


def _check_settings(*, n_null: int, match_on: Sequence[str], min_cells: int, n_steps: int, n_baselines: int) -> None:
    check_n_null(n_null)
    check_match_on(match_on)
    check_at_least_one(min_cells=min_cells, n_steps=n_steps, n_baselines=n_baselines)
