"""Any decoder of the scvi-tools kind, as a function from a latent code to the expected features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from scvi import REGISTRY_KEYS

from scwhatif._compat import generate

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import ArrayLike
    from torch import nn

# How modules take the library size: its logarithm or itself, in a column, or itself without a second dimension.
LibraryForm = Literal["log", "linear", "flat"]
_FORMS: tuple[LibraryForm, ...] = ("log", "linear", "flat")
# Names under which modules look for the library size in what their inference returned.
_LIBRARY_NAMES = ("library", "library_gene", "libsize_expr")
_REFUSALS = (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
_TOLERANCE = 1e-4
_TRIED = (1.0, 2.0, 3.0)


@dataclass(frozen=True, eq=False)
class DecoderPlan:
    """A module's decoder, made by :meth:`from_module`; later changes of the module's weights do reach it.

    Parameters
    ----------
    module
        The module.
    n_latent, n_features
        Length of a code and number of features decoded.
    log_link
        Whether the mean is proportional to the library size, as that of counts is, so that changes of its logarithm
        can be compared between features. Otherwise features are continuous, and nothing scales them.
    normalised
        Whether the means of a cell add up to its library size.
    simplex
        Whether codes are shares that add up to 1 (``latent_distribution="ln"``).
    library_form
        How the module takes the library size.
    """

    module: nn.Module
    n_latent: int
    n_features: int
    log_link: bool
    normalised: bool
    simplex: bool
    library_form: LibraryForm

    @classmethod
    def from_module(cls, module: nn.Module, fields: Mapping[str, ArrayLike]) -> DecoderPlan:
        """Find out by trial how a module's decoder is to be called and what it returns.

        Parameters
        ----------
        module
            A module with ``_get_generative_input`` and ``generative`` as scvi-tools defines them.
        fields
            One row of everything registered with its model but the features, by registry key.

        Returns
        -------
        The plan.

        Raises
        ------
        TypeError
            The module has no such decoder, or one whose mean does not follow the library size in any known way.
        """
        n_latent = getattr(module, "n_latent", None)
        if not hasattr(module, "generative") or not hasattr(module, "_get_generative_input") or n_latent is None:
            msg = f"{type(module).__name__} has no decoder of the scvi-tools kind (generative, n_latent)."
            raise TypeError(msg)
        simplex = getattr(module, "latent_distribution", "normal") == "ln"
        code = torch.full((1, n_latent), 1 / n_latent) if simplex else torch.linspace(-1, 1, n_latent)[None]
        refusals = []
        for form in _FORMS:
            plan = cls(module, n_latent, 0, log_link=True, normalised=False, simplex=simplex, library_form=form)
            try:
                with torch.no_grad():
                    tried = plan.mean(code.expand(len(_TRIED), -1), torch.tensor(_TRIED), fields)
            except _REFUSALS as error:
                refusals.append(f"{type(error).__name__}: {error}")
                continue
            if tried.ndim != 2 or len(tried) != len(_TRIED):
                refusals.append(f"its mean has shape {tuple(tried.shape)} for {len(_TRIED)} codes")
                continue
            scaled = bool((tried[0] > 0).any()) and torch.allclose(
                tried, tried[:1] * tried.new_tensor(_TRIED)[:, None], rtol=_TOLERANCE, atol=0
            )
            if scaled or torch.allclose(tried, tried[:1].expand_as(tried), rtol=_TOLERANCE, atol=0):
                normalised = scaled and bool((tried[0].sum() - 1).abs() < _TOLERANCE)
                plan = cls(module, n_latent, tried.shape[1], scaled, normalised, simplex, form)
                plan._check_labels(code, fields)
                return plan
            refusals.append("its mean neither follows the library size nor is free of it")
        msg = f"{type(module).__name__} cannot be decoded from a latent code alone ({refusals[0]})."
        raise TypeError(msg)

    @property
    def device(self) -> torch.device:
        """Where the module computes."""
        return next(self.module.parameters()).device

    def mean(self, z: torch.Tensor, library: ArrayLike, fields: Mapping[str, ArrayLike]) -> torch.Tensor:
        """Expected features, before zero inflation; differentiable in ``z``.

        Parameters
        ----------
        z
            ``(n, n_latent)``.
        library
            Library size or size factor, a number or one per row. Without effect on continuous features.
        fields
            What else the decoder reads, by registry key: one row, or ``n``.

        Returns
        -------
        ``(n, n_features)``.
        """
        n = len(z)
        z = z.to(self.device)
        size = _rows(library, n, self.device, torch.float32)
        tensors = {key: _rows(values, n, self.device, _dtype(key)) for key, values in fields.items()}
        tensors.setdefault(REGISTRY_KEYS.BATCH_KEY, _rows(0, n, self.device, torch.int64))
        tensors.setdefault(REGISTRY_KEYS.LABELS_KEY, _rows(0, n, self.device, torch.int64))
        tensors[REGISTRY_KEYS.SIZE_FACTOR_KEY] = size
        taken = {"log": size.log(), "linear": size, "flat": size.squeeze(1)}[self.library_form]
        inferred = {"z": z, "qz_m": z, **dict.fromkeys(_LIBRARY_NAMES, taken)}
        self.module.eval()
        return _mean_of(generate(self.module, tensors, inferred))

    def predictor(self, z: torch.Tensor, library: ArrayLike, fields: Mapping[str, ArrayLike]) -> torch.Tensor:
        """Logarithm of the mean of counts, or the mean of continuous features; differentiable in ``z``.

        Parameters
        ----------
        z, library, fields
            As for :meth:`mean`.

        Returns
        -------
        ``(n, n_features)``.
        """
        mean = self.mean(z, library, fields)
        return mean.clamp(min=torch.finfo(mean.dtype).tiny).log() if self.log_link else mean

    @torch.no_grad()
    def _check_labels(self, code: torch.Tensor, fields: Mapping[str, ArrayLike]) -> None:
        """Raise if the mean depends on a cell's label, which a latent code does not tell."""
        if getattr(self.module, "n_labels", None) in (None, 0, 1):
            return
        first, second = (self.mean(code, 1.0, {**fields, REGISTRY_KEYS.LABELS_KEY: label}) for label in (0, 1))
        if not torch.equal(first, second):
            msg = f"{type(self.module).__name__} decodes a latent code differently for each label."
            raise TypeError(msg)


def _rows(values: ArrayLike, n: int, device: torch.device, dtype: torch.dtype) -> torch.Tensor:
    """Column(s) of ``n`` rows, from one row or a number as well."""
    tensor = torch.as_tensor(values, dtype=dtype, device=device)
    tensor = tensor.reshape(-1, 1) if tensor.ndim < 2 else tensor
    return tensor.expand(n, -1) if len(tensor) == 1 else tensor


def _dtype(key: str) -> torch.dtype:
    codes = (REGISTRY_KEYS.BATCH_KEY, REGISTRY_KEYS.LABELS_KEY, REGISTRY_KEYS.CAT_COVS_KEY)
    return torch.int64 if key in codes else torch.float32


def _mean_of(outputs: Mapping[str, Any]) -> torch.Tensor:
    """The mean of the features among what a module's ``generative`` returned."""
    if "px" in outputs:
        mean: torch.Tensor = outputs["px"].get_normalized("mu")
    elif "px_" in outputs:
        mean = outputs["px_"]["rate"]
    else:
        mean = outputs["px_rate"]
    return mean
