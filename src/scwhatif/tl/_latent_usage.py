"""Which latent dimensions a model uses, and what to change if too few."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scwhatif._keys import Key
from scwhatif._provenance import params
from scwhatif.metrics import ACTIVE_KL, ACTIVE_VARIANCE, latent_correlation, posterior_collapse
from scwhatif.metrics import latent_usage as usage_of
from scwhatif.tl._gaussian_posterior import gaussian_posterior

if TYPE_CHECKING:
    from anndata import AnnData
    from mudata import MuData
    from numpy.typing import NDArray
    from scvi.model.base import BaseModelClass

# Correlation of two active dimensions from which they are said to share what they tell.
_CORRELATED = 0.5
# Nats per active dimension from which codes are said to have left the prior.
_FAR_FROM_PRIOR = 1.0


def latent_usage(
    adata: AnnData | MuData,
    model: BaseModelClass,
    *,
    n_mixture: int = 1000,
    key_added: str = Key.uns.LATENT_USAGE,
    seed: int = 0,
    copy: bool = False,
) -> AnnData | MuData | None:
    r"""Say which latent dimensions a model uses, whether its posterior has collapsed, and what to change.

    A collapsed dimension has the prior as its posterior in every cell and tells nothing, but plots that scale every
    axis to its data show it as if it did. What counts here is on the scale of the prior N(0, 1): a dimension is
    *active* if the variance of its posterior means is above 0.01 :cite:p:`Burda2016` and its KL is above 0.1 nats. The
    posterior has collapsed **totally** if none is, **partially** if fewer than half are, and is **healthy** otherwise.
    A penalty on the KL switches off what the data do not pay for, so a partial collapse may be what was asked for.

    Parameters
    ----------
    adata
        The model's data, or data like it; minified data will do.
    model
        A trained model with a Gaussian posterior: any with ``get_latent_representation(return_dist=True)``, such as
        :class:`scwhatif.model.BetaLinearSCVI`, SCVI, LinearSCVI, SCANVI or TOTALVI.
    n_mixture
        Most cells used for the mutual information; see :func:`scwhatif.metrics.latent_information`.
    key_added
        Key of ``uns`` to write to.
    seed
        Seed of the mutual information, the only estimate that draws.
    copy
        Whether to return a copy instead of writing into ``adata``.

    Returns
    -------
    ``None``, or the copy, with

    ``uns["latent_usage"]["table"]`` : DataFrame
        One row per dimension, ``"z0"``, ``"z1"`` …: ``kl`` (of the posterior from N(0, 1), mean over cells, nats),
        ``variance`` (of the posterior means), ``mutual_information`` (of cell and dimension, nats), ``prior_gap`` (the
        rest of the KL), ``active`` (bool), and ``explained_share`` (of the variance of the decoded log-rate, from the
        model's ``get_explained_share``; NaN where the decoder is not linear). All float64.
    ``uns["latent_usage"]["summary"]`` : dict
        ``n_latent``, ``n_active``, ``kl`` (sum over dimensions), ``max_correlation`` (largest absolute correlation of
        two active dimensions) and ``total_correlation`` (of the active ones, Gaussian, nats;
        :func:`scwhatif.metrics.latent_correlation`).
    ``uns["latent_usage"]["verdict"]`` : str
        ``"healthy"``, ``"partial_collapse"`` or ``"total_collapse"``.
    ``uns["latent_usage"]["advice"]`` : str
        What it means and what to change.
    ``uns["latent_usage"]["kl_history"]`` : DataFrame
        Only if the model has a history of its KL. One row per epoch and ``stage`` (category, train or validation):
        ``epoch``, ``kl`` (nats, sum over dimensions), ``kl_weight`` (position in the warm-up), and the KL of each
        dimension where it was logged and the model was not rotated afterwards.
    ``uns["latent_usage"]["params"]`` : dict
        Arguments and thresholds, versions, model class and hash of its weights.

    Warns
    -----
    UserWarning
        The posterior has collapsed totally.

    Raises
    ------
    TypeError
        The model does not give means and variances of a posterior.
    ValueError
        The model is not trained, its posterior is not finite, its latent space is logistic-normal (dimensions are
        shares of a whole and have no usage of their own), or ``adata`` has other features than the model.

    Notes
    -----
    The KL is from N(0, 1) whatever prior the model has; SCANVI, for one, has another. In a rotated model the KL of the
    dimensions adds up to less than that of the code, whose posterior is factorised in the axes of training.

    Examples
    --------
    >>> import scwhatif as wi
    >>> adata = wi.datasets.simulate_factors(150, 30, 2, n_cell_types=3, n_batches=1, likelihood="normal")
    >>> wi.model.BetaLinearSCVI.setup_anndata(adata)
    >>> model = wi.model.BetaLinearSCVI(adata, n_latent=2, gene_likelihood="normal", seed=0)
    >>> model.train(max_epochs=20, batch_size=32, seed=0, enable_progress_bar=False)
    >>> wi.tl.latent_usage(adata, model)
    >>> adata.uns["latent_usage"]["verdict"], adata.uns["latent_usage"]["summary"]["n_active"]
    ('healthy', 2)
    >>> adata.uns["latent_usage"]["advice"].split(". ")[0]
    '2 of 2 dimensions are active'
    """
    mean, var = gaussian_posterior(model, adata)
    table = usage_of(mean, var, n_mixture=n_mixture, seed=seed)
    share = getattr(model, "get_explained_share", None)
    table["explained_share"] = np.nan if share is None else share().to_numpy(dtype=np.float64)
    active = table["active"].to_numpy()
    correlation = latent_correlation(mean[:, active])
    verdict = posterior_collapse(active)
    result: dict[str, Any] = {
        "table": table,
        "summary": {
            "n_latent": len(table),
            "n_active": int(active.sum()),
            "kl": float(table["kl"].sum()),
            "max_correlation": correlation.largest,
            "total_correlation": correlation.total_correlation,
        },
        "verdict": verdict,
        "advice": _advice(table, correlation.matrix, model.module),
        Key.uns.PARAMS: params(
            model, n_mixture=n_mixture, seed=seed, active_kl=ACTIVE_KL, active_variance=ACTIVE_VARIANCE
        ),
    }
    history = _kl_history(model, list(table.index))
    if history is not None:
        result["kl_history"] = history
    if verdict == "total_collapse":
        warnings.warn(result["advice"], UserWarning, stacklevel=2)
    target = adata.copy() if copy else adata
    target.uns[key_added] = result
    return target if copy else None


def _advice(table: pd.DataFrame, correlation: NDArray[np.float64], module: Any) -> str:
    names = table.index[table["active"]]
    n_active, n_latent = len(names), len(table)
    if n_active == 0:
        return (
            "The posterior has collapsed totally: no dimension is active, and every cell has the same code. "
            f"{_how_to_use_more(module)} If all of this fails, the data may hold no structure that the likelihood sees."
        )
    said = f"{n_active} of {n_latent} dimensions {'is' if n_active == 1 else 'are'} active."
    if n_active == n_latent:
        said += " A larger n_latent may find more, since none is left over."
    elif 2 * n_active < n_latent:
        said += (
            f" The posterior has collapsed partially. If that is enough, n_latent={n_active + 1} gives the same with "
            f"less to look at. {_how_to_use_more(module)}"
        )
    np.fill_diagonal(magnitude := np.abs(correlation), 0.0)
    if magnitude.max(initial=0.0) > _CORRELATED:
        i, j = np.unravel_index(magnitude.argmax(), magnitude.shape)
        said += (
            f" {names[i]} and {names[j]} correlate at {correlation[i, j]:.2f}, so they share what they tell: raise "
            "beta, or charge the total correlation (objective='total_correlation')."
        )
    if table.loc[names, "prior_gap"].mean() > _FAR_FROM_PRIOR:
        said += (
            " The codes of all cells together lie far from the prior N(0, 1), so draws from the prior do not look like "
            "cells: raise beta."
        )
    return said


def _how_to_use_more(module: Any) -> str:
    beta = getattr(module, "beta", None)
    if beta is None:
        return (
            "To use more, lower the weight of the KL, raise it more slowly, and train for more steps "
            "(plan_kwargs={'max_kl_weight': 0.5, 'n_epochs_kl_warmup': …})."
        )
    if module.objective == "capacity":
        return f"To use more, raise capacity (now {module.capacity:g} nats), or train for more epochs."
    remedies = [f"lower beta (now {beta:g}; scwhatif.tl.sweep_beta finds how far)"] if beta > 0 else []
    remedies.append("train for more steps with a longer warm-up (max_epochs, plan_kwargs={'kl_warmup': 0.5})")
    if module.free_bits == 0:
        remedies.append("leave some information uncharged (free_bits=0.5)")
    return f"To use more, {', or '.join(remedies)}."


def _kl_history(model: BaseModelClass, dimensions: list[str]) -> pd.DataFrame | None:
    """KL per epoch of every stage that logged it."""
    history = model.history or {}
    # logged in the axes of training, which are not those of a rotated model
    per_dimension = getattr(model, "rotation_", None) is None
    stages = []
    for stage in ("train", "validation"):
        logged = {"kl": f"kl_local_{stage}", "kl_weight": "kl_weight"}
        if per_dimension:
            logged |= {name: f"kl_{name}_{stage}" for name in dimensions}
        columns = {name: history[key].iloc[:, 0] for name, key in logged.items() if key in history}
        if "kl" not in columns:
            continue
        part = pd.DataFrame(columns).astype(np.float64).dropna(subset=["kl"])
        part.insert(0, "epoch", part.index.to_numpy(dtype=np.int64))
        part.insert(1, "stage", stage)
        stages.append(part)
    if not stages:
        return None
    table = pd.concat(stages, ignore_index=True)
    table["stage"] = pd.Categorical(table["stage"])
    table.index = table.index.astype(str)
    return table
