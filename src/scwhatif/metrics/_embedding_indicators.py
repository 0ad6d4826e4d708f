"""The numbers by which a collapsed embedding is told from a healthy one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scwhatif.metrics._effective_rank import effective_rank
from scwhatif.metrics._embedding_moments import EmbeddingMoments

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

_MAX_PAIRS = 100_000
_TAIL = 0.001


def embedding_indicators(
    embedding: ArrayLike,
    *,
    groups: ArrayLike | None = None,
    seed: int | np.random.Generator | None = 0,
) -> dict[str, float]:
    r"""Indicators of collapse of an embedding.

    Each is blind to some kind of collapse, so they are judged together (:func:`~scwhatif.metrics.embedding_verdict`).
    All but ``uniformity`` are exact, from sums of ``n_dims`` × ``n_dims``; no two rows are ever compared.

    Parameters
    ----------
    embedding
        ``(n, n_dims)``, finite, two rows or more.
    groups
        Label of every row, such as a cell type.
    seed
        Draws the pairs of ``uniformity`` where there are more than 100 000.

    Returns
    -------
    ``n``, ``n_dims``
        Shape.
    ``resultant_length``
        Length of the mean of the rows brought to length 1, :math:`R`; 1 if all point the same way.
    ``mean_cosine``
        Mean cosine of two rows, :math:`(nR^2 - 1)/(n - 1)`.
    ``spread``
        Trace of the covariance over the squared length of the mean: near 0 for a point away from the origin.
    ``erank``, ``erank_cov``, ``rankme``, ``participation``
        :func:`~scwhatif.metrics.effective_rank`.
    ``erank_ratio``, ``erank_cov_ratio``
        The first two over the largest possible value, :math:`\min(n_\text{dims}, n - 1)`.
    ``top1``
        Share of the variance on the first principal axis.
    ``pcf50``
        Smallest share of the dimensions (principal axes) with half of the variance.
    ``alpha``
        Decay :math:`\lambda_k \propto k^{-\alpha}`, slope of the log eigenvalues on log rank.
    ``uniformity``
        :math:`\log E \exp(-2 |u - u'|^2)` over pairs of rows brought to length 1 :cite:p:`Wang2020`; 0 for a point.
    ``norm_cv``, ``n_zero``
        Standard deviation of the lengths over their mean; rows of length 0.
    ``tail_share``
        Share of the variance in the farthest thousandth of the rows (one row at least).
    ``n_active``
        Dimensions whose variance is above 0.01, which means something for posterior means of a VAE.
    ``n_groups``, ``within_share``, ``alignment``
        With ``groups``: their number, share of the variance within them, and mean :math:`|u - u'|^2` of two rows of
        one group :cite:p:`Wang2020`.

    Raises
    ------
    ValueError
        The embedding is not a matrix with two rows or more, holds NaN or infinite values, or ``groups`` has another
        length.

    Examples
    --------
    >>> import numpy as np
    >>> import scwhatif as wi
    >>> cloud = np.random.default_rng(0).normal(size=(2000, 32))
    >>> point = 1 + 1e-3 * cloud
    >>> for each in (cloud, point):
    ...     found = wi.metrics.embedding_indicators(each)
    ...     print(round(found["erank_ratio"], 2), found["mean_cosine"] > 0.99, found["uniformity"] > -0.01)
    1.0 False False
    1.0 True True
    """
    z = np.asarray(embedding)
    if z.ndim != 2 or len(z) < 2 or z.shape[1] < 1:
        msg = f"An embedding has two dimensions, and two rows or more; this one has the shape {z.shape}."
        raise ValueError(msg)
    bad = ~np.isfinite(z).all(axis=1)
    if bad.any():
        msg = (
            f"{int(bad.sum())} of {len(z)} rows of the embedding hold NaN or infinite values, first row "
            f"{int(bad.argmax())}; remove these rows, or fit the model again if training diverged."
        )
        raise ValueError(msg)
    return indicators_of(z, EmbeddingMoments.of(z), groups=groups, seed=seed)


def indicators_of(
    z: NDArray,
    moments: EmbeddingMoments,
    *,
    groups: ArrayLike | None = None,
    seed: int | np.random.Generator | None = 0,
) -> dict[str, float]:
    """Indicators of an embedding whose moments are known, see :func:`embedding_indicators`.

    Parameters
    ----------
    z
        ``(n, n_dims)``, finite.
    moments
        Of all its rows.
    groups, seed
        As for :func:`embedding_indicators`.

    Returns
    -------
    The indicators.
    """
    eigenvalues = moments.eigenvalues
    trace, largest = float(eigenvalues.sum()), min(z.shape[1], len(z) - 1)
    shares = eigenvalues / trace if trace > 0 else eigenvalues
    erank, erank_cov = effective_rank(eigenvalues, "erank"), effective_rank(eigenvalues, "erank_cov")
    found = {
        "n": float(len(z)),
        "n_dims": float(z.shape[1]),
        "resultant_length": moments.resultant_length,
        "mean_cosine": moments.mean_cosine,
        "spread": trace / max(float(np.square(moments.mean).sum()), np.finfo(np.float64).tiny),
        "erank": erank,
        "erank_cov": erank_cov,
        "rankme": effective_rank(moments.singular_values, "rankme"),
        "participation": effective_rank(eigenvalues, "participation"),
        "erank_ratio": erank / largest,
        "erank_cov_ratio": erank_cov / largest,
        "top1": float(shares[0]),
        "pcf50": float((np.searchsorted(np.cumsum(shares), 0.5) + 1) / z.shape[1]) if trace > 0 else 0.0,
        "alpha": _decay(eigenvalues),
        "uniformity": _uniformity(z, np.random.default_rng(seed)),
        "norm_cv": moments.norm_cv,
        "n_zero": float(moments.n_zero),
        "tail_share": _tail_share(z, moments.mean),
        "n_active": float((np.diag(moments.covariance) * (len(z) - 1) / len(z) > 0.01).sum()),
    }
    return found if groups is None else {**found, **_by_group(z, groups, moments)}


def _decay(eigenvalues: NDArray[np.float64]) -> float:
    positive = eigenvalues[eigenvalues > eigenvalues[0] * np.finfo(np.float64).eps] if eigenvalues[0] > 0 else []
    if len(positive) < 2:
        return np.nan
    return -float(np.polyfit(np.log(np.arange(1, len(positive) + 1)), np.log(positive), 1)[0])


def _uniformity(z: NDArray, rng: np.random.Generator) -> float:
    from sklearn.preprocessing import normalize

    n = len(z)
    if n * (n - 1) // 2 <= _MAX_PAIRS:
        first, second = np.triu_indices(n, 1)
    else:
        first = rng.integers(n, size=_MAX_PAIRS)
        second = (first + rng.integers(1, n, size=_MAX_PAIRS)) % n
    rows = np.unique(np.concatenate([first, second]))
    unit = normalize(z[rows].astype(np.float64))
    first, second = np.searchsorted(rows, first), np.searchsorted(rows, second)
    total = 0.0
    for start in range(0, len(first), _MAX_PAIRS // 10):
        pairs = slice(start, start + _MAX_PAIRS // 10)
        total += float(np.exp(-2 * np.square(unit[first[pairs]] - unit[second[pairs]]).sum(axis=1)).sum())
    return float(np.log(total / len(first)))


def _tail_share(z: NDArray, mean: NDArray[np.float64]) -> float:
    step = max(1, 2**21 // z.shape[1])
    squared = np.concatenate([np.square(z[i : i + step] - mean).sum(axis=1) for i in range(0, len(z), step)])
    n_tail = max(1, round(_TAIL * len(z)))
    total = squared.sum()
    return float(np.partition(squared, -n_tail)[-n_tail:].sum() / total) if total > 0 else 0.0


def _by_group(z: NDArray, groups: ArrayLike, moments: EmbeddingMoments) -> dict[str, float]:
    from sklearn.preprocessing import normalize

    labels = np.asarray(groups)
    if labels.shape != (len(z),):
        msg = f"groups must hold one label for each of the {len(z)} rows, not {labels.shape}."
        raise ValueError(msg)
    _, codes, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    sums, directions = np.zeros((len(sizes), z.shape[1])), np.zeros((len(sizes), z.shape[1]))
    step = max(1, 2**21 // z.shape[1])
    for start in range(0, len(z), step):
        block = np.asarray(z[start : start + step], dtype=np.float64)
        rows = codes[start : start + step]
        np.add.at(sums, rows, block - moments.mean)
        np.add.at(directions, rows, normalize(block))
    between = float((np.square(sums).sum(axis=1) / sizes).sum())
    total = float(np.trace(moments.covariance)) * (len(z) - 1)
    n_pairs = (sizes * (sizes - 1.0)).sum()
    # over ordered pairs of a group, sum |u - u'|² = 2 n² - 2 |sum u|² for rows of length 1
    apart = (2.0 * sizes**2 - 2.0 * np.square(directions).sum(axis=1)).sum()
    return {
        "n_groups": float(len(sizes)),
        "within_share": float(np.clip(1 - between / total, 0.0, 1.0)) if total > 0 else 0.0,
        "alignment": float(apart / n_pairs) if n_pairs else np.nan,
    }
