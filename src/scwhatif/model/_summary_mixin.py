"""What a model says of itself when it is shown."""

from __future__ import annotations

from html import escape
from typing import Any, ClassVar

from scvi import REGISTRY_KEYS

# The first of them that was recorded stands for how far training got.
_OBJECTIVES = ("objective_validation", "objective_train", "validation_loss", "train_loss")


class SummaryMixin:
    """Shows a model as text, or as a table in notebooks: its settings, its data, and how far training got."""

    _row_name: ClassVar[str] = "cells"
    adata: Any
    registry: Any
    summary_stats: Any
    history_: Any
    is_trained_: bool
    _model_summary_string: str

    @property
    def summary_string(self) -> str:
        """Settings, training status and data, a line each."""
        found: str = super().summary_string  # type: ignore[misc]
        return "\n".join([found, *(f"{name}: {what}" for name, what in self._summary().items())])

    def __repr__(self) -> str:
        # scvi-tools prints here, which a notebook would show next to the table
        return self.summary_string

    def _repr_html_(self) -> str:
        rows = {"Training status": "Trained" if self.is_trained_ else "Not Trained"} | self._summary()
        cells = "".join(f"<tr><th>{escape(name)}</th><td>{escape(what)}</td></tr>" for name, what in rows.items())
        return f"<p>{escape(self._model_summary_string)}</p><table>{cells}</table>"

    def _summary(self) -> dict[str, str]:
        stats, registries = self.summary_stats, self.registry["field_registries"]
        n_rows = stats.get("n_cells") if self.adata is None else self.adata.n_obs
        # a registry of several modalities does not say how many rows there are
        rows = self._row_name if n_rows is None else f"{n_rows} {self._row_name}"
        layers = getattr(self, "layer_names", None)
        found = {}
        if layers is None:
            found["Data"] = f"{rows} × {stats.get('n_vars', stats.get('n_embedding'))} features"
        else:
            found["Data"] = f"{rows} × {len(layers)} layers"
            found["Layers"] = ", ".join(f"{name} ({stats[f'n_{name}']})" for name in layers)
        for field, name in ((REGISTRY_KEYS.BATCH_KEY, "Batches"), ("cell_line", "Cell lines")):
            key = registries.get(field, {}).get("state_registry", {}).get("original_key", f"_scvi_{field}")
            # without a column of the user's scvi-tools makes one
            if key != f"_scvi_{field}":
                found[name] = f"{stats[f'n_{field}']} ({key})"
        categorical = registries.get(REGISTRY_KEYS.CAT_COVS_KEY, {}).get("state_registry", {})
        continuous = registries.get(REGISTRY_KEYS.CONT_COVS_KEY, {}).get("state_registry", {})
        covariates = [
            f"{key} ({n} categories)"
            for key, n in zip(categorical.get("field_keys", ()), categorical.get("n_cats_per_key", ()), strict=True)
        ]
        covariates += [str(key) for key in continuous.get("columns", ())]
        if covariates:
            found["Covariates"] = ", ".join(covariates)
        if getattr(self, "rotation_", None) is not None:
            found["Rotation"] = str(self.rotation_)  # type: ignore[attr-defined]
        history = (self.history_ or {}) if self.is_trained_ else {}
        objective = next((name for name in _OBJECTIVES if name in history), None)
        if objective is not None:
            n_epochs = len(history.get("train_loss", history[objective]))
            found["Epochs"] = f"{n_epochs}, last {objective} {float(history[objective].iloc[-1, 0]):.4g}"
        return found
