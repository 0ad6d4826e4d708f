"""What the scores of a classifier, of its floors and of its nulls come to, in a sentence or two."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

_ALPHA = 0.05
_NUMBERS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


class MatchedSets(NamedTuple):
    """How a classifier compares with itself on random gene sets.

    Parameters
    ----------
    pval
        Share of sets that give as much, the sets themselves counted.
    auroc
        Mean over the random sets.
    n
        Number of random sets.
    """

    pval: float
    auroc: float
    n: int


def verdict(scores: pd.DataFrame, *, smallest_pval: float, matched: MatchedSets | None = None) -> str:
    """Say in plain words whether there is anything, and whether it takes a model to see it.

    Parameters
    ----------
    scores
        One row per reader, as :func:`scwhatif.tl.latent_classifier` writes it; the first is the classifier itself.
    smallest_pval
        Smallest p-value that shuffling the labels can give.
    matched
        Comparison with random gene sets, ``None`` without.

    Returns
    -------
    Text.
    """
    own, floors = scores.iloc[0], scores.iloc[1:]
    # one that says the same of all cells is what the scores are read against anyway
    floors = floors[floors["reader"] != "majority"].sort_values("auroc", ascending=False)
    auroc, pval = f"AUROC {own['auroc']:.2f}", own["pval"]
    if np.isnan(pval):
        interval = f"95 % interval {own['auroc_low']:.2f} to {own['auroc_high']:.2f}"
        text = f"Not tested against chance ({auroc}, {interval}){_rivals(floors, own['auroc'])}"
    elif pval <= _ALPHA:
        text = f"Told apart better than by chance ({auroc}, p = {pval:.2g}){_rivals(floors, own['auroc'])}"
    elif smallest_pval > _ALPHA:
        text = f"Too few groups or shuffles to tell from chance ({auroc}; p cannot fall below {smallest_pval:.2g})."
    else:
        text = f"Not distinguishable from chance ({auroc}, p = {pval:.2g}){_sighted(floors)}"
    return text if matched is None else f"{text} {_beside_sets(matched, own['auroc'])}"


def _rivals(floors: pd.DataFrame, auroc: float) -> str:
    """Which floors do as well, and which others give something away."""
    if floors.empty:
        return "; no floor was tried."
    rivals, hints = [], []
    for _, row in floors.iterrows():
        if row["gain_low"] <= 0:
            how = "better" if row["gain_high"] < 0 else "as well"
            rivals.append(f"{_name(row)} does {how} ({_compared(row['auroc'], auroc)})")
        elif row["auroc_low"] > 0.5 and row["reader"] != "gene_sets":
            hints.append(f"{_name(row)} gives part of it away (AUROC {row['auroc']:.2f})")
    best = floors.iloc[0]
    found = (
        f", but {_joined(rivals)}."
        if rivals
        else f"; no floor does as well (best: {_name(best)}, {best['auroc']:.2f})."
    )
    return found + "".join(f" {hint[0].upper()}{hint[1:]}." for hint in hints)


def _sighted(floors: pd.DataFrame) -> str:
    """Which floors see something where the classifier does not."""
    seen = floors[floors["auroc_low"] > 0.5]
    told = [f"{_name(row)} tells them apart (AUROC {row['auroc']:.2f})" for _, row in seen.iterrows()]
    return f", while {_joined(told)}." if told else "."


def _beside_sets(matched: MatchedSets, auroc: float) -> str:
    numbers = f"AUROC {auroc:.2f} vs {matched.auroc:.2f} in the mean of {matched.n} draws, p = {matched.pval:.2g}"
    if matched.pval <= _ALPHA:
        return f"More than random genes of like expression give ({numbers})."
    if 1 / (1 + matched.n) > _ALPHA:
        return f"Too few draws to tell from random genes of like expression ({numbers})."
    return f"Not distinguishable from random genes of like expression ({numbers})."


def _name(row: pd.Series) -> str:
    if row["reader"] == "library":
        return "library size alone"
    if row["reader"] == "integrality":
        return "a check for fractional counts"
    n = int(row["n_features"])
    return f"a {_NUMBERS[n - 1] if n <= len(_NUMBERS) else n}-number gene-set score"


def _compared(one: float, other: float) -> str:
    """Both scores, in as many digits as it takes to see a difference."""
    digits = 2 if f"{one:.2f}" != f"{other:.2f}" else 3
    return f"{one:.{digits}f} vs {other:.{digits}f}"


def _joined(clauses: list[str]) -> str:
    return " and ".join([", ".join(clauses[:-1]), clauses[-1]]) if len(clauses) > 1 else clauses[0]
