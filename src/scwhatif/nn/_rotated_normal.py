"""A Gaussian whose covariance is diagonal in other axes than those it is read in."""

from __future__ import annotations

import torch
from torch.distributions import Normal


class RotatedNormal(Normal):
    r"""Diagonal Gaussian seen through an orthogonal rotation.

    If :math:`u \sim N(m, \mathrm{diag}(s^2))`, this is the distribution of :math:`z = u R`. ``mean``, ``variance`` and
    ``stddev`` are the marginal ones per axis; samples and the sum of ``log_prob`` over axes are those of the joint
    distribution.

    Parameters
    ----------
    loc, scale
        Marginal mean and standard deviation in the rotated axes. Alone they give a plain diagonal Gaussian, which is
        what scvi-tools makes when it copies a distribution.
    axes
        Mean and standard deviation in the original axes, ``(n_cells, n_latent)`` each, and the rotation
        ``(n_latent, n_latent)``.
    """

    def __init__(
        self,
        loc: torch.Tensor,
        scale: torch.Tensor,
        axes: tuple[torch.Tensor, torch.Tensor, torch.Tensor] | None = None,
    ) -> None:
        self._axes = axes
        # no argument validation: a NaN must reach the loss, where the training plan can say what happened
        super().__init__(loc, scale, validate_args=False)

    @classmethod
    def from_axes(cls, mean: torch.Tensor, var: torch.Tensor, rotation: torch.Tensor) -> RotatedNormal:
        """Rotate a diagonal Gaussian.

        Parameters
        ----------
        mean, var
            In the original axes, ``(n_cells, n_latent)``.
        rotation
            Orthogonal matrix whose columns are the new axes.

        Returns
        -------
        The rotated distribution.
        """
        return cls(mean @ rotation, (var @ rotation.square()).sqrt(), (mean, var.sqrt(), rotation))

    def rsample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = ()) -> torch.Tensor:
        """Draw differentiably.

        Parameters
        ----------
        sample_shape
            Leading dimensions.

        Returns
        -------
        ``(*sample_shape, n_cells, n_latent)``.
        """
        if self._axes is None:
            return super().rsample(torch.Size(sample_shape))
        mean, std, rotation = self._axes
        noise = torch.randn((*sample_shape, *mean.shape), dtype=mean.dtype, device=mean.device)
        return (mean + std * noise) @ rotation

    def sample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = ()) -> torch.Tensor:
        """Draw without gradient; see :meth:`rsample`.

        Parameters
        ----------
        sample_shape
            Leading dimensions.

        Returns
        -------
        ``(*sample_shape, n_cells, n_latent)``.
        """
        with torch.no_grad():
            return self.rsample(sample_shape)

    def log_prob(self, value: torch.Tensor) -> torch.Tensor:
        """Log-density per original axis: only the sum over the last dimension is that of ``value``.

        Parameters
        ----------
        value
            In the rotated axes, ``(..., n_cells, n_latent)``.

        Returns
        -------
        Same shape.
        """
        if self._axes is None:
            return super().log_prob(value)
        mean, std, rotation = self._axes
        return Normal(mean, std, validate_args=False).log_prob(value @ rotation.T)
