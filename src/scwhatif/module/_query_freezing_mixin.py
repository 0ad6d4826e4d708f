"""Freezing of what a reference model learned while it maps a query."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch


class QueryFreezingMixin:
    """scArches surgery for a module with additive covariate effects in encoder and decoder."""

    parameters: Any
    covariates: Any
    z_encoder: Any
    log_dispersion: torch.Tensor
    encode_covariates: bool
    dispersion: Any
    gene_likelihood: Any

    def freeze_for_query(self, n_reference: Sequence[int]) -> None:
        """Freeze everything but the effects of categories beyond the reference's.

        Parameters
        ----------
        n_reference
            Number of reference categories of the batch and of each further categorical covariate.
        """
        for parameter in self.parameters():
            parameter.requires_grad = False
        tables = [*zip(self.covariates.tables, n_reference, strict=True)]
        if self.encode_covariates:
            tables += zip(self.z_encoder.covariates.tables, n_reference, strict=True)
        if self.dispersion == "gene-batch" and self.gene_likelihood != "poisson":
            tables.append((self.log_dispersion, n_reference[0]))
        for table, n_frozen in tables:
            table.requires_grad = True
            table.register_hook(partial(_without_first_rows, n_frozen))

    def on_load(self, model: Any, **kwargs: Any) -> None:
        """Restore the freezing of a saved query model (called by scvi-tools).

        Parameters
        ----------
        model
            The model that was loaded.
        **kwargs
            Not used.
        """
        if model.reference_categories_ is not None:
            self.freeze_for_query(model.reference_categories_)


def _without_first_rows(n: int, gradient: torch.Tensor) -> torch.Tensor:
    gradient = gradient.clone()
    gradient[:n] = 0
    return gradient
