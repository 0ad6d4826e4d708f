"""How far a screen moves cells along one direction of the latent space."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scwhatif.tl._cell_bins import CellBins
from scwhatif.tl._gaussian_posterior import factorised_posterior
from scwhatif.tl._readout_target import readout_target
from scwhatif.tl._regulator_table import effect_statistics, ends

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from numpy.typing import NDArray
    from scvi.model.base import BaseModelClass

    from scwhatif.engine import EncoderPlan, ScreenSums
    from scwhatif.tl._cell_groups import CellGroups
    from scwhatif.tl._screen_table import Stratum


def plan_direction(
    adata: AnnData, model: BaseModelClass, plan: EncoderPlan, axis: str | tuple[str, str], axis_key: str
) -> NDArray[np.float64]:
    """What one unit of each dimension of a plan adds to the position along an axis.

    Parameters
    ----------
    adata, model
        Data and model.
    plan
        The model's encoder, in the axes it was trained in.
    axis, axis_key
        As for :func:`scwhatif.tl._readout_target.readout_target`.

    Returns
    -------
    ``(n_latent,)``.

    Raises
    ------
    KeyError, TypeError, ValueError
        As for :func:`scwhatif.tl.master_regulators`.
    """
    posterior = factorised_posterior(model, adata)
    aim = readout_target(adata, posterior.mean @ posterior.rotation, axis, axis_key)
    return plan.to_reported_axes(np.eye(plan.n_latent)) @ aim.readout.vector


def axis_columns(
    sums: ScreenSums,
    direction: NDArray[np.float64],
    groups: CellGroups,
    strata: Sequence[Stratum],
    columns: NDArray[np.int64],
    n_null: int,
) -> dict[str, NDArray[np.float64]]:
    """Columns of the table of a screen, stratum after stratum.

    Parameters
    ----------
    sums
        From a screen of all genes in order.
    direction
        From :func:`plan_direction`.
    groups, strata
        The cells, and what :func:`scwhatif.tl._screen_table.stratify` says of them.
    columns
        Genes asked for.
    n_null
        Number of matched genes; 0 leaves the statistics out.

    Returns
    -------
    As :func:`scwhatif.tl.knockout` describes them, ``(n_strata * n_columns,)`` each.
    """
    change = CellBins.of(groups).means(sums.shift @ direction)
    blocks = []
    for i, stratum in enumerate(strata):
        effect = np.where(stratum.tested, change.mean[:, i], np.nan)
        interval = {
            name: np.where(stratum.tested[columns], values, np.nan)
            for name, values in ends(change, (columns, i)).items()
        }
        statistics = effect_statistics(effect, stratum.covariates, stratum.tested, columns, n_null)
        blocks.append({"shift": effect[columns], **interval, **statistics})
    return {f"axis_{name}": np.concatenate([block[name] for block in blocks]) for name in blocks[0]}
