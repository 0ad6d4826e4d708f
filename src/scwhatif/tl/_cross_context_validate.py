"""Whether a model of pairs holds in cell lines and on chromosomes that it has not seen."""

from __future__ import annotations

import warnings
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scwhatif._keys import Key
from scwhatif._provenance import params
from scwhatif._validation import _listed, check_layer, check_obs_key
from scwhatif.pp._chrom_names import check_chrom_names
from scwhatif.tl._context_splits import ContextSplit, chrom_folds, context_splits, loci, share_of_known_loci

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anndata import AnnData
    from numpy.typing import NDArray

    from scwhatif.tl._context_baselines import Baseline
    from scwhatif.tl._context_fit import ContextFit

# Share of test pairs with a known locus from which a split counts as one of pairs that share loci.
_TOLERATED = 0.01
_MIN_CHROM_FOLDS = 3


def cross_context_validate(
    adata: AnnData,
    model_class: Any = None,
    *,
    label_key: str = Key.obs.LABEL,
    cell_line_key: str = Key.obs.CELL_LINE,
    chrom_key: str | None = Key.obs.CHROM,
    layer: str | None = None,
    n_chrom_folds: int = 5,
    cell_lines: Sequence[str] | None = None,
    folds: Sequence[int] | None = None,
    baselines: Sequence[Baseline] = (
        "prevalence",
        "distance",
        "logistic",
        "gradient_boosting",
        "gradient_boosting_rank",
    ),
    model_kwargs: Mapping[str, Any] | None = None,
    setup_kwargs: Mapping[str, Any] | None = None,
    train_kwargs: Mapping[str, Any] | None = None,
    confidence: float = 0.95,
    n_jobs: int | None = 1,
    seed: int = 0,
    force: bool = False,
    key_added: str = Key.uns.CROSS_CONTEXT_VALIDATE,
    copy: bool = False,
) -> AnnData | None:
    r"""Predict pairs of cell lines and chromosomes that were held out together, by a model and by baselines.

    Chromosomes are dealt to folds. For each cell line and fold, its pairs are the test. The model learns from the
    other lines without this fold and the next, and pairs of the other lines in the next fold are for validation: early
    stopping, and the threshold of a call, which is the one with the largest :math:`F_1` there, lines weighing the same.
    The labels of all other pairs are hidden from it; their features are not, so that a method may learn how the
    features of a line are distributed.

    Pairs must not be split at random. Neighbouring pairs share an enhancer or a promoter, and a method that remembers
    which loci interact looks good on such a split and knows nothing of others. That is measured before any fit, and
    refused.

    Parameters
    ----------
    adata
        Pairs × features, as from :func:`scwhatif.pp.pairs_from_table`.
    model_class
        Class such as :class:`scwhatif.model.CellLineEnergyModel`: its ``setup_anndata`` takes ``label_key``,
        ``cell_line_key`` and ``chrom_key``, its ``train`` takes ``external_indexing``, and its ``predict_proba`` takes
        ``indices`` and gives one probability each. ``None`` runs the baselines only.
    label_key
        Column of ``obs``: 1, 0, or NaN where not known.
    cell_line_key
        Column of ``obs`` with the cell line.
    chrom_key
        Column of ``obs`` with the chromosome. ``None`` deals single pairs to folds instead, which needs ``force``.
    layer
        Layer with the features that baselines read; ``X`` otherwise. A model is told in ``setup_kwargs``.
    n_chrom_folds
        Number of folds of chromosomes, at least three.
    cell_lines
        Lines to hold out; ``None`` holds out each in turn.
    folds
        Folds to hold out, from 0; ``None`` holds out each in turn.
    baselines
        Any of ``"prevalence"``, ``"distance"`` (logistic regression on the logarithm of ``obs["distance"]``),
        ``"lookup"`` (how often the enhancer and the promoter interact in training, no feature), ``"logistic"``,
        ``"gradient_boosting"`` (histogram gradient boosting with scikit-learn's defaults), the latter two also as
        ``"logistic_rank"`` and ``"gradient_boosting_rank"`` on features ranked within each line, and
        ``"gradient_boosting_tuned"`` (on ranks, 300 slower and more random trees) and ``"gradient_boosting_both"``
        (mean probability of such trees on measured and on ranked features).
    model_kwargs, setup_kwargs, train_kwargs
        Further arguments of the class, of ``setup_anndata`` and of ``train``.
    confidence
        Of the intervals, within (0, 1).
    n_jobs
        Lines × folds fitted at a time, as in joblib. Results do not depend on it.
    seed
        Seeds models and trees, where they do not have a seed of their own in their arguments.
    force
        Whether to go on although training and test pairs share loci.
    key_added
        Key of ``uns`` and ``obsm``.
    copy
        Whether to return a copy instead of writing into ``adata``.

    Returns
    -------
    ``None``, or with ``copy=True`` an AnnData. Written are

    ``uns[key_added]["table"]`` : DataFrame
        One row per line × fold × method: ``cell_line``, ``fold``, ``method``, ``n_train``, ``n`` (test pairs),
        ``prevalence``; ``aupr``, ``lift`` (``aupr / prevalence``), ``aupr_at_half`` (at prevalence 1/2),
        ``auroc``; ``f1``, ``precision`` and ``recall`` at ``threshold``; ``ece``, ``brier``, ``calibration_slope``,
        ``calibration_intercept``; ``validation_aupr``, the mean over validation lines.
    ``uns[key_added]["summary"]`` : DataFrame
        Per ``method`` and ``score``: ``mean`` over lines × folds, its interval ``low`` to ``high``
        (:func:`scwhatif.metrics.nadeau_bengio_interval`, clipped to the range of the score), ``sd``, ``n``.
    ``uns[key_added]["differences"]`` : DataFrame
        Per ``method``, ``reference`` and ``score``: ``mean`` of the paired difference over lines × folds, ``low``,
        ``high``, ``sd``, ``n``, ``share_better``.
    ``uns[key_added]["reliability"]`` : DataFrame
        Per ``method`` and ``cell_line``, in ten bins: ``predicted`` probability, share ``observed``, ``n``.
    ``uns[key_added]["params"]`` : dict
        Arguments, ``share_of_known_loci`` (largest share of test pairs with a locus seen in training; NaN if ``obs``
        does not tell places), versions.
    ``obsm[key_added]`` : DataFrame (pairs × methods), float64
        Probability of each pair, from the split that holds it out; NaN where there is none.

    Raises
    ------
    KeyError
        A column or layer does not exist, or a cell line.
    TypeError
        The class lacks a method that is needed.
    ValueError
        Training and test pairs share loci and ``force`` is not set; there is one cell line only; a label is neither 0
        nor 1; a line × fold that takes part has pairs of one label only; chromosomes are fewer than folds or named in
        two ways; there is nothing to compare; a baseline or setting is out of range.

    Warns
    -----
    UserWarning
        Lines × folds were left out because their pairs have one label only, or pairs share loci and it was forced.

    Examples
    --------
    >>> import scwhatif as wi
    >>> adata = wi.datasets.simulate_pairs(3, 4, 15)
    >>> wi.tl.cross_context_validate(adata, n_chrom_folds=4, baselines=["prevalence", "logistic"])
    >>> table = adata.uns["cross_context_validate"]["differences"].set_index(["method", "score"])
    >>> bool(table.loc[("logistic", "aupr"), "low"] > 0)
    True
    """
    labels, lines, chroms = _read(adata, label_key, cell_line_key, chrom_key)
    check_layer(adata, layer)
    held_out = _held_out(lines, cell_lines)
    model, setup, train = dict(model_kwargs or {}), dict(setup_kwargs or {}), dict(train_kwargs or {})
    names: list[str] = list(dict.fromkeys(baselines))
    _check_settings(model_class, names, setup, train, n_chrom_folds, confidence)
    wanted = _wanted_folds(folds, n_chrom_folds)
    known = ~np.isnan(labels)
    if chroms is None:
        fold_of = np.random.default_rng(seed).permutation(np.arange(adata.n_obs) % n_chrom_folds)
    else:
        fold_of = chrom_folds(chroms, n_chrom_folds)
    splits = [split for split in context_splits(lines, fold_of, known, held_out) if split.fold in wanted]
    places = loci(adata.obs)
    shared = _check_loci(places, splits, by_chrom=chrom_key is not None, force=force)
    splits = _with_both_labels(labels, splits)

    from scwhatif.tl._context_baselines import baseline_inputs
    from scwhatif.tl._context_fit import ContextFit
    from scwhatif.tl._context_scores import differences, reliability, summarise

    x = adata.X if layer is None else adata.layers[layer]
    dense = np.asarray(x.toarray() if hasattr(x, "toarray") else x, dtype=np.float64)
    distance = adata.obs[Key.obs.DISTANCE].to_numpy(float) if Key.obs.DISTANCE in adata.obs else None
    fit = ContextFit(
        labels=labels,
        lines=lines,
        inputs=baseline_inputs(names, dense, lines, distance, places),
        model_class=model_class,
        model=model,
        setup={"label_key": label_key, "cell_line_key": cell_line_key, "chrom_key": chrom_key, **setup},
        train=train,
        seed=seed,
    )
    results = _run(adata if model_class is not None else None, fit, splits, n_jobs)

    table = pd.concat([rows for rows, _ in results], ignore_index=True)
    table["method"] = pd.Categorical(table["method"], categories=fit.methods)
    table["cell_line"] = pd.Categorical(table["cell_line"], categories=held_out)
    predicted = pd.DataFrame(np.nan, index=np.arange(adata.n_obs), columns=fit.methods)
    for _, of_split in results:
        predicted.loc[of_split.index] = of_split
    recorded = params(
        label_key=label_key,
        cell_line_key=cell_line_key,
        chrom_key=chrom_key,
        layer=layer,
        n_chrom_folds=n_chrom_folds,
        cell_lines=held_out,
        folds=wanted,
        baselines=names or None,
        model_class=None if model_class is None else model_class.__name__,
        model_kwargs=model,
        setup_kwargs=setup,
        train_kwargs=train,
        confidence=confidence,
        seed=seed,
        force=force,
        share_of_known_loci=shared,
    )
    target = adata.copy() if copy else adata
    target.uns[key_added] = {
        "table": table,
        "summary": summarise(table, confidence=confidence),
        "differences": differences(table, confidence=confidence),
        "reliability": reliability(labels, predicted, splits),
        Key.uns.PARAMS: recorded,
    }
    target.obsm[key_added] = predicted.set_axis(target.obs_names)
    return target if copy else None


def _read(
    adata: AnnData, label_key: str, cell_line_key: str, chrom_key: str | None
) -> tuple[NDArray[np.float64], NDArray, NDArray | None]:
    columns = {"label_key": label_key, "cell_line_key": cell_line_key}
    if chrom_key is not None:
        columns["chrom_key"] = chrom_key
    for name, key in columns.items():
        check_obs_key(adata, key, name)
        if name != "label_key" and adata.obs[key].isna().any():
            msg = f"adata.obs[{key!r}] ({name}) is missing for {int(adata.obs[key].isna().sum())} pair(s)."
            raise ValueError(msg)
    column = adata.obs[label_key]
    labels = pd.to_numeric(column.astype(object), errors="coerce").to_numpy(dtype=np.float64)
    strange = (np.isnan(labels) & column.notna().to_numpy()) | ~(np.isnan(labels) | np.isin(labels, (0, 1)))
    if strange.any():
        msg = f"adata.obs[{label_key!r}] (label_key) must hold 0, 1 or NaN, not {_listed(column[strange].unique())}."
        raise ValueError(msg)
    lines = adata.obs[cell_line_key].astype(str).to_numpy()
    if chrom_key is None:
        return labels, lines, None
    chroms = adata.obs[chrom_key].astype(str).to_numpy()
    check_chrom_names(set(chroms), f"adata.obs[{chrom_key!r}]")
    return labels, lines, chroms


def _held_out(lines: NDArray, wanted: Sequence[str] | None) -> list[str]:
    known = sorted(set(lines))
    if len(known) < 2:
        msg = f"there is only one cell line, {known[0]!r}; with none left to learn from, no line can be held out."
        raise ValueError(msg)
    held_out = known if wanted is None else list(dict.fromkeys(wanted))
    unknown = [line for line in held_out if line not in known]
    if unknown or not held_out:
        msg = f"cell_lines={unknown} are not among the lines of adata, {known}."
        raise KeyError(msg)
    return held_out


def _wanted_folds(folds: Sequence[int] | None, n_folds: int) -> list[int]:
    wanted = list(range(n_folds)) if folds is None else sorted({int(fold) for fold in folds})
    if not wanted or wanted[0] < 0 or wanted[-1] >= n_folds:
        msg = f"folds={folds} must be of 0 to {n_folds - 1}."
        raise ValueError(msg)
    return wanted


def _check_settings(
    model_class: Any,
    names: list[str],
    setup: dict[str, Any],
    train: dict[str, Any],
    n_chrom_folds: int,
    confidence: float,
) -> None:
    if n_chrom_folds < _MIN_CHROM_FOLDS:
        msg = f"n_chrom_folds={n_chrom_folds} must be at least 3: to learn from, for validation and for the test."
        raise ValueError(msg)
    if not 0 < confidence < 1:
        msg = f"confidence={confidence} must lie within (0, 1)."
        raise ValueError(msg)
    if model_class is None:
        if not names:
            msg = "there is nothing to validate: give model_class or baselines."
            raise ValueError(msg)
        return
    for method in ("setup_anndata", "train", "predict_proba"):
        if not hasattr(model_class, method):
            msg = f"{model_class!r} has no {method}; cross_context_validate takes models like CellLineEnergyModel."
            raise TypeError(msg)
    for name, arguments, ours in (
        ("setup_kwargs", setup, {"label_key", "cell_line_key", "chrom_key"}),
        ("train_kwargs", train, {"external_indexing"}),
    ):
        twice = sorted(ours & set(arguments))
        if twice:
            msg = f"{name} sets {twice}, which cross_context_validate does."
            raise ValueError(msg)


def _check_loci(places: NDArray[np.int64] | None, splits: list[ContextSplit], *, by_chrom: bool, force: bool) -> float:
    """Largest share of test pairs with a locus that is in training too; raise where it counts."""
    shared = float("nan") if places is None else max(share_of_known_loci(places, split) for split in splits)
    if shared <= _TOLERATED or (by_chrom and places is None):
        return shared
    if places is None:
        what = "pairs would be split at random, and obs does not tell which of them share an enhancer or a promoter"
    else:
        what = f"up to {shared:.0%} of the test pairs of a split share an enhancer or a promoter with training pairs"
    msg = (
        f"{what}. A method that remembers loci would look good without having learnt anything that holds for others. "
        "Split by chromosome (chrom_key)"
    )
    if not force:
        msg += ", or pass force=True and report the baseline 'lookup' beside the result."
        raise ValueError(msg)
    warnings.warn(f"{msg}; it was forced.", UserWarning, stacklevel=3)
    return shared


def _with_both_labels(labels: NDArray[np.float64], splits: list[ContextSplit]) -> list[ContextSplit]:
    """Leave out splits whose test has one label only; raise where there is nothing to learn from."""
    for split in splits:
        for part in ("train", "validation"):
            if len(np.unique(labels[getattr(split, part)])) < 2:
                msg = (
                    f"with cell line {split.cell_line!r} and fold {split.fold} held out, the pairs for {part} do not "
                    "have both labels. Use fewer folds (n_chrom_folds) or more pairs."
                )
                raise ValueError(msg)
    kept = [split for split in splits if len(np.unique(labels[split.test])) == 2]
    if not kept:
        msg = "no cell line × fold has pairs of both labels. Use fewer folds (n_chrom_folds)."
        raise ValueError(msg)
    if len(kept) < len(splits):
        held = {(split.cell_line, split.fold) for split in kept}
        left = [f"{s.cell_line} × fold {s.fold}" for s in splits if (s.cell_line, s.fold) not in held]
        warnings.warn(
            f"{len(left)} line(s) × fold(s) were left out because their pairs have one label only: {_listed(left)}.",
            UserWarning,
            stacklevel=3,
        )
    return kept


def _run(
    data: AnnData | None, fit: ContextFit, splits: list[ContextSplit], n_jobs: int | None
) -> list[tuple[pd.DataFrame, pd.DataFrame]]:
    from joblib import Parallel, delayed

    from scwhatif.tl._context_fit import fit_context

    # bound, not passed: joblib puts large arguments on one Dask worker, and they would be lost with it
    return list(Parallel(n_jobs=n_jobs)(delayed(partial(fit_context, data, fit, split))() for split in splits))
