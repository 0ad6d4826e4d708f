"""What a latent code stands for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd
    from numpy.typing import ArrayLike
    from scvi.model.base import BaseModelClass


def decode(
    model: BaseModelClass,
    z: ArrayLike | pd.DataFrame,
    *,
    library_size: float | ArrayLike = 1.0,
    batch: str | Sequence[str] | None = None,
    covariates: Mapping[str, Any] | None = None,
) -> pd.DataFrame:
    """Decode any latent codes, observed or imagined, with any model of the scvi-tools kind.

    What scvi-tools decodes are cells; this decodes places in latent space, such as a centroid, a step along a
    dimension or an edited code. At the posterior mean of a cell and for its batch and covariates it equals what
    ``get_normalized_expression`` expects there.

    Parameters
    ----------
    model
        A model whose features are decoded from the latent code, the library size, batch and covariates: SCVI, SCANVI
        (from its first latent layer, which is the one it reports), LinearSCVI, TOTALVI (its genes), BetaLinearSCVI,
        DRVI and others like them. How the module is to be called is found out by trial.
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
    ``n`` × features, float32: expected counts before zero inflation, or expected values of continuous features. The
    index is that of ``z`` where it has one.

    Raises
    ------
    TypeError
        The model has no decoder from a latent code alone (for instance one that is told the cell's label too).
    ValueError
        ``z`` does not have ``n_latent`` finite columns (with ``latent_distribution="ln"``, shares that add up to 1),
        a library size is not positive, or a covariate has no value.
    KeyError
        A batch, category or covariate the model does not know.

    Examples
    --------
    >>> import numpy as np
    >>> import scvi
    >>> import scwhatif as wi
    >>> adata = wi.datasets.simulate_factors(100, 50, 4)
    >>> scvi.model.SCVI.setup_anndata(adata, batch_key="batch")
    >>> model = scvi.model.SCVI(adata, n_latent=3)
    >>> wi.tl.decode(model, np.zeros(3), library_size=1e4).shape
    (1, 50)
    """
    from scwhatif.model._decoder import Decoder

    decoder = Decoder.from_model(model)
    return decoder.decode(z, library_size=library_size, batch=batch, covariates=covariates)
