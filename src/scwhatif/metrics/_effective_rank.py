"""How many dimensions a spectrum really has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

RankKind = Literal["erank", "erank_cov", "rankme", "participation"]

_RANKME_EPSILON = 1e-7


def effective_rank(spectrum: ArrayLike, kind: RankKind = "erank") -> float:
    r"""Number of dimensions that a spectrum amounts to.

    With :math:`H(p) = -\sum_k p_k \log p_k`:

    ===================== ============================================================= ===============================
    kind                  formula                                                       of
    ===================== ============================================================= ===============================
    ``"erank"``           :math:`\exp H(\sqrt{\lambda_k} / \sum \sqrt{\lambda})`        eigenvalues of the covariance
                          :cite:p:`Roy2007`
    ``"erank_cov"``       :math:`\exp H(\lambda_k / \sum \lambda)`                      eigenvalues of the covariance
    ``"participation"``   :math:`(\sum \lambda)^2 / \sum \lambda^2`                     eigenvalues of the covariance
    ``"rankme"``          :math:`\exp H(\sigma_k / \sum \sigma + 10^{-7})`              singular values, not centred
                          :cite:p:`Garrido2023`
    ===================== ============================================================= ===============================

    They are not interchangeable: small eigenvalues count for most in the first, and the last sees the mean of the
    cloud as one more dimension. All of them call a cloud that has shrunk to a point healthy as long as what is left of
    it is round; see :func:`scwhatif.metrics.embedding_verdict`.

    Parameters
    ----------
    spectrum
        Values of at least 0, in any order.
    kind
        One of those above.

    Returns
    -------
    Between 1 and the number of values; 0 if all are 0.

    Raises
    ------
    ValueError
        ``kind`` is not known, or a value is negative or not finite.

    Examples
    --------
    >>> import scwhatif as wi
    >>> wi.metrics.effective_rank([1.0, 1.0, 0.0, 0.0])
    2.0
    >>> round(wi.metrics.effective_rank([9.0, 1.0], "erank"), 2), wi.metrics.effective_rank([9.0, 1.0], "participation")
    (1.75, 1.2195121951219512)
    """
    from scipy.special import entr
    from scipy.stats import entropy

    if kind not in get_args(RankKind):
        msg = f"kind={kind!r} must be one of {get_args(RankKind)}."
        raise ValueError(msg)
    values = np.asarray(spectrum, dtype=np.float64)
    if values.ndim != 1 or not np.isfinite(values).all() or (values < 0).any():
        msg = "spectrum must hold finite values of at least 0."
        raise ValueError(msg)
    if not values.any():
        return 0.0
    if kind == "participation":
        return float(values.sum() ** 2 / np.square(values).sum())
    if kind == "rankme":
        # no longer shares of one, as published
        return float(np.exp(entr(values / values.sum() + _RANKME_EPSILON).sum()))
    return float(np.exp(entropy(np.sqrt(values) if kind == "erank" else values)))
