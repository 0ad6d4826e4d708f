"""What a trained model expects of the counts of some genes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from scwhatif._validation import check_var_names
from scwhatif.pp._scale_counts import RatePrior

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

# Cells decoded at once, all genes of each; a multiple of the minibatch, so that neither shapes the draws.
_CHUNK = 1024
_MINIBATCH = 128
_LIKELIHOODS = ("nb", "zinb", "poisson")


def decoded_prior(
    model: Any, adata: AnnData, columns: Sequence[int], *, layer: str | None, seed: int
) -> dict[int, RatePrior]:
    """Mean, inverse dispersion and dropout of the counts, decoded from one draw of each cell's latent code.

    ``layer`` must be what the model reads. Nothing is written to ``adata``.
    """
    _check_model(model, layer)
    check_var_names(adata, model.get_var_names())

    from scwhatif._compat import seeded

    # the model would register other data than its own by writing into them
    data = adata if adata is model.adata else adata.copy()
    parts: dict[str, list[np.ndarray]] = {"mean": [], "dispersions": [], "dropout": []}
    with seeded(seed):
        for start in range(0, data.n_obs, _CHUNK):
            indices = list(range(start, min(start + _CHUNK, data.n_obs)))
            for name, values in _likelihood(model, data, indices).items():
                parts[name].append(np.asarray(values[:, list(columns)], dtype=np.float64))
    decoded = {name: np.concatenate(values) for name, values in parts.items() if values}
    return {
        column: RatePrior(
            decoded["mean"][:, i],
            decoded["dispersions"][:, i] if "dispersions" in decoded else np.inf,
            decoded["dropout"][:, i] if "dropout" in decoded else None,
        )
        for i, column in enumerate(columns)
    }


def _check_model(model: Any, layer: str | None) -> None:
    likelihood = getattr(getattr(model, "module", None), "gene_likelihood", None)
    if likelihood not in _LIKELIHOODS or not hasattr(model, "get_likelihood_parameters"):
        msg = (
            f"model is {type(model).__name__} with gene_likelihood={likelihood!r}; up='posterior' needs a model of the "
            f"scvi kind that decodes counts ({', '.join(_LIKELIHOODS)}) and has get_likelihood_parameters."
        )
        raise TypeError(msg)
    if not model.is_trained_:
        msg = "the model has not been trained, so what it decodes means nothing yet; call model.train() first."
        raise ValueError(msg)
    read = model.get_setup_arg("layer")
    if read != layer:
        msg = f"the model reads layer={read!r}, but layer={layer!r} is to be edited; pass layer={read!r}."
        raise ValueError(msg)


def _likelihood(model: Any, adata: AnnData, indices: list[int]) -> dict[str, np.ndarray]:
    if model.module.gene_likelihood == "poisson":
        # get_likelihood_parameters asks every likelihood for a dispersion
        mean = model.get_normalized_expression(
            adata, indices=indices, library_size="latent", batch_size=_MINIBATCH, return_numpy=True
        )
        return {"mean": mean}
    return model.get_likelihood_parameters(adata, indices=indices, batch_size=_MINIBATCH)
