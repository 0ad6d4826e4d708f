"""Predictions that need no model: what a model has to beat."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scwhatif.metrics._profiles import check_unique, listed, read_profile, read_profiles

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import ArrayLike

    from scwhatif.metrics._profiles import Profiles


def predict_no_change(control: pd.Series, perturbations: Iterable[str]) -> pd.DataFrame:
    """Predict that no perturbation does anything.

    Parameters
    ----------
    control
        Mean profile of control cells, one value per gene.
    perturbations
        What to predict.

    Returns
    -------
    The control for every perturbation, perturbations × genes.

    Examples
    --------
    >>> import pandas as pd
    >>> import scwhatif as wi
    >>> wi.metrics.predict_no_change(pd.Series({"KLF1": 1.0, "HBG1": 0.5}), ["MAPK1", "TGFBR2"])
            KLF1  HBG1
    MAPK1    1.0   0.5
    TGFBR2   1.0   0.5
    """
    return _repeated(control.to_numpy(dtype=np.float64), perturbations, control.index)


def predict_train_mean(train: pd.DataFrame, perturbations: Iterable[str], *, separator: str = "+") -> pd.DataFrame:
    """Predict the mean of the training perturbations, whatever the perturbation.

    Each counts once, however many cells it has. Neither the control nor a tested perturbation may be among them: the
    first would pull the mean towards no change, the second would tell part of the answer.

    Parameters
    ----------
    train
        Mean profiles of the training perturbations, perturbations × genes, without the control.
    perturbations
        What to predict, none of which is in ``train``.
    separator
        Stands between the parts of a combination; ``"A+B"`` and ``"B+A"`` are the same.

    Returns
    -------
    The mean for every perturbation, perturbations × genes.

    Raises
    ------
    ValueError
        A perturbation is in ``train``, names repeat, or values are not finite.

    Examples
    --------
    >>> import pandas as pd
    >>> import scwhatif as wi
    >>> train = pd.DataFrame({"KLF1": [1.0, 3.0], "HBG1": [0.0, 1.0]}, index=["MAPK1", "TGFBR2"])
    >>> wi.metrics.predict_train_mean(train, ["MAPK1+TGFBR2"])
                  KLF1  HBG1
    MAPK1+TGFBR2   2.0   0.5
    """
    wanted = list(perturbations)
    known = read_train(train)
    check_not_trained(known.perturbations, wanted, separator)
    return _repeated(known.values.mean(axis=0), wanted, known.genes)


def predict_additive(
    train: pd.DataFrame, control: ArrayLike | pd.Series, perturbations: Iterable[str], *, separator: str = "+"
) -> pd.DataFrame:
    r"""Predict that the effects of the parts of a combination add up.

    .. math:: \hat y_{A+B} = c + (y_A - c) + (y_B - c)

    on the scale of the profiles: of log-normalised expression, fold changes multiply. None of the deep models compared
    by :cite:t:`AhlmannEltze2025` did better on double perturbations.

    Parameters
    ----------
    train
        Mean profiles of the training perturbations, perturbations × genes; all parts must be among them, alone.
    control
        Mean profile of control cells, one value per gene.
    perturbations
        What to predict, none of which is in ``train``.
    separator
        Stands between the parts of a combination.

    Returns
    -------
    Perturbations × genes.

    Raises
    ------
    ValueError
        A perturbation is in ``train`` or one of its parts is not, names repeat, or values are not finite.

    Examples
    --------
    >>> import pandas as pd
    >>> import scwhatif as wi
    >>> train = pd.DataFrame({"KLF1": [1.0, 3.0], "HBG1": [0.0, 1.0]}, index=["MAPK1", "TGFBR2"])
    >>> wi.metrics.predict_additive(train, [0.5, 0.5], ["MAPK1+TGFBR2"])
                  KLF1  HBG1
    MAPK1+TGFBR2   3.5   0.5
    """
    known = read_train(train)
    centre = read_profile(control, "control", like=known)
    wanted = list(perturbations)
    rows = [centre + (known.values[at] - centre).sum(axis=0) for at in _positions(known, wanted, separator)]
    return pd.DataFrame(rows, index=wanted, columns=known.genes)


def predict_average(train: pd.DataFrame, perturbations: Iterable[str], *, separator: str = "+") -> pd.DataFrame:
    """Predict the average of the parts of a combination.

    Parameters
    ----------
    train
        Mean profiles of the training perturbations, perturbations × genes; all parts must be among them, alone.
    perturbations
        What to predict, none of which is in ``train``.
    separator
        Stands between the parts of a combination.

    Returns
    -------
    Perturbations × genes.

    Raises
    ------
    ValueError
        A perturbation is in ``train`` or one of its parts is not, names repeat, or values are not finite.

    Examples
    --------
    >>> import pandas as pd
    >>> import scwhatif as wi
    >>> train = pd.DataFrame({"KLF1": [1.0, 3.0], "HBG1": [0.0, 1.0]}, index=["MAPK1", "TGFBR2"])
    >>> wi.metrics.predict_average(train, ["MAPK1+TGFBR2"])
                  KLF1  HBG1
    MAPK1+TGFBR2   2.0   0.5
    """
    known = read_train(train)
    wanted = list(perturbations)
    rows = [known.values[at].mean(axis=0) for at in _positions(known, wanted, separator)]
    return pd.DataFrame(rows, index=wanted, columns=known.genes)


def parts_of(perturbation: str, separator: str) -> frozenset[str]:
    """What a combination is made of, whatever the order.

    Parameters
    ----------
    perturbation
        Its name.
    separator
        Stands between the parts.

    Returns
    -------
    Names of the parts; the name itself where there is one part only.
    """
    return frozenset(part.strip() for part in str(perturbation).split(separator))


def check_not_trained(train: Iterable[str], perturbations: Sequence[str], separator: str) -> None:
    """Refuse to predict what has been trained on.

    Parameters
    ----------
    train
        Names of the training perturbations.
    perturbations
        Names of those to predict.
    separator
        Stands between the parts of a combination.

    Raises
    ------
    ValueError
        One is among the training perturbations, or they repeat.
    """
    check_unique(pd.Index(perturbations), "perturbations")
    known = {parts_of(name, separator) for name in train}
    leaked = [name for name in perturbations if parts_of(name, separator) in known]
    if leaked:
        msg = f"train holds {listed(leaked)}, which are to be predicted; leave them out."
        raise ValueError(msg)


def read_train(train: pd.DataFrame) -> Profiles:
    """Check the profiles of the training perturbations.

    Parameters
    ----------
    train
        Perturbations × genes.

    Returns
    -------
    The profiles.

    Raises
    ------
    ValueError
        It is no table with names, names repeat, or values are not finite.
    """
    if not isinstance(train, pd.DataFrame):
        msg = f"train must be a table whose rows are named after the perturbations, not {type(train).__name__}."
        raise ValueError(msg)
    return read_profiles(train, "train")


def _positions(known: Profiles, perturbations: Sequence[str], separator: str) -> list[list[int]]:
    """Rows of the parts of every perturbation."""
    check_not_trained(known.perturbations, perturbations, separator)
    at = {name: i for i, name in enumerate(known.perturbations)}
    parts = [sorted(parts_of(name, separator)) for name in perturbations]
    missing = [part for each in parts for part in each if part not in at]
    if missing:
        msg = f"train lacks {listed(missing)}, of which perturbations to predict are made."
        raise ValueError(msg)
    return [[at[part] for part in each] for each in parts]


def _repeated(profile: ArrayLike, perturbations: Iterable[str], genes: pd.Index | None) -> pd.DataFrame:
    index = list(perturbations)
    return pd.DataFrame(np.tile(profile, (len(index), 1)), index=index, columns=genes)
