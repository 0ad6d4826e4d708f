"""How well a multi-omic model predicts samples it has not seen, beside what needs no model."""

from __future__ import annotations

from functools import partial
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scwhatif._keys import Key
from scwhatif._provenance import params
from scwhatif._validation import check_choices
from scwhatif.tl._cv_scores import BASELINES
from scwhatif.tl._cv_splits import make_splits
from scwhatif.tl._cv_summary import fold_table, summarise, tabulate

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from mudata import MuData

    from scwhatif.tl._cv_fold import FoldData, FoldFit

_DEFAULT_TRAIN_SIZE = 0.9


def cross_validate(
    mdata: MuData,
    model_class: type | None = None,
    *,
    cv: Any = 5,
    groups: str | None = None,
    stratify: str | None = None,
    targets: Sequence[str] | None = None,
    setup_kwargs: dict[str, Any] | None = None,
    model_kwargs: dict[str, Any] | None = None,
    train_kwargs: dict[str, Any] | None = None,
    baselines: Sequence[str] = BASELINES,
    confidence: float = 0.95,
    n_repeats: int = 1,
    directory: str | os.PathLike[str] | None = None,
    n_jobs: int | None = None,
    progress: bool = True,
    key_added: str = Key.uns.CROSS_VALIDATE,
    seed: int = 42,
    copy: bool = False,
) -> MuData | None:
    r"""Fit a multi-omic model once per fold, and score every layer of the samples held out.

    Everything that is learned is learned inside the fold: means and scales, the latent state, the regressions, and when
    to stop. Test samples take part in nothing. A share of the other samples (whole groups, where there are any) is held
    out for validation.

    R² says nothing unless it says what was visible, so every row names its ``inputs``:

    - ``"reconstruction"``: all layers, the predicted one included;
    - ``"imputation"``: all layers but the predicted one;
    - ``"drivers"``: the drivers alone, which is what predictions of their edits rest on.

    Covariates are visible throughout. R² of a feature is :math:`1 - \mathrm{SSE} / \mathrm{SST}` on the measured values
    of the test samples, with squares about the mean of the **training** samples, so 0 is what the training mean scores
    and below 0 is worse. Counts are scored as log1p at the median total.

    The baselines see the same samples: ``"mean"`` is the training mean; ``"covariates"`` a ridge regression on the
    covariates (the lineage) alone, left out where the model has none; ``"ridge"`` one on covariates and all visible
    layers side by side, what is missing at its mean, its penalty chosen by exact leave-one-out error
    (:func:`scwhatif.nn.ridge_loo`). For reconstruction, where it could copy, there is no ridge.

    Intervals are those of :func:`scwhatif.metrics.nadeau_bengio_interval`, which allow for the training samples that
    folds share; that of an R² ends at 1.

    Parameters
    ----------
    mdata
        Samples with modalities.
    model_class
        Class of the models; ``None`` is :class:`scwhatif.model.MultiOmicLPM`.
    cv
        Number of folds, a column of ``mdata.obs`` with the fold of each sample, a splitter of scikit-learn, or a list
        of (training, test) positions in ``mdata.obs_names``, which together are all samples.
    groups
        Column of ``mdata.obs``. Groups are held out as a whole: patients with several samples, or lineages
        (leave-lineage-out).
    stratify
        Column of ``mdata.obs`` whose shares every fold keeps.
    targets
        Layers to predict; all but the drivers by default.
    setup_kwargs, model_kwargs, train_kwargs
        Arguments of ``setup_mudata``, of the model and of its ``train``. ``train_size`` is the share of the samples
        (groups) outside the test fold that is not for validation, .9 by default.
    baselines
        Baselines, of ``"mean"``, ``"covariates"`` and ``"ridge"``.
    confidence
        Of the intervals.
    n_repeats
        How often everything is repeated with other seeds. A number of folds is then dealt anew too, unless there are
        ``groups`` and no ``stratify``, which are always dealt the same way.
    directory
        Folder for one model with its scores per fold, made if needed; :func:`scwhatif.model.load_folds` reads them. A
        fold found there is not fitted again, so a killed run goes on where it was. Names depend on data, settings,
        seeds and versions, so folds of other settings are never taken. Workers on other machines need it on a file
        system they share. ``None`` keeps no models.
    n_jobs
        Folds at a time, as in joblib: ``None`` is 1, or what an enclosing ``joblib.parallel_config`` says, which may
        also name a Dask cluster. Results do not depend on it. Every fold uses one thread.
    progress
        Whether to show a progress bar, in the style of ``scvi.settings.progress_bar_style``.
    key_added
        Key of ``mdata.uns`` to write to.
    seed
        Of the folds; weights and training of the k-th fit use ``seed + k``.
    copy
        Whether to return a copy instead of writing into ``mdata``.

    Returns
    -------
    ``None``, or the copy, with

    ``uns["cross_validate"]["table"]`` : DataFrame
        One row per fold, layer, inputs and method: ``fold``, ``repeat`` (int64), ``layer``, ``inputs``, ``method``
        (category; the name of the class, or a baseline), ``r2`` (mean over features with two values or more in the
        fold), ``r2_median`` (over the same), ``r2_pooled`` (all standardised values together), ``n_samples`` (int64;
        test samples that have the layer), and ``coverage``, the share of test values within the 90 % interval of the
        model (imputation and drivers, normal and student layers; NaN elsewhere); all others float64, NaN where no test
        sample has the layer.
    ``uns["cross_validate"]["summary"]`` : DataFrame
        One row per layer, inputs and method: ``r2`` (mean over folds), ``low``, ``high``, ``sd`` (between folds), means
        of ``r2_median``, ``r2_pooled`` and ``coverage``, ``n_folds`` (int64), and for each baseline ``above_mean``,
        ``above_mean_low``, ``above_mean_high`` …: the difference of ``r2`` fold by fold, with an interval of its own.
    ``uns["cross_validate"]["folds"]`` : DataFrame
        ``sample`` (str), ``repeat`` and ``fold`` (int64) in which it was held out.
    ``uns["cross_validate"]["params"]`` : dict
        Arguments and versions.

    Nothing else of ``mdata`` is touched.

    Raises
    ------
    KeyError
        A modality, column or target does not exist.
    TypeError
        ``model_class`` is of another kind, ``cv`` is nothing of the above, or an argument cannot be recorded.
    ValueError
        There are too few samples or groups for the folds, folds are not what they must be, a baseline is not known,
        the arguments passed on set what the cross-validation sets, or data are not what the model takes.

    Examples
    --------
    >>> import scwhatif as wi
    >>> mdata = wi.datasets.simulate_flow(60, n_rna=8, n_protein=6, n_ptm=(5,), n_metabolites=4, fusion_layer=0)
    >>> wi.tl.cross_validate(
    ...     mdata,
    ...     cv=2,
    ...     setup_kwargs={"rna": "rna", "protein": "protein", "ptm": ["ptm_0"], "metabolome": "metabolome"},
    ...     model_kwargs={"n_latent": 2, "n_hidden": 4},
    ...     train_kwargs={"max_epochs": 2},
    ...     progress=False,
    ... )
    >>> summary = mdata.uns["cross_validate"]["summary"].set_index(["layer", "inputs", "method"])
    >>> bool(summary.loc[("metabolome", "imputation", "MultiOmicLPM"), "above_mean"] > 0.2)
    True
    """
    # these load scvi-tools
    from scwhatif.model._fold_store import write_manifest
    from scwhatif.tl._cv_fold import FoldFit, read_data

    if model_class is None:
        from scwhatif.model import MultiOmicLPM

        model_class = MultiOmicLPM
    model_args, train_args = dict(model_kwargs or {}), dict(train_kwargs or {})
    setup = _check_arguments(model_class, dict(setup_kwargs or {}), model_args, train_args)
    wanted = check_choices(list(baselines), list(BASELINES), name="baselines")
    if not 0 < confidence < 1:
        msg = f"confidence={confidence} must lie within (0, 1)."
        raise ValueError(msg)
    train_size = float(train_args.pop("train_size", _DEFAULT_TRAIN_SIZE))
    splits = make_splits(
        mdata.obs,
        cv,
        groups=groups,
        stratify=stratify,
        n_repeats=n_repeats,
        train_size=train_size,
        seed=seed,
    )
    recorded = params(setup_kwargs=setup_kwargs, model_kwargs=model_args, train_kwargs=train_args)
    data = read_data(mdata, setup, _modalities(setup))
    layers = _check_setup(data, model_class, setup, model_args, targets)

    fits = [
        FoldFit(model_class, setup, model_args, train_args, tuple(layers), tuple(wanted), split, seed + k)
        for k, split in enumerate(splits)
    ]
    names = [""] * len(fits)
    if directory is not None:
        Path(directory).mkdir(parents=True, exist_ok=True)
        common = {**recorded, "data": data.digest()}
        names = [fit.name(common) for fit in fits]
        folds = [
            {
                "name": name,
                "train": split.train.tolist(),
                "validation": split.validation.tolist(),
                "test": split.test.tolist(),
            }
            for name, split in zip(names, splits, strict=True)
        ]
        manifest = {"model_class": model_class.__name__, "obs_names": list(mdata.obs_names.astype(str)), "folds": folds}
        write_manifest(directory, manifest)
    rows = _run(data, fits, names, directory, n_jobs=n_jobs, progress=progress)

    table = tabulate(rows, targets=layers, methods=[*wanted, model_class.__name__])
    target = mdata.copy() if copy else mdata
    target.uns[key_added] = {
        "table": table,
        "summary": summarise(table, splits, baselines=wanted, confidence=confidence),
        "folds": fold_table(splits, mdata.obs_names),
        Key.uns.PARAMS: {
            **recorded,
            **params(
                model_class=model_class.__name__,
                cv=cv if isinstance(cv, int | str) else type(cv).__name__,
                groups=groups,
                stratify=stratify,
                targets=layers,
                baselines=wanted,
                train_size=train_size,
                confidence=confidence,
                n_repeats=n_repeats,
                directory=None if directory is None else str(directory),
                seed=seed,
            ),
        },
    }
    return target if copy else None


def _check_arguments(
    model_class: Any, setup: dict[str, Any], model_args: dict[str, Any], train_args: dict[str, Any]
) -> dict[str, Any]:
    """All arguments of ``setup_mudata``, defaults included."""
    for method in ("setup_mudata", "predict"):
        if not hasattr(model_class, method):
            msg = f"{model_class!r} has no {method}; cross_validate takes models like MultiOmicLPM."
            raise TypeError(msg)
    for name, arguments, ours in (
        ("model_kwargs", model_args, {"seed"}),
        ("train_kwargs", train_args, {"seed", "external_indexing"}),
    ):
        twice = sorted(ours & set(arguments))
        if twice:
            msg = f"{name} sets {twice}, which cross_validate does; use seed= and cv=."
            raise ValueError(msg)
    known = {
        name: each.default
        for name, each in signature(model_class.setup_mudata).parameters.items()
        if name != "mdata" and each.kind is not each.VAR_KEYWORD
    }
    unknown = sorted(set(setup) - set(known))
    if unknown:
        msg = f"setup_kwargs sets {unknown}, which setup_mudata of {model_class.__name__} does not have: {list(known)}."
        raise ValueError(msg)
    return {**known, **setup}


def _modalities(setup: dict[str, Any]) -> list[str]:
    from scwhatif.model._multi_omic_flow import flow_order

    return list(dict.fromkeys(flow_order(setup)))


def _check_setup(
    data: FoldData, model_class: Any, setup: dict[str, Any], model_args: dict[str, Any], targets: Sequence[str] | None
) -> list[str]:
    """Raise here, before any fit, what a fit would raise of its arguments; return the layers to predict."""
    from scwhatif._compat import registered, seeded

    samples = data.mudata()
    with registered(model_class, samples, **setup), seeded(0):
        model = model_class(samples, **model_args)
    layers = list(model.layer_names)
    if targets is None:
        return [name for name in layers if name != setup["drivers"]]
    unknown = [name for name in targets if name not in layers]
    if unknown or not len(targets):
        msg = f"targets={list(targets)} must be layers of the model, which has {layers}."
        raise KeyError(msg)
    return list(dict.fromkeys(targets))


def _run(
    data: FoldData,
    fits: list[FoldFit],
    names: list[str],
    directory: str | os.PathLike[str] | None,
    *,
    n_jobs: int | None,
    progress: bool,
) -> list[dict[str, Any]]:
    from joblib import Parallel, delayed
    from scvi.utils import track

    from scwhatif.tl._cv_fold import run_fold

    # a generator, so that the bar moves as folds come in
    running = Parallel(n_jobs=n_jobs, return_as="generator")(
        # bound, not passed: joblib puts large arguments on one Dask worker, and they would be lost with it
        delayed(partial(run_fold, data, fit, directory, name))()
        for fit, name in zip(fits, names, strict=True)
    )
    return [row for rows in track(running, description="Folds", disable=not progress, total=len(fits)) for row in rows]
