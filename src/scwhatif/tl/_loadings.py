"""What each latent dimension does to each feature, beside the features."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scwhatif._keys import Key
from scwhatif._provenance import params
from scwhatif._validation import check_var_names

if TYPE_CHECKING:
    from anndata import AnnData

    from scwhatif.model import BetaLinearSCVI


def loadings(
    adata: AnnData, model: BetaLinearSCVI, *, key_added: str = Key.varm.LOADINGS, copy: bool = False
) -> AnnData | None:
    """Write a linear model's loadings into the data, for plots and for gene set tools.

    Parameters
    ----------
    adata
        Data with the model's features.
    model
        A trained :class:`scwhatif.model.BetaLinearSCVI`.
    key_added
        Key of ``varm`` and ``uns`` to write to.
    copy
        Whether to return a copy instead of writing into ``adata``.

    Returns
    -------
    ``None``, or the copy, with

    ``varm["wi_loadings"]`` : DataFrame (``n_vars`` × ``n_latent``), float32
        Log fold change of the feature (for continuous features: change) per unit of each latent dimension ``z0``,
        ``z1`` … (:meth:`~scwhatif.model.BetaLinearSCVI.get_loadings`).
    ``uns["wi_loadings"]["dimensions"]`` : DataFrame
        ``explained_share`` of each dimension, indexed by its name.
    ``uns["wi_loadings"]["params"]`` : dict
        ``log_scale`` (whether loadings are log fold changes), versions, model class and hash of its weights.

    Raises
    ------
    TypeError
        The model has no loadings.
    ValueError
        ``adata`` has other features than the model.

    Examples
    --------
    >>> import scwhatif as wi
    >>> adata = wi.datasets.simulate_factors(100, 50, 4)
    >>> wi.model.BetaLinearSCVI.setup_anndata(adata)
    >>> model = wi.model.BetaLinearSCVI(adata, n_latent=3, seed=0)
    >>> model.train(max_epochs=1, seed=0, enable_progress_bar=False)
    >>> wi.tl.loadings(adata, model)
    >>> adata.varm["wi_loadings"].shape, list(adata.uns["wi_loadings"]["dimensions"].index)
    ((50, 3), ['z0', 'z1', 'z2'])
    """
    if not hasattr(model, "get_loadings"):
        msg = f"{type(model).__name__} has no get_loadings: its decoder is not linear."
        raise TypeError(msg)
    check_var_names(adata, model.get_var_names())
    target = adata.copy() if copy else adata
    target.varm[key_added] = model.get_loadings()
    target.uns[key_added] = {
        Key.uns.PARAMS: params(model, log_scale=getattr(model.module, "gene_likelihood", None) != "normal"),
        "dimensions": model.get_explained_share().to_frame(),
    }
    return target if copy else None
