"""From the sums of a screen of any perturbations and their stand-ins to a tidy table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scwhatif.tl._screen_table import donor_pvalues

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from scwhatif.engine import ScreenSums
    from scwhatif.perturbation import Perturbation
    from scwhatif.tl._cell_groups import CellGroups


@dataclass(frozen=True, eq=False)
class ItemNulls:
    """Stand-ins of one perturbation in one group of cells.

    Parameters
    ----------
    target
        Number of the perturbation in the screen.
    nulls
        Numbers of its stand-ins.
    """

    target: int
    nulls: NDArray[np.int64]


def item_table(
    perturbations: Mapping[str, Perturbation],
    groups: CellGroups,
    sums: ScreenSums,
    tested: Sequence[Sequence[ItemNulls | None]],
    where: NDArray[np.int64],
    *,
    min_cells: int,
) -> pd.DataFrame:
    """Effects and their statistics.

    Parameters
    ----------
    perturbations
        By name.
    groups
        The cells.
    sums
        From the screen.
    tested
        For each stratum and perturbation its stand-ins, ``None`` where it changes too few cells.
    where
        Number of each perturbation in the screen.
    min_cells
        Cells of a donor that must change for the donor to count.

    Returns
    -------
    One row per stratum and perturbation, as :func:`scwhatif.tl.screen` describes it.
    """
    described = _describe(perturbations)
    blocks = []
    for (name, members), stand_ins in zip(groups.strata, tested, strict=True):
        block = described.assign(group=name, **_effects(sums, members, where, stand_ins))
        block = block.assign(**_against_nulls(sums, members, stand_ins))
        if groups.donors:
            block = block.assign(**_over_donors(sums, members, groups, stand_ins, min_cells))
        blocks.append(block)
    table = pd.concat(blocks, ignore_index=True)
    table.insert(0, "group", pd.Categorical(table.pop("group"), categories=[name for name, _ in groups.strata]))
    for name in ("perturbation", "target", "op"):
        table[name] = pd.Categorical(table[name], categories=list(dict.fromkeys(described[name])))
    table.index = table.index.astype(str)
    return table


def _describe(perturbations: Mapping[str, Perturbation]) -> pd.DataFrame:
    rows = []
    for name, perturbation in perturbations.items():
        edits = perturbation.edits
        only = edits[0] if len(edits) == 1 else None
        rows.append(
            {
                "perturbation": name,
                "target": " + ".join(perturbation.targets),
                "op": "" if only is None else only.op,
                "value": only.value if only is not None and isinstance(only.value, float) else np.nan,
                "n_genes": len(perturbation.features),
            }
        )
    return pd.DataFrame(rows)


def _effects(
    sums: ScreenSums, members: NDArray[np.int64], where: NDArray[np.int64], stand_ins: Sequence[ItemNulls | None]
) -> dict[str, NDArray]:
    n_changed = sums.n_changed[where][:, members].sum(axis=1)
    tested = np.array([each is not None for each in stand_ins])
    n_cells = sums.counts.n_cells[members].sum()
    shift = sums.shift[where][:, members].sum(axis=1) / n_cells
    effects = {
        "score": _mean(sums.distance, members, n_changed, where),
        "kl": _mean(sums.kl, members, n_changed, where),
        "shift_norm": np.linalg.norm(shift, axis=1),
    }
    return {"n_cells": n_changed, **{name: np.where(tested, values, np.nan) for name, values in effects.items()}}


def _mean(
    values: NDArray[np.float64], members: NDArray[np.int64], n_changed: NDArray[np.int64], where: NDArray[np.int64]
) -> NDArray[np.float64]:
    return values[where][:, members].sum(axis=1) / np.maximum(n_changed, 1)


def _scores(sums: ScreenSums, members: NDArray[np.int64], items: NDArray[np.int64]) -> NDArray[np.float64]:
    """Mean score over the cells changed; 0 for what changes none."""
    return _mean(sums.distance, members, sums.n_changed[items][:, members].sum(axis=1), items)


def _against_nulls(
    sums: ScreenSums, members: NDArray[np.int64], stand_ins: Sequence[ItemNulls | None]
) -> dict[str, NDArray]:
    from scipy.stats import false_discovery_control

    expected, residual, pval, padj = np.full((4, len(stand_ins)), np.nan)
    n_null = np.zeros(len(stand_ins), dtype=np.int64)
    for i, each in enumerate(stand_ins):
        if each is None or not len(each.nulls):
            continue
        own = _scores(sums, members, np.array([each.target]))[0]
        null = _scores(sums, members, each.nulls)
        expected[i], residual[i] = _compare(own, null)
        # equal up to rounding counts against the perturbation
        at_least = np.count_nonzero(null >= own * (1 - 1e-9))
        pval[i] = (1 + at_least) / (1 + len(null))
        n_null[i] = len(null)
    known = np.isfinite(pval)
    if known.any():
        padj[known] = false_discovery_control(pval[known])
    return {"score_expected": expected, "score_residual": residual, "n_null": n_null, "pval": pval, "padj": padj}


def _compare(own: float, null: NDArray[np.float64]) -> tuple[float, float]:
    """Median of the stand-ins, and log2 of the score over it."""
    expected = float(np.median(null))
    with np.errstate(divide="ignore", invalid="ignore"):
        return expected, float(np.log2(own / expected)) if expected > 0 else np.nan


def _over_donors(
    sums: ScreenSums,
    members: NDArray[np.int64],
    groups: CellGroups,
    stand_ins: Sequence[ItemNulls | None],
    min_cells: int,
) -> dict[str, NDArray]:
    residual = np.full((len(groups.donors), len(stand_ins)), np.nan)
    for donor in range(len(groups.donors)):
        own = members[groups.donor_of[members] == donor]
        for i, each in enumerate(stand_ins):
            if each is None or not len(each.nulls) or sums.n_changed[each.target, own].sum() < min_cells:
                continue
            score = _scores(sums, own, np.array([each.target]))[0]
            residual[donor, i] = _compare(score, _scores(sums, own, each.nulls))[1]
    return donor_pvalues(residual)
