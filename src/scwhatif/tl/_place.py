"""New cells in the latent space of a model that is not trained again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import pandas as pd
from scipy.stats import entropy, norm

from scwhatif._keys import Key
from scwhatif._provenance import params
from scwhatif._validation import check_groups
from scwhatif.metrics import ACTIVE_VARIANCE, one_vs_rest_auc
from scwhatif.metrics._label_clouds import LabelClouds
from scwhatif.metrics._posterior_classifier import (
    Method,
    fit_classifier,
    fit_to_posterior,
    posterior_probabilities,
)
from scwhatif.tl._gaussian_posterior import factorised_posterior
from scwhatif.tl._holdout import holdout

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray
    from scvi.model.base import BaseModelClass

# Fewer cells than this per label cannot be parted and still tell scatter within labels.
_MIN_CELLS = 4


def place(
    adata: AnnData,
    model: BaseModelClass,
    reference: AnnData,
    *,
    label_key: str,
    method: Method = "lda",
    n_samples: int = 100,
    borderline: float = 0.8,
    outside: float = 0.01,
    rank_key: str | None = None,
    groups: str | None = None,
    n_splits: int = 5,
    active_variance: float = ACTIVE_VARIANCE,
    key_added: str = Key.uns.PLACE,
    seed: int = 0,
    copy: bool = False,
) -> AnnData | None:
    r"""Place new cells in a model's latent space: where they lie, in which state, how surely, and whether inside.

    The model encodes the new cells and is not trained again. A classifier that learned the labels of the reference from
    the posterior means of its cells calls the state. The mean is all that is known of a cell, so these probabilities
    are calibrated as far as the classifier is. How much of a call survives the uncertainty of the code is another
    question: a second classifier, fitted to draws from the reference's posteriors, is asked about many draws from that
    of the new cell, and its mean probability of the called state is written beside. It is never much larger, and a
    call that loses most of its probability hangs on dimensions that the model hardly uses. Only dimensions in use take
    part at all: in a dead one the posterior is the prior. All of this is done in the axes of training, in which the
    posterior is factorised, so that it does not depend on any later rotation.

    A classifier always names a state, also for a cell unlike any it knows. Therefore the distance of each cell to the
    nearest state's cloud is compared with those of reference cells to clouds that were fitted without them
    :cite:p:`Vovk2015`.

    Parameters
    ----------
    adata
        New cells with the model's features.
    model
        A trained model with a Gaussian posterior: any with ``get_latent_representation(return_dist=True)``.
    reference
        Cells with known labels, as a rule those the model was trained on.
    label_key
        Column of ``reference.obs`` with the states.
    method
        ``"lda"`` (linear discriminant analysis) or ``"logistic"`` regression.
    n_samples
        Draws from the posterior of each cell.
    borderline
        A cell is borderline if no state has at least this probability, and with ``rank_key`` also if the probability
        of lying beyond the threshold lies between ``1 - borderline`` and ``borderline``.
    outside
        A cell is outside the training cloud if no more than this share of reference cells lie as far out. That many
        cells like the reference are called outside as well.
    rank_key
        Key of :func:`scwhatif.tl.rank_latent` in ``reference.uns``, for the thresholds of its diagnostic dimensions.
    groups
        Column of ``reference.obs`` that is not divided when labels and distances are held out, such as the donor.
    n_splits
        Largest number of parts held out in turn.
    active_variance
        Dimensions whose posterior means vary no more than this over the reference are dead, in the axes of training.
    key_added
        Prefix of everything written.
    seed
        Seed of the draws and of the parts held out.
    copy
        Whether to return a copy instead of writing into ``adata``.

    Returns
    -------
    ``None``, or the copy, with

    ``obsm["place"]``, ``obsm["place_sd"]`` : array (``n_obs`` × ``n_latent``), float32
        Mean and (marginal) standard deviation of the posterior, in the axes that the model reports.
    ``obsm["place_probs"]`` : array (``n_obs`` × labels), float64
        Probability of each state at the posterior mean, in the order of ``uns["place"]["by_label"]``.
    ``obs["place_label"]`` : category
        The most probable state.
    ``obs["place_prob"]`` : float64
        Its probability.
    ``obs["place_posterior_prob"]`` : float64
        Probability of that state, mean over draws from the posterior.
    ``obs["place_entropy"]`` : float64
        Entropy of the probabilities in nats; at most the logarithm of the number of states.
    ``obs["place_threshold_prob"]`` : float64
        Only with ``rank_key``: posterior probability of lying on the state's side of the threshold of its diagnostic
        dimension.
    ``obs["place_borderline"]`` : bool
        Between two states.
    ``obs["place_nearest"]`` : category
        The state whose cloud is nearest.
    ``obs["place_distance"]`` : float64
        Robust Mahalanobis distance of the posterior mean to its centre.
    ``obs["place_outside_pval"]`` : float64
        Share of reference cells at least as far out, with the cell itself counted among them. Not corrected for the
        number of cells.
    ``obs["place_outside"]`` : bool
        Outside the training cloud.
    ``uns["place"]["by_label"]`` : DataFrame
        One row per state: ``label`` (category), ``n_reference``, ``n_called``; ``held_out_auc`` (of its probability)
        and ``held_out_recall``, both for reference cells that the classifier had not seen.
    ``uns["place"]["params"]`` : dict
        Arguments, versions, model class and hash of its weights; ``held_out_accuracy``,
        ``held_out_balanced_accuracy`` and their floors, ``majority_accuracy`` and ``1 / n_labels``; and
        ``held_out_posterior_accuracy``, of the state most probable over draws.

    Raises
    ------
    KeyError
        ``label_key``, ``groups`` or ``rank_key`` does not exist.
    TypeError
        The model does not give means and variances of a posterior.
    ValueError
        The model is not trained, or no dimension is in use; ``adata`` or ``reference`` has other features; labels are
        missing, continuous, all the same, of a single cell or of too few; ``groups`` cannot be held out; ``rank_key``
        ranked another label or representation; a setting is out of range.

    Notes
    -----
    Distances see only what the encoder passes on. A cell may differ in what it ignores and lie in the midst of the
    cloud. Minified data keep marginal variances only: if the model was rotated before, its posterior is taken as
    independent over the rotated dimensions.

    Examples
    --------
    Cells of the reference itself, to keep it short; new ones are placed alike:

    >>> import scwhatif as wi
    >>> adata = wi.datasets.simulate_factors(300, 80, 3, n_cell_types=2, n_batches=1)
    >>> wi.model.BetaLinearSCVI.setup_anndata(adata)
    >>> model = wi.model.BetaLinearSCVI(adata, n_latent=3, seed=0)
    >>> model.train(max_epochs=40, batch_size=32, seed=0, enable_progress_bar=False)
    >>> wi.tl.place(adata, model, adata, label_key="cell_type")
    >>> adata.obsm["place"].shape
    (300, 3)
    >>> bool(adata.uns["place"]["params"]["held_out_accuracy"] > 0.95)
    True
    """
    _check_settings(method, n_samples, borderline, outside, n_splits, active_variance)
    labels = check_groups(reference, label_key, name="label_key")
    folds, _ = holdout(reference, labels, label_key, groups, n_splits=n_splits, seed=seed)
    if len(labels) < _MIN_CELLS * len(labels.categories):
        msg = (
            f"reference has {len(labels)} cells for {len(labels.categories)} labels in obs[{label_key!r}]; at least "
            f"{_MIN_CELLS} per label are needed on average."
        )
        raise ValueError(msg)
    known, known_position = _posteriors(model, reference, "reference")
    new, position = _posteriors(model, adata, "adata")
    thresholds = None if rank_key is None else _thresholds(reference, rank_key, label_key, known_position.mean)
    active = known.mean.var(axis=0) > active_variance
    if not active.any():
        msg = (
            f"no latent dimension varies by more than active_variance={active_variance:g} over the reference, so there "
            "is no place to tell from another; scwhatif.tl.latent_usage(adata, model) says what to change."
        )
        raise ValueError(msg)

    used, codes = known[:, active], np.asarray(labels.codes, dtype=np.int64)
    n_labels = len(labels.categories)
    probs, posterior_probs = np.empty((2, len(codes), n_labels))
    distances = np.empty(len(codes))
    for fold in range(int(folds.max()) + 1):
        test, rest = np.flatnonzero(folds == fold), np.flatnonzero(folds != fold)
        placed = _place_by(used[rest], codes[rest], used[test], n_labels, method, n_samples, seed)
        probs[test], posterior_probs[test] = placed.probs, placed.posterior_probs
        distances[test] = placed.distances.min(axis=1)
    placed = _place_by(used, codes, new[:, active], n_labels, method, n_samples, seed)

    called = placed.probs.argmax(axis=1)
    columns: dict[str, Any] = {
        "label": pd.Categorical.from_codes(called, categories=labels.categories),
        "prob": placed.probs.max(axis=1),
        "posterior_prob": placed.posterior_probs[np.arange(len(called)), called],
        "entropy": entropy(placed.probs, axis=1),
    }
    is_borderline = columns["prob"] < borderline
    if thresholds is not None:
        beyond = thresholds.probabilities(position, called)
        columns["threshold_prob"] = beyond
        is_borderline |= (beyond > 1 - borderline) & (beyond < borderline)
    columns["borderline"] = is_borderline
    columns["nearest"] = pd.Categorical.from_codes(placed.distances.argmin(axis=1), categories=labels.categories)
    columns["distance"] = placed.distances.min(axis=1)
    farther = len(codes) - np.searchsorted(np.sort(distances), columns["distance"], side="left")
    columns["outside_pval"] = (1 + farther) / (1 + len(codes))
    columns["outside"] = columns["outside_pval"] <= outside

    by_label, scores = _held_out_scores(probs, labels)
    scores["held_out_posterior_accuracy"] = float((posterior_probs.argmax(axis=1) == codes).mean())
    by_label.insert(2, "n_called", np.bincount(called, minlength=n_labels))
    target = adata.copy() if copy else adata
    target.obsm[key_added] = position.mean.astype(np.float32)
    target.obsm[f"{key_added}_sd"] = position.sd.astype(np.float32)
    target.obsm[f"{key_added}_probs"] = placed.probs
    for name, column in columns.items():
        target.obs[f"{key_added}_{name}"] = column
    recorded = params(
        model,
        label_key=label_key,
        method=method,
        n_samples=n_samples,
        borderline=borderline,
        outside=outside,
        rank_key=rank_key,
        groups=groups,
        n_splits=n_splits,
        active_variance=active_variance,
        seed=seed,
        **scores,
    )
    target.uns[key_added] = {Key.uns.PARAMS: recorded, "by_label": by_label}
    return target if copy else None


@dataclass(frozen=True, eq=False)
class _Posterior:
    """Mean and standard deviation of each cell's code, ``(n_cells, n_latent)``."""

    mean: NDArray[np.float64]
    sd: NDArray[np.float64]

    def __getitem__(self, at: Any) -> _Posterior:
        return _Posterior(self.mean[at], self.sd[at])


@dataclass(frozen=True, eq=False)
class _Placed:
    """What the reference says of cells: probabilities of, and distances to, each label, ``(n_cells, n_labels)``."""

    probs: NDArray[np.float64]
    posterior_probs: NDArray[np.float64]
    distances: NDArray[np.float64]


def _place_by(
    known: _Posterior,
    codes: NDArray[np.int64],
    new: _Posterior,
    n_labels: int,
    method: Method,
    n_samples: int,
    seed: int,
) -> _Placed:
    of_draws = fit_to_posterior(known.mean, known.sd, codes, method, seed=seed)
    clouds = LabelClouds.fit(known.mean, codes, n_labels)
    return _Placed(
        fit_classifier(known.mean, codes, method).predict_proba(new.mean),
        posterior_probabilities(of_draws, new.mean, new.sd, n_samples=n_samples, seed=seed),
        np.sqrt(clouds.squared_distances(new.mean)),
    )


@dataclass(frozen=True, eq=False)
class _Thresholds:
    """Dimension, direction and threshold of each label."""

    dims: NDArray[np.int64]
    directions: NDArray[np.int64]
    values: NDArray[np.float64]

    def probabilities(self, cells: _Posterior, called: NDArray[np.intp]) -> NDArray[np.float64]:
        """Posterior probability of lying on the side of the label that each cell is called."""
        rows, dims = np.arange(len(called)), self.dims[called]
        excess = self.directions[called] * (cells.mean[rows, dims] - self.values[called])
        return norm.cdf(excess / cells.sd[rows, dims])


def _check_settings(
    method: str, n_samples: int, borderline: float, outside: float, n_splits: int, active_variance: float
) -> None:
    if method not in get_args(Method):
        msg = f"method={method!r} must be one of {get_args(Method)}."
        raise ValueError(msg)
    if n_samples < 1 or n_splits < 2 or active_variance < 0:
        msg = (
            f"n_samples={n_samples} must be at least 1, n_splits={n_splits} at least 2, and "
            f"active_variance={active_variance} not negative."
        )
        raise ValueError(msg)
    if not (0.5 <= borderline < 1 and 0 < outside < 1):
        msg = f"borderline={borderline} must be in [0.5, 1) and outside={outside} in (0, 1)."
        raise ValueError(msg)


def _posteriors(model: BaseModelClass, adata: AnnData, name: str) -> tuple[_Posterior, _Posterior]:
    """In the axes of training, where dimensions are independent, and marginally in those that the model reports."""
    mean, var, rotation = factorised_posterior(model, adata, name)
    reported = _Posterior(mean @ rotation, np.sqrt(var @ rotation**2))
    return _Posterior(mean, np.sqrt(var)), reported


def _thresholds(reference: AnnData, key: str, label_key: str, mean: NDArray[np.float64]) -> _Thresholds:
    result = reference.uns.get(key)
    call = f"scwhatif.tl.rank_latent(reference, {label_key!r}, key_added={key!r})"
    if not isinstance(result, dict) or "diagnostic" not in result:
        msg = f"reference.uns[{key!r}] holds no ranking of latent dimensions; run {call}."
        raise KeyError(msg)
    recorded = result[Key.uns.PARAMS]
    ranked = np.asarray(reference.obsm.get(recorded["use_rep"], np.empty((0, 0))))
    # ranks of codes are all that the ranking kept, so the codes themselves must still be the model's
    same = ranked.shape == mean.shape and np.allclose(ranked, mean, rtol=1e-3, atol=1e-3)
    if recorded["groupby"] != label_key or not same:
        msg = (
            f"reference.uns[{key!r}] ranks {recorded['use_rep']!r} for {recorded['groupby']!r}, not this model's "
            f"latent code for {label_key!r}. Write reference.obsm['X_wi'] = model.get_latent_representation(reference) "
            f"and run {call}."
        )
        raise ValueError(msg)
    diagnostic = result["diagnostic"]
    dims = list(result["table"]["dimension"].cat.categories)
    return _Thresholds(
        np.array([dims.index(dim) for dim in diagnostic["dimension"]]),
        diagnostic["direction"].to_numpy(),
        diagnostic["threshold"].to_numpy(),
    )


def _held_out_scores(probs: NDArray[np.float64], labels: pd.Categorical) -> tuple[pd.DataFrame, dict[str, float]]:
    """How well reference cells are called that the classifier had not seen."""
    codes = np.asarray(labels.codes)
    n_cells = np.bincount(codes)
    right = probs.argmax(axis=1) == codes
    recall = np.bincount(codes, right) / n_cells
    by_label = pd.DataFrame(
        {
            "label": pd.Categorical(labels.categories, categories=labels.categories),
            "n_reference": n_cells,
            "held_out_auc": np.diag(one_vs_rest_auc(probs, labels)),
            "held_out_recall": recall,
        }
    )
    by_label.index = by_label.index.astype(str)
    scores = {
        "held_out_accuracy": float(right.mean()),
        "held_out_balanced_accuracy": float(recall.mean()),
        "majority_accuracy": float(n_cells.max() / len(codes)),
    }
    return by_label, scores
