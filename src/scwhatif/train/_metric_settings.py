"""What :class:`scwhatif.train.MetricTrainingPlan` may be told, and what goes together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import torch

from scwhatif.nn._metric_loss import check_loss, has_margin, has_proxies
from scwhatif.train._global_hard_pairs import global_hard_pairs

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

Mining = Literal["all", "random", "semihard", "hard", "full-hard"]
Monitor = Literal["map", "rank_1"]
Search = Literal["exact", "bank"]

BANK_SIZE = 4096

# of mean average precision or Rank@1, as a handful of validation identities gives it
_NOISE = 0.01


def check_mining(
    loss: str,
    mining: str | Mapping[int, str],
    margin: float | Mapping[int, float] | None,
    *,
    refresh_every: int,
    monitor: str,
    search: str = "exact",
    bank_size: int | None = None,
    min_gain: float = 0.0,
    positive_quantile: float = 0.5,
    negative_ranks: tuple[int, int] = (1, 1),
) -> None:
    """Raise ``ValueError`` naming the setting and what is allowed, unless a loss can be trained so."""
    steps: dict[Any, str] = {0: mining} if isinstance(mining, str) else dict(mining)
    for name in steps.values():
        if name not in get_args(Mining):
            msg = f"mining={name!r} must be one of {get_args(Mining)}."
            raise ValueError(msg)
    margins: dict[Any, Any] = dict(margin) if not isinstance(margin, float | int | None) else {0: margin}
    for what, schedule in (("mining", steps), ("margin", margins)):
        if 0 not in schedule or any(not isinstance(epoch, int) or epoch < 0 for epoch in schedule):
            msg = f"A schedule of {what} names epochs from 0 on, 0 among them; it names {sorted(schedule, key=str)}."
            raise ValueError(msg)
    for value in margins.values():
        if value is not None and not (np.isfinite(value) and value > 0):
            msg = f"margin={value} must be finite and positive."
            raise ValueError(msg)
    if has_proxies(loss) and set(steps.values()) != {"all"}:
        msg = f"loss={loss!r} compares rows with proxies and has no use for mining={mining!r}; leave it at 'all'."
        raise ValueError(msg)
    if margin is not None and not uses_margin(loss, steps.values()):
        check_loss(loss, 1.0, {})
    if refresh_every < 1:
        msg = f"refresh_every={refresh_every} must be at least 1."
        raise ValueError(msg)
    _check_search(search, bank_size, refresh_every, steps.values())
    if monitor not in get_args(Monitor):
        msg = f"monitor={monitor!r} must be one of {get_args(Monitor)}."
        raise ValueError(msg)
    if not 0 <= min_gain < 1:
        msg = f"min_gain={min_gain} must be at least 0 and below 1."
        raise ValueError(msg)
    # a search among two rows, which refuses what a real one would refuse in the first epoch
    global_hard_pairs(torch.eye(2), [0, 1], positive_quantile=positive_quantile, negative_ranks=negative_ranks)


def uses_margin(loss: str, mining: Iterable[str]) -> bool:
    """Whether a margin plays a part, in the loss or in the choice of triplets."""
    return has_margin(loss) or "semihard" in mining


def _check_search(search: str, bank_size: int | None, refresh_every: int, mining: Collection[str]) -> None:
    if search not in get_args(Search):
        msg = f"search={search!r} must be one of {get_args(Search)}."
        raise ValueError(msg)
    if search == "exact":
        if bank_size is not None:
            msg = f"bank_size={bank_size} has no meaning for search='exact'; give search='bank', or leave it away."
            raise ValueError(msg)
        return
    if "full-hard" not in mining:
        msg = f"search='bank' is how mining='full-hard' finds pairs; mining is {sorted(set(mining))}."
        raise ValueError(msg)
    if refresh_every != 1:
        msg = f"refresh_every={refresh_every} has no meaning for search='bank', renewed by every batch; leave it at 1."
        raise ValueError(msg)
    check_bank(bank_size, 2)


def check_bank(bank_size: int | None, batch_size: int) -> None:
    """Raise ``ValueError`` unless a bank holds a batch."""
    if bank_size is not None and bank_size < batch_size:
        msg = f"bank_size={bank_size} must be at least {batch_size}, the rows of a batch."
        raise ValueError(msg)


def gain_needed(start: float, min_gain: float) -> float:
    """What a score must gain over that of the input to be more than the noise of a few identities.

    Parameters
    ----------
    start
        Score of the input, at most 1.
    min_gain
        Share of what it misses; 0 asks for nothing.

    Returns
    -------
    That share, and at least .01: of an input that misses next to nothing the share is nothing.
    """
    return max(min_gain * (1 - start), _NOISE) if min_gain > 0 else 0.0
