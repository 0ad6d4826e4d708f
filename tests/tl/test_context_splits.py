from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import scwhatif as wi
from scwhatif.tl._context_splits import ContextSplit, chrom_folds, context_splits, loci, share_of_known_loci


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 8), min_size=3, max_size=200).filter(lambda c: len(set(c)) >= 3), st.integers(1, 3))
def test_chromosomes_stay_whole(chroms: list[int], n_folds: int):
    names = np.array([f"chr{i}" for i in chroms])
    folds = chrom_folds(names, n_folds)
    assert set(folds) == set(range(n_folds))
    for name in set(names):
        assert len(set(folds[names == name])) == 1
    # dealing the largest first leaves no fold larger than another by more than a chromosome
    sizes = np.bincount(folds)
    assert sizes.max() - sizes.min() <= np.unique(names, return_counts=True)[1].max()


def test_too_few_chromosomes():
    with pytest.raises(ValueError, match="n_chrom_folds=3 needs at least as many chromosomes, not 2"):
        chrom_folds(np.array(["1", "2"]), 3)


def test_splits_are_disjoint_in_line_and_chromosome():
    adata = wi.datasets.simulate_pairs(3, 5, 6)
    lines, chroms = (adata.obs[key].astype(str).to_numpy() for key in ("cell_line", "chrom"))
    folds = chrom_folds(chroms, 5)
    known = np.random.default_rng(0).uniform(size=adata.n_obs) < 0.9
    splits = list(context_splits(lines, folds, known, ["line_0", "line_2"]))
    assert [(split.cell_line, split.fold) for split in splits] == [
        (line, fold) for line in ("line_0", "line_2") for fold in range(5)
    ]
    tested = np.concatenate([split.test for split in splits])
    assert sorted(tested) == list(np.flatnonzero(known & (lines != "line_1")))
    places = loci(adata.obs)
    for split in splits:
        for part in (split.train, split.validation):
            assert known[part].all()
            assert split.cell_line not in set(lines[part])
            assert not set(chroms[part]) & set(chroms[split.test])
        assert not set(chroms[split.train]) & set(chroms[split.validation])
        assert share_of_known_loci(places, split) == 0


def test_loci_are_places():
    adata = wi.datasets.simulate_pairs(2, 2, 6, shared=1.0)
    places = loci(adata.obs)
    obs = adata.obs
    for i, what in enumerate(("enhancer", "promoter")):
        place = obs["chrom"].astype(str) + obs[f"{what}_start"].astype(str)
        same = place.to_numpy()[:, None] == place.to_numpy()
        np.testing.assert_array_equal(places[:, [i]] == places[:, i], same)
    every = np.arange(adata.n_obs)
    first = (obs["cell_line"] == "line_0").to_numpy()
    split = ContextSplit("line_1", 0, every[first], every[:0], every[~first])
    assert share_of_known_loci(places, split) == 1.0
    assert loci(obs.drop(columns="promoter_end")) is None
