"""What a pair loses when some of its features are those of another pair."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from scwhatif.tl._pair_network import PairNetwork

_CHUNK = 8192


def occlude(
    network: PairNetwork, groups: Sequence[NDArray[np.int64]], *, n_baselines: int, seed: int
) -> NDArray[np.float64]:
    """Target of pairs less that with the features of a group taken from other pairs of the line.

    Network and trees both are asked where the target is the probability; the score is of the network alone.

    Parameters
    ----------
    network
        The network, and the pairs.
    groups
        Columns of each group, which are taken together.
    n_baselines
        Other pairs, drawn at random, whose mean is taken.
    seed
        Seeds the draws.

    Returns
    -------
    ``(n_pairs, n_groups)``.
    """
    views = _views(network)
    mine = [view[network.rows] for view in views]
    here = _target(network, mine)
    lost = np.zeros((len(network.rows), len(groups)))
    rng = np.random.default_rng(seed)
    for _ in range(n_baselines):
        other = np.zeros(len(network.rows), dtype=np.int64)
        for line in network.names:
            pairs = np.flatnonzero(network.of_line == line)
            other[pairs] = rng.choice(np.flatnonzero(network.table.lines == line), len(pairs))
        for g, columns in enumerate(groups):
            changed = [each.copy() for each in mine]
            for each, view in zip(changed, views, strict=True):
                each[:, columns] = view[np.ix_(other, columns)]
            lost[:, g] += here - _target(network, changed)
    return lost / n_baselines


def occlude_support(
    network: PairNetwork, line: str, groups: Sequence[NDArray[np.int64]]
) -> tuple[NDArray[np.float64], int]:
    """Energy of a line less that with a group of features at the mean of the training pairs.

    Parameters
    ----------
    network
        The network.
    line
        Name of the line.
    groups
        Columns of each group.

    Returns
    -------
    ``(n_groups,)``, mean over draws, and the number of support pairs of a draw.
    """
    import torch

    drawn = network.supports(line)
    lost = np.zeros(len(groups))
    with torch.no_grad():
        for rows in drawn:
            values, observed = network.support_features(rows)
            here = network.energy(values, observed)
            for g, columns in enumerate(groups):
                changed = values.clone()
                changed[:, columns] = network.module.feature_mean[columns]
                lost[g] += float(here - network.energy(changed, observed))
    return lost / len(drawn), len(drawn[0])


def _views(network: PairNetwork) -> list[NDArray[np.float32]]:
    """Features as the network reads them, and where there are trees as these read them."""
    model, table = network.model, network.table
    trees = [] if model.trees_ is None or network.target == "score" else model._tree_inputs(table)
    return [model._normalized(table), *trees]


def _target(network: PairNetwork, views: list[NDArray[np.float32]]) -> NDArray[np.float64]:
    import torch

    from scwhatif.model._cell_line_energy_trees import tree_logit

    values, *trees = views
    parts = []
    with torch.no_grad():
        for start in range(0, len(values), _CHUNK):
            chunk = torch.from_numpy(values[start : start + _CHUNK]).to(network.module.device)
            found = network.of_features(chunk.nan_to_num(0.0), ~chunk.isnan(), slice(start, start + len(chunk)))
            parts.append(found.double().cpu().numpy())
    target = np.concatenate(parts)
    if not trees:
        return target
    weight = network.model.trees_weight
    of_trees = [tree_logit(fitted, each) for fitted, each in zip(network.model.trees_, trees, strict=True)]
    return (1 - weight) * target + weight * np.mean(of_trees, axis=0)
