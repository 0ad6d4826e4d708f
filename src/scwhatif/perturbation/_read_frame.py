"""Reads edits from a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scwhatif.perturbation._edit import Edit

if TYPE_CHECKING:
    import pandas as pd


def read_frame(frame: pd.DataFrame, *, gene: str, factor: str) -> list[Edit]:
    """Read one factor per row; :meth:`Perturbation.from_frame` says more.

    Parameters
    ----------
    frame
        One edit per row.
    gene
        Column of feature names.
    factor
        Column of factors.

    Returns
    -------
    The edits in the order of the rows.

    Raises
    ------
    KeyError
        If a column is missing.
    ValueError
        If a factor is negative, infinite or missing, or a name is empty.
    TypeError
        If a name is not a str or a factor not a number.
    """
    for column in (gene, factor):
        if column not in frame.columns:
            msg = f"no column {column!r}; the columns are {', '.join(map(repr, frame.columns))}"
            raise KeyError(msg)
    edits = []
    for name, value in zip(frame[gene], frame[factor], strict=True):
        try:
            edits.append(Edit("feature", (name,), "x", value))
        except ValueError as error:
            msg = f"feature {name!r}: {error}"
            raise ValueError(msg) from error
    return edits
