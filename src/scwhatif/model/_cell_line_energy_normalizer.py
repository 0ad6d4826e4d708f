"""Making features comparable between cell lines without looking at a label."""

from __future__ import annotations

from typing import Literal

import numpy as np

InputNorm = Literal["rank", "zscore"]
# knots of the distribution of a feature in a line: enough for ranks to a tenth of a percent
_KNOTS = 1025


class LineNormalizer:
    """Ranks or z-scores of every feature within its cell line; a missing value stays missing.

    Fitted on all rows of a line, labelled or not. It is transductive: the rows to be predicted take part, their labels
    do not.

    Parameters
    ----------
    kind
        ``"rank"``: position in the distribution of the line, from -1 to 1, ties in their middle; ``"zscore"``.
    """

    def __init__(self, kind: InputNorm = "rank") -> None:
        self.kind = kind
        self.statistics: dict[str, list[tuple[np.ndarray, np.ndarray] | None]] = {}

    def fit(self, values: np.ndarray, lines: np.ndarray) -> LineNormalizer:
        """Learn the distributions of all lines.

        Parameters
        ----------
        values
            Features, ``(n_rows, n_features)``, NaN where not measured.
        lines
            Name of the cell line of every row.

        Returns
        -------
        Itself.
        """
        for line in np.unique(lines):
            self.statistics[str(line)] = [self._describe(column) for column in values[lines == line].T]
        return self

    def transform(self, values: np.ndarray, lines: np.ndarray) -> np.ndarray:
        """Normalise rows; a line that was not fitted is described by the rows given.

        Parameters
        ----------
        values
            Features, ``(n_rows, n_features)``, NaN where not measured.
        lines
            Name of the cell line of every row.

        Returns
        -------
        float32, same shape, NaN where not measured.
        """
        result = np.full(values.shape, np.nan, dtype=np.float32)
        for line in np.unique(lines):
            rows = np.flatnonzero(lines == line)
            described = self.statistics.get(str(line)) or [self._describe(column) for column in values[rows].T]
            for j, description in enumerate(described):
                if description is not None:
                    result[rows, j] = self._apply(values[rows, j], description)
        return result

    def _describe(self, column: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
        column = column[~np.isnan(column)].astype(np.float64)
        if not len(column):
            return None
        if self.kind == "zscore":
            sd = column.std()
            return np.array([column.mean()]), np.array([sd if sd > 0 else 1.0])
        knots, counts = np.unique(column, return_counts=True)
        position = 2 * (np.cumsum(counts) - 0.5 * counts) / len(column) - 1
        if len(knots) > _KNOTS:
            # evenly spaced in rank, so that long runs of ties keep their place
            kept = np.unique(np.searchsorted(position, np.linspace(position[0], position[-1], _KNOTS)))
            knots, position = knots[kept], position[kept]
        return knots, position

    def _apply(self, column: np.ndarray, description: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
        first, second = description
        if self.kind == "zscore":
            return (column - first) / second
        return np.where(np.isnan(column), np.nan, np.interp(column, first, second))
