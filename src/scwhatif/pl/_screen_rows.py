"""Rows of one group of a screen's table."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData


def screen_rows(adata: AnnData, key: str, group: str, tools: str) -> pd.DataFrame:
    """Read what a screen wrote about a group of cells.

    Parameters
    ----------
    adata
        After the screen.
    key
        Its ``key_added``.
    group
        Name of the group.
    tools
        Name of the tool to run where there is no screen.

    Returns
    -------
    The rows of the group.

    Raises
    ------
    KeyError
        There is no screen under this key, or no such group.
    """
    result = adata.uns.get(key)
    if not isinstance(result, dict) or "by_group" not in result:
        msg = f"adata.uns[{key!r}] holds no screen; run {tools}, key_added={key!r})."
        raise KeyError(msg)
    table = result["by_group"]
    known = [str(each) for each in table["group"].cat.categories]
    if group not in known:
        msg = f"group={group!r} is not in adata.uns[{key!r}]; it holds {known}."
        raise KeyError(msg)
    return table[table["group"] == group]
