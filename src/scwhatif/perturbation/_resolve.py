"""Finds the columns that edits are about."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import pandas as pd

    from scwhatif.perturbation._edit import Edit

# Comparing a name with a whole transcriptome takes about a tenth of a second.
_MAX_SUGGESTED_FOR = 10


def resolve_features(edits: Iterable[Edit], var_names: Sequence[str] | pd.Index) -> list[tuple[int, Edit]]:
    """Pair every feature that is edited with its column.

    Parameters
    ----------
    edits
        Edits of any kind, in order; those of other kinds are passed over.
    var_names
        Feature names of the data.

    Returns
    -------
    ``(column, edit)`` in the order of the edits, one pair per member of a set.

    Raises
    ------
    KeyError
        If names are not in ``var_names``; lists all of them.
    ValueError
        If an edited name occurs more than once in ``var_names``.
    """
    import pandas as pd

    pairs = [(name, edit) for edit in edits for name in edit.features]
    names = list(dict.fromkeys(name for name, _ in pairs))
    index = pd.Index(var_names)
    if not index.is_unique:
        repeated = set(index[index.duplicated()]).intersection(names)
        if repeated:
            shown = ", ".join(repr(name) for name in names if name in repeated)
            msg = (
                f"edited features occur more than once in var_names: {shown}; call adata.var_names_make_unique() first"
            )
            raise ValueError(msg)
    columns = dict(zip(names, index.get_indexer_for(names).tolist(), strict=True))
    unknown = [name for name in names if columns[name] < 0]
    if unknown:
        raise KeyError(_unknown_features(unknown, index))
    return [(columns[name], edit) for name, edit in pairs]


def resolve_latent(edits: Iterable[Edit], n_latent: int) -> list[tuple[int, Edit]]:
    """Pair every latent edit with its dimension.

    Parameters
    ----------
    edits
        Edits of any kind, in order; those of other kinds are passed over.
    n_latent
        Number of latent dimensions.

    Returns
    -------
    ``(dimension, edit)`` in the order of the edits.

    Raises
    ------
    ValueError
        If a dimension is out of range; lists all that are.
    """
    pairs = [(edit.dim, edit) for edit in edits if edit.dim is not None]
    outside = dict.fromkeys(edit.target for dim, edit in pairs if dim >= n_latent)
    if outside:
        msg = f"latent dimensions out of range: {', '.join(outside)}; there are {n_latent}, counted from z0"
        raise ValueError(msg)
    return pairs


def _unknown_features(unknown: list[str], index: pd.Index) -> str:
    originals: dict[str, list[str]] = {}
    for name in map(str, index):
        originals.setdefault(name.casefold(), []).append(name)
    shown = []
    for i, name in enumerate(unknown):
        close = get_close_matches(name.casefold(), originals, n=3) if i < _MAX_SUGGESTED_FOR else []
        candidates = [original for match in close for original in originals[match]][:3]
        shown.append(f"{name!r} (close: {', '.join(candidates)})" if candidates else repr(name))
    return f"features not in var_names: {', '.join(shown)}; use scwhatif.pp.match_genes to match names to the data"
