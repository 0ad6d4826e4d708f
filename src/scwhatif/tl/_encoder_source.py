"""A model's encoder with the cells it is to read, or an error that says why there is none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from scwhatif._validation import check_var_names

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray
    from scvi.model.base import BaseModelClass

    from scwhatif.engine import EncoderPlan

# Cells on which a plan is checked against the module.
_CHECKED_CELLS = 32


@dataclass(frozen=True, eq=False)
class EncoderSource:
    """What a screen reads.

    Parameters
    ----------
    plan
        The model's encoder.
    x
        Registered matrix, cells × features, as it is stored.
    fields
        All other registered fields by their key, one row per cell.
    """

    plan: EncoderPlan
    x: Any
    fields: dict[str, NDArray[Any]]

    @property
    def log_weight(self) -> NDArray[np.float64] | None:
        """Logarithm of the length of each gene's first-layer weights; ``None`` where there is no such layer."""
        norm = self.plan.weight_norm
        if norm is None:
            return None
        # no gene without weights may stand at minus infinity
        return np.log(np.maximum(norm, norm[norm > 0].min(initial=1.0)))


def encoder_source(adata: AnnData, model: BaseModelClass) -> EncoderSource:
    """Take a trained model's encoder apart as far as it goes.

    Parameters
    ----------
    adata
        The model's data, or data like it.
    model
        Of the scvi-tools kind.

    Returns
    -------
    Plan and data.

    Raises
    ------
    ValueError
        The model is not trained, its data or ``adata`` are minified, or ``adata`` has other features.
    TypeError
        The model's posterior is not Gaussian.
    """
    from scwhatif._compat import minified_type, registered_data
    from scwhatif.engine import encoder_plan, read_rows

    if not model.is_trained_:
        msg = "the model has not been trained, so its encoder means nothing yet; call model.train() first."
        raise ValueError(msg)
    if minified_type(adata) is not None or getattr(model, "minified_data_type", None) is not None:
        msg = (
            "the data were minified, which keeps latent codes and drops the counts that an encoder reads. Load the "
            f"model with its counts: {type(model).__name__}.load(folder, adata=adata_with_counts)."
        )
        raise ValueError(msg)
    expected = model.get_var_names()
    if not isinstance(expected, dict):
        check_var_names(adata, expected, "the AnnData given to this model")
    data = registered_data(model, adata)
    some = slice(0, _CHECKED_CELLS)
    x = data.x.tocsr() if hasattr(data.x, "tocsr") else data.x
    plan = encoder_plan(model.module, read_rows(x, some), {key: values[some] for key, values in data.fields.items()})
    return EncoderSource(plan, data.x, data.fields)
