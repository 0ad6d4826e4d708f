from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

import scwhatif as wi

KEY = "pair_attribution"
LINES = [f"line_{i}" for i in range(4)]
SETUP = {"label_key": "label", "cell_line_key": "cell_line", "chrom_key": "chrom"}
SILENT = {"enable_progress_bar": False, "accelerator": "cpu", "early_stopping": False}
TREES = "Trees make up"
MOTIF = np.array([0, 3, 2, 1, 0, 0, 2, 3], dtype=np.uint8)


@pytest.fixture(scope="module")
def planted():
    """Pairs with six more features without effect, a model of them, and the planted size and sign of every effect."""
    adata = wi.datasets.simulate_pairs(4, 5, 20, seed=0)
    marks = np.array(adata.X, dtype=float)
    of_line = pd.get_dummies(adata.obs["cell_line"]).to_numpy(dtype=float)
    # the score is linear in the marks, once what shifts whole lines is out
    effects = np.linalg.lstsq(np.hstack([marks, of_line]), adata.obsm["true_utility"][:, 0], rcond=None)[0]
    noise = np.random.default_rng(0).normal(size=(adata.n_obs, 6))
    names = [*adata.var_names, *(f"noise_{i}" for i in range(6))]
    var = pd.DataFrame({"kind": ["mark"] * 12 + [np.nan] + ["noise"] * 6}, index=names)
    wide = ad.AnnData(np.hstack([marks, noise]).astype(np.float32), obs=adata.obs, var=var)
    wi.model.CellLineEnergyModel.setup_anndata(wide, **SETUP)
    model = wi.model.CellLineEnergyModel(wide, trees_weight=0.6, joint=True)
    model.train(12, plan_kwargs={"lr": 5e-3, "restore_best": False}, **SILENT)
    sizes = np.concatenate([np.abs(effects[:13]) * marks.std(0), np.zeros(6)])
    return wide, model, pd.Series(sizes, index=names), pd.Series(effects[:13], index=names[:13])


@pytest.mark.slow
@pytest.mark.filterwarnings(f"ignore:{TREES}")
@pytest.mark.parametrize("target", ["probability", "score"])
@pytest.mark.parametrize("method", ["occlusion", "expected_gradients", "integrated_gradients"])
def test_features_with_an_effect_come_first(planted, method, target):
    adata, model, effects, signs = planted
    found = wi.tl.pair_attribution(
        adata, model, method=method, target=target, n_baselines=2, indices=np.arange(0, 2000, 5), copy=True
    ).uns[KEY]
    clear, none = effects.index[effects > 0.2], effects.index[effects == 0]
    assert (len(clear), len(none)) == (9, 6)
    for line in ("all", "line_2"):
        size = found["table"][found["table"]["cell_line"] == line].set_index("feature")["size"]
        assert size[clear].min() > size[none].max()
        assert size.index[0] == effects.idxmax()
        direction = found["table"][found["table"]["cell_line"] == line].set_index("feature")["direction"]
        assert (np.sign(direction[clear]) == np.sign(signs[clear])).all()
        assert spearmanr(size, effects[size.index]).statistic > 0.8
    assert found["params"]["explains"] == (
        "network and trees" if (method, target) == ("occlusion", "probability") else "network"
    )


@pytest.mark.slow
def test_groups_of_features_are_taken_as_one(planted):
    adata, model, *_ = planted
    wi.tl.pair_attribution(adata, model, groupby="kind", indices=np.arange(0, 2000, 20), n_baselines=2)
    table = adata.uns[KEY]["table"].query("cell_line == 'all'").set_index("feature")["size"]
    assert list(adata.obsm[KEY].columns) == ["mark", "log10_distance", "noise"]
    assert table["mark"] > 5 * table["noise"]


@pytest.mark.parametrize("method", ["integrated_gradients", "expected_gradients"])
@pytest.mark.parametrize("target", ["probability", "score"])
def test_gradients_add_up_to_what_is_explained(energy_pairs, energy_model, method, target):
    rows = np.arange(0, 960, 6)
    wi.tl.pair_attribution(energy_pairs, energy_model, method=method, target=target, indices=rows, n_baselines=2)
    lines = energy_pairs.uns[KEY]["lines"]
    assert lines["cell_line"].tolist() == LINES
    assert lines["n_pairs"].sum() == len(rows)
    assert (lines["completeness"] < 0.03).all()
    sums = energy_pairs.obsm[KEY].sum(axis=1).to_numpy()[rows]
    of_line = energy_pairs.obs["cell_line"].to_numpy()[rows]
    for row in lines.to_dict("records"):
        assert sums[of_line == row["cell_line"]].mean() == pytest.approx(row["explained"], abs=0.03)


def test_table_is_that_of_the_pairs(energy_pairs, energy_model):
    rows = np.array([500, 3, 4, 900])
    wi.tl.pair_attribution(energy_pairs, energy_model, indices=rows, n_baselines=2)
    found, table = energy_pairs.obsm[KEY], energy_pairs.uns[KEY]["table"]
    assert found.iloc[np.setdiff1d(np.arange(960), rows)].isna().all(axis=None)
    overall = table[table["cell_line"] == "all"].set_index("feature")
    assert (overall["n_pairs"] == 4).all()
    assert (np.diff(overall["size"]) <= 0).all()
    for name in found:
        assert overall.loc[name, "attribution"] == pytest.approx(found[name].iloc[rows].mean())
        assert overall.loc[name, "size"] == pytest.approx(found[name].iloc[rows].abs().mean())
    mask = np.zeros(960, dtype=bool)
    mask[rows] = True
    first = found.copy()
    wi.tl.pair_attribution(energy_pairs, energy_model, indices=np.flatnonzero(mask), n_baselines=2)
    again = energy_pairs.obsm[KEY].copy()
    wi.tl.pair_attribution(energy_pairs, energy_model, indices=mask, n_baselines=2)
    pd.testing.assert_frame_equal(energy_pairs.obsm[KEY], again)
    assert first.notna().sum().sum() == 4 * 13
    wi.tl.pair_attribution(energy_pairs, energy_model, indices=mask, n_baselines=2, seed=1)
    assert not energy_pairs.obsm[KEY].equals(again)


def test_energy_is_attributed_to_what_shifts_with_the_resistance(energy_pairs, energy_model):
    """Features move with the resistance of a line along a direction, so those that move most tell it."""
    wi.tl.pair_attribution(energy_pairs, energy_model, target="energy", method="integrated_gradients")
    result = energy_pairs.uns[KEY]
    assert KEY not in energy_pairs.obsm
    assert (result["lines"]["completeness"] < 0.02).all()
    # distances are the same in all lines
    table = result["table"].query("cell_line == 'line_0'").set_index("feature")["size"]
    assert table["log10_distance"] < 0.1 * table.max()
    explained = result["lines"].set_index("cell_line")["explained"]
    planted = energy_pairs.uns["simulate_pairs"]["resistance"].ravel()
    assert spearmanr(explained[LINES], planted).statistic == pytest.approx(1)
    wi.tl.pair_attribution(energy_pairs, energy_model, target="energy")
    assert energy_pairs.uns[KEY]["params"]["method"] == "occlusion"
    assert energy_pairs.uns[KEY]["lines"]["completeness"].isna().all()


def test_only_occlusion_sees_trees(energy_pairs, tree_model):
    some = {"indices": np.arange(0, 960, 40), "n_baselines": 2}
    with pytest.warns(UserWarning, match="Trees make up 60% of the log-odds and have no gradient"):
        wi.tl.pair_attribution(energy_pairs, tree_model, method="integrated_gradients", **some)
    assert energy_pairs.uns[KEY]["params"]["explains"] == "network"
    wi.tl.pair_attribution(energy_pairs, tree_model, **some)
    assert energy_pairs.uns[KEY]["params"]["explains"] == "network and trees"
    assert energy_pairs.uns[KEY]["params"]["trees_weight"] == 0.6


def test_too_few_steps_are_warned_of(energy_pairs, energy_model):
    with pytest.warns(UserWarning, match="raise n_steps"):
        wi.tl.pair_attribution(
            energy_pairs, energy_model, method="integrated_gradients", n_steps=1, indices=np.arange(200)
        )


def test_unmeasured_marks_have_no_attribution(energy_pairs, energy_model):
    energy_pairs.X[: 960 // 4, 3] = np.nan
    for method in ("occlusion", "integrated_gradients"):
        wi.tl.pair_attribution(energy_pairs, energy_model, method=method, indices=np.arange(200, 300), n_baselines=1)
        found = energy_pairs.obsm[KEY]["mark_3|enhancer"]
        assert found.iloc[200:240].isna().all()
        assert found.iloc[240:300].notna().all()


@pytest.mark.parametrize("target", ["probability", "energy"])
def test_survives_writing_and_copy(energy_pairs, energy_model, target, tmp_path):
    written = wi.tl.pair_attribution(
        energy_pairs, energy_model, target=target, n_baselines=1, indices=[1, 600], key_added="mine", copy=True
    )
    assert "mine" not in energy_pairs.uns
    written.write_h5ad(tmp_path / "x.h5ad")
    back = ad.read_h5ad(tmp_path / "x.h5ad")
    for name in ("table", "lines"):
        pd.testing.assert_frame_equal(
            back.uns["mine"][name], written.uns["mine"][name], check_dtype=False, check_index_type=False,
            check_column_type=False,
        )  # fmt: skip
    if target == "probability":
        np.testing.assert_array_equal(back.obsm["mine"], written.obsm["mine"])
    assert back.uns["mine"]["params"]["target"] == target


@pytest.fixture(scope="module")
def sequences():
    """Pairs that interact where a motif is in the enhancer, and a model that has learnt it."""
    adata = wi.datasets.simulate_pairs(3, 4, 30, seed=0)
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 4, (adata.n_obs, 70)).astype(np.uint8)
    has, at = rng.uniform(size=adata.n_obs) < 0.4, rng.integers(0, 22, adata.n_obs)
    for i in np.flatnonzero(has):
        codes[i, at[i] : at[i] + 8] = MOTIF
    adata.obs["label"] = has.astype(int)
    adata.obsm["pair_sequence"] = codes
    wi.model.CellLineEnergyModel.setup_anndata(adata, **SETUP, sequence_key="pair_sequence")
    model = wi.model.CellLineEnergyModel(
        adata, backbone="cnn", enhancer_length=30, n_latent=16, dropout_rate=0.0, interaction="scalar"
    )
    model.train(12, plan_kwargs={"lr": 1e-2, "restore_best": False}, **SILENT)
    return adata, model, has, at


@pytest.mark.slow
@pytest.mark.parametrize("method", [None, "gradient_input"])
def test_windows_are_at_the_planted_motif(sequences, method):
    adata, model, has, at = sequences
    # on the strand and off it the motif is read either way, so only its place is asked for
    rows = np.flatnonzero(has)[:12]
    found = wi.tl.pair_attribution(adata, model, method=method, indices=rows, window=8, n_windows=2, copy=True).uns[KEY]
    assert found["contributions"].shape == (12, 70)
    assert found["contributions"].dtype == np.float32
    assert found["params"]["method"] == (method or "mutagenesis")
    windows = found["windows"]
    hits = 0
    for name, i in zip(found["pairs"], rows, strict=True):
        first = windows[windows["pair"] == name].iloc[0]
        assert adata.obs_names[i] == name
        hits += first["end"] == "enhancer" and abs(first["start"] - at[i]) <= 3 and first["contribution"] > 0
        letters = "".join("ACGTN"[c] for c in adata.obsm["pair_sequence"][i, first["start"] : first["stop"]])
        assert first["end"] != "enhancer" or first["sequence"] == letters
    assert hits >= 9
    table = found["table"].query("cell_line == 'all'").set_index("feature")
    assert table.index.tolist() == ["enhancer", "promoter"]


@pytest.mark.slow
def test_contributions_survive_writing(sequences, tmp_path):
    adata, model, *_ = sequences
    written = wi.tl.pair_attribution(adata, model, method="gradient_input", indices=[4, 2], target="score", copy=True)
    written.write_h5ad(tmp_path / "x.h5ad")
    back = ad.read_h5ad(tmp_path / "x.h5ad").uns[KEY]
    np.testing.assert_array_equal(back["contributions"], written.uns[KEY]["contributions"])
    assert list(back["pairs"]) == ["pair_4", "pair_2"]
    assert back["windows"]["sequence"].tolist() == written.uns[KEY]["windows"]["sequence"].tolist()
    with pytest.raises(ValueError, match=r"'occlusion' is not for a model with backbone='cnn'; use one of \('mutag"):
        wi.tl.pair_attribution(adata, model, method="occlusion")


def test_embeddings_are_attributed_by_dimension():
    adata = wi.datasets.simulate_pairs(3, 4, 10)
    rng = np.random.default_rng(0)
    embedding = rng.normal(size=(adata.n_obs, 5)).astype(np.float32)
    embedding[:, 2] += 2 * adata.obs["label"].to_numpy()
    adata.obsm["embedding"] = embedding
    wi.model.CellLineEnergyModel.setup_anndata(adata, **SETUP, embedding_key="embedding")
    model = wi.model.CellLineEnergyModel(adata, backbone="precomputed", n_latent=8, n_hidden=8)
    model.train(8, plan_kwargs={"lr": 1e-2}, **SILENT)
    wi.tl.pair_attribution(adata, model)
    assert adata.uns[KEY]["table"]["feature"].iloc[0] == "embedding_2"
    assert list(adata.obsm[KEY].columns) == [f"embedding_{i}" for i in range(5)]
    with pytest.raises(ValueError, match="lies in obsm"):
        wi.tl.pair_attribution(adata, model, groupby="mark")


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"target": "U"}, ValueError, "target='U'"),
        ({"method": "mutagenesis"}, ValueError, "'mutagenesis' is not for a model with backbone='mlp'"),
        ({"target": "energy", "method": "expected_gradients"}, ValueError, "is not for target='energy'"),
        ({"groupby": "marks"}, KeyError, "Did you mean 'mark'"),
        ({"indices": [960]}, ValueError, "positions from 0 to 959"),
        ({"n_steps": 0}, ValueError, "n_steps=0"),
        ({"n_baselines": 0}, ValueError, "n_baselines=0"),
        ({"n_support": 9999}, ValueError, "n_support=9999"),
    ],
)
def test_bad_input(energy_pairs, energy_model, settings, error, message):
    with pytest.raises(error, match=message):
        wi.tl.pair_attribution(energy_pairs, energy_model, **settings)
    assert KEY not in energy_pairs.uns


def test_bad_model(energy_pairs):
    with pytest.raises(TypeError, match="not a CellLineEnergyModel"):
        wi.tl.pair_attribution(energy_pairs, "model")
    adata = wi.datasets.simulate_pairs(3, 4, 10)
    wi.model.CellLineEnergyModel.setup_anndata(adata, **SETUP)
    model = wi.model.CellLineEnergyModel(adata, interaction="none", trees_weight=0.0, n_hidden=8)
    with pytest.raises(RuntimeError, match="not trained"):
        wi.tl.pair_attribution(adata, model)
    model.train(1, **SILENT)
    with pytest.raises(ValueError, match="has no energy"):
        wi.tl.pair_attribution(adata, model, target="energy")
