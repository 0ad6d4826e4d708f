"""The axes a linear decoder's latent code is read in."""

from __future__ import annotations

from typing import Any

import torch


class LatentAxesMixin:
    """Loadings, explained variance, canonical order and rotation of a module with a linear decoder.

    The module has ``decoder`` (and perhaps ``zero_decoder``), the buffers ``rotation`` and ``latent_covariance``,
    ``n_latent``, ``is_count_model`` and ``use_size_factor``.
    """

    decoder: Any
    rotation: torch.Tensor
    latent_covariance: torch.Tensor
    n_latent: int
    is_count_model: Any
    use_size_factor: bool

    @torch.no_grad()
    def effective_loadings(self) -> torch.Tensor:
        """Loadings, centred per dimension where normalisation over genes makes a constant meaningless.

        Returns
        -------
        ``(n_input, n_latent)``.
        """
        loadings = self.decoder.loadings
        normalised = self.is_count_model and not self.use_size_factor
        return loadings - loadings.mean(0) if normalised else loadings.clone()

    def explained_variance(self) -> torch.Tensor:
        """Variance of the log-rate, summed over features, that each latent dimension accounts for.

        Returns
        -------
        ``(n_latent,)``.
        """
        return self.latent_covariance.diagonal() * self.effective_loadings().square().sum(0)

    def canonicalize(self) -> torch.Tensor:
        """Order dimensions by explained variance and make their largest loadings positive.

        Returns
        -------
        The order: new dimension j was dimension ``order[j]``.
        """
        order = torch.argsort(self.explained_variance(), descending=True, stable=True)
        skew = self.effective_loadings()[:, order].pow(3).sum(0)
        sign = torch.where((skew < 0) & (self.decoder.constraint == "linear"), -1.0, 1.0)
        self.rotate(torch.eye(self.n_latent, device=order.device)[:, order] * sign)
        return order

    @torch.no_grad()
    def rotate(self, rotation: torch.Tensor) -> None:
        """Read the latent code in other axes, leaving the model's distribution unchanged.

        Parameters
        ----------
        rotation
            Orthogonal ``(n_latent, n_latent)``; its columns are the new axes in terms of the present ones. With
            non-negative loadings it must be a permutation.
        """
        for decoder in (self.decoder, getattr(self, "zero_decoder", None)):
            if decoder is not None:
                decoder.weight.copy_(decoder.weight @ rotation)
        self.rotation.copy_(self.rotation @ rotation)
        self.latent_covariance.copy_(rotation.T @ self.latent_covariance @ rotation)
