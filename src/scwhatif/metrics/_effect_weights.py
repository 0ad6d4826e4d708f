"""How clearly each gene sets a perturbation apart from the others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import sparse

from scwhatif.metrics._profiles import read_profiles

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


class EffectScores(NamedTuple):
    """Result of :func:`effect_scores`, both perturbations × genes.

    Parameters
    ----------
    t
        Statistic.
    pval
        Two-sided p-value, corrected for the number of genes of each perturbation (Benjamini–Hochberg).
    """

    t: pd.DataFrame
    pval: pd.DataFrame


class Moments(NamedTuple):
    """Of the cells of each label.

    Parameters
    ----------
    n
        Number of cells, ``(n_labels,)``.
    total, squares
        Sums of values and of squared values, ``(n_labels, n_genes)``.
    """

    n: NDArray[np.float64]
    total: NDArray[np.float64]
    squares: NDArray[np.float64]

    @property
    def mean(self) -> NDArray[np.float64]:
        """Mean of each label, ``(n_labels, n_genes)``."""
        return self.total / self.n[:, None]

    @property
    def variance(self) -> NDArray[np.float64]:
        """Unbiased variance of each label, ``(n_labels, n_genes)``."""
        n = self.n[:, None]
        return np.maximum(self.squares - np.square(self.total) / n, 0.0) / np.maximum(n - 1, 1)


def effect_scores(cells: Any, perturbation: ArrayLike) -> EffectScores:
    """Compare the cells of every perturbation with all others, gene by gene.

    Welch's t test in scanpy's ``"t-test_overestim_var"`` form: the others count as no more cells than the perturbation
    itself has, so that perturbations with equally many cells are scored alike however many others there are.

    Parameters
    ----------
    cells
        Cells × genes, log-normalised; array, table or sparse matrix. Leave the control out to score what sets a
        perturbation apart from other perturbations.
    perturbation
        Of each cell, at least two, each of two cells at least.

    Returns
    -------
    Statistics and p-values; 0 and 1 for a gene without variance.

    Raises
    ------
    ValueError
        Lengths differ, something is missing or infinite, or there are too few perturbations or cells.

    Examples
    --------
    >>> import scwhatif as wi
    >>> scores = wi.metrics.effect_scores([[0.0], [1.0], [3.0], [5.0], [6.0], [7.0]], list("aabbcc"))
    >>> scores.t[0].round(2).to_dict()
    {'a': -3.63, 'b': 0.19, 'c': 2.58}
    """
    values, names, codes, genes = read_cells(cells, perturbation)
    if len(names) < 2:
        msg = f"cells must be of at least two perturbations, not only {names[0]!r}."
        raise ValueError(msg)
    each = moments(values, codes, len(names))
    if each.n.min() < 2:
        msg = f"perturbation {names[int(each.n.argmin())]!r} has a single cell; at least two are needed."
        raise ValueError(msg)
    everything = Moments(each.n.sum(), each.total.sum(axis=0), each.squares.sum(axis=0))
    rest = Moments(everything.n - each.n, everything.total - each.total, everything.squares - each.squares)
    t, pval = scores_against(each, rest)
    return EffectScores(pd.DataFrame(t, names, genes), pd.DataFrame(pval, names, genes))


def effect_weights(scores: ArrayLike | pd.DataFrame) -> pd.DataFrame:
    r"""Weights of genes for :func:`~scwhatif.metrics.weighted_mse`, from scores of differential expression.

    .. math:: w_{pg} \propto \left(\frac{|t_{pg}| - \min_h |t_{ph}|}{\max_h |t_{ph}| - \min_h |t_{ph}|}\right)^2

    :cite:p:`Mejia2025`, adding up to 1 over genes.

    Parameters
    ----------
    scores
        Perturbations × genes, as ``t`` of :func:`~scwhatif.metrics.effect_scores`.

    Returns
    -------
    Perturbations × genes; equal weights where all scores of a perturbation are equally large.

    Raises
    ------
    ValueError
        Scores are not a finite table, or names repeat.

    Examples
    --------
    >>> import scwhatif as wi
    >>> wi.metrics.effect_weights([[-3.0, 2.0, 1.0]])
         0    1    2
    0  0.8  0.2  0.0
    """
    read = read_profiles(scores, "scores")
    size = np.abs(read.values)
    low, high = size.min(axis=1, keepdims=True), size.max(axis=1, keepdims=True)
    weights = np.where(high > low, np.square((size - low) / np.where(high > low, high - low, 1.0)), 1.0)
    return read.frame(weights / weights.sum(axis=1, keepdims=True))


def read_cells(cells: Any, perturbation: ArrayLike) -> tuple[Any, list[Any], NDArray[np.int64], pd.Index | None]:
    """Check cells and what was done to each.

    Parameters
    ----------
    cells
        Cells × genes, finite; array, table or sparse matrix.
    perturbation
        Of each cell.

    Returns
    -------
    Array or CSR matrix, float64; names of the perturbations; that of each cell as a position among them; names of
    the genes, ``None`` where they have none.

    Raises
    ------
    ValueError
        Lengths differ, or something is missing or infinite.
    """
    genes = cells.columns if isinstance(cells, pd.DataFrame) else None
    values = cells.tocsr().astype(np.float64) if sparse.issparse(cells) else np.asarray(cells, dtype=np.float64)
    labels = pd.Categorical(perturbation).remove_unused_categories()
    if values.ndim != 2 or not values.shape[0] or values.shape[0] != len(labels):
        msg = f"cells must have shape (n_cells, n_genes) for {len(labels)} labels, not {values.shape}."
        raise ValueError(msg)
    if not np.isfinite(values.data if sparse.issparse(values) else values).all() or labels.isna().any():
        msg = "cells and their perturbations must not be missing or infinite; leave such cells out."
        raise ValueError(msg)
    return values, list(labels.categories), np.asarray(labels.codes, dtype=np.int64), genes


def moments(cells: Any, codes: NDArray[np.int64], n_labels: int) -> Moments:
    """Sums over the cells of each label.

    Parameters
    ----------
    cells
        Cells × genes, array or CSR matrix.
    codes
        Label of each cell; cells of label -1 are left out.
    n_labels
        Number of labels.

    Returns
    -------
    The sums.
    """
    inside = np.flatnonzero(codes >= 0)
    ones = np.ones(len(inside))
    of_label = sparse.csr_matrix((ones, (codes[inside], inside)), shape=(n_labels, len(codes)))
    squared = cells.multiply(cells).tocsr() if sparse.issparse(cells) else np.square(cells)
    total, squares = (
        each.toarray() if sparse.issparse(each) else each for each in (of_label @ cells, of_label @ squared)
    )
    return Moments(np.bincount(codes[inside], minlength=n_labels).astype(np.float64), total, squares)


def scores_against(each: Moments, rest: Moments) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Statistic and corrected p-value of :func:`effect_scores`, of labels each against a rest of its own.

    Parameters
    ----------
    each, rest
        Sums over the cells, two each at least.

    Returns
    -------
    Both ``(n_labels, n_genes)``.
    """
    from scipy.stats import false_discovery_control, ttest_ind_from_stats

    n = each.n[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        t, pval = ttest_ind_from_stats(
            each.mean, np.sqrt(each.variance), n, rest.mean, np.sqrt(rest.variance), n, equal_var=False
        )
    flat = ~np.isfinite(t)
    t, pval = np.where(flat, 0.0, t), np.where(flat, 1.0, pval)
    return t, false_discovery_control(pval, axis=1)
