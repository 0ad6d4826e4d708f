"""Decoding of any latent code, which scvi-tools does not offer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scwhatif.model._decoder import Decoder

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd
    from numpy.typing import ArrayLike


class DecodingMixin:
    """``decode`` for models of the scvi-tools kind."""

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
        decoder = Decoder.from_model(self)
        return decoder.decode(z, library_size=library_size, batch=batch, covariates=covariates)
