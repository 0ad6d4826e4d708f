"""Two-class labels and a score for each, checked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


def binary_labels(
    labels: ArrayLike, scores: ArrayLike, *, probability: bool = False, both: bool = True
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Check what every comparison of two classes is given.

    Parameters
    ----------
    labels
        ``(n,)``, 0 or 1 (or bool).
    scores
        ``(n,)``, finite; high for label 1.
    probability
        Whether scores must lie in [0, 1].
    both
        Whether both labels must occur.

    Returns
    -------
    Labels as bool and scores as float64.

    Raises
    ------
    ValueError
        A label is neither 0 nor 1, both are needed and one does not occur, lengths differ, or a score is missing,
        infinite or no probability.
    """
    given, values = np.asarray(labels), np.asarray(scores, dtype=np.float64)
    if given.ndim != 1 or given.shape != values.shape or not len(given):
        msg = f"labels and scores must be vectors of one length, not of shape {given.shape} and {values.shape}."
        raise ValueError(msg)
    if not np.isin(given, (0, 1)).all():
        strange = next(each for each in given.tolist() if each not in (0, 1))
        msg = f"labels must be 0 or 1, not {strange!r}; leave unlabelled rows out."
        raise ValueError(msg)
    positive = given.astype(bool)
    if both and (positive.all() or not positive.any()):
        msg = f"labels must hold both 0 and 1, not only {int(positive[0])}."
        raise ValueError(msg)
    if not np.isfinite(values).all():
        msg = "scores must not be missing or infinite."
        raise ValueError(msg)
    if probability and (values.min() < 0 or values.max() > 1):
        msg = f"scores must be probabilities, within [0, 1], not from {values.min():.3g} to {values.max():.3g}."
        raise ValueError(msg)
    return positive, values
