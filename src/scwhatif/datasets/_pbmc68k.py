"""Peripheral blood cells with integer counts, bundled with scanpy."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from scwhatif._keys import Key
from scwhatif.pp import recover_counts

if TYPE_CHECKING:
    from anndata import AnnData


def pbmc68k() -> AnnData:
    """Load 700 peripheral blood mononuclear cells × 765 genes as integer UMI counts, without any download.

    :func:`scanpy.datasets.pbmc68k_reduced` is bundled with scanpy, scaled and with log-normalised ``raw``. Its counts
    are recovered exactly by :func:`scwhatif.pp.recover_counts`, checked against the totals in ``obs["n_counts"]``.

    Returns
    -------
    AnnData, 700 × 765, with

    ``X`` and ``layers["counts"]`` : CSR matrix, float32
        UMI counts (whole numbers).
    ``obs["cell_type"]`` : category
        10 cell types, ``bulk_labels`` of the original.
    ``obs["n_counts"]``, ``obs["n_genes"]``, ``obs["percent_mito"]``
        Taken over **all** genes before selection: the 765 genes hold 11–28 % of ``n_counts``.
    ``obs["S_score"]``, ``obs["G2M_score"]``, ``obs["phase"]``, ``obs["louvain"]``
        As in the original.
    ``obs["recover_counts_divisor"]`` : float64
        Normalised value of one count.
    ``var`` : ``n_counts``, ``means``, ``dispersions``, ``dispersions_norm``, ``highly_variable``
        As in the original, from normalised data.
    ``obsm["X_pca"]``, ``obsm["X_umap"]``
        As in the original.
    ``uns["recover_counts"]``
        How the counts were recovered; the largest deviation from an integer is 0.083.

    References
    ----------
    Zheng et al. (2017), Massively parallel digital transcriptional profiling of single cells.

    Examples
    --------
    >>> import scwhatif as wi
    >>> adata = wi.datasets.pbmc68k()
    >>> adata.shape, float(adata.X.max())
    ((700, 765), 259.0)
    """
    import scanpy as sc
    from anndata import AnnData

    with warnings.catch_warnings():
        # the bundled file is older than the format anndata writes today; nothing the caller could change
        warnings.filterwarnings("ignore", module="anndata|scanpy")
        bundled = sc.datasets.pbmc68k_reduced()
    recover_counts(bundled, use_raw=True, total_counts_key="n_counts")
    counts = bundled.layers[Key.layers.COUNTS]
    return AnnData(
        counts.copy(),
        obs=bundled.obs.rename(columns={"bulk_labels": Key.obs.CELL_TYPE}),
        var=bundled.var.copy(),
        obsm={key: bundled.obsm[key] for key in ("X_pca", "X_umap")},
        layers={Key.layers.COUNTS: counts},
        uns={Key.uns.RECOVER_COUNTS: bundled.uns[Key.uns.RECOVER_COUNTS]},
    )
