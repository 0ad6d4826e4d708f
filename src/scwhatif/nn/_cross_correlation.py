"""How much two sets of latent dimensions say about each other, linearly."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def cross_correlation(first: torch.Tensor, second: torch.Tensor, *, eps: float = 1e-8) -> torch.Tensor:
    r"""Mean squared Pearson correlation between the columns of two codes of the same rows.

    .. math::
        \frac{1}{d_1 d_2} \sum_{ij} \frac{\mathrm{cov}(a_i, b_j)^2}{\mathrm{var}(a_i)\,\mathrm{var}(b_j) + \epsilon}

    Independent columns do not give 0 but :math:`1 / (n - 1)` in expectation; see
    :func:`scwhatif.nn.unbiased_cross_correlation` for a value to report.

    Parameters
    ----------
    first, second
        The codes, ``(n_rows, n_first)`` and ``(n_rows, n_second)``.
    eps
        Added to the product of the variances: a constant column counts as uncorrelated.

    Returns
    -------
    Scalar between 0 and 1; 0 for fewer than two rows.
    """
    n_rows = len(first)
    if n_rows < 2:
        return 0.0 * (first.sum() + second.sum())
    first, second = first - first.mean(0), second - second.mean(0)
    covariance = first.T @ second / n_rows
    variances = first.square().mean(0).unsqueeze(1) * second.square().mean(0)
    return (covariance.square() / (variances + eps)).mean()


def unbiased_cross_correlation(first: torch.Tensor, second: torch.Tensor, *, eps: float = 1e-8) -> torch.Tensor:
    r"""Mean squared correlation less the :math:`1 / (n - 1)` that independent columns have.

    Parameters
    ----------
    first, second
        The codes, ``(n_rows, n_first)`` and ``(n_rows, n_second)``; ten thousand rows or more for a value to report.
    eps
        Added to the product of the variances.

    Returns
    -------
    Scalar, around 0 where nothing is shared; 0 for fewer than two rows.
    """
    value = cross_correlation(first, second, eps=eps)
    return value - 1.0 / (len(first) - 1) if len(first) > 1 else value
