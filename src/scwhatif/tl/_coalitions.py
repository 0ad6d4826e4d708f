"""What sets of genes do together, and the share of each."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from scwhatif.engine import Item


class Player(NamedTuple):
    """A gene that may be edited or not.

    Parameters
    ----------
    gene
        Its name.
    inhibited
        Whether it is one of those inhibited to begin with.
    item
        What is done to it.
    """

    gene: str
    inhibited: bool
    item: Item


def coalition_tables(
    players: Sequence[Player], worth: Callable[[list[Item]], NDArray[np.float64]]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Divide what all players do together among them.

    Parameters
    ----------
    players
        The genes, in order.
    worth
        From items to the change that each makes.

    Returns
    -------
    Shapley values, one row per player: ``gene``, ``inhibited``, ``value``; and what every subset does: ``genes``,
    ``n_genes``, ``change``. Both empty without players.
    """
    from scwhatif.metrics import shapley_values

    subsets = [[each for i, each in enumerate(players) if k >> i & 1] for k in range(2 ** len(players))]
    items: list[Item] = [sum((each.item for each in subset), ()) for subset in subsets]
    change = np.zeros(len(subsets))
    if players:
        change[1:] = worth(items[1:])
    shares = pd.DataFrame(
        {
            "gene": np.array([each.gene for each in players], dtype=object),
            "inhibited": np.array([each.inhibited for each in players], dtype=bool),
            "value": shapley_values(change),
        }
    )
    coalitions = pd.DataFrame(
        {
            "genes": np.array([" + ".join(each.gene for each in subset) for subset in subsets], dtype=object),
            "n_genes": np.array([len(subset) for subset in subsets], dtype=np.int64),
            "change": change,
        }
    )
    if not players:
        coalitions = coalitions.iloc[:0]
    for table in (shares, coalitions):
        table.index = table.index.astype(str)
    return shares, coalitions
