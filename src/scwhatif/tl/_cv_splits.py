"""Which samples are held out in which fold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray


class Split(NamedTuple):
    """One fold.

    Parameters
    ----------
    repeat, fold
        Which.
    train, validation, test
        Positions of the samples, rising.
    """

    repeat: int
    fold: int
    train: NDArray[np.int64]
    validation: NDArray[np.int64]
    test: NDArray[np.int64]


def make_splits(
    obs: pd.DataFrame,
    cv: Any,
    *,
    groups: str | None,
    stratify: str | None,
    n_repeats: int,
    train_size: float,
    seed: int,
) -> list[Split]:
    """Hold out samples in turn, and a part of the others for validation.

    Parameters
    ----------
    obs
        Samples.
    cv
        Number of folds, column with the fold of each sample, splitter of scikit-learn, or pairs of training and test
        positions.
    groups
        Column; no group is divided between training and test, nor, unless it is the only one left, between training and
        validation.
    stratify
        Column whose shares every fold keeps.
    n_repeats
        How often.
    train_size
        Share of the samples not held out (of the groups, where there are any) to train on.
    seed
        Seeds folds and validation samples; each repeat has its own.

    Returns
    -------
    The folds, repeat after repeat.

    Raises
    ------
    KeyError
        A column does not exist.
    TypeError
        ``cv`` is none of these.
    ValueError
        There are too few samples or groups, a column has missing values, or folds are not what they must be.
    """
    if n_repeats < 1:
        msg = f"n_repeats={n_repeats} must be at least 1."
        raise ValueError(msg)
    if not 0 < train_size <= 1:
        msg = f"train_kwargs sets train_size={train_size}, which must be above 0 and at most 1."
        raise ValueError(msg)
    group = _column(obs, "groups", groups)
    label = _column(obs, "stratify", stratify)
    splits = []
    for repeat in range(n_repeats):
        for fold, (train, test) in enumerate(_pairs(obs, cv, group, label, seed + repeat)):
            outside, test = np.sort(train), np.sort(test)
            _check(outside, test, len(obs), group, fold)
            train, validation = _inner(outside, group, train_size, np.random.default_rng([seed, repeat, fold]))
            splits.append(Split(repeat, fold, train, validation, test))
    return splits


def _column(obs: pd.DataFrame, argument: str, key: str | None) -> NDArray[np.int64] | None:
    if key is None:
        return None
    if key not in obs:
        msg = f"{argument}={key!r} is not a column of mdata.obs, which has {list(obs.columns)}."
        raise KeyError(msg)
    if obs[key].isna().any():
        msg = f"mdata.obs[{key!r}] ({argument}) is missing for {int(obs[key].isna().sum())} sample(s); fill it in."
        raise ValueError(msg)
    codes: NDArray[np.int64] = np.unique(obs[key].astype(str).to_numpy(dtype=object), return_inverse=True)[1]
    return codes


def _pairs(
    obs: pd.DataFrame, cv: Any, group: NDArray[np.int64] | None, label: NDArray[np.int64] | None, seed: int
) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    from sklearn.model_selection import PredefinedSplit

    n_obs = len(obs)
    splitter: Any
    of_splitter = group
    if isinstance(cv, str):
        folds = _column(obs, "cv", cv)
        if folds is None or folds.max(initial=0) < 1:
            msg = f"mdata.obs[{cv!r}] (cv) names a single fold; at least two are needed."
            raise ValueError(msg)
        # the column decides, whatever the groups; whether it divides one is checked later
        splitter, of_splitter = PredefinedSplit(folds), None
    elif isinstance(cv, int | np.integer) and not isinstance(cv, bool):
        splitter = _splitter(int(cv), n_obs, group, label, seed)
    elif hasattr(cv, "split"):
        splitter = cv
    elif isinstance(cv, list | tuple) and all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in cv) and cv:
        return [(np.asarray(train, dtype=np.int64), np.asarray(test, dtype=np.int64)) for train, test in cv]
    else:
        msg = (
            f"cv={cv!r} must be a number of folds, a column of mdata.obs, a splitter of scikit-learn, or a list of "
            "(training, test) positions."
        )
        raise TypeError(msg)
    return [
        (np.asarray(train, dtype=np.int64), np.asarray(test, dtype=np.int64))
        for train, test in splitter.split(np.zeros((n_obs, 1)), label, of_splitter)
    ]


def _splitter(
    n_folds: int, n_obs: int, group: NDArray[np.int64] | None, label: NDArray[np.int64] | None, seed: int
) -> Any:
    from sklearn.model_selection import GroupKFold, KFold, StratifiedGroupKFold, StratifiedKFold

    if n_folds < 2:
        msg = f"cv={n_folds} must be at least 2 folds."
        raise ValueError(msg)
    what, n_units = ("samples", n_obs) if group is None else ("groups", int(group.max()) + 1)
    if n_units < n_folds:
        msg = f"cv={n_folds} folds cannot be made of {n_units} {what}; lower cv."
        raise ValueError(msg)
    if label is not None and np.bincount(label).max() < n_folds:
        msg = f"stratify: no stratum has as many samples as there are folds ({n_folds}); lower cv or merge strata."
        raise ValueError(msg)
    if group is None and label is None:
        return KFold(n_folds, shuffle=True, random_state=seed)
    if group is None:
        return StratifiedKFold(n_folds, shuffle=True, random_state=seed)
    return GroupKFold(n_folds) if label is None else StratifiedGroupKFold(n_folds, shuffle=True, random_state=seed)


def _check(
    train: NDArray[np.int64], test: NDArray[np.int64], n_obs: int, group: NDArray[np.int64] | None, fold: int
) -> None:
    if not np.array_equal(np.sort(np.concatenate([train, test])), np.arange(n_obs)) or not len(test):
        msg = (
            f"Fold {fold} of cv has {len(train)} training and {len(test)} test samples, which are not the {n_obs} "
            "samples of mdata, each once. Leave samples that take no part out of mdata."
        )
        raise ValueError(msg)
    if group is not None and np.intersect1d(group[train], group[test]).size:
        msg = f"Fold {fold} of cv divides a group between training and test; use a splitter that keeps groups together."
        raise ValueError(msg)


def _inner(
    outside: NDArray[np.int64], group: NDArray[np.int64] | None, train_size: float, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Training and validation samples, whole groups where there are several."""
    units = outside if group is None else group[outside]
    which = rng.permutation(np.unique(units))
    if len(which) < 2:
        # a single group has to be divided after all
        units, which = outside, rng.permutation(outside)
    kept = which[: int(np.ceil(train_size * len(which)))]
    training = np.isin(units, kept)
    return outside[training], outside[~training]
