"""A fair division of what a set of players achieves together."""

from __future__ import annotations

from math import factorial
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


def shapley_values(worth: ArrayLike) -> NDArray[np.float64]:
    r"""Shapley value :cite:p:`Shapley1953` of every player, from the worth of every coalition.

    .. math::
        \phi_i = \sum_{S \not\ni i} \frac{|S|! \, (n - |S| - 1)!}{n!} \, \big(v(S \cup i) - v(S)\big)

    the mean over all orders of joining of what a player adds. Values add up to the worth of all players together, less
    that of none.

    Parameters
    ----------
    worth
        ``(2 ** n_players,)``, or more dimensions behind that; player ``i`` is in coalition ``k`` if bit ``i`` of ``k``
        is set.

    Returns
    -------
    ``(n_players,)``, with the same dimensions behind.

    Raises
    ------
    ValueError
        The number of coalitions is no power of two.

    Examples
    --------
    Two players of whom either suffices share what they achieve; the third gets what it adds on its own:

    >>> shapley_values([0, 1, 1, 1, 2, 3, 3, 3])
    array([0.5, 0.5, 2. ])
    """
    values = np.asarray(worth, dtype=np.float64)
    n_coalitions = len(values)
    n = n_coalitions.bit_length() - 1
    if n_coalitions.bit_count() != 1:
        msg = f"worth has {n_coalitions} coalitions, which is no power of two."
        raise ValueError(msg)
    coalitions = np.arange(n_coalitions)
    size = np.array([int(each).bit_count() for each in coalitions])
    weight = np.array([factorial(s) * factorial(max(n - s - 1, 0)) / factorial(n) for s in range(n + 1)])
    shares = np.empty((n, *values.shape[1:]))
    for i in range(n):
        without = coalitions[(coalitions >> i) & 1 == 0]
        added = values[without | 1 << i] - values[without]
        shares[i] = np.tensordot(weight[size[without]], added, axes=1)
    return shares
