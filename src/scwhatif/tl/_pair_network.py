"""The network of an energy model as functions of what it reads, to be differentiated or asked again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    import torch
    from anndata import AnnData
    from numpy.typing import NDArray

# tensors of scwhatif.module, whose import is heavy
ENVIRONMENT_KEY, ENVIRONMENT_OBSERVED_KEY = "environment", "environment_observed"
Target = Literal["probability", "score", "energy"]
_SMALLEST = 1e-7


class PairNetwork:
    """Log-odds or scores of pairs in fixed environments, and energies of lines.

    Parameters
    ----------
    adata
        Pairs with the features of the model.
    model
        A trained :class:`scwhatif.model.CellLineEnergyModel`.
    rows
        Positions of the pairs that are asked about.
    target
        ``"probability"`` (its log-odds) or ``"score"``; ``"energy"`` where pairs are only support.
    n_support, n_draws, seed
        Of the support sets from which environments are read; log-odds are averaged over draws.
    """

    def __init__(
        self,
        adata: AnnData,
        model: Any,
        rows: NDArray[np.int64],
        target: Target,
        *,
        n_support: int | None,
        n_draws: int,
        seed: int,
    ) -> None:
        import torch

        self.model, self.module, self.rows, self.target = model, model.module, rows, target
        self.table, self.tensors = model._read(adata)
        self.of_line = self.table.lines[rows]
        self.names, self.code = np.unique(self.of_line, return_inverse=True)
        self._asked = (None, n_support, n_draws, seed)
        self._slope = self._intercept = torch.zeros(0)
        if target == "probability":
            found = model._environments(self.table, self.tensors, self.names, *self._asked).mean()
            self._slope = self._tensor(found.slope[0][self.code])
            self._intercept = self._tensor(found.intercept[0][self.code])

    def _tensor(self, values: NDArray[Any]) -> torch.Tensor:
        import torch

        return torch.as_tensor(values, dtype=torch.float32, device=self.module.device)

    def of_features(self, values: torch.Tensor, observed: torch.Tensor, rows: slice) -> torch.Tensor:
        """Target of pairs with other features.

        Parameters
        ----------
        values
            Features as the network reads them, ``(n, n_features)``.
        observed
            Which were measured.
        rows
            Which of the pairs these are.

        Returns
        -------
        ``(n,)``.
        """
        encoder = self.module.encoder
        return self._read_out(encoder(values, observed) if self.model.backbone == "mlp" else encoder(values), rows)

    def of_bases(self, bases: torch.Tensor, rows: slice | list[int]) -> torch.Tensor:
        """Target of pairs with other sequences.

        Parameters
        ----------
        bases
            ``(n, n_positions, 4)``.
        rows
            Which of the pairs these are.

        Returns
        -------
        ``(n,)``.
        """
        return self._read_out(self.module.encoder.encode(bases), rows)

    def _read_out(self, z: torch.Tensor, rows: slice | list[int]) -> torch.Tensor:
        score = self.module.score_head(z)
        if self.target == "score":
            return ((score - self.module.score_mean) / self.module.score_sd).sum(1)
        logit = (score * self._slope[rows]).sum(1) + self._intercept[rows]
        if self.module.immax is None:
            return logit
        # margins have a link of their own
        return self.module.probability(logit).clamp(_SMALLEST, 1 - _SMALLEST).logit()

    def supports(self, line: str) -> list[NDArray[np.int64]]:
        """Positions of the support pairs of a line, for every draw.

        Parameters
        ----------
        line
            Name of the line.

        Returns
        -------
        One array per draw.
        """
        return self.model._supports(self.table, line, *self._asked)

    def support_features(self, rows: NDArray[np.int64]) -> tuple[torch.Tensor, torch.Tensor]:
        """What is read of support pairs.

        Parameters
        ----------
        rows
            Their positions.

        Returns
        -------
        Raw features of the environment, and which were measured, ``(n_support, n_features)``.
        """
        keys = (ENVIRONMENT_KEY, ENVIRONMENT_OBSERVED_KEY)
        values, observed = (self.tensors[key][rows].to(self.module.device) for key in keys)
        return values, observed

    def energy(self, values: torch.Tensor, observed: torch.Tensor) -> torch.Tensor:
        """Energy that is read from a support set.

        Parameters
        ----------
        values, observed
            Raw features of the environment, and which were measured, ``(n_support, n_features)``.

        Returns
        -------
        With the scalar interaction :math:`R` as in ``get_energies``, otherwise minus the intercept of the line.
        """
        interaction, mean = self.module.interaction, self.module.score_mean
        z_e = self.module.encode_environment(values, values, observed).mean(0, keepdim=True)
        shift = interaction.energy(z_e).sum() - (interaction.gain(z_e)[0] * mean).sum()
        if interaction.kind == "scalar":
            return shift * (1 - interaction.coupling[0] * mean[0]) / self.module.score_sd[0]
        return shift / interaction.temperature(z_e).reshape(-1)[0]
