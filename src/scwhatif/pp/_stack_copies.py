"""One AnnData of several copies of the same cells."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import sparse

from scwhatif._validation import layer_names

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from numpy.typing import NDArray


def stack_copies(
    adata: AnnData,
    copies: Sequence[sparse.csr_matrix],
    names: Sequence[str],
    *,
    layer: str | None,
    condition_key: str,
    base_cell_key: str,
) -> AnnData:
    """Put copies of ``adata`` below each other, each with its own matrix in place of ``layer`` and of its equals.

    Everything else is repeated, but for what would no longer hold: graphs between cells, ``raw``, and the bookkeeping
    of scvi-tools.
    """
    from anndata import AnnData

    edited = sparse.vstack(copies, format="csr")
    index = np.tile(np.arange(adata.n_obs), len(names))
    matrices: dict[str | None, Any] = {name: adata.layers[name] for name in layer_names(adata)}
    if adata.X is not None:
        matrices[None] = adata.X
    source = matrices[layer]
    for name, matrix in matrices.items():
        if name == layer or _same(matrix, source):
            dtype = matrix.dtype if edited.dtype == source.dtype else edited.dtype
            matrices[name] = _like(edited.astype(dtype, copy=False), matrix)
        else:
            matrices[name] = matrix[index]

    kept = [column for column in adata.obs if not str(column).startswith("_scvi")]
    obs = adata.obs[kept].iloc[index]
    conditions = np.repeat(np.arange(len(names)), adata.n_obs)
    obs[base_cell_key] = pd.Categorical.from_codes(index, categories=adata.obs_names)
    obs[condition_key] = pd.Categorical.from_codes(conditions, categories=list(names))
    obs.index = pd.Index([f"{cell}-{name}" for name in names for cell in adata.obs_names], name=adata.obs_names.name)
    if not obs.index.is_unique:
        twice = obs.index[obs.index.duplicated()][0]
        msg = f"names of cells and of conditions together are not unique ({twice!r}); rename the conditions."
        raise ValueError(msg)
    return AnnData(
        matrices.pop(None, None),
        obs=obs,
        var=adata.var.copy(),
        layers=matrices,
        obsm={key: _repeat(value, index, obs.index) for key, value in adata.obsm.items()},
        varm={key: value.copy() for key, value in adata.varm.items()},
        varp={key: value.copy() for key, value in adata.varp.items()},
        uns={key: deepcopy(value) for key, value in adata.uns.items() if not key.startswith("_scvi")},
    )


def _repeat(value: Any, index: NDArray[np.intp], obs_names: pd.Index) -> Any:
    return value.iloc[index].set_axis(obs_names) if isinstance(value, pd.DataFrame) else value[index]


def _same(a: Any, b: Any) -> bool:
    if a is b:
        return True
    return (sparse.csr_matrix(a) != sparse.csr_matrix(b)).nnz == 0


def _like(edited: sparse.csr_matrix, matrix: Any) -> Any:
    """In the format of the matrix it replaces."""
    if not sparse.issparse(matrix):
        return edited.toarray()
    return {
        ("csr", False): sparse.csr_matrix,
        ("csc", False): sparse.csc_matrix,
        ("csr", True): sparse.csr_array,
        ("csc", True): sparse.csc_array,
    }[matrix.format, isinstance(matrix, sparse.sparray)](edited)
