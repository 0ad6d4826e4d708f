"""One order for all the orders of edits that mean the same."""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING, Any

from scwhatif.perturbation._edit import KINDS, Edit

if TYPE_CHECKING:
    from collections.abc import Iterable


def canonical_order(edits: Iterable[Edit]) -> tuple[Edit, ...]:
    """Sort edits by target without swapping two that touch the same thing.

    Edits commute where they share no feature, latent dimension, modality or context. Among all orders reachable by
    swapping neighbours that commute, this is the lexicographically smallest, hence the same for all of them and
    different for sequences whose effects can differ.

    Parameters
    ----------
    edits
        In the order they are carried out.

    Returns
    -------
    The same edits.

    Examples
    --------
    >>> tp53, pair = Edit("feature", ("TP53",), "x", 2), Edit("feature", ("MDM2", "TP53"), "+", 1)
    >>> [str(edit) for edit in canonical_order([tp53, pair])]
    ['TP53:x2', '{MDM2,TP53}:+1']
    >>> [str(edit) for edit in canonical_order([pair, tp53])]
    ['{MDM2,TP53}:+1', 'TP53:x2']
    """
    sequence = list(edits)
    followers: list[set[int]] = [set() for _ in sequence]
    n_before = [0] * len(sequence)
    last_to_touch: dict[tuple[str, str], int] = {}
    for i, edit in enumerate(sequence):
        # Waiting for the last edit on each name is enough: that one waits for those before it.
        before = {last_to_touch[edit.kind, name] for name in edit.members if (edit.kind, name) in last_to_touch}
        for j in before:
            followers[j].add(i)
        n_before[i] = len(before)
        last_to_touch.update(((edit.kind, name), i) for name in edit.members)

    ready = [(_sort_key(edit), i) for i, edit in enumerate(sequence) if not n_before[i]]
    heapify(ready)
    ordered = []
    while ready:
        _, i = heappop(ready)
        ordered.append(sequence[i])
        for j in followers[i]:
            n_before[j] -= 1
            if not n_before[j]:
                heappush(ready, (_sort_key(sequence[j]), j))
    return tuple(ordered)


def _sort_key(edit: Edit) -> tuple[Any, ...]:
    # Edits that are ready together touch different things, so kind and members already tell them apart.
    return KINDS.index(edit.kind), edit.dim or 0, edit.members
