from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy.special import logit
from scipy.stats import spearmanr

import scwhatif as wi

KEY = "swap_context"
LINES = ["line_0", "line_1", "line_2", "line_3"]
DRAWS = {"n_support": 32, "n_draws": 4, "seed": 2}


@pytest.fixture(scope="module")
def swapped(energy_model):
    adata = energy_model.adata.copy()
    assert wi.tl.swap_context(adata, energy_model, **DRAWS) is None
    return adata


def supports(adata, line):
    """Supports of a line, drawn here."""
    own = np.flatnonzero((adata.obs["cell_line"] == line).to_numpy())
    streams = [np.random.default_rng([DRAWS["seed"], draw, *line.encode()]) for draw in range(DRAWS["n_draws"])]
    return [np.sort(rng.choice(own, DRAWS["n_support"], replace=False)) for rng in streams]


def test_probabilities_are_those_of_slope_and_intercept_of_the_other_line(swapped, energy_model):
    score = energy_model.get_energies(**DRAWS)["U"].to_numpy()
    for line in LINES:
        of_line = [
            energy_model.get_energies(indices=support[:1], support_indices=support).iloc[0]
            for support in supports(swapped, line)
        ]
        slope, intercept = (np.mean([each[name] for each in of_line]) for name in ("slope", "intercept"))
        expected = 1 / (1 + np.exp(-(slope * score + intercept)))
        np.testing.assert_allclose(swapped.obsm[KEY][line], expected, atol=1e-6)


def test_own_line_gives_the_unswapped_probability_exactly(swapped, energy_model):
    own = energy_model.predict_proba(**DRAWS)
    np.testing.assert_array_equal(swapped.obs[f"{KEY}_own"], own)
    lines = swapped.obs["cell_line"].to_numpy()
    for line in LINES:
        np.testing.assert_array_equal(swapped.obsm[KEY][line].to_numpy()[lines == line], own[lines == line])
    table = swapped.uns[KEY]["table"]
    stays = table[table["from"].astype(str) == table["to"].astype(str)]
    assert len(stays) == 4
    assert (stays[["change", "change_low", "change_high", "n_on", "n_off", "log_odds_change"]] == 0).all(axis=None)


def test_table_is_that_of_the_pairs(swapped, energy_model):
    table = swapped.uns[KEY]["table"]
    assert table["from"].tolist() == np.repeat(LINES, 4).tolist()
    assert table["to"].tolist() == LINES * 4
    lines, threshold = swapped.obs["cell_line"].to_numpy(), energy_model.threshold_
    for row in table.to_dict("records"):
        used = lines == row["from"]
        before = swapped.obs[f"{KEY}_own"].to_numpy()[used]
        after = swapped.obsm[KEY][row["to"]].to_numpy()[used]
        assert row["n_pairs"] == used.sum()
        assert (row["own"], row["swapped"]) == pytest.approx((before.mean(), after.mean()))
        assert row["change"] == pytest.approx(after.mean() - before.mean(), abs=1e-12)
        assert row["log_odds_change"] == pytest.approx((logit(after) - logit(before)).mean(), abs=1e-9)
        assert row["n_on"] == sum(b < threshold <= a for b, a in zip(before, after, strict=True))
        assert row["n_off"] == sum(a < threshold <= b for b, a in zip(before, after, strict=True))


def test_interval_is_that_of_the_draws(swapped, energy_model):
    table = swapped.uns[KEY]["table"].set_index(["from", "to"])
    rows = np.flatnonzero((swapped.obs["cell_line"] == "line_3").to_numpy())
    energies = [
        [energy_model.get_energies(indices=s[:1], support_indices=s).iloc[0] for s in supports(swapped, line)]
        for line in ("line_3", "line_1")
    ]
    score = energy_model.get_energies(indices=rows)["U"].to_numpy()
    own, there = (
        np.array([1 / (1 + np.exp(-(each["slope"] * score + each["intercept"]))) for each in of_line])
        for of_line in energies
    )
    low, high = np.percentile((there - own).mean(1), [2.5, 97.5])
    found = table.loc[("line_3", "line_1")]
    assert (found["change_low"], found["change_high"]) == pytest.approx((low, high), abs=1e-6)
    assert low < found["change"] < high


def test_a_line_of_higher_resistance_lowers_and_one_of_lower_raises(swapped):
    planted = dict(zip(LINES, swapped.uns["simulate_pairs"]["resistance"].ravel(), strict=True))
    for row in swapped.uns[KEY]["table"].to_dict("records"):
        if row["from"] != row["to"]:
            rises = planted[row["to"]] < planted[row["from"]]
            assert (row["change_low"] > 0) if rises else (row["change_high"] < 0)
            assert (row["n_off"] == 0) if rises else (row["n_on"] == 0)


def test_change_is_close_to_the_planted_one(swapped):
    """Pairs of the line that was never seen, in an environment that was."""
    planted, score = swapped.uns["simulate_pairs"]["resistance"].ravel(), swapped.obsm["true_utility"][:, 0]
    used = (swapped.obs["cell_line"] == "line_3").to_numpy()
    truth = 1 / (1 + np.exp(-(score * (1 + 0.3 * planted[0]) - planted[0]) / 0.5))
    expected = (truth - swapped.obs["true_probability"].to_numpy())[used].mean()
    found = swapped.uns[KEY]["table"].set_index(["from", "to"]).loc[("line_3", "line_0"), "change"]
    assert expected > 0.2
    assert found == pytest.approx(expected, abs=0.08)


def test_scalar_energy_keeps_the_order_of_the_pairs_of_a_line(swapped):
    for line in LINES:
        used = (swapped.obs["cell_line"] == line).to_numpy()
        own = swapped.obs[f"{KEY}_own"].to_numpy()[used]
        for other in LINES:
            assert spearmanr(own, swapped.obsm[KEY][other][used]).statistic == pytest.approx(1.0, abs=1e-6)


def test_channels_can_change_the_order(energy_pairs, channel_model):
    wi.tl.swap_context(energy_pairs, channel_model, to="line_2", **DRAWS)
    used = (energy_pairs.obs["cell_line"] == "line_0").to_numpy()
    own = energy_pairs.obs[f"{KEY}_own"].to_numpy()[used]
    assert spearmanr(own, energy_pairs.obsm[KEY]["line_2"][used]).statistic < 0.95
    stays = channel_model.predict_proba(energy_pairs, **DRAWS)
    used = (energy_pairs.obs["cell_line"] == "line_2").to_numpy()
    np.testing.assert_array_equal(energy_pairs.obsm[KEY]["line_2"][used], stays[used])


def test_trees_do_not_move(energy_pairs, tree_model):
    """Log-odds move by the network's share, whatever the trees say of the pair."""
    wi.tl.swap_context(energy_pairs, tree_model, to="line_2", **DRAWS)
    moved = logit(energy_pairs.obsm[KEY]["line_2"]) - logit(energy_pairs.obs[f"{KEY}_own"])
    network = [tree_model.get_energies(energy_pairs, environment_of=e, **DRAWS)["logit"] for e in ("line_2", None)]
    np.testing.assert_allclose(moved, 0.4 * (network[0] - network[1]), atol=1e-5)
    assert energy_pairs.uns[KEY]["params"]["trees_weight"] == 0.6


def test_switches_come_largest_first(swapped, energy_model):
    table, pairs = swapped.uns[KEY]["table"], swapped.uns[KEY]["pairs"]
    assert len(pairs) == table["n_on"].sum() + table["n_off"].sum() > 0
    assert (pairs["switch"] == "on").sum() == table["n_on"].sum()
    assert (np.diff(pairs["change"].abs()) <= 0).all()
    assert ((pairs["swapped"] >= energy_model.threshold_) == (pairs["switch"] == "on")).all()
    for row in pairs.iloc[:5].to_dict("records"):
        assert swapped.obs.loc[row["pair"], "cell_line"] == row["from"]
        assert swapped.obs.loc[row["pair"], f"{KEY}_own"] == row["own"]
        assert swapped.obsm[KEY].loc[row["pair"], row["to"]] == row["swapped"]


def test_some_pairs_into_some_lines_at_another_threshold(swapped, energy_pairs, energy_model):
    rows = np.array([500, 3, 4])
    wi.tl.swap_context(energy_pairs, energy_model, to=["line_3", "line_1"], indices=rows, threshold=1.0, **DRAWS)
    found = energy_pairs.obsm[KEY]
    assert list(found.columns) == ["line_3", "line_1"]
    np.testing.assert_allclose(found.iloc[rows], swapped.obsm[KEY][["line_3", "line_1"]].iloc[rows], atol=1e-6)
    left_out = np.setdiff1d(np.arange(energy_pairs.n_obs), rows)
    assert found.iloc[left_out].isna().all(axis=None)
    assert energy_pairs.obs[f"{KEY}_own"].isna().sum() == len(left_out)
    result = energy_pairs.uns[KEY]
    assert result["table"][["from", "to", "n_pairs"]].to_numpy().tolist() == [
        ["line_0", "line_3", 2], ["line_0", "line_1", 2], ["line_2", "line_3", 1], ["line_2", "line_1", 1],
    ]  # fmt: skip
    assert len(result["pairs"]) == 0
    assert result["params"]["threshold"] == 1.0
    mask = np.zeros(energy_pairs.n_obs, dtype=bool)
    mask[rows] = True
    again = wi.tl.swap_context(
        energy_pairs, energy_model, to=["line_3", "line_1"], indices=mask, **DRAWS, copy=True
    ).obsm[KEY]
    np.testing.assert_allclose(again, found, atol=1e-6)


def test_survives_writing_and_copy(swapped, energy_pairs, energy_model, tmp_path):
    assert KEY not in energy_pairs.uns
    written = wi.tl.swap_context(energy_pairs, energy_model, **DRAWS, key_added="mine", copy=True)
    assert "mine" not in energy_pairs.uns
    assert "mine" not in energy_pairs.obsm
    pd.testing.assert_frame_equal(written.uns["mine"]["table"], swapped.uns[KEY]["table"])
    written.write_h5ad(tmp_path / "pairs.h5ad")
    back = ad.read_h5ad(tmp_path / "pairs.h5ad")
    for name in ("table", "pairs"):
        pd.testing.assert_frame_equal(
            back.uns["mine"][name], written.uns["mine"][name], check_dtype=False, check_index_type=False,
            check_column_type=False,
        )  # fmt: skip
    np.testing.assert_array_equal(back.obsm["mine"], written.obsm["mine"])
    assert list(back.obsm["mine"].columns) == LINES
    assert list(back.uns["mine"]["params"]["to"]) == LINES


def test_no_switch_survives_writing(energy_pairs, energy_model, tmp_path):
    wi.tl.swap_context(energy_pairs, energy_model, threshold=1.0, **DRAWS)
    energy_pairs.write_h5ad(tmp_path / "pairs.h5ad")
    assert len(ad.read_h5ad(tmp_path / "pairs.h5ad").uns[KEY]["pairs"]) == 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"to": "HeLa"}, r"to=\['HeLa'\] must be of the cell lines of adata"),
        ({"to": []}, "must be of the cell lines"),
        ({"indices": []}, "no pair"),
        ({"indices": [1, 1]}, "more than once"),
        ({"indices": [960]}, "positions from 0 to 959"),
        ({"indices": [True, False]}, "a mask of 960 pairs"),
        ({"threshold": 1.5}, "threshold=1.5"),
        ({"n_draws": 1}, "n_draws=1"),
        ({"n_support": 9999}, "n_support=9999"),
    ],
)
def test_bad_input(energy_pairs, energy_model, settings, message):
    with pytest.raises(ValueError, match=message):
        wi.tl.swap_context(energy_pairs, energy_model, **settings)
    assert KEY not in energy_pairs.uns
