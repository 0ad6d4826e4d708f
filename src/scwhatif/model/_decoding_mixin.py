"""Decoding of any latent code, which scvi-tools does not offer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from scvi import REGISTRY_KEYS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import ArrayLike


class LinearDecodingMixin:
    """``decode`` for models whose module has ``decoder`` and ``covariates``."""

    module: Any
    n_latent: int

    @torch.inference_mode()
    def decode(
        self,
        z: ArrayLike | pd.DataFrame,
        *,
        library_size: float | ArrayLike = 1.0,
        batch: str | Sequence[str] | None = None,
        covariates: Mapping[str, Any] | None = None,
    ) -> pd.DataFrame:
        """Expected features of any latent codes, observed or imagined.

        Parameters
        ----------
        z
            ``(n, n_latent)`` or a single ``(n_latent,)``.
        library_size
            Total counts (or size factor) of the decoded profiles, a number or one per row; 1 gives proportions.
            Ignored for continuous features.
        batch
            Decode as if from this batch, or averaged over these; ``None`` averages over all.
        covariates
            Value of every further registered covariate.

        Returns
        -------
        ``n`` × features, float32: expected counts, or expected values for continuous features. The index is that
        of ``z`` where it has one.

        Raises
        ------
        ValueError
            ``z`` does not have ``n_latent`` finite columns, a library size is not positive, or a covariate has no
            value.
        KeyError
            A batch or category the model has not seen.
        """
        index = z.index if isinstance(z, pd.DataFrame) else None
        codes = np.atleast_2d(np.asarray(z, dtype=np.float32))
        if codes.ndim != 2 or codes.shape[1] != self.n_latent or not np.isfinite(codes).all():
            msg = f"z must hold finite numbers of shape (n, n_latent={self.n_latent}); got shape {np.shape(z)}."
            raise ValueError(msg)
        module = self.module
        latent = torch.from_numpy(codes).to(module.device)
        scale = np.asarray(library_size, dtype=np.float32).reshape(-1, 1)
        if len(scale) not in (1, len(codes)) or not (np.isfinite(scale) & (scale > 0)).all():
            msg = f"library_size must be a number above 0, or one per row of z ({len(codes)}); got {library_size!r}."
            raise ValueError(msg)
        log_library = torch.from_numpy(np.repeat(scale, len(codes) // len(scale), axis=0)).to(module.device).log()
        categorical, continuous = self._covariate_values(covariates or {})
        module.eval()
        decoded = []
        for code in self._batch_codes(batch):
            rows = (len(codes), 1)
            outputs = module.generative(
                latent,
                log_library,
                torch.full(rows, code, device=module.device),
                cat_covs=None if categorical is None else categorical.expand(len(codes), -1),
                cont_covs=None if continuous is None else continuous.expand(len(codes), -1),
                size_factor=log_library.exp(),
            )
            log_rate = outputs["log_rate"]
            decoded.append(log_rate.exp() if module.is_count_model else log_rate)
        mean = torch.stack(decoded).mean(0)
        return pd.DataFrame(mean.cpu().numpy(), index=index, columns=pd.Index(self.get_var_names()))  # type: ignore[attr-defined]

    def _batch_codes(self, batch: str | Sequence[str] | None) -> list[int]:
        known = list(self.get_state_registry(REGISTRY_KEYS.BATCH_KEY)["categorical_mapping"])  # type: ignore[attr-defined]
        if batch is None:
            return list(range(len(known)))
        if self.get_setup_arg("batch_key") is None:  # type: ignore[attr-defined]
            msg = f"batch={batch!r}, but the model was set up without batch_key; leave batch out."
            raise KeyError(msg)
        wanted = [batch] if isinstance(batch, str) else list(batch)
        return [_position(name, known, "batch") for name in wanted]

    def _covariate_values(self, values: Mapping[str, Any]) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        registered = self._registered_fields()  # type: ignore[attr-defined]
        categorical = continuous = None
        unused = set(values)
        if REGISTRY_KEYS.CAT_COVS_KEY in registered:
            registry = self.get_state_registry(REGISTRY_KEYS.CAT_COVS_KEY)  # type: ignore[attr-defined]
            keys = list(registry["field_keys"])
            _require(keys, values)
            codes = [_position(values[key], list(registry["mappings"][key]), key) for key in keys]
            categorical = torch.tensor([codes], device=self.module.device)
            unused -= set(keys)
        if REGISTRY_KEYS.CONT_COVS_KEY in registered:
            keys = list(self.get_state_registry(REGISTRY_KEYS.CONT_COVS_KEY)["columns"])  # type: ignore[attr-defined]
            _require(keys, values)
            continuous = torch.tensor([[float(values[key]) for key in keys]], device=self.module.device)
            unused -= set(keys)
        if unused:
            msg = f"covariates={sorted(unused)} are not registered with this model."
            raise KeyError(msg)
        return categorical, continuous


def _require(keys: Sequence[str], values: Mapping[str, Any]) -> None:
    missing = [key for key in keys if key not in values]
    if missing:
        msg = f"The model was trained with covariates {missing}: pass covariates={{{missing[0]!r}: …}}."
        raise ValueError(msg)


def _position(value: Any, known: list[Any], name: str) -> int:
    if value not in known:
        msg = f"{name}={value!r} is not known to the model; it knows {known}."
        raise KeyError(msg)
    return known.index(value)
