"""How strongly to charge the latent code: a grid of β over several seeds."""

from __future__ import annotations

import warnings
from functools import partial
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from anndata import AnnData

from scwhatif._keys import Key
from scwhatif._provenance import params
from scwhatif._validation import check_groups
from scwhatif.metrics import disentanglement
from scwhatif.tl._beta_summary import FLOOR, recommend, stability, summarise, tabulate

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    import pandas as pd

    from scwhatif.tl._beta_fit import BetaFit, BetaFitResult

_BETAS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
_METRICS = ("LMS-SMI", "LMS-SPN", "MIG")
# Enough to leave nothing of the latent code, whatever the data.
_FLOOR_BETA = 1e4


def sweep_beta(
    adata: AnnData,
    betas: Sequence[float] = _BETAS,
    *,
    seeds: int | Sequence[int] = 3,
    model_class: type | None = None,
    model_kwargs: dict[str, Any] | None = None,
    train_kwargs: dict[str, Any] | None = None,
    setup_kwargs: dict[str, Any] | None = None,
    groupby: str | None = None,
    metrics: Sequence[str] = _METRICS,
    rotate: str | None = None,
    tolerance: float = 0.05,
    cache_dir: str | os.PathLike[str] | None = None,
    n_jobs: int | None = None,
    progress: bool = True,
    key_added: str = Key.uns.SWEEP_BETA,
    seed: int = 0,
    copy: bool = False,
) -> AnnData | None:
    r"""Fit a grid of β with several seeds each, and recommend one.

    β moves a model along the trade-off between what its code says of a cell and what that costs
    :cite:p:`Alemi2018,Higgins2017`. A large one leaves few dimensions, each of which must be worth its price; too large
    a one leaves none. Seeds matter as much as β :cite:p:`Locatello2019`, hence several.

    **The rule.** Recommended is the largest β whose evidence lower bound on held-out cells is, in the mean over seeds,
    within ``tolerance`` of the best, or not worse than the best by more than one standard error over seeds (the
    one-standard-error rule: of what cannot be told from the best, take the simplest, :cite:t:`Breiman1984`), and that
    collapsed totally or diverged with no seed. Bounds are compared seed by seed, since fits of a seed hold out the same
    cells, and ``tolerance`` is a share of the best β's **gain** over a model without a latent code, fitted once per
    seed as the floor: a share of the bound itself would depend on depth and number of genes, and nearly all of it
    is noise that no model explains. The bound is that of the unweighted model (β = 1), which the smallest β does not
    win by itself as it wins the reconstruction. The rule says how much pressure the data bear; it sees no labels and
    does not promise the most readable dimensions, which no such rule can :cite:p:`Locatello2019`. For these, look at
    the table and at ``stability``.

    Parameters
    ----------
    adata
        Cells × features, as ``setup_anndata`` of the model wants them. To save time, pass a subset of the cells.
    betas
        Values of β, above 0; order and repetitions do not matter.
    seeds
        Seeds of weights, data split and training, or how many: ``seed``, ``seed + 1`` …
    model_class
        Class with ``beta`` among its arguments; ``None`` is :class:`scwhatif.model.BetaLinearSCVI`.
    model_kwargs, train_kwargs, setup_kwargs
        Arguments of the model, of its ``train`` and of its ``setup_anndata``.
    groupby
        Column of ``obs`` with labels that dimensions are compared with; no fit sees it.
    metrics
        Measures of disentanglement by these labels, names from :func:`scwhatif.metrics.disentanglement`.
    rotate
        Rotation after each fit, before anything is measured, as in
        :meth:`scwhatif.model.BetaLinearSCVI.rotate`; ``None`` measures the axes of training.
    tolerance
        Share of the best gain that may be given up for a larger β.
    cache_dir
        Folder with one small file per fit, made if needed. Fits found there are not run again, so an interrupted sweep
        goes on, and a wider one reuses what is there. File names depend on data, settings and versions. Workers on
        other machines need it on a file system they share.
    n_jobs
        Fits at a time, as in joblib: ``None`` is 1, or what an enclosing ``joblib.parallel_config`` says, which may
        also name a Dask cluster. Results do not depend on it. Every fit uses one thread.
    progress
        Whether to show a progress bar, in the style of ``scvi.settings.progress_bar_style``.
    key_added
        Key of ``uns`` to write to.
    seed
        First of the seeds, where ``seeds`` is a number.
    copy
        Whether to return a copy instead of writing into ``adata``.

    Returns
    -------
    ``None``, or the copy, with

    ``uns["sweep_beta"]["table"]`` : DataFrame
        One row per β and seed, float64 unless said otherwise: ``beta``, ``seed`` (int64), ``verdict`` (category:
        ``"healthy"``, ``"partial_collapse"``, ``"total_collapse"``, as in :func:`~scwhatif.tl.latent_usage`, or
        ``"diverged"``, with NaN in all scores). On the validation cells, nats per cell: ``elbo`` (higher is better),
        ``elbo_gain`` (over the floor), ``reconstruction`` (negative log-likelihood) and ``kl``, unweighted. Of the
        codes of all cells: ``n_active``, and for the active dimensions ``max_correlation``, ``total_correlation``
        (nats), and with ``groupby`` ``auc`` (of the best single dimension for each label against the rest, mean over
        labels) and one column per measure; without an active dimension these are .5 and 0.
    ``uns["sweep_beta"]["summary"]`` : DataFrame
        One row per β, ascending: ``beta``, the mean over seeds of each of these and, as ``…_sd``, the standard
        deviation; ``stability`` (:func:`scwhatif.metrics.factor_stability` of the loadings of the active dimensions
        over seeds, of latent codes where the model has no ``get_loadings``; NaN with a single seed), ``n_collapsed``
        (totally) and ``n_diverged``.
    ``uns["sweep_beta"]["floor"]`` : DataFrame
        ``seed`` and ``elbo`` of a model without a latent code.
    ``uns["sweep_beta"]["recommended_beta"]`` : float
        By the rule; NaN where no β gains anything over the floor.
    ``uns["sweep_beta"]["advice"]`` : str
        The rule applied, in a sentence.
    ``uns["sweep_beta"]["params"]`` : dict
        Arguments and versions.

    Nothing else of ``adata`` is touched: models are fitted to objects that share its matrices.

    Warns
    -----
    UserWarning
        Fits diverged, or no β can be recommended.

    Raises
    ------
    TypeError
        ``model_class`` has no ``beta``, or no ``rotate`` that was asked for; an argument cannot be recorded.
    KeyError
        ``groupby`` or a key of ``setup_kwargs`` does not exist.
    ValueError
        ``betas`` or ``seeds`` are empty or out of range; what the sweep sets is set again in the arguments passed on;
        data are minified; there are no validation cells; labels or data are not what they must be.

    Examples
    --------
    >>> import scwhatif as wi
    >>> adata = wi.datasets.simulate_factors(150, 30, 3, n_cell_types=3, n_batches=1, likelihood="normal")
    >>> wi.tl.sweep_beta(
    ...     adata,
    ...     [1.0, 200.0],
    ...     seeds=1,
    ...     model_kwargs={"n_latent": 3, "gene_likelihood": "normal"},
    ...     train_kwargs={"max_epochs": 20, "batch_size": 32},
    ...     progress=False,
    ... )
    >>> adata.uns["sweep_beta"]["recommended_beta"]
    1.0
    >>> list(adata.uns["sweep_beta"]["table"]["verdict"])
    ['healthy', 'total_collapse']
    """
    grid, seed_list = _read_grid(betas, seeds, seed, tolerance)
    # these load scvi-tools
    from scwhatif.tl._beta_fit import BetaFit
    from scwhatif.tl._fit_cache import cache_path, data_hash

    if model_class is None:
        from scwhatif.model import BetaLinearSCVI

        model_class = BetaLinearSCVI
    model_args, train_args, setup = dict(model_kwargs or {}), dict(train_kwargs or {}), dict(setup_kwargs or {})
    _check_arguments(model_class, model_args, train_args, rotate)
    shared = {
        "model_kwargs": model_args,
        "train_kwargs": train_args,
        "setup_kwargs": setup,
        "groupby": groupby,
        "metrics": list(metrics) if groupby is not None else None,
        "rotate": rotate,
    }
    recorded = params(**shared)
    _check_data(adata, groupby, metrics)
    in_memory = adata.to_memory() if adata.isbacked else adata
    _check_setup(in_memory, model_class, {"beta": grid[0], **model_args}, setup)
    data = _slim(in_memory, setup, groupby)

    def fit(beta: float, fit_seed: int, **more: Any) -> BetaFit:
        used = {**model_args, **more, "beta": beta}
        scored = tuple(metrics) if groupby is not None else ()
        return BetaFit(model_class, used, setup, train_args, fit_seed, groupby, scored, rotate)

    without_code = {"objective": "kl", "free_bits": 0.0}
    without_code = {name: value for name, value in without_code.items() if name in signature(model_class).parameters}
    keys = [(beta, each) for beta in (FLOOR, *grid) for each in seed_list]
    fits = [fit(_FLOOR_BETA, each, **without_code) if beta == FLOOR else fit(beta, each) for beta, each in keys]
    paths: list[Path | None] = [None] * len(fits)
    if cache_dir is not None:
        Path(cache_dir).mkdir(parents=True, exist_ok=True)
        common = {**recorded, "data": data_hash(data)}
        paths = [cache_path(cache_dir, each, common) for each in fits]
    results = dict(zip(keys, _run(data, fits, paths, n_jobs=n_jobs, progress=progress), strict=True))

    table, floor = tabulate(results, grid, seed_list)
    summary = summarise(table, stability(results, grid, seed_list))
    recommended, advice = recommend(table, tolerance)
    _warn(table, recommended, advice)
    target = adata.copy() if copy else adata
    target.uns[key_added] = {
        "table": table,
        "summary": summary,
        "floor": floor,
        "recommended_beta": recommended,
        "advice": advice,
        Key.uns.PARAMS: {
            **recorded,
            **params(betas=grid, seeds=seed_list, tolerance=tolerance, model_class=model_class.__name__),
        },
    }
    return target if copy else None


def _read_grid(
    betas: Sequence[float], seeds: int | Sequence[int], seed: int, tolerance: float
) -> tuple[list[float], list[int]]:
    grid = sorted({float(beta) for beta in betas})
    if not grid or not all(np.isfinite(beta) and beta > 0 for beta in grid):
        msg = f"betas={list(betas)} must hold one or more finite numbers above 0."
        raise ValueError(msg)
    chosen = list(range(seed, seed + seeds)) if isinstance(seeds, int) else [int(each) for each in seeds]
    if not chosen or len(set(chosen)) < len(chosen) or min(chosen) < 0:
        msg = f"seeds={seeds} (seed={seed}) must be a number of seeds, or distinct integers that are not negative."
        raise ValueError(msg)
    if not 0 <= tolerance < 1:
        msg = f"tolerance={tolerance} must be a share in [0, 1)."
        raise ValueError(msg)
    return grid, chosen


def _check_arguments(
    model_class: Any, model_args: dict[str, Any], train_args: dict[str, Any], rotate: str | None
) -> None:
    if "beta" not in signature(model_class).parameters:
        msg = f"{model_class.__name__} has no argument beta that could be swept."
        raise TypeError(msg)
    if rotate is not None and not hasattr(model_class, "rotate"):
        msg = f"{model_class.__name__} has no rotate; pass rotate=None."
        raise TypeError(msg)
    for name, arguments, swept in (
        ("model_kwargs", model_args, {"beta", "seed"}),
        ("train_kwargs", train_args, {"seed"}),
    ):
        twice = sorted(swept & set(arguments))
        if twice:
            msg = f"{name} sets {twice}, which the sweep does; use betas= and seeds=."
            raise ValueError(msg)
    if train_args.get("train_size") == 1 or train_args.get("validation_size") == 0:
        msg = "train_kwargs leaves no validation cells, and they decide; lower train_size."
        raise ValueError(msg)


def _check_data(adata: AnnData, groupby: str | None, metrics: Sequence[str]) -> None:
    from scwhatif._compat import minified_type

    if minified_type(adata) is not None:
        msg = "the data were minified, which drops the counts that models are fitted to; pass the data with counts."
        raise ValueError(msg)
    if groupby is None:
        return
    labels = check_groups(adata, groupby)
    if metrics:
        # on anything at all: only whether the measures are defined for these labels matters
        anything = np.random.default_rng(0).normal(size=(adata.n_obs, 2))
        disentanglement(anything, labels, metrics=metrics, n_shuffles=0)


def _check_setup(adata: AnnData, model_class: Any, model_args: dict[str, Any], setup: dict[str, Any]) -> None:
    """Raise here, before any fit, what a fit would raise of its arguments."""
    from scwhatif._compat import registered, seeded
    from scwhatif.tl._beta_fit import shallow

    cells = shallow(adata)
    with registered(model_class, cells, **setup), seeded(0):
        model_class(cells, **model_args)


def _slim(adata: AnnData, setup: dict[str, Any], groupby: str | None) -> AnnData:
    """The matrix and the columns that fits need, sharing memory with ``adata``."""
    wanted = {groupby}
    for value in setup.values():
        wanted |= set(value) if isinstance(value, list | tuple) else {value} if isinstance(value, str) else set()
    return AnnData(
        X=None if setup.get("layer") is not None else adata.X,
        obs=adata.obs[[column for column in adata.obs if column in wanted]].copy(),
        var=adata.var[[]].copy(),
        layers={name: layer for name, layer in adata.layers.items() if name in wanted},
        obsm={name: values for name, values in adata.obsm.items() if name in wanted},
    )


def _run(
    data: AnnData, fits: list[BetaFit], paths: list[Path | None], *, n_jobs: int | None, progress: bool
) -> list[BetaFitResult]:
    from joblib import Parallel, delayed
    from scvi.utils import track

    from scwhatif.tl._fit_cache import cached_fit

    # a generator, so that the bar moves as results come in
    running = Parallel(n_jobs=n_jobs, return_as="generator")(
        # bound, not passed: joblib puts large arguments on one Dask worker, and they would be lost with it
        delayed(partial(cached_fit, data, fit, path))()
        for fit, path in zip(fits, paths, strict=True)
    )
    return list(track(running, description="Sweeping beta", disable=not progress, total=len(fits)))


def _warn(table: pd.DataFrame, recommended: float, advice: str) -> None:
    diverged = table.loc[table["verdict"] == "diverged", ["beta", "seed"]]
    if len(diverged):
        named = ", ".join(f"{row.beta:g} (seed {row.seed})" for row in diverged.itertuples())
        warnings.warn(
            f"{len(diverged)} fit(s) diverged and have no scores: beta {named}. Lower the learning rate "
            "(train_kwargs={'plan_kwargs': {'lr': 1e-3}}).",
            UserWarning,
            stacklevel=3,
        )
    if np.isnan(recommended):
        warnings.warn(advice, UserWarning, stacklevel=3)
