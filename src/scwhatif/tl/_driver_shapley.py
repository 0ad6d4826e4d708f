"""Which of its drivers keeps a sample away from where it would be without them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

# Coalitions double with every driver.
MAX_EXACT = 10
N_ORDERS = 500
_BLOCK = 65_536


def driver_shapley(
    active: NDArray[np.bool_],
    distance: Callable[[NDArray[np.int64], NDArray[np.bool_]], NDArray[np.float64]],
    *,
    rng: np.random.Generator,
    max_exact: int = MAX_EXACT,
    n_orders: int = N_ORDERS,
) -> NDArray[np.float64]:
    r"""Share of every driver in the way back when all drivers of a sample are switched off.

    The Shapley value of driver :math:`j` is the mean over all sets :math:`A` of the other drivers, weighted as orders
    of switching them off do, of :math:`D(A) - D(A \cup j)`. In samples with many drivers it is the mean over random
    orders, each together with its reverse. Shares of a sample add up to
    :math:`D(\emptyset) - D(\text{all})` either way.

    Parameters
    ----------
    active
        Which drivers each sample carries, ``(n_samples, n_drivers)``.
    distance
        From positions of samples ``(n,)``, and which of their drivers are switched off ``(n, n_drivers)``, to their
        distances ``(n,)``.
    rng
        Source of the orders.
    max_exact
        Largest number of drivers of a sample for which all sets are computed.
    n_orders
        Number of orders otherwise.

    Returns
    -------
    Shares, ``(n_samples, n_drivers)``; NaN where a sample does not carry a driver.
    """
    shares = np.full(active.shape, np.nan)
    sizes = active.sum(axis=1)
    for size in np.unique(sizes[sizes > 0]):
        rows = np.flatnonzero(sizes == size)
        exact = size <= max_exact
        per_row = 2**size if exact else 2 * (-(-n_orders // 2)) * (size + 1)
        for start in range(0, len(rows), step := max(1, _BLOCK // int(per_row))):
            block = rows[start : start + step]
            players = np.nonzero(active[block])[1].reshape(len(block), size)
            found = _exact(block, players, distance, active.shape[1]) if exact else None
            if found is None:
                found = _sampled(block, players, distance, active.shape[1], -(-n_orders // 2), rng)
            shares[block[:, None], players] = found
    return shares


def _exact(
    rows: NDArray[np.int64],
    players: NDArray[np.int64],
    distance: Callable[[NDArray[np.int64], NDArray[np.bool_]], NDArray[np.float64]],
    n_drivers: int,
) -> NDArray[np.float64]:
    from scwhatif.metrics import shapley_values

    size = players.shape[1]
    inside = (np.arange(2**size)[:, None] >> np.arange(size) & 1).astype(bool)
    off = np.zeros((2**size, len(rows), n_drivers), dtype=bool)
    off[:, np.arange(len(rows))[:, None], players] = inside[:, None, :]
    found = distance(np.tile(rows, 2**size), off.reshape(-1, n_drivers))
    return shapley_values(-found.reshape(2**size, len(rows))).T


def _sampled(
    rows: NDArray[np.int64],
    players: NDArray[np.int64],
    distance: Callable[[NDArray[np.int64], NDArray[np.bool_]], NDArray[np.float64]],
    n_drivers: int,
    n_pairs: int,
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    n, size = players.shape
    order = np.argsort(rng.random((n_pairs, n, size)), axis=2)
    # place of every driver in its order, and in the reverse
    place = np.argsort(order, axis=2)
    place = np.concatenate([place, size - 1 - place])
    off = np.zeros((len(place), size + 1, n, n_drivers), dtype=bool)
    off[:, :, np.arange(n)[:, None], players] = place[:, None] < np.arange(size + 1)[:, None, None]
    found = distance(np.tile(rows, len(place) * (size + 1)), off.reshape(-1, n_drivers))
    gained = -np.diff(found.reshape(len(place), size + 1, n), axis=1).transpose(0, 2, 1)
    return np.take_along_axis(gained, place, axis=2).mean(axis=0)
