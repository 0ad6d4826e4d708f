"""What :class:`scwhatif.model.BetaLinearSCVI` demands of its settings and data before anything is written."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from pandas.api.types import is_numeric_dtype

from scwhatif import _validation
from scwhatif._compat import minified_type

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData


def check_settings(
    *, n_latent: int, beta: float, objective: str, free_bits: float, decoder: str, gene_likelihood: str, dispersion: str
) -> None:
    """Raise ``ValueError`` naming the setting and what is allowed, unless the settings go together."""
    for name, value, allowed in [
        ("objective", objective, ("kl", "total_correlation", "capacity")),
        ("decoder", decoder, ("linear", "nonnegative")),
        ("gene_likelihood", gene_likelihood, ("nb", "zinb", "poisson", "normal")),
        ("dispersion", dispersion, ("gene", "gene-batch", "unit")),
    ]:
        if value not in allowed:
            msg = f"{name}={value!r} is not one of {allowed}."
            raise ValueError(msg)
    if n_latent < 1:
        msg = f"n_latent={n_latent} must be at least 1."
        raise ValueError(msg)
    if not (np.isfinite(beta) and beta >= 0) or not (np.isfinite(free_bits) and free_bits >= 0):
        msg = f"beta={beta} and free_bits={free_bits} must be finite and not negative."
        raise ValueError(msg)
    if objective == "capacity" and free_bits:
        msg = "free_bits has no meaning with objective='capacity'; use one of them."
        raise ValueError(msg)
    if dispersion == "unit" and gene_likelihood != "normal":
        msg = f"dispersion='unit' is the variance of gene_likelihood='normal'; use 'gene' with {gene_likelihood!r}."
        raise ValueError(msg)


def check_setup(
    adata: AnnData,
    *,
    layer: str | None,
    batch_key: str | None,
    labels_key: str | None,
    size_factor_key: str | None,
    categorical_covariate_keys: Sequence[str] | None,
    continuous_covariate_keys: Sequence[str] | None,
    first_use: bool,
) -> None:
    """Raise ``KeyError`` or ``ValueError`` unless every registered column exists and can be used.

    ``first_use`` is false where scvi-tools replays the set-up on data that a trained model merely reads.
    """
    minified = minified_type(adata) is not None
    if not minified:
        _validation.check_layer(adata, layer)
    for name, key in [("batch_key", batch_key), ("labels_key", labels_key), ("size_factor_key", size_factor_key)]:
        if key is not None:
            _validation.check_obs_key(adata, key, name)
    for name, keys in [
        ("categorical_covariate_keys", categorical_covariate_keys),
        ("continuous_covariate_keys", continuous_covariate_keys),
    ]:
        for key in keys or []:
            _validation.check_obs_key(adata, key, name)
            if adata.obs[key].isna().any():
                msg = f"obs[{key!r}] ({name}) holds {int(adata.obs[key].isna().sum())} NaN; fill or drop those cells."
                raise ValueError(msg)
    # data that a trained model merely reads may well hold a single cell of a batch
    if batch_key is not None and first_use:
        _validation.check_batches(adata, batch_key)
    if size_factor_key is not None:
        size_factor = adata.obs[size_factor_key]
        if not is_numeric_dtype(size_factor) or not (np.isfinite(size_factor) & (size_factor > 0)).all():
            msg = f"obs[{size_factor_key!r}] (size_factor_key) must hold finite numbers above 0 for every cell."
            raise ValueError(msg)
