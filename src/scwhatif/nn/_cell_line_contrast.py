"""Pulling the environment codes of one cell line together, and those of different lines apart."""

from __future__ import annotations

import torch
from torch.nn.functional import normalize


def cell_line_contrast(
    environment: torch.Tensor, lines: torch.Tensor, *, temperature: float = 0.1, groups: torch.Tensor | None = None
) -> torch.Tensor:
    r"""Supervised InfoNCE over cell lines, the sum over positives inside the logarithm.

    .. math::
        -\frac{1}{n} \sum_i \log
        \frac{\sum_{j \neq i,\, c_j = c_i} e^{s_{ij}}}{\sum_{j \neq i} e^{s_{ij}}},
        \qquad s_{ij} = \cos(e_i, e_j) / \tau

    Parameters
    ----------
    environment
        Environment code of every row, ``(n_rows, n_environment)``.
    lines
        Cell line of every row, ``(n_rows,)``.
    temperature
        :math:`\tau`.
    groups
        A finer level within the lines, such as the label: positives must then share the group as well, and the
        denominator is the line. Rows with a negative group take no part.

    Returns
    -------
    Scalar, mean over the rows that have a positive; 0 if none has, in particular for a single line, whose positives
    are the whole denominator.

    Raises
    ------
    ValueError
        All rows are of one cell line, and no finer ``groups`` are given: the loss would be 0 whatever the codes.
    """
    if groups is None and len(lines) and bool((lines == lines[0]).all()):
        msg = (
            "cell_line_contrast compares cell lines, and all rows are of one: its loss and gradient would be 0. Use "
            "episodes of at least 2 lines (lines_per_episode=2), or contrast_weight=0."
        )
        raise ValueError(msg)
    codes = normalize(environment, dim=-1)
    similarity = codes @ codes.T / temperature
    other = ~torch.eye(len(codes), dtype=torch.bool, device=codes.device)
    same_line = lines.unsqueeze(0) == lines.unsqueeze(1)
    positive, compared = other & same_line, other
    if groups is not None:
        known = groups >= 0
        compared = other & same_line & known.unsqueeze(0) & known.unsqueeze(1)
        positive = compared & (groups.unsqueeze(0) == groups.unsqueeze(1))
    valid = positive.any(1)
    if not bool(valid.any()):
        return 0.0 * environment.sum()
    similarity = similarity[valid]
    numerator = torch.logsumexp(similarity.masked_fill(~positive[valid], -torch.inf), dim=1)
    denominator = torch.logsumexp(similarity.masked_fill(~compared[valid], -torch.inf), dim=1)
    return (denominator - numerator).mean()
