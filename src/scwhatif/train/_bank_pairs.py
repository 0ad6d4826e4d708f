"""Pairs found in a bank of earlier batches, instead of among all rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from scwhatif.train._embedding_bank import EmbeddingBank
from scwhatif.train._global_hard_pairs import GlobalPairs
from scwhatif.train._mine_triplets import sphere

if TYPE_CHECKING:
    from torch import Tensor


class BankPairs:
    """Finds for the rows of a batch what :func:`scwhatif.train.global_hard_pairs` finds, in a bank of the last rows.

    A batch is put into the bank before its pairs are chosen. So the first batch chooses within itself, and what is
    found is as hard as the bank is full. A row that was dealt twice is held twice, as it was embedded each time, and
    counts twice among the ranks of negatives.

    Parameters
    ----------
    size
        Most rows to hold.
    identity
        Identity of all rows there are, int64.
    exams
        Exam of all rows, int64, or ``None``.
    positive_quantile, negative_ranks
        As in :func:`scwhatif.train.global_hard_pairs`, of what the bank holds.
    seed
        Draws the ranks.
    """

    def __init__(
        self,
        size: int,
        identity: Tensor,
        *,
        exams: Tensor | None = None,
        positive_quantile: float = 0.5,
        negative_ranks: tuple[int, int] = (3, 12),
        seed: int = 0,
    ) -> None:
        self.size, self.identity, self.exams = size, identity, exams
        self.positive_quantile, self.negative_ranks = positive_quantile, negative_ranks
        self._bank: EmbeddingBank | None = None
        self._rows = torch.zeros(0, dtype=torch.int64, device=identity.device)
        self._generator = torch.Generator().manual_seed(seed)

    def __len__(self) -> int:
        return len(self._rows)

    def choose(self, embedding: Tensor, rows: Tensor) -> tuple[GlobalPairs, float]:
        """Take in a batch, and choose a positive and a negative for each of its rows.

        Parameters
        ----------
        embedding
            ``(n, n_dims)``.
        rows
            Positions of its rows among all, int64.

        Returns
        -------
        The pairs, as positions among all rows, and how many batches ago these were embedded on average (NaN if there
        is none).
        """
        if self._bank is None:
            self._bank = EmbeddingBank(self.size, embedding.shape[1])
        bank, identity = self._bank, self.identity[rows]
        bank.add(embedding, identity)
        self._rows = torch.cat([self._rows, rows])[-self.size :]
        positive = self._positives(bank, embedding, rows)
        negative = bank.negatives(embedding, identity, ranks=self.negative_ranks, generator=self._generator)
        known = (positive >= 0) & (negative >= 0)
        age = bank.ages[torch.cat([positive[known], negative[known]])].double().mean().item()
        return GlobalPairs(*(torch.where(place < 0, -1, self._rows[place]) for place in (positive, negative))), age

    def _positives(self, bank: EmbeddingBank, embedding: Tensor, rows: Tensor) -> Tensor:
        """Places in the bank of other rows of the same identity, of another exam where it holds one."""
        similarity = sphere(embedding.detach()).float() @ sphere(bank.embedding).T
        # an earlier state of a row is no positive of it
        allowed = (self.identity[rows][:, None] == bank.labels[None]) & (rows[:, None] != self._rows[None])
        if self.exams is not None:
            elsewhere = allowed & (self.exams[rows][:, None] != self.exams[self._rows][None])
            allowed = torch.where(elsewhere.any(dim=1, keepdim=True), elsewhere, allowed)
        n_allowed = allowed.sum(dim=1)
        place = torch.floor(self.positive_quantile * (n_allowed - 1)).long().clamp(min=0)
        # no more than the most positives of any row need an order
        n_most = max(int(n_allowed.max()), 1)
        order = similarity.masked_fill(~allowed, -torch.inf).topk(n_most, dim=1).indices
        return torch.where(n_allowed > 0, order.gather(1, place[:, None]).squeeze(1), -1)
