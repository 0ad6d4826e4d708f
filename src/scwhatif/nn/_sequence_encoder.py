"""Encoder of two DNA sequences."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.functional import one_hot

# A, C, G, T, and anything else
N_CODES = 5
_COMPLEMENT = (3, 2, 1, 0, 4)


def reverse_complement(sequence: torch.Tensor, length: int) -> torch.Tensor:
    """Reverse complement of both parts of sequence codes, each in its place.

    Parameters
    ----------
    sequence
        Codes 0 to 4 (A, C, G, T, other), ``(n_rows, n_positions)``: enhancer, then promoter.
    length
        Positions of the enhancer.

    Returns
    -------
    Same shape.
    """
    complement = torch.tensor(_COMPLEMENT, device=sequence.device)[sequence.long()]
    return torch.cat([complement[:, :length].flip(1), complement[:, length:].flip(1)], dim=1).to(sequence)


class _Tower(nn.Module):
    def __init__(self, n_output: int, n_filters: int, dropout_rate: float) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(
            nn.Conv1d(4, n_filters, 15, padding=7),
            nn.BatchNorm1d(n_filters),
            nn.ReLU(),
            nn.MaxPool1d(10, ceil_mode=True),
            nn.Conv1d(n_filters, n_output, 7, padding=3),
            nn.BatchNorm1d(n_output),
            nn.ReLU(),
            nn.Dropout(dropout_rate),
        )
        self.attention = nn.Linear(n_output, 1)

    def forward(self, bases: torch.Tensor) -> torch.Tensor:
        hidden = self.convolutions(bases).transpose(1, 2)
        return (self.attention(hidden).softmax(1) * hidden).sum(1)


class SequenceEncoder(nn.Module):
    """Two compact convolutional towers, attention over positions, and a code that is not negative.

    In training, rows are turned into their reverse complement at random.

    Parameters
    ----------
    n_latent
        Dimensions of the code.
    enhancer_length, promoter_length
        Positions of the enhancer and of the promoter. Without one it is what the other leaves, without both half of
        all.
    n_filters, n_hidden
        Filters of the first layer, and outputs of each tower.
    dropout_rate
        Dropout.
    """

    def __init__(
        self,
        n_latent: int,
        *,
        enhancer_length: int | None = None,
        promoter_length: int | None = None,
        n_filters: int = 32,
        n_hidden: int = 64,
        dropout_rate: float = 0.1,
    ) -> None:
        super().__init__()
        self.enhancer_length, self.promoter_length = enhancer_length, promoter_length
        self.towers = nn.ModuleList([_Tower(n_hidden, n_filters, dropout_rate) for _ in range(2)])
        self.head = nn.Linear(2 * n_hidden, n_latent)

    def lengths(self, n_positions: int) -> tuple[int, int]:
        """Positions of the enhancer and of the promoter.

        Parameters
        ----------
        n_positions
            Positions of both.

        Returns
        -------
        The two lengths.

        Raises
        ------
        ValueError
            The lengths that were set are not those of sequences with so many positions.
        """
        enhancer, promoter = self.enhancer_length, self.promoter_length
        if enhancer is None:
            enhancer = n_positions // 2 if promoter is None else n_positions - promoter
        if promoter is None:
            promoter = n_positions - enhancer
        if enhancer < 1 or promoter < 1 or enhancer + promoter != n_positions:
            msg = (
                f"Sequences have {n_positions} positions, and the encoder is for an enhancer of "
                f"{self.enhancer_length or 'the other'} and a promoter of {self.promoter_length or 'the other'}. Read "
                "them with these lengths, or make an encoder for theirs."
            )
            raise ValueError(msg)
        return enhancer, promoter

    def forward(self, sequence: torch.Tensor) -> torch.Tensor:
        """Encode.

        Parameters
        ----------
        sequence
            Codes 0 to 4 (A, C, G, T, other), ``(n_rows, n_positions)``: enhancer, then promoter.

        Returns
        -------
        ``(n_rows, n_latent)``, not negative.

        Raises
        ------
        ValueError
            As in :meth:`lengths`.
        """
        length, _ = self.lengths(sequence.shape[1])
        sequence = sequence.long()
        if self.training:
            turned = torch.rand(len(sequence), device=sequence.device) < 0.5
            sequence = torch.where(turned.unsqueeze(1), reverse_complement(sequence, length), sequence)
        # another base than the four is no base: all four channels are 0
        return self.encode(one_hot(sequence, N_CODES)[..., :4].to(self.head.weight))

    def encode(self, bases: torch.Tensor) -> torch.Tensor:
        """Encode what may be shares of bases, and can be differentiated.

        Parameters
        ----------
        bases
            Share of A, C, G and T at each position, ``(n_rows, n_positions, 4)``: enhancer, then promoter.

        Returns
        -------
        ``(n_rows, n_latent)``, not negative.

        Raises
        ------
        ValueError
            As in :meth:`lengths`.
        """
        lengths = self.lengths(bases.shape[1])
        parts = [tower(part) for tower, part in zip(self.towers, bases.transpose(1, 2).split(lengths, 2), strict=True)]
        return self.head(torch.cat(parts, dim=1)).relu()
