"""Chromosomes named in one way."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scwhatif._validation import _listed

if TYPE_CHECKING:
    from collections.abc import Iterable


def check_chrom_names(names: Iterable[str], where: str) -> None:
    """Raise unless all chromosomes are named with ``chr`` in front, or all without.

    Parameters
    ----------
    names
        Names of chromosomes.
    where
        What holds them, for the message.

    Raises
    ------
    ValueError
        Some are named as ``chr1`` and some as ``1``: the same chromosome could count as two.
    """
    distinct = sorted(set(names))
    prefixed = [name for name in distinct if name.lower().startswith("chr")]
    if prefixed and len(prefixed) < len(distinct):
        bare = [name for name in distinct if name not in prefixed]
        msg = (
            f"{where} names chromosomes in two ways, as {_listed(prefixed)} and as {_listed(bare)}. Name all in one "
            "way, for instance 'chr' + names.str.removeprefix('chr')."
        )
        raise ValueError(msg)


def other_chrom_name(name: str) -> str:
    """The other usual name of a chromosome, for a hint.

    Parameters
    ----------
    name
        Such as ``chr1`` or ``1``.

    Returns
    -------
    ``1`` or ``chr1``.
    """
    return name[3:] if name.lower().startswith("chr") else f"chr{name}"
