"""What the encoder makes of cells under many perturbations of their genes."""

from __future__ import annotations

import warnings
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from scwhatif._keys import Key
from scwhatif._provenance import params
from scwhatif._validation import check_at_least_one
from scwhatif.tl._cell_groups import ALL_CELLS, cell_groups
from scwhatif.tl._encoder_source import encoder_source
from scwhatif.tl._identity_share import identity_share
from scwhatif.tl._item_table import ItemNulls, item_table
from scwhatif.tl._screen_nulls import null_items
from scwhatif.tl._screen_settings import Library, check_match_on, check_plan, open_store
from scwhatif.tl._screen_table import Covariate, gene_covariates
from scwhatif.tl._screened_items import PerturbationLike, pool_items, read_items

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    import pandas as pd
    from anndata import AnnData
    from numpy.typing import NDArray
    from scvi.model.base import BaseModelClass

    from scwhatif.engine import FeatureCounts, Item


def screen(
    adata: AnnData,
    model: BaseModelClass,
    perturbations: PerturbationLike | Iterable[PerturbationLike] | Mapping[str, PerturbationLike] | pd.Series,
    *,
    sets: Mapping[str, Iterable[str]] | None = None,
    library: Library = "original",
    groupby: str | None = None,
    donor: str | None = None,
    n_null: int = 100,
    match_on: Sequence[Covariate] = ("mean", "detection"),
    min_cells: int = 20,
    store: str | Path | None = None,
    key_added: str = Key.uns.SCREEN,
    n_jobs: int | None = None,
    batch_size: int | None = None,
    seed: int = 0,
    progress: bool = True,
    copy: bool = False,
) -> AnnData | None:
    r"""Carry out perturbations of genes one by one, and see how far each moves the latent code beyond chance.

    Anything the grammar of :class:`scwhatif.Perturbation` can say of genes: knockouts, doses, sets, combinations. To
    knock out every gene, use :func:`scwhatif.tl.knockout`, whose null suits that. As there, the result is the
    sensitivity of the encoder, exact, and no causal effect.

    Whatever is done to a hundred well expressed genes moves a latent code. Each perturbation is therefore compared
    with ``n_null`` random ones of the same shape: the same operations on other genes, each matched to the one it stands
    in for. The p-value is ``(1 + n at least as far) / (1 + n_null)`` :cite:p:`Phipson2010`, so 100 stand-ins cannot
    give less than 0.01; for more, ask for more. It is right if the genes of the perturbation are exchangeable with
    those matched. All stand-ins are encoded in the same pass over the data.

    Parameters
    ----------
    adata
        The model's data, or data like it; in memory, backed, or in dask.
    model
        A trained model, as for :func:`scwhatif.tl.knockout`.
    perturbations
        One or several, such as ``["TP53:ko", "TP53:ko + MDM2:ko"]`` or ``[f"MYC:x{d}" for d in (0.25, 0.5, 2, 4)]``;
        a dict or a Series gives them names.
    sets
        Gene sets by name, for perturbations such as ``"ALS_down:x0.5"``.
    library
        ``"original"`` leaves all other genes of the cell as they are; ``"renorm"`` scales the edited cell back to the
        total count it had.
    groupby
        Column of ``obs`` whose groups are analysed too, each as if alone, with matches of its own.
    donor
        Column of ``obs`` with the donors, three or more: each is compared with the stand-ins in its own cells, and the
        residuals of the donors are tested against 0. Read as in :func:`scwhatif.tl.knockout`: it asks whether further
        donors would agree, not whether a perturbation stands out.
    n_null
        Number of stand-ins; 0 computes effects only.
    match_on
        What genes are matched on: ``"mean"``, ``"detection"``, ``"weight"``, see :func:`scwhatif.tl.knockout`.
    min_cells
        Perturbations that change fewer cells of a group (or of a donor in it) are not tested there.
    store
        Folder for checkpoints, see :func:`scwhatif.tl.knockout`.
    key_added
        Key of ``uns`` to write to.
    n_jobs
        Worker processes, as joblib understands it: ``None`` is 1 unless :class:`joblib.parallel_config` says otherwise.
        Results do not depend on it.
    batch_size
        Edited cells encoded at once where the encoder does not fit the compiled loop. Results do not depend on it.
    seed
        Seed of the stand-ins and of ``thin``.
    progress
        Whether to show a progress bar.
    copy
        Whether to return a copy instead of writing into ``adata``.

    Returns
    -------
    ``None``, or the copy, with

    ``uns["screen"]["by_group"]`` : DataFrame
        One row per group and perturbation, in the order given; group ``"all"`` holds all cells. ``group`` and
        ``perturbation`` (category: its name); ``target`` (category: genes and sets), ``op`` (category) and ``value``
        where it is a single edit; ``n_genes``; ``n_cells`` (that it changes), ``score`` (length of the change in
        posterior standard deviations, mean over the cells changed), ``kl`` (nats, likewise), ``shift_norm`` (length
        of the mean shift over the group), ``score_expected`` (median of the stand-ins), ``score_residual`` (log2 of
        score over expected), ``n_null`` (stand-ins there were), ``pval``, ``padj`` (false discovery rate over the
        perturbations, within the group); with ``donor`` also ``n_donors``, ``pval_donor``, ``padj_donor``.
    ``uns["screen"]["shift"]`` : array (n_perturbations × ``n_latent``), float64
        Mean change of the latent code over all cells; NaN where not tested.
    ``uns["screen"]["params"]`` : dict
        Arguments, versions, model class and hash of its weights, ``plan``, ``names`` of the perturbations, the
        ``perturbations`` as text, and
        ``r2_identity``: the share of the variance of log score that expression, detection and number of their genes
        explain in perturbations left out of the fit; NaN with fewer than 30 perturbations.

    Raises
    ------
    KeyError
        A gene is not in ``adata``, or ``groupby`` or ``donor`` not in ``obs``.
    ValueError
        A perturbation changes nothing, or something other than genes, or two have one name; the model is not trained
        or has no counts; a setting is out of range; as in :func:`scwhatif.tl.knockout`.
    TypeError
        Something is no perturbation, or the model's latent code is not Gaussian.

    Warns
    -----
    UserWarning
        Perturbations change no cell, for want of cells that express their genes.

    Examples
    --------
    >>> import scwhatif as wi
    >>> adata = wi.datasets.pbmc68k()
    >>> wi.model.BetaLinearSCVI.setup_anndata(adata)
    >>> model = wi.model.BetaLinearSCVI(adata, n_latent=5, seed=0)
    >>> model.train(max_epochs=2, seed=0, enable_progress_bar=False)
    >>> doses = [f"LYZ:x{dose}" for dose in (0, 0.5, 2)]
    >>> wi.tl.screen(adata, model, [*doses, "{CD3D,CD3E}:ko"], progress=False)
    >>> table = adata.uns["screen"]["by_group"]
    >>> table[["perturbation", "op", "value", "n_genes", "n_cells"]]
         perturbation  op  value  n_genes  n_cells
    0          LYZ:x0   x    0.0        1      379
    1        LYZ:x0.5   x    0.5        1      379
    2          LYZ:x2   x    2.0        1      379
    3  {CD3D,CD3E}:ko  ko    NaN        2      337
    """
    _check_settings(n_null=n_null, min_cells=min_cells, batch_size=batch_size)
    check_match_on(match_on)
    named, items = read_items(perturbations, sets, adata.var_names)
    groups = cell_groups(adata, groupby, donor)
    source = encoder_source(adata, model)
    check_plan(source.plan, type(model).__name__, library=library, match_on=match_on)

    from dataclasses import replace

    from scvi.utils import track

    from scwhatif.engine import Screen

    recorded = params(
        model,
        names=list(named),
        perturbations=[str(each) for each in named.values()],
        library=library,
        groupby=groupby,
        donor=donor,
        n_null=n_null,
        match_on=list(match_on),
        min_cells=min_cells,
        seed=seed,
        batch_size=batch_size,
        plan=source.plan.kind,
    )
    setting = Screen(
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
        track=partial(track, description="Screening", disable=not progress),
    )
    counts = setting.count()
    _warn_unchanged(named, counts.n_changed)
    requests: list[tuple[list[Item], NDArray[np.int64]]] = []
    for _, members in groups.strata:
        covariates = gene_covariates(counts, members, source.log_weight, match_on)
        expressed = np.asarray(counts.n_nonzero[:, members].any(axis=1))
        n_changed = counts.n_changed[:, members].sum(axis=1)
        requests.append((items, members))
        requests += [
            (null_items(item, covariates, expressed, n_null, seed) if n >= min_cells and n_null else [], members)
            for item, n in zip(items, n_changed, strict=True)
        ]
    pool = pool_items(requests, groups.n_parts)
    sums = replace(setting, items=pool.items, within=pool.within, store=open_store(store, recorded)).run()

    where, tested = pool.where[0], []
    for i, (_, members) in enumerate(groups.strata):
        n_changed = counts.n_changed[:, members].sum(axis=1)
        stand_ins = pool.where[i * (len(items) + 1) + 1 :]
        tested.append(
            [
                ItemNulls(int(target), stand_ins[j]) if n >= min_cells else None
                for j, (target, n) in enumerate(zip(where, n_changed, strict=True))
            ]
        )
    table = item_table(named, groups, sums, tested, where, min_cells=min_cells)

    target_data = adata.copy() if copy else adata
    overall = table[table["group"] == ALL_CELLS]
    shift = source.plan.to_reported_axes(sums.shift[where].sum(axis=1) / adata.n_obs)
    shift[overall["score"].isna().to_numpy()] = np.nan
    recorded["r2_identity"] = identity_share(overall["score"].to_numpy(), _identity(counts, items))
    target_data.uns[key_added] = {Key.uns.PARAMS: recorded, "by_group": table, "shift": shift}
    return target_data if copy else None


def _identity(counts: FeatureCounts, items: Sequence[Item]) -> NDArray[np.float64]:
    """What is known of the genes of each perturbation: expression, detection, how many they are."""
    members = np.arange(len(counts.n_cells))
    genes = [np.unique([column for column, _ in item]) for item in items]
    known = gene_covariates(counts, members, None, ("mean", "detection"))
    return np.array(
        [[np.log(np.exp(known[own, 0]).sum()), known[own, 1].mean(), np.log(len(own))] for own in genes]
    ).reshape(-1, 3)


def _check_settings(*, n_null: int, min_cells: int, batch_size: int | None) -> None:
    if n_null < 0:
        msg = f"n_null={n_null} must not be negative."
        raise ValueError(msg)
    check_at_least_one(min_cells=min_cells, batch_size=batch_size)


def _warn_unchanged(named: Mapping[str, object], n_changed: NDArray[np.int64]) -> None:
    idle = [name for name, n in zip(named, n_changed.sum(axis=1), strict=True) if n == 0]
    if idle:
        warnings.warn(
            f"{len(idle)} perturbation(s) change no cell, because none has a value they would change: "
            f"{', '.join(map(repr, idle[:5]))}{', …' if len(idle) > 5 else ''}.",
            UserWarning,
            stacklevel=3,
        )
