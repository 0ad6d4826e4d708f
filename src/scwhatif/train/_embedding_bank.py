"""Embeddings of earlier batches, to choose negatives from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from scwhatif.train._mine_triplets import integer_codes, sphere

if TYPE_CHECKING:
    from torch import Generator, Tensor


class EmbeddingBank:
    """The last rows that were embedded, oldest out first.

    Where an exact search over all rows costs too much, the bank holds negatives that are nearly as hard: in one of 4096
    the nearest is among the first few of the whole set. Rows are kept without a gradient, as they were when they came.

    Parameters
    ----------
    size
        Most rows to hold.
    dim
        Number of dimensions.

    Raises
    ------
    ValueError
        A number is below 1.

    Examples
    --------
    >>> import torch
    >>> import scwhatif as wi
    >>> bank = wi.train.EmbeddingBank(3, 2)
    >>> bank.add(torch.tensor([[1.0, 0.0], [0.0, 1.0]]), [0, 1])
    >>> bank.add(torch.tensor([[0.6, 0.8], [-1.0, 0.0]]), [2, 3])
    >>> bank.labels.tolist(), bank.ages.tolist()
    ([1, 2, 3], [1, 0, 0])
    >>> place = bank.negatives(torch.tensor([[0.0, 2.0]]), [1], ranks=(1, 1))
    >>> bank.labels[place].tolist()
    [2]
    """

    def __init__(self, size: int, dim: int) -> None:
        for name, value in (("size", size), ("dim", dim)):
            if value < 1:
                msg = f"{name}={value} must be at least 1."
                raise ValueError(msg)
        self.size, self.dim = size, dim
        self.embedding = torch.zeros(0, dim)
        self.labels, self._born = torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.int64)
        self._n_added = 0

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def ages(self) -> Tensor:
        """How many batches came after that of each row, ``(len(bank),)`` int64."""
        return self._n_added - 1 - self._born

    def add(self, embedding: Tensor, labels: Any) -> None:
        """Take in a batch.

        Parameters
        ----------
        embedding
            ``(n, dim)``.
        labels
            Identity of every row, integer codes.

        Raises
        ------
        ValueError
            The number of dimensions is another.
        """
        if embedding.ndim != 2 or embedding.shape[1] != self.dim:
            msg = f"The bank holds rows of {self.dim} dimensions; this batch has the shape {tuple(embedding.shape)}."
            raise ValueError(msg)
        device = embedding.device
        codes = integer_codes(labels, len(embedding), "labels", device)
        born = torch.full_like(codes, self._n_added)
        self.embedding = torch.cat([self.embedding.to(device), embedding.detach().float()])[-self.size :].clone()
        self.labels = torch.cat([self.labels.to(device), codes])[-self.size :].clone()
        self._born = torch.cat([self._born.to(device), born])[-self.size :].clone()
        self._n_added += 1

    def negatives(
        self, embedding: Tensor, labels: Any, *, ranks: tuple[int, int] = (3, 12), generator: Generator | None = None
    ) -> Tensor:
        """Choose hard negatives of rows from the bank.

        Parameters
        ----------
        embedding
            ``(n, dim)``.
        labels
            Identity of every row, integer codes.
        ranks
            First and last rank to draw from, 1 being the nearest; a row with fewer is given the last it has.
        generator
            Draws the ranks.

        Returns
        -------
        Positions in the bank, int64 ``(n,)``; −1 where it holds no other identity.

        Raises
        ------
        ValueError
            The ranks are out of order.
        """
        first, last = ranks
        if not 1 <= first <= last:
            msg = f"ranks={ranks} must be a first and a last rank, from 1."
            raise ValueError(msg)
        codes = integer_codes(labels, len(embedding), "labels", embedding.device)
        if not len(self):
            return torch.full_like(codes, -1)
        similarity = sphere(embedding.detach()).float() @ sphere(self.embedding).T
        similarity.masked_fill_(codes[:, None] == self.labels[None], -torch.inf)
        values, places = similarity.topk(min(last, len(self)), dim=1)
        n_found = torch.isfinite(values).sum(dim=1)
        rank = torch.randint(first, last + 1, (len(codes),), generator=generator).to(codes.device)
        chosen = places.gather(1, (torch.minimum(rank, n_found).clamp(min=1) - 1)[:, None]).squeeze(1)
        return torch.where(n_found > 0, chosen, -1)
