"""The decoder of any model of the scvi-tools kind, in terms of the names its data were registered with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from scvi import REGISTRY_KEYS

from scwhatif.engine import DecoderPlan

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import ArrayLike, NDArray
    from scvi.model.base import BaseModelClass

# How far shares may be from adding up to 1.
_SIMPLEX_TOLERANCE = 1e-3


@dataclass(frozen=True, eq=False)
class Decoder:
    """From latent codes to named features, for a model; made by :meth:`from_model`.

    Parameters
    ----------
    plan
        The decoder.
    features
        Names of what it decodes.
    batches
        Names of the batches, in the order of their codes; ``None`` where the model was set up without.
    n_batch
        Number of batches.
    categorical
        Categories of each further categorical covariate.
    continuous
        Names of the continuous covariates.
    """

    plan: DecoderPlan
    features: pd.Index
    batches: list[str] | None
    n_batch: int
    categorical: dict[str, list[Any]]
    continuous: list[str]

    @classmethod
    def from_model(cls, model: BaseModelClass) -> Decoder:
        """Read a model's registry and find out how its module decodes.

        Parameters
        ----------
        model
            A model of the scvi-tools kind.

        Returns
        -------
        Its decoder.

        Raises
        ------
        TypeError
            The model has no decoder from a latent code to features.
        """
        if not hasattr(model, "module") or not hasattr(model, "registry"):
            msg = f"{type(model).__name__} is not a model of the scvi-tools kind, so there is nothing to decode with."
            raise TypeError(msg)
        states = {
            key: field["state_registry"]
            for key, field in model.registry["field_registries"].items()
            if field["data_registry"]
        }
        batches = list(states.get(REGISTRY_KEYS.BATCH_KEY, {}).get("categorical_mapping", [0]))
        mappings = states.get(REGISTRY_KEYS.CAT_COVS_KEY, {})
        categorical = {key: list(mappings["mappings"][key]) for key in mappings.get("field_keys", [])}
        continuous = list(states.get(REGISTRY_KEYS.CONT_COVS_KEY, {}).get("columns", []))
        fields: dict[str, Any] = {REGISTRY_KEYS.BATCH_KEY: 0}
        if categorical:
            fields[REGISTRY_KEYS.CAT_COVS_KEY] = np.zeros((1, len(categorical)), dtype=np.int64)
        if continuous:
            fields[REGISTRY_KEYS.CONT_COVS_KEY] = np.zeros((1, len(continuous)), dtype=np.float32)
        plan = DecoderPlan.from_module(model.module, fields)
        named = model.registry["setup_args"].get("batch_key") is not None
        return cls(
            plan, _features(model, plan.n_features), batches if named else None, len(batches), categorical, continuous
        )

    @torch.inference_mode()
    def decode(
        self,
        z: ArrayLike | pd.DataFrame,
        *,
        library_size: float | ArrayLike = 1.0,
        batch: str | Sequence[str] | None = None,
        covariates: Mapping[str, Any] | None = None,
    ) -> pd.DataFrame:
        """Expected features of any latent codes, see :func:`scwhatif.tl.decode`.

        Parameters
        ----------
        z, library_size, batch, covariates
            As there.

        Returns
        -------
        ``n`` × features, float32.

        Raises
        ------
        ValueError
            ``z`` does not hold codes of the model, a library size is not positive, or a covariate has no value.
        KeyError
            A batch, category or covariate the model does not know.
        """
        index = z.index if isinstance(z, pd.DataFrame) else None
        codes = self._codes(z)
        scale = np.asarray(library_size, dtype=np.float32).reshape(-1, 1)
        if len(scale) not in (1, len(codes)) or not (np.isfinite(scale) & (scale > 0)).all():
            msg = f"library_size must be a number above 0, or one per row of z ({len(codes)}); got {library_size!r}."
            raise ValueError(msg)
        latent = torch.from_numpy(codes)
        decoded = [self.plan.mean(latent, scale, fields) for fields in self.fields(batch, covariates)]
        return pd.DataFrame(torch.stack(decoded).mean(0).cpu().numpy(), index=index, columns=self.features)

    def fields(
        self, batch: str | Sequence[str] | None = None, covariates: Mapping[str, Any] | None = None
    ) -> list[dict[str, Any]]:
        """What the decoder reads beside code and library size, once for each batch that is averaged over.

        Parameters
        ----------
        batch, covariates
            As for :meth:`decode`.

        Returns
        -------
        One row of every registered field, by registry key.

        Raises
        ------
        ValueError
            A covariate has no value.
        KeyError
            A batch, category or covariate the model does not know.
        """
        values = covariates or {}
        unused = set(values) - set(self.categorical) - set(self.continuous)
        if unused:
            msg = f"covariates={sorted(unused)} are not registered with this model."
            raise KeyError(msg)
        missing = [key for key in (*self.categorical, *self.continuous) if key not in values]
        if missing:
            msg = f"The model was trained with covariates {missing}: pass covariates={{{missing[0]!r}: …}}."
            raise ValueError(msg)
        shared: dict[str, Any] = {}
        if self.categorical:
            codes = [_position(values[key], known, key) for key, known in self.categorical.items()]
            shared[REGISTRY_KEYS.CAT_COVS_KEY] = np.array([codes])
        if self.continuous:
            shared[REGISTRY_KEYS.CONT_COVS_KEY] = np.array([[float(values[key]) for key in self.continuous]])
        return [{**shared, REGISTRY_KEYS.BATCH_KEY: code} for code in self._batch_codes(batch)]

    def _codes(self, z: ArrayLike | pd.DataFrame) -> NDArray[np.float32]:
        codes = np.atleast_2d(np.array(z, dtype=np.float32))
        if codes.ndim != 2 or codes.shape[1] != self.plan.n_latent or not np.isfinite(codes).all():
            msg = f"z must hold finite numbers of shape (n, n_latent={self.plan.n_latent}); got shape {np.shape(z)}."
            raise ValueError(msg)
        if self.plan.simplex and ((codes < 0).any() or np.abs(codes.sum(axis=1) - 1).max() > _SIMPLEX_TOLERANCE):
            msg = (
                "the model was built with latent_distribution='ln': its codes are shares that add up to 1, and these "
                "do not."
            )
            raise ValueError(msg)
        return codes

    def _batch_codes(self, batch: str | Sequence[str] | None) -> list[int]:
        if batch is None:
            return list(range(self.n_batch))
        if self.batches is None:
            msg = f"batch={batch!r}, but the model was set up without batch_key; leave batch out."
            raise KeyError(msg)
        wanted = [batch] if isinstance(batch, str) else list(batch)
        return [_position(name, self.batches, "batch") for name in wanted]


def _features(model: BaseModelClass, n_features: int) -> pd.Index:
    """Names of what is decoded: of the one modality of that size, where there are several."""
    names = model.get_var_names()
    candidates = list(names.values()) if isinstance(names, dict) else [names]
    fitting = [pd.Index(each) for each in candidates if len(each) == n_features]
    if not fitting:
        msg = (
            f"{type(model).__name__} decodes {n_features} features, but its data have "
            f"{', '.join(str(len(each)) for each in candidates)}, so they cannot be named."
        )
        raise TypeError(msg)
    return fitting[0]


def _position(value: Any, known: list[Any], name: str) -> int:
    if value not in known:
        msg = f"{name}={value!r} is not known to the model; it knows {known}."
        raise KeyError(msg)
    return known.index(value)
