"""Which triplets of a batch a loss is to see."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

import torch

if TYPE_CHECKING:
    from torch import Generator, Tensor

Strategy = Literal["random", "semihard", "hard"]


class Triplets(NamedTuple):
    """Positions within a batch, one triplet per element; a row without a positive or a negative is in none.

    Parameters
    ----------
    anchor, positive, negative
        int64, ``(n_triplets,)`` each.
    """

    anchor: Tensor
    positive: Tensor
    negative: Tensor


def mine_triplets(
    embedding: Tensor,
    labels: Any,
    *,
    strategy: Strategy,
    margin: float = 0.2,
    exams: Any = None,
    generator: Generator | None = None,
) -> Triplets:
    r"""Choose triplets of an anchor, a row of its identity and a row of another one.

    Distances are Euclidean between rows brought to length 1, which is what the losses take; a margin means the same
    in both.

    ============== ============ ======================================================================================
    strategy       positives    negative
    ============== ============ ======================================================================================
    ``"random"``   all          one at random
    ``"semihard"`` all          the nearest with :math:`d_{ap} < d_{an} < d_{ap} + m`; the nearest where there is none
    ``"hard"``     the farthest the nearest
    ============== ============ ======================================================================================

    Parameters
    ----------
    embedding
        ``(n, n_dims)``. No gradient flows through the choice.
    labels
        Identity of every row, integer codes.
    strategy
        One of the above.
    margin
        :math:`m`, above 0.
    exams
        Exam of every row, integer codes; a row that has positives in other exams is given only those.
    generator
        Draws the negatives of ``"random"``.

    Returns
    -------
    The triplets, on the device of ``embedding``.

    Raises
    ------
    ValueError
        The strategy is not known, ``margin`` is not positive, or lengths differ.
    TypeError
        Labels or exams are not integers: as float32, 16 777 216 and 16 777 217 are the same.

    Examples
    --------
    >>> import torch
    >>> import scwhatif as wi
    >>> angle = torch.tensor([0.0, 0.3, 0.5, 1.5])
    >>> z = torch.stack([angle.cos(), angle.sin()], dim=1)
    >>> found = wi.train.mine_triplets(z, torch.tensor([0, 0, 1, 1]), strategy="hard")
    >>> found.anchor.tolist(), found.positive.tolist(), found.negative.tolist()
    ([0, 1, 2, 3], [1, 0, 3, 2], [2, 2, 1, 1])
    """
    if strategy not in get_args(Strategy):
        msg = f"strategy={strategy!r} must be one of {get_args(Strategy)}."
        raise ValueError(msg)
    if not margin > 0:
        msg = f"margin={margin} must be positive."
        raise ValueError(msg)
    z = embedding.detach()
    identity = integer_codes(labels, len(z), "labels", z.device)
    exam = None if exams is None else integer_codes(exams, len(z), "exams", z.device)
    negative = identity[:, None] != identity[None]
    positive = ~negative & ~torch.eye(len(z), dtype=torch.bool, device=z.device)
    if exam is not None:
        elsewhere = positive & (exam[:, None] != exam[None])
        positive = torch.where(elsewhere.any(dim=1, keepdim=True), elsewhere, positive)
    positive &= negative.any(dim=1, keepdim=True)
    if strategy == "random":
        anchor, chosen = positive.nonzero(as_tuple=True)
        weights = negative[anchor].float()
        drawn = torch.multinomial(weights, 1, generator=generator) if len(anchor) else weights.new_zeros(0, 1)
        return Triplets(anchor, chosen, drawn.squeeze(1).long())
    # a matrix product would lose the small distances, which are the ones that decide
    distance = sphere(z)
    distance = torch.cdist(distance, distance, compute_mode="donot_use_mm_for_euclid_dist")
    to_negative = distance.masked_fill(~negative, torch.inf)
    if strategy == "hard":
        anchor = positive.any(dim=1).nonzero().squeeze(1)
        farthest = distance.masked_fill(~positive, -torch.inf)
        return Triplets(anchor, farthest[anchor].argmax(dim=1), to_negative[anchor].argmin(dim=1))
    anchor, chosen = positive.nonzero(as_tuple=True)
    own, others = distance[anchor, chosen][:, None], to_negative[anchor]
    window = (others > own) & (others < own + margin)
    nearest = torch.where(window.any(dim=1, keepdim=True), others.masked_fill(~window, torch.inf), others)
    return Triplets(anchor, chosen, nearest.argmin(dim=1) if len(anchor) else anchor)


def sphere(embedding: Tensor) -> Tensor:
    """Rows brought to length 1, in single precision at least; those of length 0 stay where they are.

    Parameters
    ----------
    embedding
        ``(n, n_dims)``.

    Returns
    -------
    The directions.
    """
    return torch.nn.functional.normalize(embedding if embedding.dtype == torch.float64 else embedding.float(), dim=1)


def integer_codes(values: Any, n: int, name: str, device: torch.device) -> Tensor:
    """Codes of rows as int64, or an error that names them.

    Parameters
    ----------
    values
        Tensor or array of integers.
    n
        Number of rows.
    name
        What to call them in an error.
    device
        Where they are wanted.

    Returns
    -------
    ``(n,)``.

    Raises
    ------
    ValueError
        There is not one for each row.
    TypeError
        They are not integers.
    """
    codes = torch.as_tensor(values, device=device)
    if codes.is_floating_point() or codes.is_complex() or codes.dtype == torch.bool:
        msg = f"{name} must be integer codes, not {codes.dtype}: pandas.factorize gives such codes of anything."
        raise TypeError(msg)
    if codes.shape != (n,):
        msg = f"{name} must hold one code for each of the {n} rows, not {tuple(codes.shape)}."
        raise ValueError(msg)
    return codes.long()
