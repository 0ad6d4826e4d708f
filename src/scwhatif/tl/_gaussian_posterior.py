"""Posterior means and variances from any model of the scvi-tools kind."""

from __future__ import annotations

import copy
from inspect import signature
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from anndata import AnnData

from scwhatif._compat import forgetting
from scwhatif._validation import check_var_names

if TYPE_CHECKING:
    from mudata import MuData
    from numpy.typing import NDArray
    from scvi.model.base import BaseModelClass


class FactorisedPosterior(NamedTuple):
    """Gaussian posterior of every cell in axes in which its dimensions are independent.

    Parameters
    ----------
    mean, var
        ``(n_obs, n_latent)``.
    rotation
        Columns are the axes that the model reports, ``(n_latent, n_latent)``: there the means are
        ``mean @ rotation`` and the covariance is ``rotation.T @ diag(var) @ rotation``.
    """

    mean: NDArray[np.float64]
    var: NDArray[np.float64]
    rotation: NDArray[np.float64]


def factorised_posterior(model: BaseModelClass, adata: AnnData, name: str = "adata") -> FactorisedPosterior:
    """Posterior of every cell with all that is known of its covariance, or an error as :func:`gaussian_posterior`.

    Minified data keep the variances in the axes reported and no more, which are then taken as those of independent
    dimensions.
    """
    mean, var = gaussian_posterior(model, adata, name)
    rotation = getattr(model.module, "rotation", None)
    if rotation is None or getattr(model, "minified_data_type", None) is not None:
        return FactorisedPosterior(mean, var, np.eye(mean.shape[1]))
    # a copy of the model that reports the axes it was trained in, so that the user's is not touched
    trained = copy.copy(model)
    trained.module = copy.deepcopy(model.module)
    trained.module.rotation.copy_(rotation.new_ones(len(rotation)).diag())
    return FactorisedPosterior(*gaussian_posterior(trained, adata, name), rotation.double().cpu().numpy())


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
    with forgetting(model):
        mean, var = read(adata, return_dist=True)
    return np.asarray(mean, dtype=np.float64), np.asarray(var, dtype=np.float64)
