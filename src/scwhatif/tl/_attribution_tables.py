"""Tables of what features of pairs are attributed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from numpy.typing import NDArray

ALL_LINES = "all"


def attribution_table(
    found: NDArray[np.float64], features: list[str], of_line: NDArray, values: NDArray | None = None
) -> pd.DataFrame:
    """Mean and mean size of attributions, over all pairs and per line.

    Parameters
    ----------
    found
        Attributions, ``(n_pairs, n_features)``, NaN where there is none.
    features
        Their names.
    of_line
        Cell line of each pair.
    values
        What was attributed to, like ``found``; ``None`` where these are no single numbers.

    Returns
    -------
    ``cell_line`` (``"all"`` first), ``feature``, ``attribution``, ``size``, ``direction``, ``n_pairs``, the largest
    first.
    """
    lines = np.unique(of_line).tolist()
    parts = []
    for line in [ALL_LINES, *lines]:
        rows = np.ones(len(found), dtype=bool) if line == ALL_LINES else of_line == line
        used = pd.DataFrame(found[rows])
        # a constant has no direction
        with np.errstate(invalid="ignore", divide="ignore"):
            direction = np.nan if values is None else used.corrwith(pd.DataFrame(values[rows])).to_numpy()
        part = pd.DataFrame(
            {
                "cell_line": line,
                "feature": features,
                "attribution": used.mean().to_numpy(),
                "size": used.abs().mean().to_numpy(),
                "direction": direction,
                "n_pairs": used.notna().sum().to_numpy(),
            }
        )
        parts.append(part.sort_values("size", ascending=False, kind="stable"))
    return labelled(pd.concat(parts, ignore_index=True), [ALL_LINES, *lines])


def attribution_lines(
    of_line: NDArray, sums: NDArray[np.float64], difference: NDArray[np.float64] | None
) -> pd.DataFrame:
    """How far attributions add up, per line.

    Parameters
    ----------
    of_line
        Cell line of each pair.
    sums
        Sum of the attributions of each pair.
    difference
        What they should add up to; ``None`` where they need not.

    Returns
    -------
    ``cell_line``, ``n_pairs``, ``explained``, ``completeness``.
    """
    names = np.unique(of_line).tolist()
    rows = []
    for line in names:
        used = of_line == line
        explained = completeness = float("nan")
        if difference is not None:
            explained = difference[used].mean()
            completeness = np.abs(sums - difference)[used].mean() / max(np.abs(difference)[used].mean(), 1e-12)
        rows.append((line, int(used.sum()), explained, completeness))
    return labelled(pd.DataFrame(rows, columns=["cell_line", "n_pairs", "explained", "completeness"]), names)


def labelled(table: pd.DataFrame, lines: list[str]) -> pd.DataFrame:
    """Make lines categories, and number rows as text, as files want them.

    Parameters
    ----------
    table
        With a column ``cell_line``; changed.
    lines
        Names of the lines in their order.

    Returns
    -------
    The table.
    """
    table["cell_line"] = pd.Categorical(table["cell_line"], categories=lines)
    table.index = table.index.astype(str)
    return table
