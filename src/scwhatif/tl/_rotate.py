"""Readable axes for any linear factor model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from scwhatif._keys import Key
from scwhatif._provenance import params
from scwhatif._validation import check_finite, check_rep

if TYPE_CHECKING:
    from anndata import AnnData


def rotate(
    adata: AnnData,
    method: Literal["varimax", "quartimax", "ica"] = "varimax",
    *,
    use_rep: str = "X_pca",
    loadings: str = "PCs",
    standardize: bool = True,
    key_added: str = Key.uns.ROTATE,
    copy: bool = False,
) -> AnnData | None:
    r"""Rotate the axes of a linear factor model already in the data (PCA, NMF, LinearSCVI …) to simple structure.

    Scores :math:`Z` and loadings :math:`W` stand for :math:`Z W^\top`, which an orthogonal :math:`R` leaves unchanged:
    :math:`(Z R)(W R)^\top`. Which axes are read is therefore a choice. For
    :class:`scwhatif.model.BetaLinearSCVI` use :meth:`~scwhatif.model.BetaLinearSCVI.rotate`, which turns the model
    itself.

    Parameters
    ----------
    adata
        Data with scores and loadings.
    method
        ``"varimax"`` :cite:p:`Kaiser1958`, ``"quartimax"`` or ``"ica"`` of the loadings.
    use_rep
        Key of ``obsm`` with the scores, cells × dimensions.
    loadings
        Key of ``varm`` with the loadings, features × dimensions.
    standardize
        Bring every dimension to unit variance first (its scale goes into the loadings), as factor analysis does.
        Right for PCA; switch it off for models whose latent code has a unit prior, such as LinearSCVI.
    key_added
        Key of ``obsm``, ``varm`` and ``uns`` to write to.
    copy
        Whether to return a copy instead of writing into ``adata``.

    Returns
    -------
    ``None``, or the copy, with

    ``obsm["rotated"]`` : array (``n_obs`` × dimensions), float64
        Rotated scores, in descending order of the variance they stand for, signed so that the largest loadings are
        positive.
    ``varm["rotated"]`` : array (``n_vars`` × dimensions), float64
        Rotated loadings; scores times loadings are what they were.
    ``uns["rotated"]`` : dict
        ``rotation`` (from the old, standardised, dimensions to the new), ``explained_share`` (adding up to 1) and
        ``params``.

    Raises
    ------
    KeyError
        Scores or loadings are not there.
    ValueError
        They disagree in the number of dimensions, or hold NaN.

    Examples
    --------
    >>> import scanpy as sc
    >>> import scwhatif as wi
    >>> adata = wi.datasets.simulate_factors(200, 50, 3)
    >>> sc.pp.log1p(adata)
    >>> sc.pp.pca(adata, n_comps=5)
    >>> wi.tl.rotate(adata)
    >>> adata.obsm["rotated"].shape
    (200, 5)
    """
    from scwhatif.engine import loading_rotation

    check_rep(adata, use_rep)
    if loadings not in adata.varm:
        msg = f"adata.varm[{loadings!r}] is not there; varm holds {list(adata.varm)}. Name the loadings of {use_rep!r}."
        raise KeyError(msg)
    check_finite(adata.varm[loadings], name=f"adata.varm[{loadings!r}]")
    scores, weights = (np.asarray(each, dtype=np.float64) for each in (adata.obsm[use_rep], adata.varm[loadings]))
    if scores.shape[1] != weights.shape[1]:
        msg = (
            f"obsm[{use_rep!r}] has {scores.shape[1]} dimensions and varm[{loadings!r}] {weights.shape[1]}; "
            "they must belong to the same model."
        )
        raise ValueError(msg)
    scale = scores.std(axis=0) if standardize else np.ones(scores.shape[1])
    # a dimension that does not vary has no scale to bring to one
    alive = scale > 0
    scale = np.where(alive, scale, 1.0)
    rotation = loading_rotation(weights * scale, method, active=alive)
    scores, weights = (scores / scale) @ rotation, (weights * scale) @ rotation
    explained = scores.var(axis=0) * (weights**2).sum(axis=0)
    order = np.argsort(-explained, kind="stable")
    sign = np.where((weights[:, order] ** 3).sum(axis=0) < 0, -1.0, 1.0)

    target = adata.copy() if copy else adata
    target.obsm[key_added] = scores[:, order] * sign
    target.varm[key_added] = weights[:, order] * sign
    target.uns[key_added] = {
        "rotation": rotation[:, order] * sign,
        "explained_share": explained[order] / explained.sum(),
        Key.uns.PARAMS: params(method=method, use_rep=use_rep, loadings=loadings, standardize=standardize),
    }
    return target if copy else None
