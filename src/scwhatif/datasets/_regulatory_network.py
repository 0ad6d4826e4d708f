"""A network of masters, regulators and redundant pairs, and what it does when some of them are knocked out."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.special import expit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

# Expression, relative to the gene's own baseline, at which activity is half of its maximum.
_HALF, _HALF_REDUNDANT = 1.0, 0.1
_EFFECT_LOG_SD = 0.25


@dataclass(frozen=True, eq=False)
class RegulatoryNetwork:
    """Drivers come first among the genes: masters, regulators, then redundant genes pair by pair.

    Parameters
    ----------
    n_masters, n_regulators
        Numbers of each.
    pairs
        The two genes of each redundant pair.
    n_decoys
        Genes that look like drivers and drive nothing.
    weights
        Genes × processes, one process for each master, each regulator and each pair.
    """

    n_masters: int
    n_regulators: int
    pairs: list[list[int]]
    n_decoys: int
    weights: NDArray[np.float64]

    @classmethod
    def draw(
        cls,
        rng: np.random.Generator,
        n_vars: int,
        n_drivers: tuple[int, int, int],
        n_targets: int,
        n_decoys: int,
        effect: float,
        share_repressed: float,
    ) -> RegulatoryNetwork:
        """Draw signs and sizes of the effects.

        Parameters
        ----------
        rng
            Source of the draws.
        n_vars
            Number of genes.
        n_drivers
            Numbers of masters, of regulators and of redundant pairs.
        n_targets
            Targets of each process, none shared.
        n_decoys
            Number of decoys.
        effect
            Median size of an effect on the log-rate.
        share_repressed
            Probability that a target of a master or regulator is repressed.

        Returns
        -------
        The network.
        """
        n_masters, n_regulators, n_pairs = n_drivers
        first = n_masters + n_regulators
        pairs = [[first + 2 * i, first + 2 * i + 1] for i in range(n_pairs)]
        weights = np.zeros((n_vars, first + n_pairs))
        edges = np.arange(first + n_pairs + 1) * n_targets + first + 2 * n_pairs
        for j, (start, stop) in enumerate(pairwise(edges)):
            sign = np.where(rng.random(n_targets) < share_repressed, -1.0, 1.0) if j < first else 1.0
            weights[start:stop, j] = sign * effect * np.exp(rng.normal(0.0, _EFFECT_LOG_SD, n_targets))
        for i in range(n_regulators if n_masters else 0):
            weights[n_masters + i, i % n_masters] = effect * np.exp(rng.normal(0.0, _EFFECT_LOG_SD))
        return cls(n_masters, n_regulators, pairs, n_decoys, weights)

    @property
    def n_single(self) -> int:
        """Number of masters and regulators."""
        return self.n_masters + self.n_regulators

    @property
    def n_drivers(self) -> int:
        """Number of genes that drive something."""
        return self.n_single + 2 * len(self.pairs)

    @property
    def resting(self) -> NDArray[np.float64]:
        """Processes where every driver is expressed at its baseline, ``(n_processes,)``."""
        single, redundant = 1 / (1 + _HALF), 1 / (1 + _HALF_REDUNDANT)
        return np.repeat([single, 1 - (1 - redundant) ** 2], [self.n_single, len(self.pairs)])

    def genes(self) -> tuple[list[str], pd.Categorical]:
        """Names of all genes and their roles.

        Returns
        -------
        One of each per gene.
        """
        names = [f"master_{i}" for i in range(self.n_masters)]
        names += [f"regulator_{i}" for i in range(self.n_regulators)]
        names += [f"redundant_{i}{which}" for i in range(len(self.pairs)) for which in "ab"]
        n_targets = int((self.weights[self.n_drivers :] != 0).any(axis=1).sum())
        names += [f"target_{i}" for i in range(n_targets)]
        names += [f"decoy_{i}" for i in range(self.n_decoys)]
        names += [f"bystander_{i}" for i in range(len(self.weights) - len(names))]
        roles = [name.rsplit("_", 1)[0] for name in names]
        return names, pd.Categorical(roles, ["master", "regulator", "redundant", "target", "decoy", "bystander"])

    def run(self, own: NDArray[np.float64], knocked: Sequence[int]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Activities of the drivers and the processes they keep up.

        Parameters
        ----------
        own
            The drivers' own variation on the log-rate, ``(n_cells, n_drivers)``.
        knocked
            Genes that are knocked out.

        Returns
        -------
        ``(n_cells, n_drivers)`` and ``(n_cells, n_processes)``.
        """
        m, s = self.n_masters, self.n_single
        alive = np.ones(self.n_drivers)
        alive[[gene for gene in knocked if gene < self.n_drivers]] = 0.0
        activity = alive * expit(own - np.log(np.repeat([_HALF, _HALF_REDUNDANT], [s, self.n_drivers - s])))
        from_masters = (activity[:, :m] - self.resting[:m]) @ self.weights[m:s, :m].T
        activity[:, m:s] = alive[m:s] * expit(own[:, m:s] + from_masters - np.log(_HALF))
        both = 1 - (1 - activity[:, s::2]) * (1 - activity[:, s + 1 :: 2])
        return activity, np.hstack([activity[:, :s], both])

    def knockout_effects(self, own: NDArray[np.float64], knockouts: Sequence[Sequence[int]]) -> NDArray[np.float64]:
        """Mean change of every gene's log-rate.

        Parameters
        ----------
        own
            As in :meth:`run`.
        knockouts
            One or more drivers each.

        Returns
        -------
        ``(n_knockouts, n_vars)``; 0 for the genes knocked out.
        """
        before = self.run(own, [])[1]
        effects = np.zeros((len(knockouts), len(self.weights)))
        for row, knocked in zip(effects, knockouts, strict=True):
            row[:] = self.weights @ (self.run(own, knocked)[1] - before).mean(axis=0)
            row[list(knocked)] = 0.0
        return effects

    def direct(self) -> NDArray[np.float64]:
        """Weights from drivers to genes.

        Returns
        -------
        ``(n_drivers, n_vars)``.
        """
        driver = np.repeat(np.arange(self.weights.shape[1]), [1] * self.n_single + [2] * len(self.pairs))
        return self.weights.T[driver]
