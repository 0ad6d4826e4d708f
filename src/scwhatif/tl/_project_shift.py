"""Shifts in latent space as arrows in a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scwhatif._keys import Key
from scwhatif._validation import check_rep

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

# Entries of the neighbourhoods held at once.
_BLOCK_ENTRIES = 2**22
# Of the mean variance among neighbours: directions in which they hardly differ say nothing of the picture.
_RIDGE = 0.01


def project_shift(
    adata: AnnData,
    basis: str = "X_umap",
    *,
    key: str = Key.uns.PERTURB,
    use_rep: str = Key.obsm.LATENT,
    n_neighbors: int = 30,
    copy: bool = False,
) -> AnnData | None:
    r"""Draw the arrow in an embedding that stands for each cell's shift in latent space.

    An embedding such as UMAP has no map from codes to points, but cells show what it does around each of them: among
    the nearest neighbours of a cell in latent space, differences of points :math:`D` are regressed on differences of
    codes :math:`C` (ridge), and the shift is mapped with the coefficients,

    .. math::
        a = s \, (C^\top C + \lambda I)^{-1} C^\top D.

    For a linear embedding, such as principal components or the latent dimensions themselves, this is the embedded
    shift; for others it is right to first order, so long arrows say where a cell would set out to, not where it would
    arrive.

    Parameters
    ----------
    adata
        After :func:`scwhatif.tl.perturb` or :func:`scwhatif.tl.latent_edit`.
    basis
        Key of ``obsm`` with the embedding.
    key
        The tool's ``key_added``.
    use_rep
        Key of ``obsm`` with the model's latent code.
    n_neighbors
        Number of neighbours; at least as many as there are latent dimensions.
    copy
        Whether to return a copy instead of writing into ``adata``.

    Returns
    -------
    ``None``, or the copy, with

    ``obsm["perturb_shift_umap"]`` : array (``n_obs`` × dimensions of the basis), float32
        The arrows, named by the tool's key and the basis; 0 for cells that did not move.

    Raises
    ------
    KeyError
        There is no such shift, embedding or representation.
    ValueError
        The shift is of another width than the representation, or there are too few neighbours or cells.

    Examples
    --------
    >>> import scwhatif as wi
    >>> adata = wi.datasets.simulate_factors(100, 50, 4)
    >>> wi.model.BetaLinearSCVI.setup_anndata(adata)
    >>> model = wi.model.BetaLinearSCVI(adata, n_latent=3, seed=0)
    >>> model.train(max_epochs=2, seed=0, enable_progress_bar=False)
    >>> adata.obsm["X_wi"] = model.get_latent_representation()
    >>> adata.obsm["X_plane"] = adata.obsm["X_wi"][:, :2]
    >>> wi.tl.perturb(adata, model, "z1:+0.1", decode=False, progress=False)
    >>> wi.tl.project_shift(adata, "X_plane")
    >>> adata.obsm["perturb_shift_plane"].shape
    (100, 2)
    """
    from sklearn.neighbors import NearestNeighbors

    shift_key = f"{key}_shift"
    if shift_key not in adata.obsm:
        msg = f"adata.obsm[{shift_key!r}] is not there; run scwhatif.tl.perturb(adata, model, …, key_added={key!r})."
        raise KeyError(msg)
    check_rep(adata, use_rep)
    if basis not in adata.obsm:
        msg = f"basis={basis!r} is not in adata.obsm, which holds {list(adata.obsm)}."
        raise KeyError(msg)
    check_rep(adata, basis)
    shift = np.asarray(adata.obsm[shift_key], dtype=np.float64)
    z = np.asarray(adata.obsm[use_rep], dtype=np.float64)
    points = np.asarray(adata.obsm[basis], dtype=np.float64)
    if shift.shape != z.shape:
        msg = (
            f"the shift has {shift.shape[1]} dimensions, but adata.obsm[{use_rep!r}] has {z.shape[1]}. Write "
            f"adata.obsm[{use_rep!r}] = model.get_latent_representation()."
        )
        raise ValueError(msg)
    if not z.shape[1] <= n_neighbors < len(z):
        msg = (
            f"n_neighbors={n_neighbors} must be at least the number of latent dimensions ({z.shape[1]}) and fewer than "
            f"the cells ({len(z)})."
        )
        raise ValueError(msg)
    moved = np.flatnonzero((shift != 0).any(axis=1))
    arrows = np.zeros_like(points)
    index = NearestNeighbors(n_neighbors=n_neighbors + 1).fit(z)
    step = max(1, _BLOCK_ENTRIES // ((n_neighbors + 1) * z.shape[1]))
    for start in range(0, len(moved), step):
        rows = moved[start : start + step]
        found = index.kneighbors(z[rows], return_distance=False)
        arrows[rows] = _local_map(z[found] - z[rows, None], points[found] - points[rows, None], shift[rows])
    target = adata.copy() if copy else adata
    target.obsm[arrow_key(key, basis)] = arrows.astype(np.float32)
    return target if copy else None


def arrow_key(key: str, basis: str) -> str:
    """Key of ``obsm`` under which arrows stand.

    Parameters
    ----------
    key
        Of the tool that shifted.
    basis
        Of the embedding.

    Returns
    -------
    The key.
    """
    return f"{key}_shift_{basis.removeprefix('X_')}"


def _local_map(
    codes: NDArray[np.float64], points: NDArray[np.float64], shift: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Shifts mapped by the regression of points on codes, ``(n, n_neighbors, …)`` each relative to its own cell."""
    covariance = np.einsum("nki,nkj->nij", codes, codes)
    n_latent = codes.shape[2]
    ridge = _RIDGE * np.einsum("nii->n", covariance) / n_latent
    # neighbours that are all one point map nothing
    ridge = np.where(ridge > 0, ridge, 1.0)
    covariance += ridge[:, None, None] * np.eye(n_latent)
    coefficients = np.linalg.solve(covariance, np.einsum("nki,nkd->nid", codes, points))
    return np.einsum("ni,nid->nd", shift, coefficients)
