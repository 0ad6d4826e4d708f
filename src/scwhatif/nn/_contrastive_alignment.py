"""Pulling two latent codes of the same sample together, and those of different samples apart."""

from __future__ import annotations

import torch
from torch.nn.functional import normalize


def contrastive_alignment(
    seed: torch.Tensor, state: torch.Tensor, same: torch.Tensor, log_temperature: torch.Tensor
) -> torch.Tensor:
    r"""Symmetric InfoNCE (van den Oord et al. 2018) between two codes of the same rows, false negatives left out.

    .. math::
        -\tfrac12 \log \frac{e^{s_{ii}}}{\sum_{j \in N_i} e^{s_{ij}}}
        -\tfrac12 \log \frac{e^{s_{ii}}}{\sum_{j \in N_i} e^{s_{ji}}}, \qquad
        s_{ij} = \cos(a_i, b_j) / \tau, \qquad N_i = \{i\} \cup \{j : \text{not same}_{ij}\}

    Two samples with the same drivers must not be told to differ, so they are not in each other's denominators.

    Parameters
    ----------
    seed, state
        The two codes, ``(n_rows, n_latent)``.
    same
        Which pairs of rows are no negatives, ``(n_rows, n_rows)``, bool and symmetric; the diagonal does not matter.
    log_temperature
        :math:`\log\tau`, a scalar.

    Returns
    -------
    Loss of each row, ``(n_rows,)``; 0 for a row without negatives.
    """
    similarity = normalize(seed, dim=-1) @ normalize(state, dim=-1).T / log_temperature.exp()
    left_out = same & ~torch.eye(len(same), dtype=torch.bool, device=same.device)
    similarity = similarity.masked_fill(left_out, -torch.inf)
    diagonal = similarity.diagonal()
    return 0.5 * (torch.logsumexp(similarity, dim=1) + torch.logsumexp(similarity, dim=0)) - diagonal
