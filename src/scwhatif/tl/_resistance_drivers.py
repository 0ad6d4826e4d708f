"""Which genes keep cells away from a state once others are inhibited."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from scwhatif._keys import Key
from scwhatif._mudata import without_pulling
from scwhatif._provenance import params
from scwhatif._validation import check_at_least_one
from scwhatif.tl._cell_bins import CellBins
from scwhatif.tl._cell_groups import ALL_CELLS, cell_groups
from scwhatif.tl._coalitions import coalition_tables
from scwhatif.tl._encoder_source import encoder_source
from scwhatif.tl._gaussian_posterior import factorised_posterior
from scwhatif.tl._gene_readout import gene_columns, knockout, screen_readout
from scwhatif.tl._inhibition_tables import closest_players, distance_table, inhibition_table
from scwhatif.tl._readout_target import reference_state, state_members
from scwhatif.tl._regulator_table import warn_unmatched
from scwhatif.tl._screen_settings import check_match_on, check_n_null, check_plan
from scwhatif.tl._storm_settings import check_defaults, check_single, in_mudata

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from anndata import AnnData
    from mudata import MuData
    from scvi.model.base import BaseModelClass

    from scwhatif.engine import Item
    from scwhatif.model import MultiOmicLPM
    from scwhatif.perturbation import Perturbation
    from scwhatif.tl._encoder_source import EncoderSource
    from scwhatif.tl._gene_readout import ReadoutSums
    from scwhatif.tl._readout_target import Reference
    from scwhatif.tl._screen_table import Covariate

# Coalitions double with every gene.
_MOST_PLAYERS = 12


def resistance_drivers(
    adata: AnnData | MuData,
    model: BaseModelClass | Sequence[MultiOmicLPM],
    inhibited: str | Sequence[str] | Perturbation | None = None,
    *,
    reference: str | tuple[str, str],
    candidates: str | Sequence[str] | None = None,
    within: tuple[str, str] | None = None,
    groupby: str | None = None,
    donor: str | None = None,
    max_set: int = 6,
    strata: str | Sequence[str] | None = None,
    n_null: int | None = None,
    match_on: Sequence[Covariate] = ("mean", "detection"),
    min_cells: int | None = None,
    axis_key: str = Key.uns.AXIS,
    seed: int = 0,
    n_jobs: int | None = None,
    progress: bool = True,
    key_added: str = Key.uns.RESISTANCE_DRIVERS,
    copy: bool = False,
) -> AnnData | MuData | None:
    r"""Inhibit some genes, then each other on top, and see which brings cells or samples closer to a reference state.

    **With AnnData**, and :math:`d(D)` the distance of a cell from the reference after the genes :math:`D` were
    inhibited, every other gene :math:`g` has

    .. math::
        \mathrm{single}_g = d(g) - d(\emptyset), \qquad
        \mathrm{after}_g = d(D + g) - d(D), \qquad
        \mathrm{synergy}_g = \mathrm{after}_g - \mathrm{single}_g

    A gene with a negative :math:`\mathrm{after}_g` is what keeps cells away although :math:`D` is gone. A backup, which
    takes over from :math:`D`, does little as a single and much after, so that it stands out by its synergy. Edited
    cells are encoded exactly, all in one pass.

    This is a **residual distance in a model**: its encoder's sensitivity to several genes at once. No drug was given
    and no gene responds to the loss of another; only a backup whose part the encoder has learned can be seen.

    **With MuData** and a :class:`scwhatif.model.MultiOmicLPM`, each sample is followed through every set :math:`A` of
    the drivers it carries that may be switched off (of a gain-of-function mutation, this is a reversion). Its latent
    state, as all other layers show it, moves by what the drivers alone say; with :math:`\lVert \cdot \rVert_S` measured
    by the shrunken covariance of the reference,

    .. math::
        D(A) = \lVert z + \mu_g(x_{-A}) - \mu_g(x) - \mu_N \rVert_S, \qquad
        R_j = \mathrm{mean}_A \bigl( D(A) - D(A \cup j) \bigr)

    The mean over sets is the Shapley value :cite:p:`Shapley1953`, so that shares of a sample add up to the way back
    that all its drivers together explain (above 10 drivers from 500 random orders, which add up too). A driver with a
    positive share keeps carriers away from the reference. Given the models of a cross-validation, each sample is asked
    of the models that have not seen it; p-values ask whether carriers really are further from the reference than others
    of their stratum, or nearer if the share is negative, once the part of their other drivers is taken off. This is
    the sensitivity of a model and a **residual distance**: to call it resistance takes responses to drugs.

    Parameters
    ----------
    adata
        The model's data, or data like it.
    model
        A trained model of the scvi-tools kind with a Gaussian posterior. With MuData, models of the folds of a
        cross-validation, or a single one, which is asked about all samples; if it was fitted to them, p-values are too
        small and there is a warning.
    inhibited
        AnnData only, and needed there. What is done to begin with: names of genes to knock out, or a
        :class:`scwhatif.Perturbation` of genes or its text, such as ``"EGFR:x0.1 + MET:ko"``.
    reference
        Where cells should get to: a column of ``obs`` and one of its groups such as ``("state", "sensitive")``, from
        which the Mahalanobis distance is measured with the covariance of codes within groups, pooled over the groups
        and shrunk :cite:p:`Ledoit2004`; or the name of an axis from :func:`scwhatif.tl.axis`, whose second state is the
        reference, with the distance along the axis, which is 1 for the first state. With MuData a column and group, or
        ``"cohort"`` for the mean of all samples where there are no normal ones.
    candidates
        Genes to knock out on top; ``None`` takes all that are not inhibited. With MuData the drivers that may be
        switched off; ``None`` takes all.
    within
        Column of ``obs`` and the group whose cells are followed; ``None`` takes all cells outside the reference, or
        those of the axis's first state.
    groupby
        Column of ``obs`` for whose groups results are given too.
    donor
        Column of ``obs`` with independent units: changes are then means of their means, with an interval.
    max_set
        Largest number of genes that Shapley values are computed for: those inhibited, and the candidates that bring
        cells closest after them. 0 computes none.
    strata, n_null, match_on, min_cells
        As in :func:`scwhatif.tl.master_regulators`; with AnnData for ``after`` and ``synergy``.
    axis_key
        ``key_added`` of :func:`scwhatif.tl.axis`.
    seed
        Seed of ``thin`` in ``inhibited``; with MuData of draws, orders and half-samples.
    n_jobs
        Workers, as joblib understands it.
    progress
        Whether to show progress bars, in the style of ``scvi.settings.progress_bar_style``.
    key_added
        Key of ``uns`` and prefix of the columns.
    copy
        Whether to return a copy instead of writing into ``adata``.

    Returns
    -------
    ``None``, or the copy. With AnnData,

    ``var["resistance_drivers_single"]``, ``["…_after"]``, ``["…_synergy"]`` : float64
        As above, mean over all cells followed; NaN for genes that were not asked for or not tested.
    ``uns["resistance_drivers"]["table"]`` : DataFrame
        One row per group (category; ``"all"`` first) and gene, most negative ``after`` first: ``group``, ``gene``;
        ``n_cells`` (that have the gene), ``mean_expression``; ``single``, ``after``, ``synergy``; with ``donor``,
        ``low`` and ``high`` (95 % interval of ``after``, Student's t over donors); ``pval_rank``, ``pval``, ``padj`` of
        ``after``, and ``synergy_pval``, ``synergy_padj``: two-sided, against matched genes
        (:func:`scwhatif.metrics.signed_null_pvalues`), adjusted within the group :cite:p:`Benjamini1995`.
    ``uns["resistance_drivers"]["distance"]`` : DataFrame
        One row per group: ``group``, ``n_cells``; ``before`` and ``inhibited`` (mean distance of its cells), and
        ``reference`` (of the cells of the reference themselves: as near as cells get).
    ``uns["resistance_drivers"]["shapley"]`` : DataFrame
        ``gene``, ``inhibited`` (bool), ``value``: the gene's share of the change of the mean distance when all of these
        are edited together, over all cells followed. Shares add up to that change. Empty with ``max_set=0``.
    ``uns["resistance_drivers"]["coalitions"]`` : DataFrame
        ``genes`` (joined by ``" + "``), ``n_genes``, ``change`` of the mean distance, for every subset of these genes.
    ``uns["resistance_drivers"]["params"]`` : dict
        Arguments, ``plan`` (how cells were encoded), versions, model class and hash of its weights.

    With MuData,

    ``obs["resistance_drivers_distance"]`` : float64
        :math:`D(\emptyset)`; NaN for samples with nothing but drivers, or that no model may be asked about.
    ``obsm["resistance_drivers"]`` : array (samples × candidates), float64
        :math:`R_j`; NaN where a sample does not carry the driver, or is in the reference group.
    ``uns["resistance_drivers"]["table"]`` : DataFrame
        One row per driver (category), largest effect first: ``driver``; ``effect`` (mean share over its carriers),
        ``se``, ``low``, ``high``, ``observed`` and ``observed_se`` (of distances), ``n_carriers``, ``n_models``,
        ``statistic``, ``pval``, ``padj``, ``selection_probability`` as of :func:`scwhatif.tl.master_regulators`.
    ``uns["resistance_drivers"]["distance"]`` : DataFrame
        A single row: ``n_samples`` followed; mean distance ``before`` and with all candidates switched off
        (``inhibited``), and of the samples of the ``reference`` (NaN for the cohort).
    ``uns["resistance_drivers"]["params"]`` : dict
        Arguments, ``drivers`` (names of the columns in ``obsm``), ``held_out``, ``n_models``, versions, model class and
        hash of the first model.

    Raises
    ------
    KeyError
        A gene, axis, column or group does not exist.
    TypeError
        The model has no Gaussian posterior, or there are several for AnnData.
    ValueError
        The model is not trained, its data are minified, or its codes are shares; other features than the model's;
        nothing is inhibited, or no candidates are left; the axis lies in another space; a setting is out of range, or
        does not apply to this kind of data; the model has no drivers, or the reference fewer than two samples.

    Examples
    --------
    >>> import scwhatif as wi
    >>> adata = wi.datasets.simulate_factors(150, 60, 4)
    >>> wi.model.BetaLinearSCVI.setup_anndata(adata)
    >>> model = wi.model.BetaLinearSCVI(adata, n_latent=3, seed=0)
    >>> model.train(max_epochs=2, seed=0, enable_progress_bar=False)
    >>> wi.tl.resistance_drivers(adata, model, ["gene_0"], reference=("cell_type", "type_0"), max_set=3, progress=False)
    >>> adata.uns["resistance_drivers"]["table"].shape, len(adata.uns["resistance_drivers"]["coalitions"])
    ((59, 12), 8)

    >>> mdata = wi.datasets.simulate_flow(60, n_drivers=5, n_rna=9, n_protein=6, n_ptm=(5,), fusion_layer=0)
    >>> wi.model.MultiOmicLPM.setup_mudata(mdata, rna="rna", protein="protein", ptm="ptm_0")
    >>> models = []
    >>> for test in (range(30), range(30, 60)):
    ...     rest = np.setdiff1d(np.arange(60), test)
    ...     model = wi.model.MultiOmicLPM(mdata, n_latent=2, n_hidden=4, evidence=None)
    ...     model.train(2, external_indexing=[rest[5:], rest[:5], test], enable_progress_bar=False)
    ...     models.append(model)
    >>> wi.tl.resistance_drivers(mdata, models, reference="cohort", n_null=500, progress=False)
    >>> mdata.uns["resistance_drivers"]["table"].shape
    (5, 13)
    """
    if in_mudata(adata):
        given = {"inhibited": inhibited, "within": within, "groupby": groupby, "donor": donor, "max_set": max_set}
        given |= {"match_on": match_on, "axis_key": axis_key, "n_jobs": n_jobs}
        check_defaults(resistance_drivers, given, "MuData")
        from scwhatif.tl._storm_return import residual_distances

        found = residual_distances(
            adata,
            model,
            reference=reference,
            candidates=candidates,
            strata=strata,
            n_null=100_000 if n_null is None else n_null,
            min_carriers=5 if min_cells is None else min_cells,
            seed=seed,
            progress=progress,
        )
        with without_pulling():
            result = adata.copy() if copy else adata
        result.uns[key_added] = found.stored
        result.obs[f"{key_added}_distance"] = found.distance
        result.obsm[key_added] = found.shares
        return result if copy else None
    check_defaults(resistance_drivers, {"strata": strata}, "AnnData")
    model = check_single(model)
    n_null, min_cells = 100 if n_null is None else n_null, 20 if min_cells is None else min_cells
    spec = _read(inhibited)
    base = tuple(spec.feature_edits(adata.var_names))
    first = list(dict.fromkeys(column for column, _ in base))
    columns = np.setdiff1d(gene_columns(adata, candidates, "candidates"), first)
    _check_settings(len(first), len(columns), max_set=max_set, n_null=n_null, min_cells=min_cells)
    check_match_on(match_on)
    followed = None if within is None else state_members(adata, within, "within")
    groups = cell_groups(adata, groupby, donor)
    source = encoder_source(adata, model)
    check_plan(source.plan, type(model).__name__, library="original", match_on=match_on)
    posterior = factorised_posterior(model, adata)
    z = posterior.mean @ posterior.rotation
    state = reference_state(adata, z, reference, axis_key)
    bins = CellBins.of(groups, state.others if followed is None else followed)
    screen = partial(_screen, source, state, bins, seed=seed, n_jobs=n_jobs, progress=progress)

    # genes that are not asked for are what others are compared with
    genes = np.setdiff1d(np.arange(adata.n_vars), first) if n_null else columns
    sums = screen([base, *(knockout(gene) for gene in genes), *(base + knockout(gene) for gene in genes)])
    if not sums.counts.n_changed[0, : bins.n_bins].any():
        msg = f"inhibited={str(spec)!r} changes none of the cells followed; name genes that they express."
        raise ValueError(msg)
    rows = np.searchsorted(genes, columns)
    table = inhibition_table(sums, source, bins, genes, rows, adata.var_names, n_null, match_on, min_cells)
    if n_null:
        warn_unmatched(table, "after", "pval")
    overall = table[table["group"] == ALL_CELLS]
    shapley, coalitions = coalition_tables(
        closest_players(base, first, overall, adata.var_names, max_set),
        lambda items: bins.means(screen(items).change).mean[:, 0],
    )

    result = adata.copy() if copy else adata
    for name in ("single", "after", "synergy"):
        values = np.full(adata.n_vars, np.nan)
        values[adata.var_names.get_indexer(overall["gene"].astype(str))] = overall[name]
        result.var[f"{key_added}_{name}"] = values
    result.uns[key_added] = {
        Key.uns.PARAMS: params(
            model,
            inhibited=str(spec),
            reference=reference if isinstance(reference, str) else list(reference),
            reference_name=state.name,
            candidates=None if candidates is None else list(adata.var_names[columns]),
            within=None if within is None else list(within),
            groupby=groupby,
            donor=donor,
            max_set=max_set,
            n_null=n_null,
            match_on=list(match_on),
            min_cells=min_cells,
            axis_key=axis_key,
            seed=seed,
            plan=source.plan.kind,
        ),
        "table": table,
        "distance": distance_table(state, bins, z, sums),
        "shapley": shapley,
        "coalitions": coalitions,
    }
    return result if copy else None


def _read(inhibited: str | Sequence[str] | Perturbation | None) -> Perturbation:
    from scwhatif.perturbation import Perturbation

    if inhibited is None:
        msg = "inhibited is missing; name at least one gene."
        raise ValueError(msg)
    if not isinstance(inhibited, str | Perturbation):
        if not len(inhibited):
            msg = "inhibited is empty; name at least one gene."
            raise ValueError(msg)
        return Perturbation.knockout(inhibited)
    # a bare name is a gene to knock out
    text = inhibited if not isinstance(inhibited, str) or ":" in inhibited else Perturbation.knockout(inhibited)
    spec = Perturbation.coerce(text)
    if spec.kinds != ("feature",):
        msg = f"inhibited={str(spec)!r} must edit genes and nothing else."
        raise ValueError(msg)
    return spec


def _check_settings(n_inhibited: int, n_candidates: int, *, max_set: int, n_null: int, min_cells: int) -> None:
    if not n_candidates:
        msg = "all candidates are inhibited already; name others, or pass None for all genes."
        raise ValueError(msg)
    if max_set and not n_inhibited < max_set <= _MOST_PLAYERS:
        msg = (
            f"max_set={max_set} must be 0 (for none), or above the {n_inhibited} gene(s) inhibited and at most "
            f"{_MOST_PLAYERS}: there are 2 ** max_set sets to encode."
        )
        raise ValueError(msg)
    check_n_null(n_null)
    check_at_least_one(min_cells=min_cells)


def _screen(
    source: EncoderSource,
    state: Reference,
    bins: CellBins,
    items: Sequence[Item],
    *,
    seed: int,
    n_jobs: int | None,
    progress: bool,
) -> ReadoutSums:
    from scvi.utils import track

    bar: Callable[..., Any] = partial(track, description=f"Encoding {len(items)} edits", disable=not progress)
    return screen_readout(source, state.readout, bins, items, seed=seed, n_jobs=n_jobs, track=bar)
