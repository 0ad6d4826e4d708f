"""Posterior means and variances from any model of the scvi-tools kind."""

from __future__ import annotations

from inspect import signature
from typing import TYPE_CHECKING

import numpy as np
from anndata import AnnData

from scwhatif._validation import check_var_names

if TYPE_CHECKING:
    from mudata import MuData
    from numpy.typing import NDArray
    from scvi.model.base import BaseModelClass


def gaussian_posterior(
    model: BaseModelClass, adata: AnnData | MuData, name: str = "adata"
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and variance of every cell's posterior, each ``(n_obs, n_latent)``, or an error that says why not.

    Raises ``TypeError`` for a model without a Gaussian posterior, ``ValueError`` for one that has not been trained, has
    a logistic normal latent code, or other features than `name`.
    """
    read = getattr(model, "get_latent_representation", None)
    if read is None or "return_dist" not in signature(read).parameters:
        msg = (
            f"{type(model).__name__} does not give the mean and variance of a Gaussian posterior "
            "(get_latent_representation has no return_dist)."
        )
        raise TypeError(msg)
    if getattr(model.module, "latent_distribution", "normal") == "ln":
        msg = (
            "the model was built with latent_distribution='ln': its dimensions are shares that add up to 1, not axes "
            "of their own. Build it with latent_distribution='normal'."
        )
        raise ValueError(msg)
    if not model.is_trained_:
        msg = "the model has not been trained, so its latent space means nothing yet; call model.train() first."
        raise ValueError(msg)
    if isinstance(adata, AnnData):
        check_var_names(adata, model.get_var_names(), name)
    mean, var = read(adata, return_dist=True)
    return np.asarray(mean, dtype=np.float64), np.asarray(var, dtype=np.float64)
