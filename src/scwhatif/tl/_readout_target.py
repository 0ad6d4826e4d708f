"""What is read off a latent code: positions along directions, and distances from groups of cells."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from scwhatif._keys import Key
from scwhatif._validation import check_groups
from scwhatif.tl._axis import check_space

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from numpy.typing import NDArray

    from scwhatif.engine import LinearReadout, Readout


class ReadoutTarget(NamedTuple):
    """A readout that moves along one direction.

    Parameters
    ----------
    readout
        The readout.
    name
        What it is called.
    """

    readout: LinearReadout
    name: str


class Reference(NamedTuple):
    """A state that cells may be near to or far from.

    Parameters
    ----------
    readout
        Distance from it.
    members
        Its cells, ``(n_cells,)``, bool.
    others
        Cells whose distance is of interest unless one says otherwise, ``(n_cells,)``, bool.
    name
        What it is called.
    """

    readout: Readout
    members: NDArray[np.bool_]
    others: NDArray[np.bool_]
    name: str


def readout_target(
    adata: AnnData, z: NDArray[np.float64], target: str | tuple[str, str], axis_key: str
) -> ReadoutTarget:
    """Find the direction that a target names.

    Parameters
    ----------
    adata
        Cells, and axes.
    z
        Posterior means in the axes reported, ``(n_cells, n_latent)``.
    target
        An axis, a dimension such as ``"z3"``, or a column of ``obs`` and one of its states. A state is read along the
        straight line from the mean of all other cells (0) to the mean of its own (1).
    axis_key
        Where axes are.

    Returns
    -------
    The readout.

    Raises
    ------
    KeyError
        There is no such axis, dimension, column or state.
    ValueError
        The axis lies in another space, labels are missing, or the state has the same mean as all others.
    """
    from scwhatif.engine import LinearReadout

    if not isinstance(target, str):
        members = state_members(adata, target, "target")
        origin, end = z[~members].mean(axis=0), z[members].mean(axis=0)
        way = end - origin
        length = float(way @ way)
        if not length > 0:
            msg = f"target={tuple(target)!r}: the mean code of this state is that of all other cells."
            raise ValueError(msg)
        return ReadoutTarget(LinearReadout(way / length, -float(origin @ way) / length), f"{target[0]}: {target[1]}")
    known = adata.uns.get(axis_key, {})
    if target in known:
        return ReadoutTarget(_along(adata, z, target, known[target]), target)
    n_latent = z.shape[1]
    dimension = re.fullmatch(r"z(\d+)", target)
    if dimension is None or int(dimension[1]) >= n_latent:
        msg = (
            f"target={target!r} is neither an axis in adata.uns[{axis_key!r}], which holds {list(known)}, nor one of "
            f"the dimensions 'z0' to 'z{n_latent - 1}'. Axes are made by scwhatif.tl.axis; for a group of cells, pass "
            "the column of obs and the group, such as ('cell_type', 'B cell')."
        )
        raise KeyError(msg)
    return ReadoutTarget(LinearReadout(np.eye(n_latent)[int(dimension[1])]), target)


def reference_state(
    adata: AnnData, z: NDArray[np.float64], reference: str | tuple[str, str], axis_key: str
) -> Reference:
    """Find the state that distances are measured from.

    Parameters
    ----------
    adata, z, axis_key
        As for :func:`readout_target`.
    reference
        A column of ``obs`` and one of its states: Mahalanobis distance from its mean, with the covariance within
        states, pooled over all of them and shrunk :cite:p:`Ledoit2004`. An axis: what is left of the way to its second
        state, 1 at the first.

    Returns
    -------
    The state. The other cells are all that are not in it, or those of the axis's first state.

    Raises
    ------
    KeyError, ValueError
        As for :func:`readout_target`.
    """
    from scwhatif.engine import DistanceReadout, LinearReadout

    if not isinstance(reference, str):
        members = state_members(adata, reference, "reference")
        labels = check_groups(adata, reference[0], name="reference")
        return Reference(
            DistanceReadout(z[members].mean(axis=0), _whitening(z, labels)),
            members,
            ~members,
            f"{reference[0]}: {reference[1]}",
        )
    known = adata.uns.get(axis_key, {})
    if reference not in known:
        msg = (
            f"reference={reference!r} is not an axis in adata.uns[{axis_key!r}], which holds {list(known)}. Axes are "
            "made by scwhatif.tl.axis; for a group of cells, pass the column of obs and the group."
        )
        raise KeyError(msg)
    along = _along(adata, z, reference, known[reference])
    made = known[reference][Key.uns.PARAMS]
    first, second = (state_members(adata, (str(made["groupby"]), str(s)), "reference") for s in made["states"])
    return Reference(LinearReadout(-along.vector, 1.0 - along.offset), second, first, reference)


def state_members(adata: AnnData, state: tuple[str, str], name: str) -> NDArray[np.bool_]:
    """Which cells are in a state.

    Parameters
    ----------
    adata
        The cells.
    state
        Column of ``obs``, and the state.
    name
        The argument that carried it.

    Returns
    -------
    ``(n_cells,)``.

    Raises
    ------
    KeyError
        There is no such column or state.
    ValueError
        ``state`` is no pair, or labels are missing.
    """
    if len(state) != 2:
        msg = f"{name}={state!r} must name a column of adata.obs and one of its groups, such as ('cell_type', 'B')."
        raise ValueError(msg)
    column, wanted = state
    labels = check_groups(adata, column, name=name)
    if str(wanted) not in labels.categories:
        msg = f"{name}={tuple(state)!r}: adata.obs[{column!r}] has no {wanted!r}; it holds {list(labels.categories)}."
        raise KeyError(msg)
    return np.asarray(labels == str(wanted))


def _along(adata: AnnData, z: NDArray[np.float64], name: str, found: dict[str, Any]) -> LinearReadout:
    from scwhatif.engine import LinearReadout

    check_space(adata, name, found, z)
    vector = np.asarray(found["unit"]) / found["length"]
    return LinearReadout(vector, -float(found["origin"] @ vector))


def _whitening(z: NDArray[np.float64], labels: pd.Categorical) -> NDArray[np.float64]:
    from sklearn.covariance import ledoit_wolf

    residual = z.copy()
    for code in range(len(labels.categories)):
        residual[labels.codes == code] -= z[labels.codes == code].mean(axis=0)
    covariance = ledoit_wolf(residual, assume_centered=True)[0]
    return np.linalg.inv(np.linalg.cholesky(covariance)).T
