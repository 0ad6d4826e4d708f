"""One fit of a sweep over β, in whatever process it runs."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
from anndata import AnnData

from scwhatif._compat import registered, seeded
from scwhatif._quiet import quiet
from scwhatif._validation import check_groups, layer_names
from scwhatif.metrics import disentanglement, latent_correlation, one_vs_rest_auc, posterior_collapse
from scwhatif.metrics._latent_information import read_posterior
from scwhatif.metrics._latent_usage import is_active, kl_and_spread
from scwhatif.tl._beta_summary import DIVERGED
from scwhatif.train import TrainingDivergedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

# Draws of the code per validation cell.
_N_DRAWS = 8
# Seeds are global to a process: under threads, fits take turns.
_ONE_AT_A_TIME = Lock()


@dataclass(frozen=True)
class BetaFit:
    """Settings of one fit.

    Parameters
    ----------
    model_class
        Class of the model.
    model, setup, train
        Arguments of the model (``beta`` included), of ``setup_anndata`` and of ``train``.
    seed
        Of weights, split and training.
    groupby, metrics
        Column with the labels, and what is scored with them.
    rotate
        Rotation after training.
    """

    model_class: Any
    model: dict[str, Any]
    setup: dict[str, Any]
    train: dict[str, Any]
    seed: int
    groupby: str | None = None
    metrics: tuple[str, ...] = ()
    rotate: str | None = None


@dataclass(frozen=True, eq=False)
class BetaFitResult:
    """What is kept of a fit.

    Parameters
    ----------
    verdict
        As :func:`scwhatif.metrics.posterior_collapse`, or ``"diverged"``.
    scores
        Numbers by name; none of a fit that diverged.
    factors
        Loadings of the active dimensions, ``(n_features, n_active)``, or their latent codes, ``(n_cells, n_active)``,
        where the model has none; float32.
    """

    verdict: str
    scores: dict[str, float] = field(default_factory=dict)
    factors: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 0), dtype=np.float32))


def run_fit(data: AnnData, fit: BetaFit) -> BetaFitResult:
    """Fit a model and measure it, leaving the data, the generators and the registries of the process as they were.

    Parameters
    ----------
    data
        What the model needs; not written to.
    fit
        Settings.

    Returns
    -------
    Its measures.

    Raises
    ------
    ValueError
        No validation cells were left by the arguments of ``train``.
    """
    # the outer seed restores the generators after what draws in passing, such as encoding
    with alone(), seeded(fit.seed):
        cells = shallow(data)
        with registered(fit.model_class, cells, **fit.setup):
            with seeded(fit.seed):
                model = fit.model_class(cells, **fit.model)
            try:
                with seeded(fit.seed):
                    model.train(**{"enable_progress_bar": False} | fit.train)
            except TrainingDivergedError:
                return BetaFitResult(DIVERGED)
            if fit.rotate is not None:
                model.rotate(fit.rotate)
            return _measure(model, cells, fit)


@contextmanager
def alone() -> Iterator[None]:
    """One fit at a time, on one torch thread, without Lightning's report on the machine before it."""
    with _ONE_AT_A_TIME, _one_thread(), quiet("lightning.pytorch"):
        yield


def shallow(adata: AnnData) -> AnnData:
    """Make an AnnData that shares its matrices with another, so that nothing big is copied and nothing is written back.

    Parameters
    ----------
    adata
        The other.

    Returns
    -------
    ``X``, ``layers``, ``obsm``, ``obs`` and the names of ``var``.
    """
    return AnnData(
        X=adata.X,
        obs=adata.obs.copy(),
        var=adata.var[[]].copy(),
        layers={name: adata.layers[name] for name in layer_names(adata)},
        obsm=dict(adata.obsm),
    )


def _measure(model: Any, cells: AnnData, fit: BetaFit) -> BetaFitResult:
    held_out = model.validation_indices
    if held_out is None or not len(held_out):
        msg = f"no validation cells are left with train_kwargs={fit.train}; lower train_size."
        raise ValueError(msg)
    # the same draws of the code for both, so that their difference is the KL exactly
    elbo = _held_out_mean(lambda: model.get_elbo(indices=held_out, return_mean=False), fit.seed)
    reconstruction = _held_out_mean(
        lambda: sum(model.get_reconstruction_error(indices=held_out, return_mean=False).values()), fit.seed
    )
    mean, _ = posterior = read_posterior(*model.get_latent_representation(return_dist=True))
    active = is_active(*kl_and_spread(*posterior))
    code = mean[:, active]
    correlation = latent_correlation(code)
    scores = {
        "elbo": elbo,
        "reconstruction": reconstruction,
        "kl": -elbo - reconstruction,
        "n_active": float(active.sum()),
        "max_correlation": correlation.largest,
        "total_correlation": correlation.total_correlation,
    }
    if fit.groupby is not None:
        scores |= _label_scores(code, check_groups(cells, fit.groupby), fit)
    factors = model.get_loadings().to_numpy()[:, active] if hasattr(model, "get_loadings") else code
    return BetaFitResult(posterior_collapse(active), scores, np.asarray(factors, dtype=np.float32))


def _held_out_mean(per_cell: Callable[[], Any], seed: int) -> float:
    with seeded(seed):
        return float(np.mean([np.asarray(per_cell().cpu(), dtype=np.float64).mean() for _ in range(_N_DRAWS)]))


def _label_scores(code: NDArray, labels: Any, fit: BetaFit) -> dict[str, float]:
    """How well dimensions stand for labels; what no code at all would score where none is active."""
    if not code.shape[1]:
        return {"auc": 0.5} | dict.fromkeys(fit.metrics, 0.0)
    auc = one_vs_rest_auc(code, labels).to_numpy()
    scores = {"auc": float((0.5 + np.abs(auc - 0.5)).max(axis=0).mean())}
    if fit.metrics:
        found = disentanglement(code, labels, metrics=fit.metrics, n_shuffles=0, seed=fit.seed)["score"]
        scores |= {name: float(value) for name, value in found.items()}
    return scores


@contextmanager
def _one_thread() -> Iterator[None]:
    """One torch thread: fits run side by side, and sums must not depend on how many there are."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
