"""Every latent dimension as a marker of every label, beside what would do without a model."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, get_args

import numpy as np
import pandas as pd
from scipy import sparse

from scwhatif._keys import Key
from scwhatif._provenance import params
from scwhatif._validation import check_choices, check_finite, check_groups, check_layer, check_rep
from scwhatif.metrics import ACTIVE_VARIANCE, mahalanobis_outliers
from scwhatif.tl._floor_codes import Floor, floor_codes, log_normalised
from scwhatif.tl._holdout import holdout
from scwhatif.tl._rank_tables import (
    Ranked,
    diagnostic_table,
    dimension_table,
    floor_table,
    held_out_table,
    pairwise_table,
    residual_correlation,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from numpy.typing import NDArray


def rank_latent(
    adata: AnnData,
    groupby: str,
    *,
    use_rep: str = Key.obsm.LATENT,
    layer: str | None = None,
    groups: str | None = None,
    n_splits: int = 5,
    floors: Sequence[Floor] = ("pca", "ica", "fa", "gene"),
    active_variance: float = ACTIVE_VARIANCE,
    outlier_fdr: float = 0.05,
    n_permutations: int = 200,
    key_added: str = Key.uns.RANK_LATENT,
    seed: int = 0,
    copy: bool = False,
) -> AnnData | None:
    r"""Rank latent dimensions as markers of labels, with the floors that a good one must exceed.

    Each dimension is scored by how well it alone separates the cells of a group from all others, and each pair of
    groups from one another. The best is named *the diagnostic dimension* of the group. Choosing the best of many
    dimensions costs what it should, twice over: p-values compare with the **best** dimension after shuffling the
    labels (max-statistic), so they hold for all dimensions of a group at once; and the held-out AUC chooses dimension,
    direction and threshold on one part of the cells and scores them on another, for the latent dimensions and for
    every floor alike.

    Cells of one donor are alike. With ``groups``, whole donors are held out, and labels are shuffled among donors
    (where each has one label) or within donors (where labels vary), so that what merely tells donors apart is not
    taken for a marker; for a pair of groups, among or within those that have either. Few whole donors cannot give
    small p-values: three of each label can be shuffled in 20 ways.

    Parameters
    ----------
    adata
        Cells with a representation in ``obsm``.
    groupby
        Column of ``obs`` with the labels: at least two groups of at least two cells each, none missing.
    use_rep
        Key of ``obsm``: any cells × dimensions matrix, not only ours.
    layer
        Layer with the data for the floors; ``None`` is ``X``. Counts are normalised to their median total and
        log-transformed; anything else (negative or fractional values) is taken as it is.
    groups
        Column of ``obs`` with what must not be divided between choosing and scoring, such as the donor or the batch;
        each label must occur in two of them. ``None`` holds out cells, which says nothing of a new donor.
    n_splits
        Largest number of parts held out in turn. Fewer are used where labels or groups do not suffice for each part to
        hold a label and others.
    floors
        What the dimensions must exceed: the best of as many principal components (``"pca"``), independent components
        (``"ica"``) or factors (``"fa"``), and the best single gene (``"gene"``). An empty list needs no data in
        ``layer``.
    active_variance
        Dimensions whose variance over the cells is not larger are dead. The default suits models with a standard
        normal prior; for another representation choose one that suits its scale, or 0.
    outlier_fdr
        False discovery rate at which a cell is called an outlier of its group.
    n_permutations
        Number of times the labels are shuffled; the smallest p-value is ``1 / (1 + n_permutations)``.
    key_added
        Key of ``uns`` to write to, and prefix of the columns of ``obs``.
    seed
        Seed of the shuffling, of the parts held out, and of the floors.
    copy
        Whether to return a copy instead of writing into ``adata``.

    Returns
    -------
    ``None``, or the copy, with

    ``uns["rank_latent"]["table"]`` : DataFrame
        One row per group and dimension, best first within each group: ``dimension`` (category: name of the column, or
        ``"z0"``, ``"z1"`` …), ``group`` (category), ``auc`` (in [.5, 1], whichever end separates), ``direction`` (1:
        the group lies high, -1: low), ``cohens_d`` (difference of the means in pooled standard deviations),
        ``separation`` (:func:`scwhatif.metrics.density_separation`), ``pval`` (permutation, corrected for the number
        of dimensions), ``padj`` (false discovery rate over the groups: Benjamini–Hochberg on each group's best
        p-value, carried to its other dimensions :cite:p:`Benjamini2014`), ``active`` (bool: not dead).
    ``uns["rank_latent"]["pairwise"]`` : DataFrame
        The same for each pair of groups, all other cells left out: ``group``, ``other``, ``dimension``, ``auc``,
        ``direction`` (1: ``group`` lies higher), ``separation``, ``pval`` (permutation as above where ``groups`` is
        given; else Mann–Whitney, which takes cells as independent, :func:`scwhatif.metrics.pairwise_auc`), ``padj``.
    ``uns["rank_latent"]["diagnostic"]`` : DataFrame
        One row per group: ``dimension`` (the best one over all cells), ``direction``, ``auc``; ``held_out_auc`` with
        its 95 % interval ``held_out_low``, ``held_out_high`` over ``n_folds`` parts, and ``agreement`` (share of these
        that chose the same dimension); ``pval``, ``padj``; ``threshold`` beyond which (in ``direction``) a cell is
        called a member (Youden, over all cells), and the held-out ``sensitivity`` and ``specificity`` of such a
        threshold; ``active``; ``best_floor`` (the floor with the highest held-out AUC), ``best_floor_feature``,
        ``best_floor_auc`` (held out).
    ``uns["rank_latent"]["floors"]`` : DataFrame
        One row per group: ``group``, ``n_cells``, ``best_dimension``, its ``auc``; ``chance_auc`` (what the best
        dimension exceeds in 5 % of shuffles), ``pc_auc``, ``ica_auc``, ``fa_auc`` (best of as many components of the
        log-normalised data), ``gene`` and ``gene_auc`` (best single gene, chosen among all). Not held out.
    ``uns["rank_latent"]["held_out"]`` : DataFrame
        One row per group and ``representation`` (``"latent"`` and the floors): ``feature`` (best over all cells: a
        dimension, gene, or component such as ``"pca0"``), its
        ``auc``, ``held_out_auc``, ``held_out_low``, ``held_out_high``, ``n_folds``, ``agreement``, ``sensitivity``,
        ``specificity``.
    ``uns["rank_latent"]["correlation"]`` : dict
        Residual correlation between the dimensions in use: their names ``dimensions``, ``n_active``, ``matrix``, the
        largest ``max_abs`` off its diagonal and its ``pair`` (0 and empty with fewer than two), and
        ``total_correlation`` in nats if they were Gaussian (:func:`scwhatif.metrics.latent_correlation`).
    ``obs["rank_latent_distance"]`` : float64
        Robust Mahalanobis distance to the centre of the cell's own group in the dimensions in use, NaN if there are
        none (:func:`scwhatif.metrics.mahalanobis_outliers`).
    ``obs["rank_latent_outlier"]`` : bool
        Whether it is too large, at a false discovery rate of ``outlier_fdr`` over all cells.
    ``uns["rank_latent"]["params"]`` : dict
        Arguments and versions; ``floor_data`` says what was done to the data for the floors.

    Raises
    ------
    KeyError
        ``groupby``, ``groups``, ``use_rep`` or ``layer`` does not exist.
    TypeError
        ``groups`` is not the name of a column.
    ValueError
        Labels are missing, continuous, all the same or of a single cell; the representation or the data hold NaN;
        a label occurs in one of the ``groups`` only, or these cannot be parted so that labels can be compared; a
        setting is out of range.

    Warns
    -----
    UserWarning
        The diagnostic dimension of a group is dead: on a scale of its own it may separate perfectly and yet carry
        next to nothing into the decoder.

    Notes
    -----
    The ``auc`` of the best dimension is not held out: it is to be compared with ``chance_auc``, ``pc_auc`` and so on,
    which had the same choice or a larger one; or take ``held_out_auc``. What is held out is the choice. The
    representation itself has seen all cells, as have the components of the floors, all without labels.

    Examples
    --------
    >>> import scwhatif as wi
    >>> adata = wi.datasets.simulate_factors(200, 100, 4, n_cell_types=3)
    >>> wi.tl.rank_latent(adata, "cell_type", use_rep="true_factors")
    >>> adata.uns["rank_latent"]["floors"][["group", "best_dimension", "auc"]].head(2)
        group best_dimension  auc
    0  type_0             z0  1.0
    1  type_1             z1  1.0
    >>> adata.uns["rank_latent"]["diagnostic"][["dimension", "held_out_auc", "threshold"]].head(2).round(2)
      dimension  held_out_auc  threshold
    0        z0           1.0       1.08
    1        z1           1.0       0.94
    """
    _check_settings(n_permutations, n_splits, active_variance, outlier_fdr)
    wanted = check_choices(floors, get_args(Floor), name="floors")
    labels = check_groups(adata, groupby)
    check_rep(adata, use_rep)
    codes, names = np.asarray(labels.codes, dtype=np.int64), list(labels.categories)
    folds, blocks = holdout(adata, labels, groupby, groups, n_splits=n_splits, seed=seed)
    values, dims = _representation(adata, use_rep)
    ranked = Ranked(values, dims, codes, names, values.var(axis=0) > active_variance)

    representations = {"latent": values}
    features = {"latent": dims}
    floor_data = None
    if wanted:
        check_layer(adata, layer)
        x = adata.X if layer is None else adata.layers[layer]
        check_finite(x, name="adata.X" if layer is None else f"adata.layers[{layer!r}]")
        data, floor_data = log_normalised(x)
        representations |= floor_codes(data, len(dims), wanted, seed=seed)
        for name in wanted:
            width = representations[name].shape[1]
            features[name] = list(adata.var_names) if name == "gene" else [f"{name}{j}" for j in range(width)]

    table, chance_auc = dimension_table(ranked, n_permutations, blocks=blocks, seed=seed)
    held_out = held_out_table(representations, features, ranked, folds)
    diagnostic = diagnostic_table(table, held_out, ranked)
    _warn_dead(diagnostic, active_variance)
    distance, is_outlier = _outliers(ranked, outlier_fdr)

    target = adata.copy() if copy else adata
    target.obs[f"{key_added}_distance"] = distance
    target.obs[f"{key_added}_outlier"] = is_outlier
    target.uns[key_added] = {
        Key.uns.PARAMS: params(
            groupby=groupby,
            use_rep=use_rep,
            layer=layer,
            groups=groups,
            n_splits=n_splits,
            floors=wanted or None,
            active_variance=active_variance,
            outlier_fdr=outlier_fdr,
            n_permutations=n_permutations,
            seed=seed,
            floor_data=floor_data,
        ),
        "table": table,
        "pairwise": pairwise_table(ranked, n_permutations, blocks=blocks, seed=seed),
        "diagnostic": diagnostic,
        "floors": floor_table(table, held_out, ranked, chance_auc),
        "held_out": held_out,
        "correlation": residual_correlation(ranked),
    }
    return target if copy else None


def _check_settings(n_permutations: int, n_splits: int, active_variance: float, outlier_fdr: float) -> None:
    if n_permutations < 1:
        msg = f"n_permutations={n_permutations} must be at least 1."
        raise ValueError(msg)
    if n_splits < 2:
        msg = f"n_splits={n_splits} must be at least 2: one part to choose on and one to score on."
        raise ValueError(msg)
    if not (active_variance >= 0 and 0 < outlier_fdr < 1):
        msg = f"active_variance={active_variance} must not be negative, and outlier_fdr={outlier_fdr} in (0, 1)."
        raise ValueError(msg)


def _representation(adata: AnnData, use_rep: str) -> tuple[NDArray[np.float64], list[str]]:
    rep = adata.obsm[use_rep]
    if isinstance(rep, pd.DataFrame):
        return rep.to_numpy(dtype=np.float64), [str(name) for name in rep.columns]
    if sparse.issparse(rep):
        rep = rep.toarray()
    return np.asarray(rep, dtype=np.float64), [f"z{j}" for j in range(rep.shape[1])]


def _warn_dead(diagnostic: pd.DataFrame, active_variance: float) -> None:
    dead = diagnostic[~diagnostic["active"]]
    if len(dead):
        named = ", ".join(f"{row.dimension} for {row.group!r}" for row in dead.itertuples())
        warnings.warn(
            f"The best dimension is dead (variance of at most {active_variance:g}): {named}. It separates on a scale "
            "on which the decoder hardly responds; lower β or train longer, or set active_variance to what suits the "
            "representation.",
            UserWarning,
            stacklevel=3,
        )


def _outliers(ranked: Ranked, fdr: float) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    if not ranked.active.any():
        return np.full(len(ranked.codes), np.nan), np.zeros(len(ranked.codes), dtype=bool)
    found = mahalanobis_outliers(ranked.values[:, ranked.active], ranked.codes)
    return found["distance"].to_numpy(), (found["padj"] < fdr).to_numpy()
