from __future__ import annotations

import anndata as ad
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LinearRegression
from sklearn.metrics import average_precision_score

import scwhatif as wi

make = wi.datasets.simulate_pairs


@pytest.fixture(scope="module")
def pairs() -> ad.AnnData:
    return make(4, 5, 40, seed=1)


def marks(adata: ad.AnnData) -> np.ndarray:
    return np.asarray(adata.X[:, (adata.var["region"] != "distance").to_numpy()], dtype=float)


def codes(adata: ad.AnnData) -> np.ndarray:
    return adata.obs["cell_line"].cat.codes.to_numpy()


def test_shape_and_places(pairs: ad.AnnData):
    assert pairs.shape == (4 * 5 * 40 * 5, 13)
    obs = pairs.obs
    assert (obs.groupby(["cell_line", "chrom"], observed=True).size() == 200).all()
    assert list(obs["chrom"].cat.categories) == [f"chr{i}" for i in range(1, 6)]
    assert list(obs["cell_line"].cat.categories) == [f"line_{i}" for i in range(4)]
    assert (obs["enhancer_end"] - obs["enhancer_start"] == 400).all()
    assert (obs["promoter_end"] - obs["promoter_start"] == 2000).all()
    gap = np.maximum(obs["promoter_start"] - obs["enhancer_end"], obs["enhancer_start"] - obs["promoter_end"])
    assert (obs["distance"] == gap).all()
    assert gap.min() > 0
    np.testing.assert_allclose(pairs.X[:, -1], np.log10(gap), rtol=1e-6)
    assert list(pairs.var_names[[0, 4, 8, 12]]) == [
        "mark_0|enhancer",
        "mark_0|promoter",
        "mark_0|window",
        "log10_distance",
    ]


@pytest.mark.parametrize("n_channels", [1, 3])
def test_probability_is_the_stated_energy(n_channels: int):
    coupling = np.array([-0.4, 0.2, 0.6])[:n_channels]
    adata = make(3, 2, 30, n_channels=n_channels, coupling=coupling, temperature=0.7)
    planted, utility = adata.uns["simulate_pairs"], adata.obsm["true_utility"]
    np.testing.assert_allclose(utility.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(utility.std(axis=0), 1)
    for i in range(0, adata.n_obs, 37):
        energy = planted["resistance"][codes(adata)[i]]
        logit = sum(u - r + k * u * r for u, r, k in zip(utility[i], energy, planted["coupling"], strict=True)) / 0.7
        assert adata.obs["true_probability"].iloc[i] == pytest.approx(1 / (1 + np.exp(-logit)))
    by_line = adata.obs.groupby("cell_line", observed=True)["true_probability"].mean()
    np.testing.assert_allclose(planted["prevalence"], by_line)


def test_labels_are_drawn_from_the_probability(pairs: ad.AnnData):
    probability, label = pairs.obs["true_probability"], pairs.obs["label"]
    z = (label - probability).sum() / np.sqrt((probability * (1 - probability)).sum())
    assert abs(z) < 3.5
    assert average_precision_score(label, probability) > 3 * label.mean()


def test_utility_is_linear_in_the_marks_unless_asked():
    def explained(adata: ad.AnnData, *, products: bool) -> float:
        z = marks(adata)
        x = np.column_stack([z, adata.X[:, -1]])
        if products:
            x = np.column_stack([x, z[:, :4] * z[:, 4:8]])
        return LinearRegression().fit(x, adata.obsm["true_utility"]).score(x, adata.obsm["true_utility"])

    assert explained(make(2, 3, 30, shift=0), products=False) > 1 - 1e-6
    bent = make(2, 3, 30, shift=0, nonlinear=True)
    assert explained(bent, products=False) < 0.7
    assert explained(bent, products=True) > 1 - 1e-6


def test_shift_carries_the_resistance_and_nothing_else(pairs: ad.AnnData):
    still = make(4, 5, 40, shift=0, seed=1)
    planted = pairs.uns["simulate_pairs"]["resistance"][codes(pairs)]
    moved = marks(pairs) - marks(still)
    # one direction, as long as the resistance
    direction = moved[0] / planted[0]
    np.testing.assert_allclose(moved, planted * direction, atol=1e-5)
    for key in ("label", "true_probability"):
        np.testing.assert_array_equal(pairs.obs[key], still.obs[key])
    # so a mean over a few unlabelled pairs of a line never seen tells it, and without the shift it does not
    rng = np.random.default_rng(0)
    error = {}
    for name, adata in (("shift", pairs), ("none", still)):
        means = np.array(
            [
                [marks(adata)[rng.choice(np.flatnonzero(codes(adata) == c), 32)].mean(axis=0) for _ in range(50)]
                for c in range(4)
            ]
        )
        energy = adata.uns["simulate_pairs"]["resistance"][:, 0]
        seen, unseen = [0, 1, 3], 2
        fit = LinearRegression().fit(means[seen].reshape(150, -1), np.repeat(energy[seen], 50))
        error[name] = np.abs(fit.predict(means[unseen]) - energy[unseen]).mean()
    assert error["shift"] < 0.15
    assert error["none"] > 0.25


def test_energy_arguments_leave_loci_and_utility_alone():
    a = make(3, 2, 10)
    b = make(3, 2, 10, coupling=-0.3, temperature=2, resistance=[0, 1, 5], shift=3)
    np.testing.assert_array_equal(a.obsm["true_utility"], b.obsm["true_utility"])
    np.testing.assert_array_equal(a.obs["enhancer_start"], b.obs["enhancer_start"])
    np.testing.assert_array_equal(b.uns["simulate_pairs"]["resistance"], [[0], [1], [5]])


def test_one_channel_keeps_the_order_within_a_line_and_several_change_it():
    one = make(2, 3, 40, coupling=0.5)
    three = make(2, 3, 40, n_channels=3, coupling=[-1.0, 0.0, 2.0])
    for adata, same in ((one, True), (three, False)):
        for line in range(2):
            rows = codes(adata) == line
            order = np.argsort(adata.obs["true_probability"].to_numpy()[rows])
            by_utility = np.argsort(adata.obsm["true_utility"].sum(axis=1)[rows])
            assert np.array_equal(order, by_utility) is same
    np.testing.assert_allclose(three.uns["simulate_pairs"]["resistance"].sum(axis=0), [3.5 / 3] * 3)


def test_loci_are_shared_by_neighbours_and_by_lines():
    def loci(adata: ad.AnnData, line: int) -> set:
        obs = adata.obs[codes(adata) == line]
        return set(zip(obs["chrom"], obs["promoter_start"], strict=True))

    for shared, common in ((0.0, 0), (0.5, 30), (1.0, 60)):
        adata = make(3, 3, 20, shared=shared)
        assert len(loci(adata, 0)) == 60
        assert len(loci(adata, 0) & loci(adata, 1) & loci(adata, 2)) == common
    obs = adata.obs[codes(adata) == 0]
    assert (obs.groupby(["chrom", "promoter_start"], observed=True).size() == 5).all()
    assert obs.groupby(["chrom", "enhancer_start"], observed=True).size().max() > 1
    # marks of a shared locus are alike in two lines, not equal
    first = [
        adata[codes(adata) == c].to_df().groupby([*obs.loc[:, ["chrom", "promoter_start"]].to_numpy().T]).first()
        for c in (0, 1)
    ]
    correlation = np.corrcoef(first[0]["mark_0|promoter"], first[1]["mark_0|promoter"])[0, 1]
    assert 0.2 < correlation < 0.8


def test_locus_share_can_be_looked_up_but_not_read_from_marks():
    adata = make(2, 5, 40, shift=0, locus_share=0.6, shared=1.0)
    x, u = np.column_stack([marks(adata), adata.X[:, -1]]), adata.obsm["true_utility"]
    assert LinearRegression().fit(x, u).score(x, u) == pytest.approx(0.4, abs=0.1)


def test_last_line_lacks_marks():
    adata = make(3, 2, 5, n_missing_marks=2)
    missing = np.isnan(adata.X)
    last = codes(adata) == 2
    assert missing[~last].sum() == 0
    lacking = adata.var["mark"].isin(["mark_2", "mark_3"]).to_numpy()
    assert missing[np.ix_(last, lacking)].all()
    assert not missing[np.ix_(last, ~lacking)].any()


@settings(max_examples=15, deadline=None)
@given(
    lines=st.integers(1, 4),
    chroms=st.integers(1, 3),
    promoters=st.integers(1, 8),
    neighbours=st.integers(1, 2),
    shared=st.floats(0, 1),
    n_channels=st.integers(1, 3),
)
def test_any_size(lines: int, chroms: int, promoters: int, neighbours: int, shared: float, n_channels: int):
    adata = make(lines, chroms, promoters, n_neighbours=neighbours, shared=shared, n_channels=n_channels)
    assert adata.n_obs == lines * chroms * promoters * neighbours
    assert not adata.obs.duplicated(["cell_line", "chrom", "enhancer_start", "promoter_start"]).any()
    assert adata.obs["true_probability"].between(0, 1).all()
    assert np.isfinite(adata.X).all()


def test_seeds_and_writing(tmp_path):
    a, b = make(2, 2, 5, seed=3), make(2, 2, 5, seed=np.random.default_rng(3))
    np.testing.assert_array_equal(a.X, b.X)
    assert a.obs.equals(b.obs)
    assert b.uns["simulate_pairs"]["params"]["seed"] == "not recorded"
    assert not np.array_equal(a.X, make(2, 2, 5, seed=4).X)
    a.write_h5ad(tmp_path / "x.h5ad")
    back = ad.read_h5ad(tmp_path / "x.h5ad")
    np.testing.assert_array_equal(back.X, a.X)
    assert back.obs.equals(a.obs)
    assert back.uns["simulate_pairs"]["params"] == a.uns["simulate_pairs"]["params"]
    np.testing.assert_array_equal(back.uns["simulate_pairs"]["resistance"], a.uns["simulate_pairs"]["resistance"])


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"n_cell_lines": 0}, "n_cell_lines=0 must be at least 1"),
        ({"n_neighbours": 11}, "n_neighbours=11 must not exceed the 10 enhancers"),
        ({"n_missing_marks": 5}, "n_missing_marks=5"),
        ({"temperature": 0}, "temperature=0 must be positive"),
        ({"shift": np.inf}, "shift=inf"),
        ({"shared": 1.2}, "shared=1.2 must be between 0 and 1"),
        ({"locus_share": -1}, "locus_share=-1"),
        ({"resistance": [1.0]}, "one per cell line"),
        ({"resistance": [1.0, -1.0]}, "not negative"),
        ({"resistance": [[1.0, 2.0], [1.0, 2.0]]}, "lines × channels"),
        ({"coupling": [0.1, 0.2]}, "one finite number"),
        ({"coupling": np.nan}, "one finite number"),
    ],
)
def test_out_of_range(kwargs: dict, message: str):
    with pytest.raises(ValueError, match=message):
        make(**{"n_cell_lines": 2, "n_chroms": 2, "n_promoters": 5} | kwargs)
