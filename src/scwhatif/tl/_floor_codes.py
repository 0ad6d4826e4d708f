"""What data offer as markers without a model: linear codes and single genes."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from scipy import sparse

from scwhatif._validation import check_counts

if TYPE_CHECKING:
    from collections.abc import Sequence

Floor = Literal["pca", "ica", "fa", "gene"]

# Factor analysis holds its cells densely, and this many tell its few factors well enough.
_FA_CELLS = 3000
# Dense entries at once while cells are projected: 4M float64 are 32 MiB.
_BLOCK_ENTRIES = 2**22
# Components whose standard deviation is smaller than this share of the largest are rounding, which whitening magnifies.
_NEGLIGIBLE = 1e-6


def log_normalised(x: Any) -> tuple[Any, str]:
    """Bring data into memory, and counts to one total and a log scale.

    Parameters
    ----------
    x
        Cells × genes, finite: array, sparse matrix or backed matrix.

    Returns
    -------
    The data, dense or CSR, and ``"log-normalised"``, or ``"as is"`` for anything but counts.
    """
    x = x if sparse.issparse(x) else x[:]
    if isinstance(x, pd.DataFrame):
        x = x.to_numpy()
    x = x.tocsr() if sparse.issparse(x) else np.asarray(x)
    try:
        check_counts(x, name="X")
    except ValueError:
        return x, "as is"
    totals = np.asarray(x.sum(axis=1), dtype=np.float64).ravel()
    scale = np.median(totals[totals > 0]) / np.where(totals > 0, totals, 1.0)
    if sparse.issparse(x):
        return (sparse.diags(scale) @ x).log1p().tocsr(), "log-normalised"
    return np.log1p(x * scale[:, None]), "log-normalised"


def floor_codes(data: Any, n_dims: int, floors: Sequence[Floor], *, seed: int = 0) -> dict[str, Any]:
    """Encode cells without a model, in as many dimensions.

    Parameters
    ----------
    data
        Cells × genes, dense or CSR.
    n_dims
        Number of dimensions; fewer where the data have not as many.
    floors
        ``"pca"``: principal components. ``"ica"``: independent components, which are a rotation of the whitened
        principal ones. ``"fa"``: maximum-likelihood factor analysis, fitted to at most 3000 cells drawn at random.
        ``"gene"``: the data themselves, one dimension per gene.
    seed
        Seed of the solvers and of the draw.

    Returns
    -------
    Codes by floor, cells × dimensions; that of ``"gene"`` is dense or CSC.
    """
    from sklearn.decomposition import PCA, FactorAnalysis, FastICA
    from sklearn.exceptions import ConvergenceWarning

    codes: dict[str, Any] = {}
    # one less, because arpack, which takes sparse data as they are, finds no more
    n_components = max(1, min(n_dims, min(data.shape) - 1))
    with warnings.catch_warnings():
        # whatever an iteration has reached is a code that anyone can have without a model, and that is the point
        warnings.simplefilter("ignore", ConvergenceWarning)
        if {"pca", "ica"} & set(floors):
            solver = "arpack" if min(data.shape) > 1 else "full"
            components = PCA(n_components, svd_solver=solver, random_state=seed).fit_transform(data)
            if "pca" in floors:
                codes["pca"] = components
            if "ica" in floors:
                spread = components.std(axis=0)
                real = components[:, spread > _NEGLIGIBLE * spread.max()]
                if real.shape[1]:
                    # from the principal components themselves it converges faster than from a random rotation
                    start = np.eye(real.shape[1])
                    codes["ica"] = FastICA(whiten="unit-variance", w_init=start).fit_transform(real)
                else:
                    codes["ica"] = components
        if "fa" in floors:
            rows = np.arange(data.shape[0])
            if len(rows) > _FA_CELLS:
                rows = np.sort(np.random.default_rng(seed).choice(len(rows), _FA_CELLS, replace=False))
            analysis = FactorAnalysis(n_components, random_state=seed).fit(_dense(data[rows]))
            step = max(1, _BLOCK_ENTRIES // data.shape[1])
            blocks = [analysis.transform(_dense(data[i : i + step])) for i in range(0, data.shape[0], step)]
            codes["fa"] = np.concatenate(blocks)
    if "gene" in floors:
        codes["gene"] = data.tocsc() if sparse.issparse(data) else data
    return codes


def _dense(data: Any) -> np.ndarray:
    return np.asarray(data.toarray() if sparse.issparse(data) else data, dtype=np.float64)
