"""Results of fits on disk, so that a sweep can be resumed."""

from __future__ import annotations

import json
import os
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np
import pandas as pd
from scipy import sparse

from scwhatif.tl._beta_fit import BetaFit, BetaFitResult, run_fit

if TYPE_CHECKING:
    from anndata import AnnData

_HASH_LENGTH = 16


def data_hash(adata: AnnData) -> str:
    """Fingerprint the matrices, ``obs`` and names of an AnnData.

    Parameters
    ----------
    adata
        In memory.

    Returns
    -------
    64 hexadecimal digits of a SHA-256.
    """
    digest = sha256()
    matrices = {"X": adata.X, **adata.layers, **{f"obsm {key}": value for key, value in adata.obsm.items()}}
    for name, matrix in matrices.items():
        parts = [matrix]
        if sparse.issparse(matrix):
            parts = [matrix.data, matrix.indices, matrix.indptr]
        for part in parts:
            array = np.asarray(part)
            digest.update(f"{name} {array.dtype} {array.shape}".encode())
            digest.update(np.ascontiguousarray(array).data)
    for frame in (adata.obs, adata.var):
        digest.update(" ".join(map(str, frame.columns)).encode())
        digest.update(pd.util.hash_pandas_object(frame, index=True).to_numpy())
    return digest.hexdigest()


def cache_path(folder: str | os.PathLike[str], fit: BetaFit, recorded: dict[str, Any]) -> Path:
    """Name the file of a fit after everything that shapes its result.

    Parameters
    ----------
    folder
        Where files lie.
    fit
        The fit.
    recorded
        What fits of the sweep have in common, as :func:`scwhatif._provenance.params` returns it, with the fingerprint
        of the data.

    Returns
    -------
    The path; β and seed are in its name for the reader's sake.
    """
    varying = {"class": f"{fit.model_class.__module__}.{fit.model_class.__qualname__}", "seed": fit.seed}
    text = json.dumps([recorded, varying, fit.model], sort_keys=True, default=_plain)
    fingerprint = sha256(text.encode()).hexdigest()[:_HASH_LENGTH]
    return Path(folder) / f"beta_{fit.model['beta']:g}_seed_{fit.seed}_{fingerprint}.npz"


def cached_fit(data: AnnData, fit: BetaFit, path: Path | None) -> BetaFitResult:
    """Read the result of a fit, or run it and write the file all at once.

    Parameters
    ----------
    data, fit
        As :func:`scwhatif.tl._beta_fit.run_fit` takes them.
    path
        From :func:`cache_path`; ``None`` keeps nothing.

    Returns
    -------
    The result.
    """
    if path is None:
        return run_fit(data, fit)
    if path.exists():
        return read_result(path)
    result = run_fit(data, fit)
    # a name of its own: two sweeps may share a folder
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            np.savez(file, verdict=result.verdict, scores=json.dumps(result.scores), factors=result.factors)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return result


def read_result(path: Path) -> BetaFitResult:
    """Read what :func:`cached_fit` wrote.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    The result.

    Raises
    ------
    ValueError
        The file is not one of ours or is damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            return BetaFitResult(str(stored["verdict"]), json.loads(str(stored["scores"])), stored["factors"])
    except (BadZipFile, KeyError, ValueError, EOFError) as error:
        msg = f"{path} cannot be read as the result of a fit ({error}); delete it to run the fit again."
        raise ValueError(msg) from error


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    msg = f"{value!r} is of type {type(value).__name__}, which cannot name a file of cache_dir."
    raise TypeError(msg)
