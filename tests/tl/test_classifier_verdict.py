from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from scwhatif.tl._classifier_verdict import MatchedSets, verdict


def table(auroc: float, pval: float, *floors: tuple[str, int, float, float]) -> pd.DataFrame:
    """Floors: reader, number of features, AUROC, half width of the interval of the gain."""
    rows = [("latent", 36, auroc, auroc - 0.02, auroc + 0.02, np.nan, np.nan, pval)]
    for reader, n, score, half in floors:
        gain = auroc - score
        rows.append((reader, n, score, score - 0.02, score + 0.02, gain - half, gain + half, np.nan))
    columns = ["reader", "n_features", "auroc", "auroc_low", "auroc_high", "gain_low", "gain_high", "pval"]
    return pd.DataFrame(rows, columns=columns)


MAJORITY = ("majority", 0, 0.5, 0.01)


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        (
            table(0.97, 0.005, MAJORITY, ("gene_sets", 2, 0.98, 0.02)),
            "Told apart better than by chance (AUROC 0.97, p = 0.005), but a two-number gene-set score does as well "
            "(0.98 vs 0.97).",
        ),
        (
            table(0.90, 0.005, ("library", 1, 0.95, 0.01), ("gene_sets", 12, 0.99, 0.01), ("integrality", 1, 0.9, 0.1)),
            "Told apart better than by chance (AUROC 0.90, p = 0.005), but a 12-number gene-set score does better "
            "(0.99 vs 0.90), library size alone does better (0.95 vs 0.90) and a check for fractional counts does as "
            "well (0.900 vs 0.900).",
        ),
        (
            table(0.95, 0.01, MAJORITY, ("library", 1, 0.62, 0.01), ("gene_sets", 1, 0.7, 0.01)),
            "Told apart better than by chance (AUROC 0.95, p = 0.01); no floor does as well (best: a one-number "
            "gene-set score, 0.70). Library size alone gives part of it away (AUROC 0.62).",
        ),
        (
            table(0.95, 0.01, MAJORITY),
            "Told apart better than by chance (AUROC 0.95, p = 0.01); no floor was tried.",
        ),
        (table(0.51, 0.4, MAJORITY), "Not distinguishable from chance (AUROC 0.51, p = 0.4)."),
        (
            table(0.51, 0.4, ("gene_sets", 2, 0.88, 0.01), ("library", 1, 0.51, 0.01)),
            "Not distinguishable from chance (AUROC 0.51, p = 0.4), while a two-number gene-set score tells them apart "
            "(AUROC 0.88).",
        ),
        (
            table(0.9, np.nan, ("library", 1, 0.5, 0.01)),
            "Not tested against chance (AUROC 0.90, 95 % interval 0.88 to 0.92); no floor does as well (best: library "
            "size alone, 0.50).",
        ),
    ],
)
def test_text(scores: pd.DataFrame, expected: str):
    assert verdict(scores, smallest_pval=0.005) == expected


def test_too_few_groups():
    text = verdict(table(0.99, 0.25, MAJORITY), smallest_pval=0.25)
    assert text == "Too few groups or shuffles to tell from chance (AUROC 0.99; p cannot fall below 0.25)."


@pytest.mark.parametrize(
    ("matched", "ending"),
    [
        (
            MatchedSets(0.005, 0.7, 200),
            "More than random genes of like expression give (AUROC 0.95 vs 0.70 in the mean of 200 draws, p = 0.005).",
        ),
        (
            MatchedSets(0.3, 0.94, 200),
            "Not distinguishable from random genes of like expression (AUROC 0.95 vs 0.94 in the mean of 200 draws, "
            "p = 0.3).",
        ),
        (
            MatchedSets(0.1, 0.7, 9),
            "Too few draws to tell from random genes of like expression (AUROC 0.95 vs 0.70 in the mean of 9 draws, "
            "p = 0.1).",
        ),
    ],
)
def test_beside_random_genes(matched: MatchedSets, ending: str):
    text = verdict(table(0.95, 0.01, MAJORITY), smallest_pval=0.005, matched=matched)
    assert text.endswith(ending)
    assert text.startswith("Told apart")
