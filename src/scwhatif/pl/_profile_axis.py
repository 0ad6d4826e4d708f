"""What plots of decoded profiles share: the numeric axis of the features, and what the values are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scwhatif.pl._stored import stored

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anndata import AnnData
    from numpy.typing import NDArray


def profile_axis(adata: AnnData, x: str) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Positions of the features on a numeric axis.

    Parameters
    ----------
    adata
        Data.
    x
        Numeric column of ``var``.

    Returns
    -------
    The positions in ascending order, and the order of the features that this is.

    Raises
    ------
    KeyError
        There is no such column.
    TypeError
        It does not hold numbers.
    """
    if x not in adata.var:
        msg = f"x={x!r} is not in adata.var, which holds {list(adata.var.columns)}."
        raise KeyError(msg)
    column = adata.var[x]
    if not pd.api.types.is_numeric_dtype(column) or column.isna().any():
        msg = f"adata.var[{x!r}] must hold a number for every feature."
        raise TypeError(msg)
    positions = column.to_numpy(dtype=np.float64)
    order = np.argsort(positions, kind="stable")
    return positions[order], order


def value_label(params: Mapping[str, Any]) -> str:
    """Label of the axis of decoded values.

    Parameters
    ----------
    params
        Of the tool that decoded them; only counts have a ``pseudo_count``.

    Returns
    -------
    The label.
    """
    return f"expected counts per {params['library_size']:,.0f}" if "pseudo_count" in params else "expected value"


def stored_profiles(adata: AnnData, key: str) -> dict[str, Any]:
    """What ``tl.pseudo_profiles`` wrote under `key`; ``KeyError`` naming the call if it has not been run."""
    call = "scwhatif.tl.pseudo_profiles(adata, model, groupby"
    return stored(adata, key, "markers", "pseudo-profiles", call, matrix="varm")
