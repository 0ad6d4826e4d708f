"""Columns of numbers and one label per row, checked."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


class Labelled(NamedTuple):
    """What :func:`labelled` returns.

    Parameters
    ----------
    values
        ``(n_cells, n_dims)``, float64, finite.
    codes
        Label of each cell, integers from 0, each of which occurs, ``(n_cells,)``.
    names
        Labels in the order of their codes.
    dims
        Names of the columns, ``None`` where they have none.
    """

    values: NDArray[np.float64]
    codes: NDArray[np.int64]
    names: list[object]
    dims: pd.Index | None


def labelled(values: ArrayLike | pd.DataFrame, labels: ArrayLike | pd.Categorical) -> Labelled:
    """Check what every comparison of labels is given.

    Parameters
    ----------
    values
        ``(n_cells, n_dims)``, finite.
    labels
        ``(n_cells,)``, none missing; categories without cells are left out.

    Returns
    -------
    Matrix, codes, and the names of both.

    Raises
    ------
    ValueError
        Fewer than two labels have cells, lengths differ, or something is missing or infinite.
    """
    dims = values.columns if isinstance(values, pd.DataFrame) else None
    matrix = np.asarray(values, dtype=np.float64)
    groups = pd.Categorical(labels).remove_unused_categories()
    if matrix.ndim != 2 or len(matrix) != len(groups):
        msg = f"values must have shape (n_cells, n_dims) for {len(groups)} labels, not {matrix.shape}."
        raise ValueError(msg)
    if not np.isfinite(matrix).all() or groups.isna().any():
        msg = "values and labels must not be missing or infinite; leave such cells out."
        raise ValueError(msg)
    if len(groups.categories) < 2:
        msg = f"labels must hold at least two distinct values, not {list(groups.categories)}."
        raise ValueError(msg)
    return Labelled(matrix, np.asarray(groups.codes, dtype=np.int64), list(groups.categories), dims)
