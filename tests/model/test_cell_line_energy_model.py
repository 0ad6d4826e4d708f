import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score

from scwhatif._provenance import weights_hash
from scwhatif.datasets import simulate_pairs
from scwhatif.model import CellLineEnergyModel
from scwhatif.module._cell_line_energy import LABEL_KEY

SILENT = {"enable_progress_bar": False, "accelerator": "cpu"}
SMALL = {"n_latent": 16, "n_hidden": 16, "n_environment": 4, "trees_weight": 0.0, "embedding": "none"}
FAST = {"plan_kwargs": {"lr": 1e-2}}
SETUP = {"label_key": "label", "cell_line_key": "cell_line", "chrom_key": "chrom"}


def pairs(**kwargs):
    return simulate_pairs(**{"n_cell_lines": 4, "n_chroms": 4, "n_promoters": 10, **kwargs})


def held_out(adata, line="line_3", chrom="chr1"):
    """Training lines, training lines on another chromosome, and an unseen line."""
    test = (adata.obs["cell_line"] == line).to_numpy()
    validation = ~test & (adata.obs["chrom"] == chrom).to_numpy()
    return [np.flatnonzero(~test & ~validation), np.flatnonzero(validation), np.flatnonzero(test)]


def fit(adata, epochs=3, parts=None, train=None, setup=None, **kwargs):
    CellLineEnergyModel.setup_anndata(adata, **{**SETUP, **(setup or {})})
    model = CellLineEnergyModel(adata, **{**SMALL, **kwargs})
    model.train(epochs, external_indexing=parts or held_out(adata), **SILENT, **(train or {}))
    return model


@pytest.fixture(scope="module")
def adata():
    return pairs()


@pytest.fixture(scope="module")
def model(adata):
    return fit(adata, epochs=4, trees_weight=0.5)


def test_an_unseen_line_needs_no_new_parameter(adata, model):
    probability = model.predict_proba(indices=held_out(adata)[2])
    assert probability.shape == (200,)
    assert ((probability > 0) & (probability < 1)).all()
    new = pairs(seed=7)[:200].copy()
    new.obs["cell_line"] = "another"
    del new.obs["label"], new.obs["chrom"]
    before = weights_hash(model.module)
    assert model.predict_proba(new).shape == (200,)
    assert weights_hash(model.module) == before


@pytest.mark.parametrize("interaction", ["scalar", "channels", "linear", "none"])
def test_every_interaction_learns(adata, interaction):
    model = fit(adata, epochs=8, interaction=interaction, train=FAST)
    test = held_out(adata)[2]
    label = adata.obs["label"].to_numpy()[test]
    assert average_precision_score(label, model.predict_proba(indices=test)) > 2 * label.mean()


@pytest.mark.parametrize("loss", ["theory", "adaptive", "fixed"])
def test_margins_leave_predictions_calibrated(adata, loss):
    model = fit(adata, epochs=8, loss=loss, rho_positive=0.5, train=FAST)
    train = held_out(adata)[0]
    label = adata.obs["label"].to_numpy()[train]
    assert model.predict_proba(indices=train).mean() == pytest.approx(label.mean(), rel=0.25)
    assert model.module.immax.rho[1] != 1.0


def test_test_labels_take_part_in_nothing(adata, model):
    parts = held_out(adata)
    other = adata.copy()
    other.obs["label"] = other.obs["label"].astype(float)
    other.obs.iloc[parts[2], other.obs.columns.get_loc("label")] = np.nan
    again = fit(other, epochs=4, trees_weight=0.5)
    assert weights_hash(again.module) == weights_hash(model.module)
    assert again.threshold_ == model.threshold_
    np.testing.assert_array_equal(again.predict_proba(), model.predict_proba())


def test_same_seed_same_model_and_another_seed_another(adata, model):
    assert weights_hash(fit(adata, epochs=4, trees_weight=0.5).module) == weights_hash(model.module)
    assert weights_hash(fit(adata, epochs=4, seed=1).module) != weights_hash(model.module)


def test_threshold_is_of_the_validation_pairs(adata, model):
    rows = held_out(adata)[1]
    probability = model.predict_proba(indices=rows)
    assert probability.min() <= model.threshold_ <= probability.max()
    np.testing.assert_array_equal(model.predict(indices=rows), probability >= model.threshold_)
    assert 0 < model.threshold_balanced_ < 1


def test_sampled_share_of_positives_is_corrected_for(adata):
    parts = held_out(adata)
    sampled = fit(adata, epochs=12, parts=parts, train={"positive_share": 0.5, **FAST})
    label = adata.obs["label"].to_numpy()[parts[0]]
    probability = sampled.predict_proba(indices=parts[0])
    assert sampled.prior_shift_ > 0.5
    assert probability.mean() == pytest.approx(label.mean(), rel=0.35)
    shift, sampled.prior_shift_ = sampled.prior_shift_, 0.0
    raw = sampled.predict_proba(indices=parts[0])
    sampled.prior_shift_ = shift
    np.testing.assert_array_equal(raw.argsort(kind="stable"), probability.argsort(kind="stable"))
    assert raw.mean() > 1.3 * label.mean()


def test_saving_and_loading_with_lines_the_model_has_not_seen(adata, model, tmp_path):
    model.save(str(tmp_path / "model"))
    again = CellLineEnergyModel.load(str(tmp_path / "model"), adata.copy(), accelerator="cpu")
    np.testing.assert_array_equal(again.predict_proba(), model.predict_proba())
    assert again.threshold_ == model.threshold_
    assert again.history["validation_aupr"].equals(model.history["validation_aupr"])
    new = pairs(n_cell_lines=2, seed=5)
    new.obs["cell_line"] = new.obs["cell_line"].cat.rename_categories(["new_0", "new_1"])
    elsewhere = CellLineEnergyModel.load(str(tmp_path / "model"), new, accelerator="cpu")
    np.testing.assert_allclose(elsewhere.predict_proba(), model.predict_proba(new), atol=1e-6)
    bare = CellLineEnergyModel.load(str(tmp_path / "model"), False, accelerator="cpu")
    np.testing.assert_allclose(bare.predict_proba(new), model.predict_proba(new), atol=1e-6)


def test_training_again_goes_on_with_the_energy(adata):
    model = fit(adata)
    model.train(1, external_indexing=held_out(adata), **SILENT)
    assert bool(model.module.energy_on)
    assert len(model.history["validation_aupr"]) == 4


def test_missing_marks_are_masked():
    adata = pairs(n_missing_marks=2)
    parts = held_out(adata)
    assert np.isnan(adata.X[parts[2]]).any()
    for setup in ({}, {"input_norm": "zscore"}, {"input_norm": None}):
        model = fit(adata, trees_weight=0.5, **setup)
        assert np.isfinite(model.predict_proba()).all()


def test_unlabelled_pairs_are_support():
    adata = pairs()
    adata.obs["label"] = adata.obs["label"].astype(float)
    adata.obs.loc[adata.obs.index[::3], "label"] = np.nan
    model = fit(adata)
    assert np.isfinite(model.predict_proba()).all()


def test_all_auxiliary_losses_together_train(adata):
    weights = {"corr": 0.1, "adversary": 0.1, "contrast": 0.05, "sparsity": 0.01, "prototype": 0.05}
    model = fit(adata, epochs=4, **{f"{name}_weight": weight for name, weight in weights.items()})
    assert {f"{name}_loss_train" for name in weights} <= set(model.history)


def test_split_keeps_chromosomes_whole(adata):
    CellLineEnergyModel.setup_anndata(adata, **SETUP)
    model = CellLineEnergyModel(adata, **SMALL)
    model.train(1, train_size=0.7, **SILENT)
    chroms = adata.obs["chrom"].to_numpy()
    assert len(model.validation_indices)
    assert not set(chroms[model.train_indices]) & set(chroms[model.validation_indices])


def test_sequence_and_embedding_backbones(adata):
    adata = adata.copy()
    rng = np.random.default_rng(0)
    adata.obsm["codes"] = rng.integers(0, 5, size=(adata.n_obs, 80)).astype(np.uint8)
    adata.obsm["embedding"] = rng.normal(size=(adata.n_obs, 6)).astype(np.float32)
    adata.obsm["embedding"][:, 0] += 2 * adata.obs["label"].to_numpy()
    model = fit(adata, epochs=1, backbone="cnn", setup={"sequence_key": "codes"})
    assert model.predict_proba().shape == (adata.n_obs,)
    model = fit(adata, epochs=8, backbone="precomputed", setup={"embedding_key": "embedding"}, train=FAST)
    assert average_precision_score(adata.obs["label"], model.predict_proba()) > 0.4


def sequences(adata, n_positions, written=None):
    adata = adata.copy()
    codes = np.random.default_rng(0).integers(0, 5, size=(adata.n_obs, n_positions)).astype(np.uint8)
    adata.obsm["pair_sequence"] = codes
    if written is not None:
        lengths = dict(zip(("enhancer_length", "promoter_length"), written, strict=True))
        adata.uns["pair_sequence"] = {"params": lengths}
    CellLineEnergyModel.setup_anndata(adata, **SETUP, sequence_key="pair_sequence")
    return adata


def test_lengths_of_sequences_are_given_written_down_or_halves(adata, tmp_path):
    def lengths(written=None, **given):
        encoder = CellLineEnergyModel(sequences(adata, 90, written), backbone="cnn", **given).module.encoder
        return encoder.enhancer_length, encoder.promoter_length

    assert lengths() == (45, 45)
    assert lengths((30, 60)) == (30, 60)
    assert lengths((30, 60), enhancer_length=50, promoter_length=40) == (50, 40)
    assert lengths(promoter_length=20) == (70, 20)
    # kept with the model, whatever the data tell that it is loaded with
    data = sequences(adata, 90, (30, 60))
    model = CellLineEnergyModel(data, backbone="cnn", n_latent=4)
    model.train(1, external_indexing=held_out(data), **SILENT)
    model.save(str(tmp_path / "model"))
    again = CellLineEnergyModel.load(str(tmp_path / "model"), sequences(adata, 90), accelerator="cpu")
    assert again.module.encoder.enhancer_length == 30
    np.testing.assert_array_equal(again.predict_proba(), model.predict_proba())
    # longer ones later
    with pytest.raises(ValueError, match=r"120 positions, and the model is for enhancer_length=30.*add_pair_sequences"):
        model.predict_proba(sequences(adata, 120))


@pytest.mark.parametrize("given", [{"enhancer_length": 100}, {"enhancer_length": 40, "promoter_length": 60}])
def test_sequences_longer_or_shorter_than_said(adata, given):
    with pytest.raises(ValueError, match=r"holds 90 positions.*make a model with those of the sequences"):
        CellLineEnergyModel(sequences(adata, 90), backbone="cnn", **given)


def test_lengths_and_decoupling_that_cannot_be(adata):
    CellLineEnergyModel.setup_anndata(adata, **SETUP)
    with pytest.raises(ValueError, match="enhancer_length=50 is of sequences"):
        CellLineEnergyModel(adata, enhancer_length=50)
    with pytest.raises(ValueError, match="decouple='mi' is not one of"):
        CellLineEnergyModel(adata, decouple="mi")


def test_codes_are_decoupled_by_hsic(adata):
    model = fit(adata, epochs=4, corr_weight=0.1, decouple="hsic")
    values = model.history["corr_loss_train"].iloc[:, 0].to_numpy()
    assert ((values > 0) & (values < 1)).all()
    assert np.isfinite(model.predict_proba()).all()


def test_environment_can_come_from_obsm(adata):
    adata = adata.copy()
    adata.obsm["raw"] = np.random.default_rng(0).normal(size=(adata.n_obs, 3))
    model = fit(adata, setup={"environment_key": "raw"})
    assert len(model.module.feature_mean) == 3
    moved = adata.copy()
    moved.obsm["raw"] = moved.obsm["raw"] + 3
    assert not np.allclose(model.predict_proba(moved), model.predict_proba())


def test_literal_settings_of_the_source(adata):
    model = fit(
        adata, t_init=0.0, temperature="line", train={"lines_per_episode": 1, "n_query": 32, "early_stopping": False}
    )
    assert len(model.history["temperature"]) == 3


def test_registry_holds_the_label_as_it_is(adata, model):
    assert model.summary_stats.n_vars == adata.n_vars
    assert LABEL_KEY in model.registry["field_registries"]
    assert model.lines == [f"line_{i}" for i in range(4)]


@pytest.mark.slow
def test_energy_of_an_unseen_line_is_recovered_from_32_unlabelled_pairs():
    adata = simulate_pairs(8, 5, 40, seed=1, coupling=0.3, temperature=0.5)
    unseen = ["line_2", "line_5"]
    test = adata.obs["cell_line"].isin(unseen).to_numpy()
    validation = ~test & (adata.obs["chrom"] == "chr1").to_numpy()
    parts = [np.flatnonzero(~test & ~validation), np.flatnonzero(validation), np.flatnonzero(test)]
    CellLineEnergyModel.setup_anndata(adata, **SETUP)
    model = CellLineEnergyModel(adata, trees_weight=0.0, embedding="none", dropout_rate=0.1, joint=True)
    model.train(12, external_indexing=parts, plan_kwargs={"restore_best": False}, early_stopping=False, **SILENT)
    table = model.get_energies(n_support=32, n_draws=5).groupby("cell_line")[["R", "slope", "intercept"]].mean()
    true = adata.uns["simulate_pairs"]["resistance"].ravel()
    assert np.corrcoef(table["R"], true)[0, 1] > 0.95
    np.testing.assert_allclose(table["R"].loc[unseen], true[[2, 5]], rtol=0.3)
    np.testing.assert_allclose(table["intercept"].loc[unseen], -true[[2, 5]] / 0.5, rtol=0.3)
    np.testing.assert_allclose(table["slope"].loc[unseen], (1 + 0.3 * true[[2, 5]]) / 0.5, rtol=0.3)
    assert torch.isfinite(model.module.interaction.coupling).all()
