"""Tables of profiles, perturbations × genes, checked and put in the same order."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from numpy.typing import ArrayLike, NDArray

_SHOWN = 5


class Profiles(NamedTuple):
    """What :func:`read_profiles` returns.

    Parameters
    ----------
    values
        ``(n_perturbations, n_genes)``, float64, finite.
    perturbations
        Names of the rows, positions where they have none.
    genes
        Names of the columns, ``None`` where they have none.
    precision
        Relative rounding error of what was given, which may have been float32.
    """

    values: NDArray[np.float64]
    perturbations: pd.Index
    genes: pd.Index | None
    precision: float

    def frame(self, values: NDArray[np.float64]) -> pd.DataFrame:
        """Table with the same names.

        Parameters
        ----------
        values
            ``(n_perturbations, n_genes)``.

        Returns
        -------
        Perturbations × genes.
        """
        return pd.DataFrame(values, index=self.perturbations, columns=self.genes)

    def series(self, values: NDArray[np.float64]) -> pd.Series:
        """One value per perturbation, named.

        Parameters
        ----------
        values
            ``(n_perturbations,)``.

        Returns
        -------
        Series.
        """
        return pd.Series(values, index=self.perturbations)


def read_profiles(table: ArrayLike | pd.DataFrame, name: str, *, like: Profiles | None = None) -> Profiles:
    """Check a table of profiles and match it to another one.

    Parameters
    ----------
    table
        Perturbations × genes, finite.
    name
        What to call it in messages.
    like
        Table to match: by the names of rows and columns where both have them, by position otherwise. Rows and columns
        that it does not have are left out.

    Returns
    -------
    The profiles.

    Raises
    ------
    ValueError
        It is not two-dimensional or is empty, names repeat, rows or columns are missing, or values are not finite.
    """
    named = isinstance(table, pd.DataFrame)
    if isinstance(table, pd.DataFrame):
        check_unique(table.index, f"rows of {name}")
        check_unique(table.columns, f"columns of {name}")
        if like is not None and like.genes is not None:
            check_held(like.perturbations, table.index, name, "perturbation")
            check_held(like.genes, table.columns, name, "gene")
            table = table.loc[like.perturbations, like.genes]
    given = np.asarray(table)
    values = given.astype(np.float64)
    if values.ndim != 2 or not values.size:
        msg = f"{name} must have shape (n_perturbations, n_genes), neither 0, not {values.shape}."
        raise ValueError(msg)
    if like is not None and values.shape != like.values.shape:
        msg = f"{name} must have the shape of the other profiles, {like.values.shape}, not {values.shape}."
        raise ValueError(msg)
    if not np.isfinite(values).all():
        row, column = np.argwhere(~np.isfinite(values))[0]
        msg = f"{name} holds NaN or infinite values, the first in row {row}, column {column}."
        raise ValueError(msg)
    names = table if isinstance(table, pd.DataFrame) and named else None
    return Profiles(
        values=values,
        perturbations=pd.RangeIndex(len(values)) if names is None else names.index,
        genes=None if names is None else names.columns,
        precision=float(np.finfo(given.dtype).eps) if given.dtype.kind == "f" else float(np.finfo(np.float64).eps),
    )


def read_pair(
    predicted: ArrayLike | pd.DataFrame, observed: ArrayLike | pd.DataFrame
) -> tuple[NDArray[np.float64], Profiles]:
    """Check two tables of profiles that are to be compared.

    Parameters
    ----------
    predicted, observed
        Perturbations × genes.

    Returns
    -------
    Values of the first in the order of the second, and the second, with the larger rounding error of both.

    Raises
    ------
    ValueError
        As in :func:`read_profiles`.
    """
    truth = read_profiles(observed, "observed")
    guess = read_profiles(predicted, "predicted", like=truth)
    return guess.values, truth._replace(precision=max(truth.precision, guess.precision))


def read_profile(profile: ArrayLike | pd.Series, name: str, *, like: Profiles) -> NDArray[np.float64]:
    """Check one profile and match it to the genes of a table.

    Parameters
    ----------
    profile
        One value per gene, finite.
    name
        What to call it in messages.
    like
        Table whose genes are matched, by name where both have names.

    Returns
    -------
    ``(n_genes,)``, float64.

    Raises
    ------
    ValueError
        Genes are missing or repeat, or values are not finite.
    """
    if isinstance(profile, pd.Series) and like.genes is not None:
        check_unique(profile.index, f"genes of {name}")
        check_held(like.genes, profile.index, name, "gene")
        profile = profile.loc[like.genes]
    values = np.asarray(profile, dtype=np.float64)
    if values.shape != like.values.shape[1:]:
        msg = f"{name} must have one value for each of the {like.values.shape[1]} genes, not shape {values.shape}."
        raise ValueError(msg)
    if not np.isfinite(values).all():
        msg = f"{name} holds NaN or infinite values, the first at position {int(np.argmin(np.isfinite(values)))}."
        raise ValueError(msg)
    return values


def read_per_gene(table: ArrayLike | pd.DataFrame | pd.Series, name: str, *, like: Profiles) -> NDArray[np.float64]:
    """Check what is given for every perturbation and gene, or once for all perturbations.

    Parameters
    ----------
    table
        Perturbations × genes, or one value per gene.
    name
        What to call it in messages.
    like
        Table to match.

    Returns
    -------
    ``(n_perturbations, n_genes)``, float64.

    Raises
    ------
    ValueError
        As in :func:`read_profiles`.
    """
    if np.ndim(table) == 1:
        return np.broadcast_to(read_profile(table, name, like=like), like.values.shape)
    return read_profiles(table, name, like=like).values


def check_unique(names: pd.Index, what: str) -> None:
    """Refuse names that repeat.

    Parameters
    ----------
    names
        The names.
    what
        What to call them in messages.

    Raises
    ------
    ValueError
        One repeats.
    """
    if not names.is_unique:
        msg = f"{what} must have names that do not repeat; these do: {listed(names[names.duplicated()].unique())}."
        raise ValueError(msg)


def check_held(wanted: Iterable[Any], held: Collection[Any], name: str, what: str) -> None:
    """Refuse a table that lacks something.

    Parameters
    ----------
    wanted
        Names it must have.
    held
        Names it has.
    name
        What to call the table in messages.
    what
        What to call that which is named, in the singular.

    Raises
    ------
    ValueError
        It lacks some.
    """
    known = set(held)
    missing = [each for each in wanted if each not in known]
    if missing:
        msg = f"{name} lacks {len(missing)} {what}(s): {listed(missing)}."
        raise ValueError(msg)


def listed(names: Collection[Any]) -> str:
    """First few names, and how many were left out.

    Parameters
    ----------
    names
        The names.

    Returns
    -------
    Text.
    """
    shown = ", ".join(repr(each) for each in islice(names, _SHOWN))
    return shown if len(names) <= _SHOWN else f"{shown}, … ({len(names) - _SHOWN} more)"
