"""The closed-form part of :class:`scwhatif.model.MultiOmicLPM`, fitted once the latent state is trained."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from scvi import REGISTRY_KEYS

from scwhatif.model._multi_omic_decoding_mixin import MultiOmicDecodingMixin
from scwhatif.model._multi_omic_flow import gene_symbols
from scwhatif.module._multi_omic_vae import OBSERVED_KEY
from scwhatif.nn import LayerEvidence, cis_links, fit_layer_evidence, ridge_loo

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mudata import MuData

_COVARIATES = "covariates"
_MIN_ROWS = 10
_MIN_VALIDATION = 5
_CASES = ("drivers", "others", "self")


class MultiOmicEvidenceMixin(MultiOmicDecodingMixin):
    """Regressions between layers, the share of the latent path beside them, and direct effects of the drivers."""

    adata: MuData
    evidence: str | None
    max_rank: int
    evidence_: dict[str, LayerEvidence]
    latent_share_: dict[str, dict[str, float]]
    driver_effects_: dict[str, np.ndarray]
    covariate_mean_: np.ndarray | None

    def _regressors(
        self, batch: Mapping[str, torch.Tensor]
    ) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], np.ndarray | None]:
        """Standardised values and masks by layer, and the design of the covariates."""
        tensors = self._on_device(batch)
        observed = tensors[OBSERVED_KEY]
        with torch.inference_mode():
            standardized = self.module.standardize(tensors[REGISTRY_KEYS.X_KEY], observed).double().cpu().numpy()
        columns = self.module.columns
        values = {name: standardized[:, columns[name]] for name in self.layer_names}
        masks = {name: observed.cpu().numpy()[:, columns[name]] for name in self.layer_names}
        codes = batch.get(REGISTRY_KEYS.CAT_COVS_KEY)
        if codes is None:
            return values, masks, None
        sizes = self.module.n_categories
        return values, masks, np.hstack([np.eye(n)[code] for n, code in zip(sizes, codes.numpy().T, strict=True)])

    def _evidence(
        self, target: str, batch: Mapping[str, torch.Tensor], given: Sequence[str]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
        if self.evidence is None:
            return None
        values, masks, design = self._regressors(batch)
        used = {name: values[name] for name in given if name != target}
        present = {name: np.asarray(masks[name].any(axis=1)) for name in used}
        if design is not None:
            used[_COVARIATES] = design - self.covariate_mean_
            present[_COVARIATES] = np.ones(len(design), dtype=bool)
        return self.evidence_[target].predict(used, present) if used else None

    def _fit_evidence(self) -> None:
        """Fit everything that is in closed form, on training and validation samples."""
        rows = self._rows_of(None)  # type: ignore[attr-defined]
        training = np.sort(self.train_indices)  # type: ignore[attr-defined]
        validation = np.sort(self.validation_indices)  # type: ignore[attr-defined]
        seen = np.concatenate([training, validation]).astype(np.int64)
        values, masks, design = self._regressors(rows.batch(seen))
        self.covariate_mean_ = None if design is None else design.mean(axis=0)
        if design is not None:
            values[_COVARIATES] = design - self.covariate_mean_
        held_out = np.arange(len(training), len(seen))
        self.evidence_, self.latent_share_ = {}, {}
        if self.evidence is not None:
            column = self.registry["setup_args"]["cis"]  # type: ignore[attr-defined]
            symbols = {name: gene_symbols(self.adata, name, column) for name in self.layer_names}
            for target in self.layer_names:
                links = {
                    source: cis_links(symbols[target], symbols[source]).numpy()
                    for source in self.layer_names
                    if source != target
                }
                fitted = fit_layer_evidence(
                    target, values, masks, links=links, direct=self.evidence == "full", max_rank=self.max_rank
                )
                self.latent_share_[target] = self._weigh(target, fitted, rows.batch(seen[held_out]), held_out)
                fitted.forget_rows()
                self.evidence_[target] = fitted
        self.driver_effects_ = self._fit_driver_effects(rows.batch(training))

    def _weigh(
        self, target: str, fitted: LayerEvidence, batch: Mapping[str, torch.Tensor], held_out: np.ndarray
    ) -> dict[str, float]:
        """Share of the latent path in each case, by least squares on samples it was not trained on."""
        shares = dict.fromkeys(_CASES, 0.0)
        if len(held_out) < _MIN_VALIDATION:
            return shares
        values, masks, _ = self._regressors(batch)
        others = [name for name in self.layer_names if name != target]
        for case, given in {
            "drivers": [name for name in others if name == self.module.drivers],
            "others": others,
            "self": self.layer_names,
        }.items():
            evidence = fitted.predict_left_out(held_out, {*given, _COVARIATES} - {target})
            if evidence is None:
                continue
            mean, _, informed = evidence
            used = masks[target] & informed[:, None]
            difference = (self._decode(target, batch, self._given(given)) - mean)[used]
            error = (values[target] - mean)[used]
            total = float(np.square(difference).sum())
            shares[case] = float(np.clip((difference * error).sum() / total, 0.0, 1.0)) if total > 0 else 0.0
        return shares

    def _fit_driver_effects(self, batch: Mapping[str, torch.Tensor]) -> dict[str, np.ndarray]:
        """Ridge regression within lineages of what the drivers explain beyond the latent path."""
        drivers = self.module.drivers
        if drivers is None:
            return {}
        values, masks, design = self._regressors(batch)
        has_drivers = np.asarray(masks[drivers].any(axis=1))
        x = _within(values[drivers], has_drivers, design)
        seed, _ = self._posterior(batch, self._given([drivers]))
        decoded = self._decode_all(seed, batch)
        scale = self.module.scale[self.module.columns[drivers]].double().cpu().numpy()
        effects = {}
        for name in self.layer_names:
            rows = np.asarray(has_drivers & masks[name].any(axis=1))
            if name == drivers or rows.sum() < _MIN_ROWS:
                continue
            residual = _within(np.where(masks[name], values[name] - decoded[name], 0.0), rows, design)
            fit = ridge_loo(x[rows], residual[rows], masks[name][rows])
            effects[name] = (fit.basis @ fit.coefficients) / scale[:, None]
        return effects


def _within(values: np.ndarray, rows: np.ndarray, design: np.ndarray | None) -> np.ndarray:
    """Values minus what the covariates explain of them in the rows that count."""
    if design is None:
        return values
    return values - design @ np.linalg.lstsq(design[rows], values[rows], rcond=None)[0]
