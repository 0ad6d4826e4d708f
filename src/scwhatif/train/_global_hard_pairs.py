"""The hardest pairs of a whole training set, behind guard rails."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from scwhatif.train._mine_triplets import integer_codes, sphere

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike
    from torch import Tensor

# Columns whose largest value is taken before any are ordered.
_BLOCK = 256


class GlobalPairs(NamedTuple):
    """A positive and a negative for every row.

    Parameters
    ----------
    positive, negative
        int64, ``(n,)`` each: positions of rows, −1 where there is none.
    """

    positive: Tensor
    negative: Tensor


def global_hard_pairs(
    embedding: Tensor | ArrayLike,
    labels: Any,
    *,
    exams: Any = None,
    positive_quantile: float = 0.5,
    negative_ranks: tuple[int, int] = (3, 12),
    forbid: Callable[[Tensor], Tensor] | None = None,
    chunk_size: int = 512,
    seed: int = 0,
) -> GlobalPairs:
    r"""For every row a hard positive and a hard negative among **all** rows, not only those of a batch.

    The search is exact, by blocks of ``chunk_size`` rows: time grows with the square of the number of rows, memory with
    ``chunk_size`` times it. Neighbour lists would not do, since most neighbours are of the same identity.

    The very hardest pairs of a large set are, to a large part, wrong labels, and training on them collapses. Hence the
    guard rails: of the positives that at a quantile of distance, of the negatives one drawn from a range of ranks.
    ``positive_quantile=1.0, negative_ranks=(1, 1)`` takes them away. Distances are between rows brought to length 1.

    Parameters
    ----------
    embedding
        ``(n, n_dims)``, finite.
    labels
        Identity of every row, integer codes.
    exams
        Exam of every row, integer codes; a row that has positives in other exams is given one of those.
    positive_quantile
        Which of the *k* positives, nearest first: number :math:`\lfloor q (k - 1) \rfloor`, so 0 is the nearest, 0.5
        the median and 1 the farthest.
    negative_ranks
        First and last rank of the negatives to draw from, 1 being the nearest; a row with fewer is given the last it
        has.
    forbid
        Called with rows, ``(m,)``; returns truth values ``(m, n)``, which rows must not be their negatives, such as
        those of a parent cell type.
    chunk_size
        Rows per block.
    seed
        Draws the ranks.

    Returns
    -------
    The pairs, on the device of ``embedding``.

    Raises
    ------
    ValueError
        The embedding is no matrix or not finite, lengths differ, or a setting is out of range.
    TypeError
        Labels or exams are not integers.

    Examples
    --------
    >>> import torch
    >>> import scwhatif as wi
    >>> angle = torch.tensor([0.0, 0.1, 0.4, 0.5, 1.5])
    >>> z = torch.stack([angle.cos(), angle.sin()], dim=1)
    >>> pairs = wi.train.global_hard_pairs(z, [0, 0, 0, 1, 2], positive_quantile=1.0, negative_ranks=(1, 1))
    >>> pairs.positive.tolist(), pairs.negative.tolist()
    ([2, 2, 0, -1, -1], [3, 3, 3, 2, 3])
    """
    z = torch.as_tensor(embedding).detach()
    _check(z, positive_quantile, negative_ranks, chunk_size)
    identity = integer_codes(labels, len(z), "labels", z.device)
    exam = torch.zeros_like(identity) if exams is None else integer_codes(exams, len(z), "exams", z.device)
    order = torch.argsort(identity, stable=True)
    unit, identity, exam = sphere(z)[order].float(), identity[order], exam[order]
    # rows of an identity lie side by side, so that a slice is all of its positives
    _, sizes = torch.unique_consecutive(identity, return_counts=True)
    ends = sizes.cumsum(0)
    spans = torch.stack([ends - sizes, ends], dim=1).tolist()
    n, (low, high) = len(z), negative_ranks
    rank = torch.randint(low, high + 1, (n,), generator=torch.Generator().manual_seed(seed)).to(z.device)
    # ranks belong to rows, whatever the order they are worked through
    rank = rank[order]
    width = -(-n // _BLOCK) * _BLOCK
    found = GlobalPairs(torch.full((n,), -1, device=z.device), torch.full((n,), -1, device=z.device))
    buffer = torch.full((min(chunk_size, n), width), -torch.inf, device=z.device)
    at = 0
    for start in range(0, n, chunk_size):
        stop = min(start + chunk_size, n)
        similarity = buffer[: stop - start]
        torch.mm(unit[start:stop], unit.T, out=similarity[:, :n])
        while at < len(spans) and spans[at][0] < stop:
            first, last = spans[at]
            rows = slice(max(first, start), min(last, stop))
            block = similarity[rows.start - start : rows.stop - start, first:last]
            found.positive[rows] = _positives(block, exam, rows, first, positive_quantile)
            block.fill_(-torch.inf)
            if last > stop:
                break
            at += 1
        if forbid is not None:
            similarity[:, :n].masked_fill_(forbid(order[start:stop])[:, order], -torch.inf)
        found.negative[start:stop] = _negatives(similarity, min(high, n), rank[start:stop])
    result = GlobalPairs(torch.empty_like(order), torch.empty_like(order))
    for mine, theirs in zip(found, result, strict=True):
        theirs[order] = torch.where(mine < 0, -1, order[mine])
    return result


def _check(z: Tensor, positive_quantile: float, negative_ranks: tuple[int, int], chunk_size: int) -> None:
    if z.ndim != 2:
        msg = f"An embedding has two dimensions; this one has the shape {tuple(z.shape)}."
        raise ValueError(msg)
    finite = torch.isfinite(z).all(dim=1)
    if not finite.all():
        msg = f"{int((~finite).sum())} of {len(z)} rows of the embedding hold NaN or infinite values."
        raise ValueError(msg)
    if not 0 <= positive_quantile <= 1:
        msg = f"positive_quantile={positive_quantile} must be between 0, the nearest, and 1, the farthest."
        raise ValueError(msg)
    if not 1 <= negative_ranks[0] <= negative_ranks[1]:
        msg = f"negative_ranks={negative_ranks} must be a first and a last rank, from 1."
        raise ValueError(msg)
    if chunk_size < 1:
        msg = f"chunk_size={chunk_size} must be at least 1."
        raise ValueError(msg)


def _positives(block: Tensor, exam: Tensor, rows: slice, first: int, quantile: float) -> Tensor:
    """Positives of rows of one identity, given their similarity to all rows of it, of which ``first`` is the first."""
    own = torch.arange(rows.start - first, rows.stop - first, device=block.device)
    exams = exam[first : first + block.shape[1]]
    allowed = exams[own][:, None] != exams[None]
    # where there is no other exam, any other row
    allowed |= ~allowed.any(dim=1, keepdim=True)
    allowed[torch.arange(len(own), device=block.device), own] = False
    n_allowed = allowed.sum(dim=1)
    far = block.masked_fill(~allowed, torch.inf)
    place = n_allowed - 1 - torch.floor(quantile * (n_allowed - 1)).long()
    chosen = torch.full_like(own, -1)
    # rows of an exam have equally many positives, so there are few different places
    for k in torch.unique(place[n_allowed > 0]).tolist():
        same = (place == k) & (n_allowed > 0)
        chosen[same] = far[same].argmin(dim=1) if k == 0 else far[same].kthvalue(k + 1, dim=1).indices
    return torch.where(chosen < 0, -1, chosen + first)


def _negatives(similarity: Tensor, n_ranks: int, rank: Tensor) -> Tensor:
    """The negative of a given rank; what is no negative is −∞."""
    blocks = similarity.unflatten(1, (-1, _BLOCK))
    # the nearest few lie in those few blocks that hold the largest values, so only these are ordered
    best = blocks.amax(dim=2).topk(min(n_ranks, blocks.shape[1]), dim=1).indices
    few = blocks.gather(1, best[:, :, None].expand(-1, -1, _BLOCK)).flatten(1)
    values, places = few.topk(n_ranks, dim=1)
    n_found = torch.isfinite(values).sum(dim=1)
    chosen = torch.minimum(rank, n_found).clamp(min=1) - 1
    place = places.gather(1, chosen[:, None]).squeeze(1)
    column = best.gather(1, (place // _BLOCK)[:, None]).squeeze(1) * _BLOCK + place % _BLOCK
    return torch.where(n_found > 0, column, -1)
