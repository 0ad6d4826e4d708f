"""Drivers ranked by how far they keep samples from a reference state."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
import torch

from scwhatif._keys import Key
from scwhatif._provenance import params
from scwhatif.engine import DistanceReadout
from scwhatif.tl._driver_effects import driver_strata
from scwhatif.tl._driver_settings import warn_in_sample
from scwhatif.tl._driver_shapley import driver_shapley
from scwhatif.tl._driver_tables import adjusted
from scwhatif.tl._fold_models import fold_models
from scwhatif.tl._regulator_table import stack
from scwhatif.tl._storm_interval import FoldEffects, table_of
from scwhatif.tl._storm_latent import DriverPath
from scwhatif.tl._storm_null import driver_tests, observed_differences
from scwhatif.tl._storm_settings import (
    COHORT,
    check_counts,
    check_reference,
    driver_columns,
    driver_names,
    fitted_rows,
    sides_of,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mudata import MuData
    from numpy.typing import NDArray

    from scwhatif.model import MultiOmicLPM
    from scwhatif.tl._fold_models import FoldModel


class ResidualDistances(NamedTuple):
    """Result of :func:`residual_distances`.

    Parameters
    ----------
    stored
        What belongs into ``uns``.
    distance
        Of every sample from the reference; NaN where there is none.
    shares
        Of every driver in it, ``(n_samples, n_candidates)``; NaN where a sample does not carry it.
    """

    stored: dict[str, Any]
    distance: NDArray[np.float64]
    shares: NDArray[np.float64]


class ReturnPath:
    """Distances of the samples of one fold from the reference, with any of their drivers switched off.

    Parameters
    ----------
    mdata
        The samples.
    fold
        The model, and its samples.
    reference
        As for :func:`scwhatif.tl._storm_settings.check_reference`; its mean and its covariance, shrunk
        :cite:p:`Ledoit2004`, come from the samples that the model was fitted to.
    """

    def __init__(self, mdata: MuData, fold: FoldModel, reference: tuple[str, str] | str) -> None:
        from sklearn.covariance import ledoit_wolf

        seen, members = fitted_rows(mdata, fold.model, reference)
        training = DriverPath.of(fold.model, fold.model.adata, seen)
        there = training.measured.cpu().numpy()
        state = training.state.double().cpu().numpy()[members & there]
        if len(state) < 2:
            msg = f"reference={reference!r} has {len(state)} sample(s) with a measured layer; at least 2 are needed."
            raise ValueError(msg)
        whitening = np.linalg.inv(np.linalg.cholesky(ledoit_wolf(state)[0])).T
        self.readout = DistanceReadout(state.mean(axis=0), whitening)
        self.path = DriverPath.of(fold.model, mdata, fold.rows)
        self.state = self.path.state.double()
        self.own = self._seed(np.arange(len(self.state)), self.path.x)

    def distance(self, rows: NDArray[np.int64], off: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Distances of samples, some of whose drivers are switched off.

        Parameters
        ----------
        rows
            Positions among the samples of the fold, ``(n,)``.
        off
            Drivers that are switched off, ``(n, n_drivers)``.

        Returns
        -------
        ``(n,)``.
        """
        x = self.path.x[rows] * torch.as_tensor(~off, device=self.path.x.device)
        moved = self.state[rows] + self._seed(rows, x) - self.own[rows]
        return self.readout(moved).cpu().numpy()

    def without_others(self, driver: int) -> NDArray[np.float64]:
        """Distances once the part of all drivers but one is taken off, which does not depend on that one.

        Parameters
        ----------
        driver
            Its position; it counts as absent in every sample.

        Returns
        -------
        ``(n_rows,)``.
        """
        others = self.path.x.clone()
        others[:, driver] = 0.0
        rows = np.arange(len(others))
        step = self._seed(rows, torch.zeros_like(others)) - self._seed(rows, others)
        return self.readout(self.state + step).cpu().numpy()

    @torch.no_grad()
    def _seed(self, rows: NDArray[np.int64], x: torch.Tensor) -> torch.Tensor:
        # few genotypes are distinct
        called = self.path.called[rows]
        genotypes = torch.where(called, x, -1.0).cpu().numpy().astype(np.int8)
        _, first, inverse = np.unique(genotypes, axis=0, return_index=True, return_inverse=True)
        at = torch.as_tensor(np.asarray(rows)[first], device=x.device)
        return self.path.seed(x[torch.as_tensor(first, device=x.device)], at).double()[inverse.reshape(-1)]


def residual_distances(
    mdata: MuData,
    model: MultiOmicLPM | Sequence[MultiOmicLPM],
    *,
    reference: tuple[str, str] | str,
    candidates: str | Sequence[str] | None,
    strata: str | Sequence[str] | None,
    n_null: int,
    min_carriers: int,
    seed: int,
    progress: bool,
) -> ResidualDistances:
    """Divide what switching off all of a sample's drivers does to its distance from a reference among them.

    Parameters
    ----------
    mdata, model, reference, candidates, strata, n_null, seed, progress
        As for :func:`scwhatif.tl.resistance_drivers`.
    min_carriers
        Its ``min_cells``.

    Returns
    -------
    The ranking.
    """
    from scvi.utils import track

    check_counts(n_null, min_cells=min_carriers)
    found = fold_models(mdata, model)
    columns = driver_columns(found.first, candidates)
    keys, strata_of = driver_strata(mdata, found.first, strata)
    members = check_reference(mdata, reference)
    followed = ~members if reference != COHORT else members
    # called by the tool, not by the user
    warn_in_sample(found, stacklevel=4)
    names = driver_names(found.first, columns)
    shares, distances, residuals, carriers = (FoldEffects(found.folds, mdata.n_obs) for _ in range(4))
    rng = np.random.default_rng(seed)
    for fold in track(found.folds, description="Distances of each model's samples", disable=not progress):
        path = ReturnPath(mdata, fold, reference)
        x = path.path.x.cpu().numpy().astype(np.float64)
        called, there = path.path.called.cpu().numpy(), path.path.measured.cpu().numpy()
        asked = there & followed[fold.rows]
        active = np.zeros(x.shape, dtype=bool)
        active[:, columns] = (x == 1)[:, columns] & asked[:, None]
        shares.add(driver_shapley(active, path.distance, rng=rng)[:, columns])
        rows = np.arange(len(x))
        ends = [path.distance(rows, each) for each in (np.zeros_like(active), active)]
        distances.add(np.where(there[:, None], np.stack(ends, axis=1), np.nan))
        others = np.stack([path.without_others(int(j)) for j in columns], axis=1)
        residuals.add(np.where(asked[:, None], others, np.nan))
        carriers.add(np.where(called & asked[:, None], x, np.nan)[:, columns])
    values, carried = shares.by_sample(), carriers.by_sample()
    seen = observed_differences(residuals.by_sample(), carried, strata_of)
    interval = shares.interval().widened(seen.observed_se, seen.df)
    tests = driver_tests(
        values,
        residuals.by_sample(),
        carried,
        strata_of,
        n_null=n_null,
        sides=sides_of(found),
        min_carriers=min_carriers,
        seed=seed,
    )
    table = table_of(
        names,
        {
            **interval.columns(),
            "observed": seen.observed,
            "observed_se": seen.observed_se,
            "n_carriers": (carried == 1).sum(axis=0),
            "n_models": interval.n_models,
            **tests._asdict(),
        },
    )
    distance = distances.by_sample()
    stored = {
        Key.uns.PARAMS: params(
            found.first,
            reference=reference if isinstance(reference, str) else list(reference),
            reference_name=reference if isinstance(reference, str) else f"{reference[0]}: {reference[1]}",
            candidates=None if candidates is None else names,
            drivers=names,
            strata=keys,
            n_null=n_null,
            min_cells=min_carriers,
            seed=seed,
            n_models=len(found.folds),
            held_out=found.held_out,
        ),
        "table": adjusted(stack([table], driver=names)),
        "distance": _summary(distance, followed, members if reference != COHORT else ~members),
    }
    return ResidualDistances(stored, distance[:, 0], values)


def _summary(distance: NDArray[np.float64], followed: NDArray[np.bool_], members: NDArray[np.bool_]) -> pd.DataFrame:
    known = ~np.isnan(distance[:, 0])
    inside, outside = distance[known & members, 0], distance[known & followed]
    table = pd.DataFrame(
        {
            "n_samples": [len(outside)],
            "before": [outside[:, 0].mean() if len(outside) else np.nan],
            "inhibited": [outside[:, 1].mean() if len(outside) else np.nan],
            "reference": [inside.mean() if len(inside) else np.nan],
        }
    )
    table.index = table.index.astype(str)
    return table
