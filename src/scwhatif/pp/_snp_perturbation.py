"""From genetic effects on expression to a perturbation."""

from __future__ import annotations

from typing import TYPE_CHECKING, overload

import numpy as np
import pandas as pd

from scwhatif.perturbation import Perturbation

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

_SHOWN = 5


@overload
def snp_perturbation(
    effects: pd.DataFrame,
    *,
    dosage: float | Mapping[str, float] | pd.Series = ...,
    gene: str = ...,
    log2fc: str = ...,
    snp: str | None = ...,
    se: None = ...,
    n_draws: None = ...,
    seed: int = ...,
) -> Perturbation: ...
@overload
def snp_perturbation(
    effects: pd.DataFrame,
    *,
    dosage: float | Mapping[str, float] | pd.Series = ...,
    gene: str = ...,
    log2fc: str = ...,
    snp: str | None = ...,
    se: str,
    n_draws: int,
    seed: int = ...,
) -> list[Perturbation]: ...
def snp_perturbation(
    effects: pd.DataFrame,
    *,
    dosage: float | Mapping[str, float] | pd.Series = 1.0,
    gene: str = "gene",
    log2fc: str = "log2fc",
    snp: str | None = None,
    se: str | None = None,
    n_draws: int | None = None,
    seed: int = 0,
) -> Perturbation | list[Perturbation]:
    r"""Turn effects of alleles on expression (eQTL, TWAS) into factors on genes.

    A gene with effects :math:`\beta_s` per allele of its SNPs, on the log2 scale, and :math:`d_s` alleles of each, is
    multiplied by :math:`2^{\sum_s \beta_s d_s}`. So two alleles square the factor of one, and none leave it at 1. An
    effect of an allele on expression is not one of disease: what the factors stand for is up to the table.

    Genes are taken as named. Put the names of the data into the table first, with
    :func:`scwhatif.pp.match_genes`, and choose its rows (tissue, cell type, significance) yourself: every row counts.

    Parameters
    ----------
    effects
        One row per gene, or per SNP and gene.
    dosage
        Number of effect alleles, 0 to 2, fractions allowed (imputed genotypes): one for all rows, or by SNP (by gene
        where ``snp`` is ``None``); further names in it are ignored.
    gene, log2fc
        Columns of gene names and of log2 fold changes per allele.
    snp
        Column of SNP names; needed where genes have several.
    se
        Column of standard errors of ``log2fc``, for draws.
    n_draws
        Number of perturbations to draw with effects :math:`N(\beta_s, \mathrm{se}_s^2)`, independent of each other;
        to carry the uncertainty of the effects into whatever is computed from the perturbation.
    seed
        Seed of the draws; these do not depend on the order of rows.

    Returns
    -------
    The :class:`scwhatif.Perturbation`, one factor per gene; with ``se`` and ``n_draws``, a list of ``n_draws``.

    Raises
    ------
    KeyError
        A column, or the dosage of a row, is missing.
    ValueError
        The table is empty; a name, effect, error or dosage is missing, infinite or out of range; a gene, or SNP and
        gene, is in several rows; a factor is too large for a number; or only one of ``se`` and ``n_draws`` is given.

    Examples
    --------
    >>> import pandas as pd
    >>> import scwhatif as wi
    >>> rows = [("NEFL", "rs1", -2), ("NEFL", "rs2", 0.5), ("STMN2", "rs3", 1)]
    >>> effects = pd.DataFrame(rows, columns=["gene", "snp", "log2fc"])
    >>> wi.pp.snp_perturbation(effects, snp="snp", dosage={"rs1": 1, "rs2": 2, "rs3": 0})
    Perturbation('NEFL:x0.5 + STMN2:x1')
    >>> effects["se"] = 0.1
    >>> len(wi.pp.snp_perturbation(effects, snp="snp", se="se", n_draws=20))
    20
    """
    if (se is None) != (n_draws is None):
        msg = "se and n_draws belong together: the standard errors, and how many perturbations to draw with them."
        raise ValueError(msg)
    if n_draws is not None and n_draws < 1:
        msg = f"n_draws={n_draws} must be at least 1."
        raise ValueError(msg)
    table = _table(effects, gene=gene, log2fc=log2fc, snp=snp, se=se)
    doses = _doses(table, dosage, "gene" if snp is None else "snp")
    beta = table["log2fc"].to_numpy()
    if n_draws is None:
        return _perturbations(table["gene"], beta * doses)[0]
    noise = np.random.default_rng(seed).normal(size=(n_draws, len(table)))
    return _perturbations(table["gene"], (beta + table["se"].to_numpy() * noise) * doses)


def _table(effects: pd.DataFrame, *, gene: str, log2fc: str, snp: str | None, se: str | None) -> pd.DataFrame:
    """Checked rows in an order of their own."""
    columns = {"gene": gene, "log2fc": log2fc, "snp": snp, "se": se}
    used = {name: column for name, column in columns.items() if column is not None}
    for name, column in used.items():
        if column not in effects.columns:
            msg = f"{name}={column!r} is not in effects; its columns are {', '.join(map(repr, effects.columns))}."
            raise KeyError(msg)
    if effects.empty:
        msg = "effects has no rows, so there is nothing to change."
        raise ValueError(msg)
    table = pd.DataFrame({name: effects[column].to_numpy() for name, column in used.items()})
    keys = [name for name in ("gene", "snp") if name in used]
    for name in keys:
        _refuse(effects, table[name].isna(), f"the name in column {used[name]!r} is missing")
        table[name] = table[name].astype(str)
    for name in ("log2fc", "se"):
        if name in used:
            table[name] = pd.to_numeric(table[name], errors="coerce").astype(np.float64)
            wrong = ~np.isfinite(table[name]) | ((table[name] < 0) if name == "se" else False)
            what = "a standard error, finite and not negative" if name == "se" else "a finite effect"
            _refuse(effects, wrong, f"column {used[name]!r} does not hold {what}")
    remedy = "keep one" if snp is not None else "name the column of SNPs with snp= so that their effects add up"
    _refuse(effects, table.duplicated(keys), f"the same {' and '.join(keys)} has been in a row before; {remedy}")
    return table.sort_values(keys, ignore_index=True)


def _refuse(effects: pd.DataFrame, wrong: pd.Series, problem: str) -> None:
    rows = np.flatnonzero(wrong)
    if len(rows):
        shown = ", ".join(repr(effects.index[row]) for row in rows[:_SHOWN])
        more = "" if len(rows) <= _SHOWN else f", … ({len(rows) - _SHOWN} more)"
        msg = f"effects, row(s) {shown}{more}: {problem}."
        raise ValueError(msg)


def _doses(table: pd.DataFrame, dosage: float | Mapping[str, float] | pd.Series, by: str) -> NDArray[np.float64]:
    if isinstance(dosage, int | float | np.number):
        doses = np.full(len(table), float(dosage))
    else:
        given = dict(dosage)
        missing = list(dict.fromkeys(name for name in table[by] if name not in given))
        if missing:
            more = "" if len(missing) <= _SHOWN else f", … ({len(missing) - _SHOWN} more)"
            msg = f"dosage has no entry for {by} {', '.join(map(repr, missing[:_SHOWN]))}{more}; 0 leaves it unchanged."
            raise KeyError(msg)
        doses = table[by].map(given).to_numpy(dtype=np.float64)
    wrong = ~((doses >= 0) & (doses <= 2))
    if wrong.any():
        first = int(np.flatnonzero(wrong)[0])
        msg = f"dosage of {by} {table[by][first]!r} is {doses[first]:g}; effect alleles number 0 to 2."
        raise ValueError(msg)
    return doses


def _perturbations(genes: pd.Series, log2_factors: NDArray[np.float64]) -> list[Perturbation]:
    """One perturbation for each row of log2 factors; its columns belong to the sorted genes."""
    names, starts = np.unique(genes.to_numpy(dtype=str), return_index=True)
    with np.errstate(over="ignore"):
        factors = np.exp2(np.add.reduceat(np.atleast_2d(log2_factors), starts, axis=1))
    return [Perturbation.from_frame(pd.DataFrame({"gene": names, "factor": each})) for each in factors]
