"""Correlation of predicted with observed effects."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scwhatif.metrics._profiles import read_pair, read_per_gene, read_profile

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import ArrayLike, NDArray

# Effects below this many rounding errors of the profiles are none.
_ROUNDING = 16


def pearson_delta(
    predicted: ArrayLike | pd.DataFrame,
    observed: ArrayLike | pd.DataFrame,
    reference: ArrayLike | pd.Series,
    *,
    mask: ArrayLike | pd.DataFrame | None = None,
) -> pd.Series:
    r"""Correlation, over genes, of predicted with observed differences from a reference.

    For each perturbation :math:`p`, with reference :math:`r`,

    .. math:: \mathrm{corr}_g(\hat y_{pg} - r_g,\; y_{pg} - r_g).

    With the control as reference, what all perturbed cells share raises it for every predictor, the mean over all
    perturbations among them. With the mean over the *training* perturbations as reference, that baseline has no effect
    left and scores 0 :cite:p:`Vinas2025`. A mean that holds the tested perturbation will not do: its distance to the
    mean over the others is exactly opposite to the observed effect, and the correlation −1 whatever the data.

    Parameters
    ----------
    predicted, observed
        Mean profiles, perturbations × genes, finite. Two tables are matched by the names in ``observed``.
    reference
        One profile, ``(n_genes,)``.
    mask
        Genes to use, bool, for all perturbations ``(n_genes,)`` or for each. Choose them on other cells than those of
        ``observed``.

    Returns
    -------
    One correlation per perturbation. Where one side has no effect (the same difference in all genes, up to rounding)
    or fewer than two genes are used it is 0: a predictor of no change has said nothing.

    Raises
    ------
    ValueError
        Shapes disagree, names repeat or are missing, values are not finite, or the mask is not boolean.

    Examples
    --------
    >>> import scwhatif as wi
    >>> observed = [[1.0, 0.0, 0.0], [0.0, 2.0, 0.0]]
    >>> wi.metrics.pearson_delta([[3.0, 0.0, 0.0], [0.0, 0.0, 0.0]], observed, [0.0, 0.0, 0.0])
    0    1.0
    1    0.0
    dtype: float64
    """
    guess, truth = read_pair(predicted, observed)
    centre = read_profile(reference, "reference", like=truth)
    used = np.ones_like(guess)
    if mask is not None:
        if np.asarray(mask).dtype != bool:
            msg = f"mask must be boolean, not {np.asarray(mask).dtype}."
            raise ValueError(msg)
        used = read_per_gene(mask, "mask", like=truth)
    rounding = _ROUNDING * truth.precision
    sides, some = [], np.ones(len(guess), dtype=bool)
    for profiles in (guess, truth.values):
        sides.append(_centred(profiles - centre, used))
        size = np.linalg.norm(profiles, axis=1) + np.linalg.norm(centre)
        some &= np.linalg.norm(sides[-1], axis=1) > rounding * size
    shared = np.einsum("pg,pg->p", *sides)
    product = np.linalg.norm(sides[0], axis=1) * np.linalg.norm(sides[1], axis=1)
    return truth.series(np.clip(np.divide(shared, product, out=np.zeros_like(shared), where=some), -1.0, 1.0))


def _centred(effect: NDArray[np.float64], used: NDArray[np.float64]) -> NDArray[np.float64]:
    """Effects less their mean over the genes in use, 0 in all others."""
    mean = (effect * used).sum(axis=1, keepdims=True) / np.maximum(used.sum(axis=1, keepdims=True), 1)
    return (effect - mean) * used
