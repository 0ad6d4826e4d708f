from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

import scwhatif as wi

KEY = "energy_map"
DRAWS = {"n_support": 32, "n_draws": 6, "seed": 2}


def naive(adata, model, line):
    """Energies of a line, a draw at a time, from supports that are drawn here."""
    lines = adata.obs["cell_line"].astype(str).to_numpy()
    own = np.flatnonzero(lines == line)
    tables = []
    for draw in range(DRAWS["n_draws"]):
        rng = np.random.default_rng([DRAWS["seed"], draw, *line.encode()])
        support = np.sort(rng.choice(own, DRAWS["n_support"], replace=False))
        tables.append(model.get_energies(adata, indices=own[:1], support_indices=support))
    return pd.concat(tables)


@pytest.mark.parametrize("kind", ["energy_model", "channel_model"])
def test_mean_and_spread_are_those_of_the_draws(kind, request, energy_pairs):
    model = request.getfixturevalue(kind)
    assert wi.tl.energy_map(energy_pairs, model, **DRAWS) is None
    table = energy_pairs.uns[KEY]["lines"].set_index("cell_line")
    slopes = ["slope"] if kind == "energy_model" else ["slope_0", "slope_1", "slope_2"]
    names = [*slopes, "intercept"] + (["R", "T"] if kind == "energy_model" else [])
    assert ("R" in table) == ("min_gain" in table) == ("lambda" in table) == (kind == "energy_model")
    for line, row in table.iterrows():
        draws = naive(energy_pairs, model, line)
        for name in names:
            assert row[name] == pytest.approx(draws[name].mean())
            assert row[f"{name}_sd"] == pytest.approx(draws[name].std(), abs=1e-12)
            low, high = np.percentile(draws[name], [2.5, 97.5])
            assert (row[f"{name}_low"], row[f"{name}_high"]) == pytest.approx((low, high))
        assert row["min_slope"] == pytest.approx(draws[slopes].min().min())
        if kind == "energy_model":
            assert row["lambda"] == draws["lambda"].iloc[0]
            assert row["min_gain"] == pytest.approx((1 + draws["lambda"] * draws["R"]).min())
            assert row["R_relative_sd"] == pytest.approx(draws["R"].std() / abs(draws["R"].mean()))


def test_planted_resistance_is_recovered_in_the_unseen_line_too(energy_pairs, energy_model):
    wi.tl.energy_map(energy_pairs, energy_model, n_support=64)
    table = energy_pairs.uns[KEY]["lines"]
    planted = energy_pairs.uns["simulate_pairs"]["resistance"].ravel()
    assert table["seen"].tolist() == [True, True, True, False]
    np.testing.assert_allclose(table["R"], planted, atol=0.5)
    assert spearmanr(table["R"], planted).statistic == 1
    assert table["lambda"].iloc[0] == pytest.approx(0.3, abs=0.1)
    assert table["T"].iloc[0] == pytest.approx(0.5, abs=0.15)
    assert (table["R_sd"] < 0.2 * np.diff(np.sort(planted)).min()).all()
    assert (table["min_gain"] > 0).all()


def test_pairs_and_counts(energy_pairs, energy_model):
    fewer = energy_pairs[40:].copy()
    wi.tl.energy_map(fewer, energy_model, **DRAWS)
    assert fewer.uns[KEY]["lines"]["n_pairs"].tolist() == [200, 240, 240, 240]
    assert fewer.uns[KEY]["lines"]["n_support"].tolist() == [32] * 4
    expected = energy_model.get_energies(fewer, **DRAWS)
    np.testing.assert_array_equal(fewer.obs[f"{KEY}_U"], expected["U"])
    np.testing.assert_array_equal(fewer.obs[f"{KEY}_probability"], energy_model.predict_proba(fewer, **DRAWS))


def test_scores_of_several_channels(energy_pairs, channel_model):
    wi.tl.energy_map(energy_pairs, channel_model, **DRAWS)
    assert f"{KEY}_U" not in energy_pairs.obs
    expected = channel_model.get_energies(energy_pairs)[["U_0", "U_1", "U_2"]]
    np.testing.assert_array_equal(energy_pairs.obsm[f"{KEY}_U"], expected)


def test_all_pairs_as_support_leave_no_spread(energy_pairs, energy_model):
    wi.tl.energy_map(energy_pairs, energy_model, n_draws=2)
    table = energy_pairs.uns[KEY]["lines"]
    # lines have fewer pairs than a support has by default
    assert table["n_support"].tolist() == [240] * 4
    assert (table["R_sd"] == 0).all()


def test_distances_of_mean_codes(energy_pairs, energy_model):
    wi.tl.energy_map(energy_pairs, energy_model, **DRAWS)
    found = energy_pairs.uns[KEY]["distances"]
    codes = energy_model.get_latent_representation(which="environment")
    lines = energy_pairs.obs["cell_line"].to_numpy()
    for a in found.index:
        for b in found.columns:
            apart = codes[lines == a].mean(0) - codes[lines == b].mean(0)
            assert found.loc[a, b] == pytest.approx(np.linalg.norm(apart), abs=1e-5)
    assert (np.diag(found) == 0).all()


def test_trees_take_part_in_the_probability_alone(energy_pairs, tree_model):
    wi.tl.energy_map(energy_pairs, tree_model, **DRAWS)
    energies = tree_model.get_energies(energy_pairs, **DRAWS)
    np.testing.assert_array_equal(energy_pairs.obs[f"{KEY}_probability"], energies["probability"])
    assert not np.allclose(energies["probability"], 1 / (1 + np.exp(-energies["logit"])), atol=0.01)


def test_survives_writing_and_copy(energy_pairs, energy_model, tmp_path):
    written = wi.tl.energy_map(energy_pairs, energy_model, **DRAWS, key_added="mine", copy=True)
    assert "mine" not in energy_pairs.uns
    assert "mine_U" not in energy_pairs.obs
    written.write_h5ad(tmp_path / "pairs.h5ad")
    back = ad.read_h5ad(tmp_path / "pairs.h5ad")
    for name in ("lines", "distances"):
        pd.testing.assert_frame_equal(
            back.uns["mine"][name], written.uns["mine"][name], check_dtype=False, check_index_type=False,
            check_column_type=False,
        )  # fmt: skip
    np.testing.assert_array_equal(back.obs["mine_U"], written.obs["mine_U"])
    assert back.uns["mine"]["params"]["n_support"] == 32
    assert back.uns["mine"]["params"]["model_class"] == "CellLineEnergyModel"


def test_bad_input(energy_pairs, energy_model):
    with pytest.raises(ValueError, match="n_support=9999"):
        wi.tl.energy_map(energy_pairs, energy_model, n_support=9999)
    with pytest.raises(ValueError, match="n_draws=1"):
        wi.tl.energy_map(energy_pairs, energy_model, n_draws=1)
    with pytest.raises(ValueError, match="lacks 1 of the 13 features"):
        wi.tl.energy_map(energy_pairs[:, :12].copy(), energy_model)
    assert KEY not in energy_pairs.uns
