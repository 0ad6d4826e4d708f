"""An encoder taken apart, so that the change of one feature costs one row of its first layer."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy import sparse
from torch import nn

from scwhatif.module import BetaLinearVAE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from scwhatif.nn import CovariateEffects, GaussianEncoder

_TOLERANCE = 1e-5


@dataclass(frozen=True, eq=False)
class EncoderPlan:
    r"""Snapshot of an encoder as ``posterior(t(x) @ weight + bias + covariates)``, with ``t`` acting per feature.

    When feature :math:`g` of cell :math:`c` goes from :math:`x` to :math:`x'`, what enters the first non-linearity
    moves along one row of the weight,

    .. math:: h' = h_c + \big(t_g(x') - t_g(x)\big) W_{g\cdot}

    so re-encoding a (cell, feature) pair needs no other feature, and a pair with :math:`x' = x` needs nothing. This
    is exact, not a linearisation. Later changes of the module do not reach the plan.

    Parameters
    ----------
    weight
        First layer, ``(n_features, n_hidden)``: one contiguous row per feature.
    bias
        ``(n_hidden,)``.
    covariates
        Maps category codes and continuous covariates to what they add, or ``None``.
    tail
        Maps ``(n, n_hidden)`` to posterior mean and variance, each ``(n, n_latent)``.
    log1p
        Whether values are log1p-transformed first.
    center, scale
        Then shifted and divided by these, ``(n_features,)``, or ``None``.
    rotation
        Columns are the axes the model reports its latent code in; the plan computes in those the encoder was trained
        in, where the posterior is factorised. ``None`` if they are the same.
    """

    weight: torch.Tensor
    bias: torch.Tensor
    covariates: CovariateEffects | None
    tail: nn.Module
    log1p: bool = True
    center: torch.Tensor | None = None
    scale: torch.Tensor | None = None
    rotation: torch.Tensor | None = None

    @classmethod
    def from_module(cls, module: nn.Module) -> EncoderPlan:
        """Take the encoder of a module apart, and check the parts against the whole on made-up cells.

        Parameters
        ----------
        module
            A :class:`scwhatif.module.BetaLinearVAE`.

        Returns
        -------
        The plan, on the module's device.

        Raises
        ------
        TypeError
            The module is of a kind that cannot be taken apart.
        RuntimeError
            The plan does not reproduce the module's encoder to 1e-5.
        """
        if not isinstance(module, BetaLinearVAE):
            msg = f"no encoder plan for a module of type {type(module).__name__}; supported: BetaLinearVAE."
            raise TypeError(msg)
        encoder = module.z_encoder
        with torch.no_grad():
            plan = cls(
                weight=encoder.first.weight.detach().T.clone(memory_format=torch.contiguous_format),
                bias=encoder.first.bias.detach().clone(),
                covariates=copy.deepcopy(encoder.covariates) if module.encode_covariates else None,
                tail=_GaussianTail(encoder).eval(),
                log1p=module.is_count_model,
                center=None if module.is_count_model else module.input_mean.clone(),
                scale=None if module.is_count_model else module.input_std.clone(),
                rotation=module.rotation.clone(),
            )
        _check_plan(plan, module)
        return plan

    @property
    def n_features(self) -> int:
        """Number of features."""
        return self.weight.shape[0]

    @property
    def device(self) -> torch.device:
        """Where the plan computes."""
        return self.weight.device

    @property
    def weight_norm(self) -> NDArray[np.float64]:
        """Length of each feature's first-layer weights, per unit of the (transformed) feature, ``(n_features,)``."""
        norm = self.weight.double().norm(dim=1)
        return (norm if self.scale is None else norm / self.scale.double()).cpu().numpy()

    def to_reported_axes(self, shift: NDArray[np.float64]) -> NDArray[np.float64]:
        """Differences of posterior means in the axes the model reports.

        Parameters
        ----------
        shift
            In the plan's axes, ``(..., n_latent)``.

        Returns
        -------
        Same shape.
        """
        return shift if self.rotation is None else shift @ self.rotation.double().cpu().numpy()

    @torch.inference_mode()
    def preactivation(
        self,
        x: NDArray[Any] | sparse.csr_matrix,
        batch: NDArray[Any] | None = None,
        cat_covs: NDArray[Any] | None = None,
        cont_covs: NDArray[Any] | None = None,
    ) -> torch.Tensor:
        """What enters the first non-linearity for whole cells.

        Parameters
        ----------
        x
            Cells × features, untransformed; array or CSR.
        batch
            Batch codes, ``(n_cells, 1)``. These and the other covariates are not looked at where the encoder does not.
        cat_covs
            Codes of further categorical covariates, ``(n_cells, n_cat_covs)``, or ``None``.
        cont_covs
            Continuous covariates, ``(n_cells, n_cont_covs)``, or ``None``.

        Returns
        -------
        ``(n_cells, n_hidden)``, float32.
        """
        h = self._first_layer(x)
        if self.covariates is None or batch is None:
            return h
        categorical = [torch.as_tensor(codes, device=self.device) for codes in _category_codes(batch, cat_covs)]
        continuous = None
        if cont_covs is not None:
            continuous = torch.as_tensor(np.asarray(cont_covs, dtype=np.float32), device=self.device)
        return h + self.covariates(categorical, continuous)

    @torch.inference_mode()
    def posterior(self, h: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Posterior of cells from what enters the first non-linearity.

        Parameters
        ----------
        h
            ``(n, n_hidden)``. May be overwritten.

        Returns
        -------
        Mean and variance, each ``(n, n_latent)``.
        """
        mean, var = self.tail(h)
        return mean, var

    @torch.inference_mode()
    def encode_pairs(
        self, h: torch.Tensor, rows: torch.Tensor, features: torch.Tensor, change: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Posterior of cells of which one feature was changed.

        Parameters
        ----------
        h
            From :meth:`preactivation`, ``(n_cells, n_hidden)``.
        rows, features
            Row of ``h`` and feature of each pair, ``(n_pairs,)``, int64.
        change
            From :meth:`input_change`, ``(n_pairs,)``.

        Returns
        -------
        Mean and variance, each ``(n_pairs, n_latent)``.
        """
        moved = self.weight.index_select(0, features).mul_(change.unsqueeze(1)).add_(h.index_select(0, rows))
        return self.posterior(moved)

    def input_change(
        self, before: NDArray[Any], after: NDArray[Any], features: NDArray[np.integer]
    ) -> NDArray[np.float32]:
        """How far transformed features move.

        Parameters
        ----------
        before, after
            Untransformed values, ``(n_pairs,)``.
        features
            Feature of each pair, ``(n_pairs,)``.

        Returns
        -------
        ``t(after) - t(before)``, ``(n_pairs,)``.
        """
        # in float64: the difference of two large values is what is wanted
        old, new = before.astype(np.float64), after.astype(np.float64)
        change = np.log1p(new) - np.log1p(old) if self.log1p else new - old
        if self.scale is not None:
            change /= self.scale.double().cpu().numpy()[features]
        return change.astype(np.float32)

    def _first_layer(self, x: NDArray[Any] | sparse.csr_matrix) -> torch.Tensor:
        if isinstance(x, sparse.csr_matrix):
            if self.center is None:
                # zeros stay zeros, so nothing needs to be densified
                t = x.astype(np.float32)
                product = (t.log1p() if self.log1p else t) @ self.weight.cpu().numpy()
                return torch.from_numpy(product).to(self.device) + self.bias
            x = x.toarray()
        values = torch.as_tensor(np.asarray(x, dtype=np.float32), device=self.device)
        if self.log1p:
            values = values.log1p()
        if self.center is not None:
            values = values - self.center
        if self.scale is not None:
            values = values / self.scale
        return values @ self.weight + self.bias


def _category_codes(batch: NDArray[Any], cat_covs: NDArray[Any] | None) -> list[NDArray[np.int64]]:
    """One column of codes per categorical covariate, in the order of the module's tables."""
    codes = [batch] if cat_covs is None else [batch, *np.hsplit(cat_covs, cat_covs.shape[1])]
    return [np.asarray(each, dtype=np.int64) for each in codes]


class _GaussianTail(nn.Module):
    """What a :class:`scwhatif.nn.GaussianEncoder` does after its first layer, with both heads in one product."""

    def __init__(self, encoder: GaussianEncoder) -> None:
        super().__init__()
        self.n_latent = encoder.mean.out_features
        self.variance = encoder.variance
        layers = (layer for layer in encoder.hidden if not isinstance(layer, nn.Dropout))
        self.hidden = nn.Sequential(*map(_in_place, layers))
        weight = torch.cat([encoder.mean.weight, encoder.log_var.weight]).detach().clone()
        bias = torch.cat([encoder.mean.bias, encoder.log_var.bias]).detach().clone()
        self.weight, self.bias = nn.Parameter(weight, requires_grad=False), nn.Parameter(bias, requires_grad=False)

    def forward(self, h: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        mean, log_var = nn.functional.linear(self.hidden(h), self.weight, self.bias).split(self.n_latent, dim=-1)
        return mean, self.variance(log_var)


def _in_place(layer: nn.Module) -> nn.Module:
    return nn.ReLU(inplace=True) if isinstance(layer, nn.ReLU) else copy.deepcopy(layer).requires_grad_(False)  # noqa: FBT003


def _check_plan(plan: EncoderPlan, module: BetaLinearVAE, n_cells: int = 8, n_pairs: int = 16) -> None:
    """Raise unless the plan agrees with the module's own encoder on whole cells and on cells with one feature gone."""
    rng = np.random.default_rng(0)
    x = rng.negative_binomial(1, 0.2, size=(n_cells, plan.n_features)).astype(np.float32)
    if plan.center is not None and plan.scale is not None:
        x = (plan.center.cpu().numpy() + plan.scale.cpu().numpy() * rng.normal(size=x.shape)).astype(np.float32)
    covariates = _made_up_covariates(plan.covariates, n_cells, rng)
    rows, features = rng.integers(n_cells, size=n_pairs), rng.integers(plan.n_features, size=n_pairs)
    edited = x[rows]
    edited[np.arange(n_pairs), features] = 0

    h = plan.preactivation(sparse.csr_matrix(x), *covariates)
    change = plan.input_change(x[rows, features], np.zeros(n_pairs), features)
    found = [
        plan.posterior(h.clone()),
        plan.encode_pairs(h, *(torch.as_tensor(values, device=plan.device) for values in (rows, features, change))),
    ]
    wanted = [
        _encode(module, x, covariates),
        _encode(module, edited, [values if values is None else values[rows] for values in covariates]),
    ]
    for (mean, var), (module_mean, module_var) in zip(found, wanted, strict=True):
        off = float(((mean - module_mean).abs() / module_mean.abs().clamp(min=1)).max())
        off = max(off, float((var / module_var).log().abs().max()))
        if not off <= _TOLERANCE:
            msg = (
                f"the plan of {type(module).__name__} is off its own encoder by {off:.1e}, more than {_TOLERANCE:.0e}. "
                "Are all weights finite, and is torch.get_float32_matmul_precision() 'highest'?"
            )
            raise RuntimeError(msg)


def _made_up_covariates(
    effects: CovariateEffects | None, n_cells: int, rng: np.random.Generator
) -> list[NDArray[Any] | None]:
    if effects is None:
        return [None, None, None]
    codes = [rng.integers(table.shape[0], size=(n_cells, 1)) for table in effects.tables]
    continuous = None if effects.slopes is None else rng.normal(size=(n_cells, effects.slopes.shape[0]))
    return [codes[0], np.hstack(codes[1:]) if codes[1:] else None, continuous]


@torch.inference_mode()
def _encode(
    module: BetaLinearVAE, x: NDArray[Any], covariates: Sequence[NDArray[Any] | None]
) -> tuple[torch.Tensor, torch.Tensor]:
    """The module's own encoder; not ``module.inference``, which would draw from the global generator."""
    batch, cat_covs, cont_covs = covariates
    device = module.device
    codes = [] if batch is None else _category_codes(batch, cat_covs)
    continuous = None if cont_covs is None else torch.as_tensor(cont_covs, dtype=torch.float32, device=device)
    training = module.training
    module.eval()
    try:
        return module.z_encoder(
            module.transform_input(torch.as_tensor(x, device=device)),
            [torch.as_tensor(each, device=device) for each in codes],
            continuous,
        )
    finally:
        module.train(training)
