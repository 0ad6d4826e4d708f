"""What a tool stored, or an error that names the call to run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from mudata import MuData


def stored(
    data: AnnData | MuData,
    key: str,
    field: str,
    what: str,
    call: str,
    *,
    matrix: Literal["varm", "varp"] | None = None,
) -> dict[str, Any]:
    """Read what a tool wrote to ``uns``.

    Parameters
    ----------
    data
        After the tool.
    key
        Its ``key_added``.
    field
        Entry that only this tool writes.
    what
        Name of the result.
    call
        Call of the tool up to its last argument before ``key_added``, without a closing bracket.
    matrix
        Where the tool keeps an array under the same key, if it does.

    Returns
    -------
    The result, ``data.uns[key]``.

    Raises
    ------
    KeyError
        There is no such result under this key.
    """
    result = data.uns.get(key)
    if not isinstance(result, dict) or field not in result or (matrix and key not in getattr(data, matrix)):
        msg = f"{_place(data, key)} holds no {what}; run {call}, key_added={key!r})."
        raise KeyError(msg)
    return result


def stored_rows(data: AnnData | MuData, key: str, field: str, **labels: str) -> pd.DataFrame:
    """Read the rows of a stored table that carry some labels.

    Parameters
    ----------
    data
        After the tool.
    key
        Its ``key_added``.
    field
        Name of the table, whose columns of labels are categories.
    labels
        The label wanted of each column.

    Returns
    -------
    The rows, in their order.

    Raises
    ------
    KeyError
        A column has no such label.
    """
    table = data.uns[key][field]
    for column, label in labels.items():
        known = [str(each) for each in table[column].cat.categories]
        if label not in known:
            msg = f"{column}={label!r} is not in {_place(data, key)}; it holds {known}."
            raise KeyError(msg)
    for column, label in labels.items():
        table = table[table[column] == label]
    return table


def _place(data: AnnData | MuData, key: str) -> str:
    return f"{'mdata' if hasattr(data, 'mod') else 'adata'}.uns[{key!r}]"
