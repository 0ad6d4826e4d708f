"""Perturbations by name, as a user hands them over, and as a screen carries them out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scwhatif.perturbation import Perturbation

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scwhatif.engine import Item

PerturbationLike = Perturbation | str | Mapping[str, str | float]

_NOT_FEATURES = {
    "latent": "moves a latent code, which needs no encoder; see scwhatif.tl.traverse",
    "modality": "hides a modality, which is not a gene of this matrix",
    "context": "swaps a context, which is not a gene of this matrix",
}


def read_items(
    perturbations: PerturbationLike | Iterable[PerturbationLike] | pd.Series | Mapping[str, PerturbationLike],
    sets: Mapping[str, Iterable[str]] | None,
    var_names: pd.Index,
) -> tuple[dict[str, Perturbation], list[Item]]:
    """Name every perturbation, and resolve it to columns.

    Parameters
    ----------
    perturbations
        One or several; a mapping and a series name them, others are called by their text.
    sets
        Gene sets by name.
    var_names
        Names of the genes.

    Returns
    -------
    Perturbations by name, and the items in the same order.

    Raises
    ------
    KeyError
        A gene does not exist.
    ValueError
        A perturbation changes nothing, or something other than genes; two have the same name; or there are none.
    TypeError
        Something is no perturbation, or has a name that is no text.
    """
    named: list[tuple[Any, Any]]
    if isinstance(perturbations, Perturbation | str):
        named = [(None, perturbations)]
    elif isinstance(perturbations, Mapping | pd.Series):
        named = list(perturbations.items())
    else:
        named = [(None, each) for each in perturbations]
    if not named:
        msg = "perturbations is empty; pass at least one, such as 'TP53:ko'."
        raise ValueError(msg)
    found: dict[str, Perturbation] = {}
    for name, given in named:
        perturbation = _read(name, given, sets)
        called = name
        if name is None:
            # a set's members would make its text endless
            called = given.strip() if isinstance(given, str) else str(perturbation)
        if not isinstance(called, str):
            msg = f"a perturbation is named by text, not by {called!r}."
            raise TypeError(msg)
        if called in found:
            msg = f"two perturbations are called {called!r}; leave one out, or name them with a dict."
            raise ValueError(msg)
        found[called] = perturbation
    # all unknown genes in one message
    Perturbation(tuple(edit for each in found.values() for edit in each)).feature_edits(var_names)
    return found, [tuple(each.feature_edits(var_names)) for each in found.values()]


def _read(name: Any, given: Any, sets: Mapping[str, Iterable[str]] | None) -> Perturbation:
    try:
        perturbation = Perturbation.coerce(given, sets=sets)
    except (TypeError, ValueError) as error:
        if name is not None:
            error.add_note(f"This is {name!r}: a dict maps names of perturbations to perturbations.")
        raise
    if not perturbation:
        msg = f"perturbation {given!r} changes nothing; name a gene and what is done to it, such as 'TP53:ko'."
        raise ValueError(msg)
    for edit in perturbation:
        if edit.kind != "feature":
            msg = f"{edit} {_NOT_FEATURES[edit.kind]}; tl.screen edits genes."
            raise ValueError(msg)
    return perturbation


@dataclass(frozen=True, eq=False)
class ItemPool:
    """Items that are carried out once however often they are asked for, and only where they are.

    Parameters
    ----------
    items
        The different ones.
    within
        Groups in which each is asked for, ``(n_items, n_groups)``.
    where
        Number in ``items`` of everything asked for, in order of the requests.
    """

    items: list[Item]
    within: NDArray[np.bool_]
    where: list[NDArray[np.int64]]


def pool_items(requests: Iterable[tuple[list[Item], NDArray[np.int64]]], n_groups: int) -> ItemPool:
    """Collect items, those that do the same listed once.

    Parameters
    ----------
    requests
        Items, and the groups in which they are asked for.
    n_groups
        Number of groups.

    Returns
    -------
    The pool.
    """
    numbers: dict[Any, int] = {}
    items: list[Item] = []
    masks: list[NDArray[np.bool_]] = []
    where = []
    for asked, members in requests:
        own = []
        for item in asked:
            # the names an edit carries do not matter any more
            key = tuple((column, edit.op, edit.value) for column, edit in item)
            number = numbers.setdefault(key, len(items))
            if number == len(items):
                items.append(item)
                masks.append(np.zeros(n_groups, dtype=bool))
            masks[number][members] = True
            own.append(number)
        where.append(np.array(own, dtype=np.int64))
    return ItemPool(items, np.array(masks).reshape(-1, n_groups), where)
