"""How precisely the cells determine the difference between two decoded states."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scwhatif._compat import forgetting, seeded
from scwhatif.tl._latent_state import change, change_name, mean_decoded, reference_code

if TYPE_CHECKING:
    from collections.abc import Callable

    from anndata import AnnData
    from numpy.typing import NDArray
    from scvi.model.base import BaseModelClass

    from scwhatif.tl._latent_state import LatentState

_INTERVAL = (0.025, 0.975)
# Passes of the encoder. Every resampled cell takes one of its draws at random, so that with 25 the intervals are
# 2 % too narrow at most, and the encoder does not have to run once per sample.
_N_DRAWS = 25


def posterior_draws(
    adata: AnnData, model: BaseModelClass, members: NDArray[np.bool_], seed: int
) -> NDArray[np.float32]:
    """Draws of the latent codes of some cells.

    Parameters
    ----------
    adata, model
        Data and model.
    members
        Which cells.
    seed
        Seeds the draws.

    Returns
    -------
    ``(n_draws, n_members, n_latent)``.
    """
    indices = np.flatnonzero(members)
    with seeded(seed), forgetting(model):
        # from the model, because the posterior of a rotated one is correlated, and its variances would not tell
        draws = [model.get_latent_representation(adata, indices=indices, give_mean=False) for _ in range(_N_DRAWS)]
    return np.stack(draws)


@dataclass
class ProfileSampler:
    """Decoded profiles of a state, each from other cells, drawn with replacement, and other codes of theirs.

    Parameters
    ----------
    draw
        Gives the codes of cells, ``(n_draws, n_members, n_latent)``; one draw where there are only means.
    decode
        From codes to profiles.
    n_vars
        Number of features.
    reference
        ``"mean"`` or ``"zero"``: what stands behind states that no cells define.
    held
        Positions of the dimensions at 0.
    average
        ``"latent"`` or ``"decoded"``.
    n_samples
        Number of profiles.
    rng
        Draws cells.
    """

    draw: Callable[[NDArray[np.bool_]], NDArray[np.floating]]
    decode: Callable[..., pd.DataFrame]
    n_vars: int
    reference: str
    held: list[int]
    average: str
    n_samples: int
    rng: np.random.Generator
    _origins: NDArray[np.float64] | None = field(default=None, init=False)

    def profiles(self, state: LatentState, n_cells: int) -> NDArray[np.float64]:
        """Sample the profile of a state.

        Parameters
        ----------
        state
            The state.
        n_cells
            Number of cells in the data.

        Returns
        -------
        ``(n_samples, n_vars)``.
        """
        if state.dim is not None:
            codes = self._origin_codes(n_cells, len(state.code)).copy()
            codes[:, state.dim] = state.value
        else:
            draws = self.draw(state.members)
            if self.average == "decoded":
                return np.stack([self._mean_of_cells(self._resampled(draws)) for _ in range(self.n_samples)])
            codes = np.stack([self._resampled(draws).mean(axis=0) for _ in range(self.n_samples)])
            codes[:, self.held] = 0.0
        return self.decode(codes).to_numpy().astype(np.float64)

    def _resampled(self, draws: NDArray[np.floating]) -> NDArray[np.float64]:
        n_draws, n_cells = draws.shape[:2]
        which = self.rng.integers(n_draws, size=n_cells), self.rng.integers(n_cells, size=n_cells)
        return draws[which].astype(np.float64)

    def _mean_of_cells(self, codes: NDArray[np.float64]) -> NDArray[np.float64]:
        codes[:, self.held] = 0.0
        return mean_decoded(self.decode, codes, self.n_vars)

    def _origin_codes(self, n_cells: int, n_latent: int) -> NDArray[np.float64]:
        """References, the same ones for all states that share them, so that these differ only by their value."""
        if self._origins is None:
            if self.reference == "zero":
                self._origins = np.zeros((self.n_samples, n_latent))
            else:
                draws = self.draw(np.ones(n_cells, dtype=bool))
                self._origins = np.stack(
                    [reference_code(self._resampled(draws), "mean", self.held) for _ in range(self.n_samples)]
                )
        return self._origins


def profile_contrast(
    first: NDArray[np.float64], second: NDArray[np.float64], features: pd.Index, pseudo_count: float | None
) -> pd.DataFrame:
    """Change of every feature from the second to the first state.

    Parameters
    ----------
    first, second
        Samples of both profiles, ``(n_samples, n_vars)``.
    features
        Their names.
    pseudo_count
        Added to counts, ``None`` for continuous features.

    Returns
    -------
    Features × (``log2_fold_change`` or ``difference``, ``lower``, ``upper``, ``sign_probability``): median and 95 %
    interval over the samples, and the share of them with the median's sign.
    """
    changes = change(first, second, pseudo_count)
    median = np.median(changes, axis=0)
    lower, upper = np.quantile(changes, _INTERVAL, axis=0)
    agree = (np.sign(changes) == np.sign(median)).mean(axis=0)
    columns = {change_name(pseudo_count): median, "lower": lower, "upper": upper, "sign_probability": agree}
    return pd.DataFrame(columns, index=pd.Index(np.asarray(features, dtype=object)))
