"""Integrated and expected gradients of pairs and of support sets."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from scwhatif.tl._pair_network import PairNetwork


def pair_paths(
    network: PairNetwork, *, n_baselines: int | None, n_steps: int, seed: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Share of every feature in what tells a pair from others of its line.

    Parameters
    ----------
    network
        The network, and the pairs.
    n_baselines
        Other pairs of the line, drawn at random; ``None`` takes the mean pair of the line instead.
    n_steps
        Gradients taken on each path.
    seed
        Seeds the draws.

    Returns
    -------
    Shares ``(n_pairs, n_features)``, 0 where not measured, and what they should add up to, ``(n_pairs,)``.
    """
    import torch

    from scwhatif.engine._path_attribution import path_attribution

    features = network.model._normalized(network.table)
    asked = features[network.rows]
    observed = torch.from_numpy(~np.isnan(asked)).to(network.module.device)
    baselines = np.zeros((n_baselines or 1, *asked.shape), dtype=np.float32)
    rng = np.random.default_rng(seed)
    for line in network.names:
        pairs, pool = network.of_line == line, np.flatnonzero(network.table.lines == line)
        measured = ~np.isnan(features[pool])
        mean = np.nan_to_num(features[pool]).sum(0) / np.maximum(measured.sum(0), 1)
        for each in baselines:
            # what another pair lacks is filled with the mean, or it would be taken for a value
            drawn = mean if n_baselines is None else features[rng.choice(pool, int(pairs.sum()))]
            each[pairs] = np.where(np.isnan(drawn), mean, drawn)
    # what is not measured does not move
    baselines = np.where(np.isnan(asked), 0.0, baselines).astype(np.float32)

    def function(values: torch.Tensor, rows: slice) -> torch.Tensor:
        return network.of_features(values, observed[rows], rows)

    def on_device(values: NDArray[np.float32]) -> torch.Tensor:
        return torch.from_numpy(values).to(network.module.device)

    found = path_attribution(function, on_device(np.nan_to_num(asked)), on_device(baselines), n_steps=n_steps)
    return found.values.numpy(), found.difference.numpy()


def support_paths(network: PairNetwork, line: str, *, n_steps: int) -> tuple[NDArray[np.float64], float, int]:
    """Share of every feature of the support set in the energy of a line, from the mean of the training pairs.

    Parameters
    ----------
    network
        The network.
    line
        Name of the line.
    n_steps
        Gradients taken on the path.

    Returns
    -------
    Shares ``(n_features,)``, what they should add up to, both means over draws, and the support pairs of a draw.
    """
    import torch

    from scwhatif.engine._path_attribution import path_attribution

    drawn = network.supports(line)
    shares, explained = np.zeros(0), 0.0
    for rows in drawn:
        values, observed = network.support_features(rows)
        origin = torch.where(observed, network.module.feature_mean.expand_as(values), values)

        # all support pairs move together, so they are one row of the path
        def function(flat: torch.Tensor, _: slice, observed: torch.Tensor = observed) -> torch.Tensor:
            return torch.stack([network.energy(each.view_as(observed), observed) for each in flat])

        found = path_attribution(function, values.reshape(1, -1), origin.reshape(1, 1, -1), n_steps=n_steps)
        of_features = found.values.reshape(values.shape).sum(0).numpy()
        shares = of_features if not len(shares) else shares + of_features
        explained += float(found.difference[0])
    return shares / len(drawn), explained / len(drawn), len(drawn[0])
