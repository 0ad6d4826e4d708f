"""What a representation is scored against: its input checks, and labels and measurements as one list of factors."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence
    from typing import TypeAlias

    from numpy.typing import ArrayLike, NDArray

    Factors: TypeAlias = ArrayLike | pd.Series | pd.Categorical | pd.DataFrame
    Discrete: TypeAlias = bool | Sequence[bool] | None

# Whole numbers stored as floats with no more distinct values than this may be codes of categories.
_MAX_CODES = 20
_SHOWN = 5


@dataclass(frozen=True, eq=False)
class Factor:
    """A generative factor: one variable that a representation may or may not have a dimension for.

    Parameters
    ----------
    name
        Name in tables.
    values
        One per cell: the level, from 0, of a discrete factor; the value of a continuous one.
    levels
        Names of the levels, each of which occurs; ``None`` for a continuous factor.
    """

    name: Hashable
    values: NDArray[Any]
    levels: tuple[Hashable, ...] | None

    @property
    def n_levels(self) -> int:
        """Number of levels; 0 for a continuous factor."""
        return 0 if self.levels is None else len(self.levels)


def check_latent(z: ArrayLike | pd.DataFrame, *, name: str = "z") -> tuple[NDArray[np.float64], pd.Index]:
    """Read a representation: its values and the names of its dimensions.

    Parameters
    ----------
    z
        ``(n_cells, n_dims)``.
    name
        What errors call it.

    Returns
    -------
    A copy in which dimensions that vary by no more than rounding are exactly constant, float64; and their names.

    Raises
    ------
    ValueError
        It is not two-dimensional, has no dimension or fewer than two cells, or holds NaN or infinity.
    """
    given = np.asarray(z)
    precision = np.finfo(given.dtype).eps if given.dtype.kind == "f" else 0.0
    values = np.array(given, dtype=np.float64)
    if values.ndim != 2 or values.shape[0] < 2 or values.shape[1] < 1:
        msg = (
            f"{name} must have shape (n_cells, n_dims) with at least two cells and one dimension, not {values.shape}; "
            "a single dimension is z[:, None]."
        )
        raise ValueError(msg)
    finite = np.isfinite(values)
    if not finite.all():
        row, column = np.argwhere(~finite)[0]
        msg = (
            f"{name} holds {np.count_nonzero(~finite)} NaN or infinite value(s), the first at row {row}, column "
            f"{column}. Leave these cells or dimensions out first; a model that returns them has diverged."
        )
        raise ValueError(msg)
    # otherwise rank-based scores would read the rounding noise of a dead dimension
    dead = np.ptp(values, axis=0) <= 8 * precision * np.abs(values).max(axis=0)
    values[:, dead] = 0.0
    return values, z.columns if isinstance(z, pd.DataFrame) else pd.RangeIndex(values.shape[1])


def read_factors(factors: Factors, n_cells: int, discrete: Discrete = None, *, min_members: int = 2) -> list[Factor]:
    """Read labels or a table as factors.

    Parameters
    ----------
    factors
        One label per cell, ``(n_cells,)``: the factors are its categories, each against the rest; or one continuous
        value per cell; or a table ``(n_cells, n_factors)``, whose columns are the factors. Two categories are one
        factor, named after the second, since either against the rest is the other.
    n_cells
        Number of cells expected.
    discrete
        Whether factors are categories; one for all or one per column. ``None``: everything that is not float.
    min_members
        Smallest number of cells a category may have.

    Returns
    -------
    At least one factor.

    Raises
    ------
    ValueError
        Lengths differ, values are missing, a factor is constant, a category has fewer than ``min_members`` cells, or
        continuous values are given as categories or the reverse.
    """
    if min_members < 2:
        msg = "at least two folds are needed to hold cells out."
        raise ValueError(msg)
    columns = _columns(factors)
    if not columns or any(len(column) != n_cells for column in columns):
        found = f"{len(columns[0])} rows" if columns else "no column"
        msg = f"factors must have one row for each of the {n_cells} cells of the representation, not {found}."
        raise ValueError(msg)
    told = [discrete] * len(columns) if discrete is None or isinstance(discrete, bool) else list(discrete)
    if len(told) != len(columns):
        msg = f"discrete has {len(told)} entries for {len(columns)} factor(s); give one for all, or one each."
        raise ValueError(msg)
    read = [_read(each, discrete=kind, min_members=min_members) for each, kind in zip(columns, told, strict=True)]
    if isinstance(factors, pd.DataFrame) or np.ndim(factors) == 2:
        return read
    (single,) = read
    if single.levels is None:
        return [single]
    names = single.levels[1:] if single.n_levels == 2 else single.levels
    return [replace(each, name=name) for each, name in zip(one_vs_rest(single), names, strict=True)]


def one_vs_rest(factor: Factor) -> list[Factor]:
    """A factor with more than two levels as one two-level factor per level; any other as it is.

    Parameters
    ----------
    factor
        The factor.

    Returns
    -------
    Factors named ``name=level``.
    """
    if factor.levels is None or factor.n_levels == 2:
        return [factor]
    return [
        Factor(f"{factor.name}={level}", (factor.values == code).astype(np.int64), (f"not {level}", level))
        for code, level in enumerate(factor.levels)
    ]


def _columns(factors: Factors) -> list[pd.Series]:
    if isinstance(factors, pd.DataFrame):
        return [factors.iloc[:, i] for i in range(factors.shape[1])]
    if np.ndim(factors) == 2:
        table = pd.DataFrame(np.asarray(factors))
        return [table[i].rename(f"factor_{i}") for i in table]
    column = pd.Series(factors)
    return [column.rename("factor") if column.name is None else column]


def _read(column: pd.Series, *, discrete: bool | None, min_members: int) -> Factor:
    n_missing = int(column.isna().sum())
    if n_missing:
        msg = (
            f"factor {column.name!r} is missing for {n_missing} cell(s), the first at row "
            f"{int(np.flatnonzero(column.isna())[0])}. Leave these cells out of the representation and the factors."
        )
        raise ValueError(msg)
    if pd.api.types.is_float_dtype(column) and not np.isfinite(column).all():
        msg = f"factor {column.name!r} holds infinite values; leave these cells out."
        raise ValueError(msg)
    if discrete is None:
        discrete = not pd.api.types.is_float_dtype(column)
        if not discrete and _looks_like_codes(column):
            msg = (
                f"factor {column.name!r} holds {column.nunique()} distinct whole numbers stored as floats: say whether "
                "they are categories (discrete=True) or measurements (discrete=False)."
            )
            raise ValueError(msg)
    return _read_categories(column, min_members) if discrete else _read_measurements(column)


def _looks_like_codes(column: pd.Series) -> bool:
    distinct = column.unique()
    return len(distinct) <= _MAX_CODES and bool((distinct % 1 == 0).all())


def _read_categories(column: pd.Series, min_members: int) -> Factor:
    values = pd.Categorical(column).remove_unused_categories()
    sizes = np.bincount(values.codes, minlength=len(values.categories))
    fractional = pd.api.types.is_float_dtype(column) and bool((column % 1 != 0).any())
    if fractional or 2 * len(sizes) > len(values) >= 4:
        msg = (
            f"factor {column.name!r} has {len(sizes)} distinct values in {len(values)} cells and is given as "
            "categories. Pass discrete=False if it is continuous, or cut it into groups first, for instance with "
            "pandas.qcut."
        )
        raise ValueError(msg)
    if len(sizes) < 2:
        msg = (
            f"factor {column.name!r} holds only {list(values.categories)}; at least two categories are needed to tell "
            "anything apart."
        )
        raise ValueError(msg)
    small = sizes < min_members
    if small.any():
        rare = [f"{name!r} ({size})" for name, size in zip(values.categories[small], sizes[small], strict=True)]
        shown = ", ".join(rare[:_SHOWN]) + (", …" if len(rare) > _SHOWN else "")
        remedy = "Merge or remove them" + (f", or hold out fewer than {min_members} folds." if min_members > 2 else ".")
        msg = f"factor {column.name!r} has categories with fewer than {min_members} cells: {shown}. {remedy}"
        raise ValueError(msg)
    return Factor(column.name, np.asarray(values.codes, dtype=np.int64), tuple(values.categories))


def _read_measurements(column: pd.Series) -> Factor:
    if not pd.api.types.is_numeric_dtype(column) or pd.api.types.is_bool_dtype(column):
        msg = (
            f"factor {column.name!r} is of type {column.dtype} and is given as continuous (discrete=False). Pass "
            "discrete=True if it holds categories, or convert it to numbers."
        )
        raise ValueError(msg)
    values = column.to_numpy(dtype=np.float64)
    if np.ptp(values) == 0:
        msg = f"factor {column.name!r} is constant ({values[0]:g}), so nothing can follow it. Leave it out."
        raise ValueError(msg)
    return Factor(column.name, values, None)
