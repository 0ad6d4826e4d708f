"""What :class:`scwhatif.model.MetricEncoder` demands of its data and settings before anything is written."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scwhatif import _validation
from scwhatif.train._pk_sampler import has_positive

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anndata import AnnData

_KINDS = ("counts", "continuous")
# a spread below this share of the mean length is rounding
_CONSTANT = 1e-6


def input_of(adata: AnnData, setup: Mapping[str, Any]) -> tuple[Any, str]:
    """The matrix that is read, as stored, and what to call it.

    Parameters
    ----------
    adata
        The data.
    setup
        ``obsm_key`` and ``layer``.

    Returns
    -------
    Matrix and name.

    Raises
    ------
    KeyError
        It is not there.
    """
    key, layer = setup["obsm_key"], setup["layer"]
    if key is not None:
        if key not in adata.obsm:
            msg = f"obsm_key={key!r} is not in adata.obsm. It holds: {list(adata.obsm.keys()) or 'nothing'}."
            raise KeyError(msg)
        values = adata.obsm[key]
        return (values.to_numpy() if isinstance(values, pd.DataFrame) else values), f"adata.obsm[{key!r}]"
    _validation.check_layer(adata, layer)
    return (adata.X, "adata.X") if layer is None else (adata.layers[layer], f"adata.layers[{layer!r}]")


def check_input(adata: AnnData, setup: Mapping[str, Any]) -> str:
    """Raise unless the input can be embedded, and say of what kind it is.

    Parameters
    ----------
    adata
        The data.
    setup
        ``obsm_key``, ``layer`` and ``input_kind``.

    Returns
    -------
    ``"counts"`` or ``"continuous"``.

    Raises
    ------
    KeyError
        The input is not there.
    ValueError
        It holds NaN or infinite values, a row of zeros, is not of the kind it is said to be, or is constant.
    """
    kind = setup["input_kind"]
    if kind is not None and kind not in _KINDS:
        msg = f"input_kind={kind!r} must be one of {_KINDS}, or None to tell by the values."
        raise ValueError(msg)
    x, name = input_of(adata, setup)
    if kind is None:
        kind = "counts" if setup["obsm_key"] is None and _holds_counts(x, name) else "continuous"
    if kind == "counts":
        _validation.check_count_matrix(x, adata.obs_names, name)
    else:
        _validation.check_finite(x, name=name)
        _check_directions(x, name)
    return kind


def _holds_counts(x: Any, name: str) -> bool:
    try:
        _validation.check_counts(x, name=name)
    except ValueError:
        return False
    return True


def _check_directions(x: Any, name: str) -> None:
    """Cosines need rows of some length."""
    length = np.zeros(x.shape[0])
    for row, _, block in _validation.iter_blocks(x):
        length[row : row + block.shape[0]] += np.asarray(abs(block).sum(axis=1), dtype=np.float64).ravel()
    n_zero = int((length == 0).sum())
    if n_zero:
        msg = f"{name} has {n_zero} row(s) of zeros, which have no direction and so no cosine; remove these rows."
        raise ValueError(msg)


def check_identities(adata: AnnData, identity_key: str, exam_key: str | None) -> None:
    """Raise unless some identities can be told from each other and found again."""
    for name, key in (("identity_key", identity_key), ("exam_key", exam_key)):
        if key is None:
            continue
        _validation.check_obs_key(adata, key, name)
        n_missing = int(adata.obs[key].isna().sum())
        if n_missing:
            msg = f"obs[{key!r}] ({name}) is missing for {n_missing} row(s); name them or leave these rows out."
            raise ValueError(msg)
    identity, exam = codes_of(adata, identity_key), None if exam_key is None else codes_of(adata, exam_key)
    n_identities = len(np.unique(identity))
    if n_identities < 2:
        msg = f"obs[{identity_key!r}] holds one identity only, so there is nothing to tell it from."
        raise ValueError(msg)
    found = len(np.unique(identity[has_positive(identity, exam)]))
    if found < 2:
        seen = "has two rows" if exam_key is None else f"was seen in two values of obs[{exam_key!r}]"
        msg = (
            f"{found} of {n_identities} identities of obs[{identity_key!r}] {seen}, and at least 2 are needed: an "
            "identity seen once has nothing to be brought together with. Pass another identity_key or exam_key."
        )
        raise ValueError(msg)


def codes_of(adata: AnnData, key: str) -> np.ndarray:
    """Codes of a column as int64, whatever it holds.

    Parameters
    ----------
    adata
        The data.
    key
        Column of ``obs``.

    Returns
    -------
    ``(n_obs,)``.
    """
    return pd.factorize(adata.obs[key])[0].astype(np.int64)


def check_constant(x: np.ndarray, name: str) -> None:
    """Raise ``ValueError`` if all rows are the same."""
    x = x.astype(np.float64)
    spread = np.sqrt(x.var(axis=0).sum())
    if spread <= _CONSTANT * np.sqrt((x**2).sum(axis=1).mean()):
        msg = f"{name} is constant: all rows are the same, so there is nothing to tell them apart by."
        raise ValueError(msg)


def check_encoder_settings(
    *, encoder: str, n_input: int, n_latent: int | None, n_hidden: int, n_layers: int, dropout_rate: float
) -> None:
    """Raise ``ValueError`` naming the setting and what is allowed, unless the settings go together."""
    if encoder not in ("residual", "mlp"):
        msg = f"encoder={encoder!r} must be one of ('residual', 'mlp')."
        raise ValueError(msg)
    if encoder == "residual" and n_latent not in (None, n_input):
        msg = (
            f"n_latent={n_latent} cannot be set with encoder='residual', which changes the {n_input} dimensions it is "
            "given; reduce them first (PCA), or take encoder='mlp'."
        )
        raise ValueError(msg)
    for name, value in (("n_latent", n_latent), ("n_hidden", n_hidden), ("n_layers", n_layers)):
        if value is not None and value < 1:
            msg = f"{name}={value} must be at least 1."
            raise ValueError(msg)
    if not 0 <= dropout_rate < 1:
        msg = f"dropout_rate={dropout_rate} must be at least 0 and below 1."
        raise ValueError(msg)


def tell_dropped(identity: np.ndarray, usable: np.ndarray, exam_key: str | None) -> int:
    """Warn of rows that have nothing to be brought together with, and count them.

    Parameters
    ----------
    identity
        Codes.
    usable
        Which rows have a positive.
    exam_key
        Column of the exams, if there are any.

    Returns
    -------
    Number of rows.
    """
    n_dropped = int((~usable).sum())
    if n_dropped:
        n_lost = len(np.unique(identity)) - len(np.unique(identity[usable]))
        why = "one row" if exam_key is None else f"rows in one {exam_key!r}"
        msg = (
            f"{n_dropped} of {len(identity)} rows take no part in training and validation: {n_lost} identities have "
            f"{why} only, so nothing to be brought together with."
        )
        warnings.warn(msg, UserWarning, stacklevel=3)
    return n_dropped
