"""Whether latent codes tell states apart, beside what would do without a model."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scwhatif._keys import Key
from scwhatif._provenance import params
from scwhatif._validation import check_finite, check_groups, check_layer, check_obs_key, check_rep
from scwhatif.metrics._block_shuffle import label_sets, smallest_pval
from scwhatif.metrics._class_scores import SCORES, class_scores
from scwhatif.metrics._confusion import confusion_table
from scwhatif.tl._classifier_fit import (
    Estimator,
    as_matrix,
    make_classifier,
    out_of_fold,
    parameter_counts,
    permutation_scores,
    replicate_scores,
)
from scwhatif.tl._classifier_floors import ClassifierFloor, GeneSets, check_floors, floor_features, gene_columns
from scwhatif.tl._classifier_scores import AUROC, floor_scores, matched_sets, score_table
from scwhatif.tl._classifier_verdict import verdict
from scwhatif.tl._holdout import holdout

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from anndata import AnnData
    from numpy.typing import ArrayLike, NDArray
    from sklearn.base import BaseEstimator


def latent_classifier(
    adata: AnnData,
    label: str,
    *,
    use_rep: str = Key.obsm.LATENT,
    groups: str | None = Key.obs.BASE_CELL,
    permute_within: str | None = None,
    estimator: Estimator | BaseEstimator = "logreg",
    hidden: Sequence[int] = (7,),
    n_splits: int = 5,
    gene_sets: GeneSets | None = None,
    layer: str | None = None,
    floors: Sequence[ClassifierFloor] = ("majority", "library", "gene_sets", "integrality"),
    n_permutations: int = 200,
    null_reps: Iterable[ArrayLike] | None = None,
    n_jobs: int | None = None,
    key_added: str = Key.uns.LATENT_CLASSIFIER,
    seed: int = 0,
    copy: bool = False,
) -> AnnData | None:
    r"""Train a small classifier on latent codes to tell perturbed from unperturbed states, and see what it is worth.

    A classifier that tells edited cells from others at 91 % proves little by itself. Edited and unedited copies of a
    cell must not be parted between training and test; a share of 2:1 gives 67 % for nothing; a cell with edited genes
    can be told by these genes, by its library size, or, where counts were multiplied, by a single fractional count;
    and a hundred genes of any kind might have done as well. So whole groups are held out, everything is said of cells
    that the classifier (scaling included) was not fitted to, the same cells in the same folds are read from what needs
    no model, and chance is measured by shuffling labels.

    **What is shuffled** is what could as well have been otherwise. Within each group, labels are exchanged between
    the cells that carry one and those that carry another, as a whole: between the copies of a base cell, or between
    the treated and the untreated cells of a donor, of which each is one observation, however many cells it holds.
    Where each group is of one label, labels are shuffled among whole groups.

    **Gene sets against random genes** take new codes for each draw, so they are asked for one at a time:

    .. code-block:: python

        sets, edits = {"down": ["STMN2", "NEFL"], "up": ["JUN"]}, {"down": "down:x0.5", "up": "up:x2"}
        states = wi.pp.perturb_counts(cells, edits, sets=sets)
        states.obsm["X_wi"] = model.get_latent_representation(states)


        def code(drawn):
            other = wi.pp.perturb_counts(cells, edits, sets=drawn)
            z = model.get_latent_representation(other)
            model.deregister_manager()  # or the model keeps all data it has seen
            return z


        null = (code(drawn) for drawn in wi.tl.matched_gene_sets(cells, sets))
        wi.tl.latent_classifier(states, "condition", gene_sets=sets, null_reps=null)

    Fit the model to unperturbed cells only: one that is trained on edited copies learns the edit itself.

    Parameters
    ----------
    adata
        Cells in several states with a representation in ``obsm``, such as copies of base cells with and without an
        edit.
    label
        Column of ``obs`` with the states.
    use_rep
        Key of ``obsm``: any cells × dimensions matrix.
    groups
        Column of ``obs`` with what is held out as a whole: the base cell that edited cells are copies of, or better,
        where there are several, the donor. ``None`` holds out cells.
    permute_within
        Column of ``obs`` within whose values labels are exchanged, if not within ``groups``. Copies of a base cell
        can be exchanged even if whole donors are held out.
    estimator
        ``"logreg"`` (logistic regression), ``"mlp"`` (a net with ``hidden`` units) or any classifier of
        scikit-learn's kind that gives probabilities. Codes are standardised for all of them.
    hidden
        Units of each hidden layer of ``"mlp"``. The default on 36 dimensions has the 252 hidden weights of the small
        nets that this tool is meant to check.
    n_splits
        Number of parts held out in turn. Each label needs as many groups, or as many cells without ``groups``.
    gene_sets
        Name → genes that were edited, for the floor of that name.
    layer
        Layer with the counts, edited as the codes are; ``None`` is ``X``. Fractional ones are what
        ``"integrality"`` looks for.
    floors
        What needs no model. ``"majority"``: the most frequent label for all. ``"library"``: log of the total count.
        ``"gene_sets"``: mean log-normalised expression of each set, one number per set (left out without
        ``gene_sets``). ``"integrality"``: whether any count of the cell is fractional. All but the first are read by
        logistic regression in the same folds. An empty list needs no data in ``layer``.
    n_permutations
        Number of times the labels are shuffled; 0 does not test. Each shuffle takes as long as the classifier itself,
        which for the net is some 20 times as long as for logistic regression.
    null_reps
        Codes of the same cells, edited in other genes: arrays like ``use_rep``, rows in the order of ``adata``. Draw
        genes with :func:`scwhatif.tl.matched_gene_sets`; 200 draws are plenty, fewer than 19 can show nothing.
    n_jobs
        Shuffles and draws at a time, as in joblib. Results do not depend on it.
    key_added
        Key of ``uns`` to write to, and prefix of what goes to ``obs`` and ``obsm``.
    seed
        Seed of the folds, of the shuffles, and of the net.
    copy
        Whether to return a copy instead of writing into ``adata``.

    Returns
    -------
    ``None``, or the copy, with

    ``obs["latent_classifier_predicted"]`` : category
        The most probable label, from a classifier that did not see the cell's fold.
    ``obs["latent_classifier_fold"]`` : int64
        The fold.
    ``obsm["latent_classifier_probability"]`` : array (``n_obs`` × labels), float64
        Probability of each label, likewise; in the order of ``uns["latent_classifier"]["labels"]``.
    ``uns["latent_classifier"]["verdict"]`` : str
        What it comes to, in a sentence or two.
    ``uns["latent_classifier"]["scores"]`` : DataFrame
        One row per ``reader``, first the classifier (``"latent"``), then the floors: ``n_features``; ``accuracy``,
        ``balanced_accuracy`` (mean over labels of the share found) and ``auroc`` (area under the ROC curve of each
        label against the rest, mean over labels), each with its 95 % interval ``…_low``, ``…_high`` (Wilson's, at the
        number of independent cells that would be as uncertain, given the variance between groups); ``gain`` (by how
        much the classifier's ``auroc`` is higher than the floor's) with ``gain_low``, ``gain_high``, NaN for the
        classifier; ``pval`` (of the classifier's ``auroc`` by permutation, NaN for the floors).
    ``uns["latent_classifier"]["confusion"]`` : DataFrame
        One row per pair of ``true`` and ``predicted`` label (category): ``n``, its ``share`` of the cells of the true
        label, and the 95 % interval ``low``, ``high`` of the share.
    ``uns["latent_classifier"]["permutations"]`` : DataFrame
        ``accuracy``, ``balanced_accuracy`` and ``auroc`` after each shuffle.
    ``uns["latent_classifier"]["smallest_pval"]`` : float
        What ``pval`` cannot fall below, given the shuffles and the number of arrangements there are.
    ``uns["latent_classifier"]["matched_sets"]`` : DataFrame
        Only with ``null_reps``: the scores of each draw.
    ``uns["latent_classifier"]["matched_pval"]``, ``uns["latent_classifier"]["matched_gain"]`` : float
        Only with ``null_reps``: share of draws whose ``auroc`` is as high, the sets themselves counted, and by how
        much the ``auroc`` of the sets exceeds the mean of the draws.
    ``uns["latent_classifier"]["gene_sets"]`` : DataFrame
        Only with ``gene_sets``: ``gene_set`` and ``gene`` (category).
    ``uns["latent_classifier"]["labels"]`` : array of str
        The labels.
    ``uns["latent_classifier"]["n_params"]``, ``uns["latent_classifier"]["n_params_hidden_weights"]`` : int
        Weights and biases of the classifier, and weights into its hidden layers, counted with one output per label.
        (Of two labels scikit-learn fits a single output, which is the same function.) Not for your own classifier.
    ``uns["latent_classifier"]["params"]`` : dict
        Arguments and versions.

    Raises
    ------
    KeyError
        ``label``, ``groups``, ``permute_within``, ``use_rep``, ``layer`` or a gene does not exist.
    TypeError
        ``estimator`` is no classifier, ``groups`` not the name of a column, or ``gene_sets`` no mapping of lists.
    ValueError
        Labels are missing, continuous, all the same, or of too few groups; one is of a single group; what labels are
        exchanged within is divided by ``groups`` or of one label each; codes hold NaN; counts are negative, or
        fractional in every cell; a draw of ``null_reps`` has other cells; a setting is out of range.

    Warns
    -----
    UserWarning
        Copies of a base cell are divided between training and test.

    Notes
    -----
    Intervals are for the classifiers as they were fitted, over groups like these. p-values are ``(1 + k) / (1 + n)``
    :cite:p:`Phipson2010`, ties counting against the classifier.

    Examples
    --------
    >>> import anndata as ad, numpy as np, scwhatif as wi
    >>> rng = np.random.default_rng(0)
    >>> base = rng.normal(size=(100, 5))
    >>> adata = ad.AnnData(rng.poisson(5, (200, 20)).astype("float32"))
    >>> adata.obs["base_cell"] = np.tile(np.arange(100), 2)
    >>> adata.obs["condition"] = np.repeat(["control", "edited"], 100)
    >>> adata.obsm["X_wi"] = np.vstack([base, base + [2, 0, 0, 0, 0]])
    >>> wi.tl.latent_classifier(adata, "condition", n_permutations=19)
    >>> print(adata.uns["latent_classifier"]["verdict"])
    Told apart better than by chance (AUROC 0.93, p = 0.05); no floor does as well (best: a check for fractional
    counts, 0.50).
    """
    wanted = check_floors(floors, has_sets=gene_sets is not None)
    _check_settings(n_splits, n_permutations)
    classifier = make_classifier(estimator, hidden, seed=seed)
    labels = check_groups(adata, label, name="label")
    check_rep(adata, use_rep)
    codes, names = np.asarray(labels.codes, dtype=np.int64), list(labels.categories)
    folds, held = _folds(adata, labels, label, groups, n_splits=n_splits, seed=seed)
    units = held if permute_within is None else _units(adata, permute_within, codes, held, label, groups)
    columns = {} if gene_sets is None else gene_columns(adata, gene_sets)
    features = _floor_features(adata, layer, wanted, columns)
    values = as_matrix(adata.obsm[use_rep])

    probability = out_of_fold(classifier, values, codes, folds)
    predicted = probability.argmax(axis=1)
    null = permutation_scores(
        classifier,
        values,
        codes,
        folds,
        held=held,
        units=units,
        n_permutations=n_permutations,
        seed=seed,
        n_jobs=n_jobs,
    )
    readers = {"latent": class_scores(probability, predicted, codes)}
    readers |= floor_scores(wanted, features, codes, folds)
    widths = [values.shape[1], *(features[floor].shape[1] if floor in features else 0 for floor in wanted)]
    scores = score_table(readers, widths, null, codes, held)
    result: dict[str, Any] = {
        Key.uns.PARAMS: params(
            label=label,
            use_rep=use_rep,
            groups=groups,
            permute_within=permute_within,
            estimator=estimator if isinstance(estimator, str) else repr(estimator),
            hidden=list(hidden) if estimator == "mlp" else None,
            n_splits=n_splits,
            layer=layer,
            floors=wanted or None,
            n_permutations=n_permutations,
            seed=seed,
        ),
        "labels": np.array(names, dtype=object),
        "scores": scores,
        "confusion": confusion_table(codes, predicted, names, held),
        "permutations": pd.DataFrame(null, columns=list(SCORES)),
        "smallest_pval": smallest_pval(codes, units, n_permutations),
        **parameter_counts(estimator, hidden, values.shape[1], len(names)),
    }
    if gene_sets is not None:
        pairs = [(name, adata.var_names[column]) for name, found in columns.items() for column in found]
        result["gene_sets"] = pd.DataFrame(pairs, columns=["gene_set", "gene"]).astype("category")
    matched = None
    if null_reps is not None:
        drawn = replicate_scores(classifier, null_reps, codes, folds, n_jobs=n_jobs)
        matched = matched_sets(drawn, readers["latent"].estimate[AUROC])
        result["matched_sets"] = pd.DataFrame(drawn, columns=list(SCORES))
        result["matched_pval"] = matched.pval
        result["matched_gain"] = float(readers["latent"].estimate[AUROC] - matched.auroc)
    result["verdict"] = verdict(scores, smallest_pval=result["smallest_pval"], matched=matched)

    target = adata.copy() if copy else adata
    target.obs[f"{key_added}_predicted"] = pd.Categorical.from_codes(predicted, categories=names)
    target.obs[f"{key_added}_fold"] = folds
    target.obsm[f"{key_added}_probability"] = probability
    target.uns[key_added] = result
    return target if copy else None


def _check_settings(n_splits: int, n_permutations: int) -> None:
    if n_splits < 2:
        msg = f"n_splits={n_splits} must be at least 2: one part to train on and one to score on."
        raise ValueError(msg)
    if n_permutations < 0:
        msg = f"n_permutations={n_permutations} must not be negative; 0 does not test."
        raise ValueError(msg)


def _folds(
    adata: AnnData, labels: pd.Categorical, label: str, groups: str | None, *, n_splits: int, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64] | None]:
    """As many parts as asked for, or why there are none."""
    base_cell = Key.obs.BASE_CELL
    if groups == base_cell and base_cell not in adata.obs:
        msg = (
            f"groups={base_cell!r} is not in adata.obs. Name the column that says which cell each is a copy of, or the "
            "donor; or hold out cells with groups=None, where no cell is a copy of another."
        )
        raise KeyError(msg)
    folds, held = holdout(adata, labels, label, groups, n_splits=n_splits, seed=seed)
    for code, name in enumerate(labels.categories):
        own = labels.codes == code
        n = int(own.sum()) if held is None else len(np.unique(held[own]))
        if n < n_splits:
            what = "cell(s)" if groups is None else f"value(s) of adata.obs[{groups!r}]"
            msg = f"{name!r} in adata.obs[{label!r}] has {n} {what}, fewer than n_splits={n_splits}; pass n_splits={n}."
            raise ValueError(msg)
    if folds.max() + 1 < n_splits:
        msg = (
            f"adata.obs[{groups!r}] can be parted into {folds.max() + 1} parts that hold several labels of "
            f"adata.obs[{label!r}], not into n_splits={n_splits}; pass n_splits={folds.max() + 1}."
        )
        raise ValueError(msg)
    if base_cell in adata.obs and pd.Series(folds).groupby(adata.obs[base_cell].to_numpy()).nunique().max() > 1:
        warnings.warn(
            f"Copies of one cell (adata.obs[{base_cell!r}]) are in training and test, which biases every score; pass "
            f"groups={base_cell!r}.",
            UserWarning,
            stacklevel=3,
        )
    return folds, held


def _units(
    adata: AnnData,
    key: str,
    codes: NDArray[np.int64],
    held: NDArray[np.int64] | None,
    label: str,
    groups: str | None,
) -> NDArray[np.int64]:
    """Value of the column within which labels are exchanged, as integers from 0."""
    check_obs_key(adata, key, "permute_within")
    units = pd.factorize(adata.obs[key])[0].astype(np.int64)
    if (units < 0).any():
        msg = f"adata.obs[{key!r}] is missing for {int((units < 0).sum())} cell(s); permute_within needs all."
        raise ValueError(msg)
    if (label_sets(codes, units).sum(axis=1) == 1).all():
        msg = (
            f"permute_within={key!r} leaves nothing to exchange: each of its values has one label of "
            f"adata.obs[{label!r}] only. Leave it out."
        )
        raise ValueError(msg)
    if held is not None and pd.Series(held).groupby(units).nunique().max() > 1:
        msg = (
            f"permute_within={key!r} is divided by groups={groups!r}: what can be exchanged would be in training and "
            f"test. Pass groups={key!r}."
        )
        raise ValueError(msg)
    return units


def _floor_features(
    adata: AnnData, layer: str | None, wanted: Sequence[ClassifierFloor], columns: dict[str, NDArray[np.int64]]
) -> dict[str, NDArray[np.float64]]:
    if not set(wanted) - {"majority"}:
        return {}
    check_layer(adata, layer)
    x = adata.X if layer is None else adata.layers[layer]
    name = "adata.X" if layer is None else f"adata.layers[{layer!r}]"
    check_finite(x, name=name)
    return floor_features(x, wanted, columns, name=name)
