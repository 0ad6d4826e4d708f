"""How much two sets of latent dimensions say about each other, linearly or not."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

_SMALLEST = 1e-12


def hsic(first: torch.Tensor, second: torch.Tensor, *, eps: float = 1e-8) -> torch.Tensor:
    r"""Normalised Hilbert–Schmidt independence criterion of two codes of the same rows, with Gaussian kernels.

    .. math::
        \frac{\mathrm{tr}(K H L H)}{\sqrt{\mathrm{tr}(K H K H)\,\mathrm{tr}(L H L H)} + \epsilon}, \qquad
        K_{ij} = e^{-\lVert a_i - a_j \rVert^2 / m_a}

    with :math:`H` the centring and :math:`m` the mean squared distance between two rows, which passes no gradient
    (Gretton et al. 2005). Unlike :func:`scwhatif.nn.cross_correlation` it also sees what is shared beyond a straight
    line, and compares the codes as wholes. Independent codes do not give 0 but a value that falls with the number of
    rows.

    Parameters
    ----------
    first, second
        The codes, ``(n_rows, n_first)`` and ``(n_rows, n_second)``.
    eps
        Added to the norm: a constant code counts as independent.

    Returns
    -------
    Scalar between 0 and 1; 0 for fewer than two rows.
    """
    if len(first) < 2:
        return 0.0 * (first.sum() + second.sum())
    k, m = _centred_kernel(first), _centred_kernel(second)
    norm = (k.square().sum() * m.square().sum() + _SMALLEST).sqrt()
    return (k * m).sum() / (norm + eps)


def _centred_kernel(code: torch.Tensor) -> torch.Tensor:
    """Gaussian kernel, rows and columns with mean 0."""
    centred = code - code.mean(0)
    lengths = centred.square().sum(1)
    # not through cdist, whose root has no gradient where rows coincide
    distances = (lengths.unsqueeze(1) + lengths - 2 * centred @ centred.T).clamp(min=0.0)
    kernel = (-distances / distances.detach().mean().clamp(min=_SMALLEST)).exp()
    return kernel - kernel.mean(0) - kernel.mean(1, keepdim=True) + kernel.mean()
