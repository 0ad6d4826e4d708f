import numpy as np
import pandas as pd
import pytest
import scvi
import torch
from anndata import AnnData
from scipy.optimize import linear_sum_assignment
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from scwhatif.datasets import simulate_factors
from scwhatif.model import BetaLinearSCVI

SILENT = {"enable_progress_bar": False, "accelerator": "cpu"}


def _fit(adata, *, epochs=30, setup=None, train=None, **kwargs):
    BetaLinearSCVI.setup_anndata(adata, **(setup or {}))
    model = BetaLinearSCVI(adata, **{"n_latent": 4, "n_hidden": 32, "seed": 0, **kwargs})
    model.train(epochs, seed=0, **SILENT, **(train or {}))
    return model


def _probe(z, labels):
    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    return cross_val_score(classifier, z, labels, cv=folds, scoring="balanced_accuracy").mean()


@pytest.fixture(scope="module")
def planted():
    adata = simulate_factors(800, 150, 3, batch_effect=0.5, seed=1)
    return adata, _fit(adata, epochs=60, n_latent=3, setup={"batch_key": "batch"})


def test_planted_factors_span_the_latent_space(planted):
    adata, model = planted
    z = model.get_latent_representation()
    truth = adata.obsm["true_factors"]
    truth = truth - truth.mean(0)
    fit = (
        np.column_stack([z, np.ones(len(z))])
        @ np.linalg.lstsq(np.column_stack([z, np.ones(len(z))]), truth, rcond=None)[0]
    )
    r2 = 1 - ((truth - fit) ** 2).sum(0) / (truth**2).sum(0)
    assert (r2 > 0.85).all(), r2


def test_loadings_are_the_planted_ones_up_to_rotation(planted):
    adata, model = planted
    found = np.linalg.qr(model.get_loadings().to_numpy())[0]
    planted = np.asarray(adata.varm["true_loadings"])
    planted = np.linalg.qr(planted - planted.mean(0))[0]
    cosines = np.linalg.svd(found.T @ planted)[1]
    assert cosines.min() > 0.95, cosines


def test_loadings_are_centred_ordered_and_signed(model):
    loadings = model.get_loadings()
    share = model.get_explained_share()
    assert list(loadings.columns) == list(share.index) == [f"z{j}" for j in range(5)]
    np.testing.assert_allclose(loadings.mean(), 0, atol=1e-6)
    assert (loadings.pow(3).sum() >= 0).all()
    assert share.is_monotonic_decreasing
    assert share.sum() == pytest.approx(1)


def test_loadings_are_the_derivative_of_the_decoded_log_rate(model):
    z = np.zeros((6, 5), dtype=np.float32)
    z[1:] = np.eye(5)
    log_rate = np.log(model.decode(z, batch="batch_0", covariates={"chemistry": "v2", "age": 3.0}))
    change = log_rate.iloc[1:] - log_rate.iloc[0]
    change = change.sub(change.mean(axis=1), axis=0)
    np.testing.assert_allclose(change.to_numpy().T, model.get_loadings(), atol=1e-4)


def test_kl_history_follows_the_canonical_order(adata):
    model = _fit(adata, epochs=40, setup={"batch_key": "batch"}, train={"train_size": 1.0})
    mean, var = model.get_latent_representation(return_dist=True)
    kl = 0.5 * (mean**2 + var - 1 - np.log(var)).mean(0)
    logged = [float(model.history[f"kl_z{j}_train"].iloc[-1, 0]) for j in range(4)]
    # logged with dropout and before the last steps, so only roughly equal; a wrong order would be far off
    np.testing.assert_allclose(logged, kl, rtol=0.35, atol=0.1)
    assert linear_sum_assignment(np.abs(np.subtract.outer(kl, logged)))[1].tolist() == [0, 1, 2, 3]


def test_same_seed_same_model_and_global_generators_untouched(adata):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = _fit(adata, epochs=3, setup={"batch_key": "batch"})
    assert torch.equal(torch.get_rng_state(), before)
    assert scvi.settings.seed is None
    second = _fit(adata, epochs=3, setup={"batch_key": "batch"})
    np.testing.assert_array_equal(first.get_latent_representation(), second.get_latent_representation())
    np.testing.assert_array_equal(first.train_indices, second.train_indices)


def test_beta_is_saved_and_reached(adata, tmp_path):
    model = _fit(adata, epochs=3, beta=4.0, setup={"batch_key": "batch"})
    model.save(str(tmp_path / "m"))
    loaded = BetaLinearSCVI.load(str(tmp_path / "m"), adata)
    assert loaded.beta_ == loaded.module.beta == 4.0


def test_larger_beta_leaves_fewer_active_dimensions(adata):
    kl = {}
    for beta in (0.5, 1.0, 30.0):
        model = _fit(adata, epochs=60, beta=beta, n_latent=6, setup={"batch_key": "batch"})
        mean, var = model.get_latent_representation(return_dist=True)
        kl[beta] = 0.5 * (mean**2 + var - 1 - np.log(var)).mean(0)
    assert kl[0.5].sum() > kl[1.0].sum() > kl[30.0].sum()
    assert (kl[30.0] > 0.1).sum() < (kl[0.5] > 0.1).sum()


@pytest.mark.parametrize("gene_likelihood", ["nb", "zinb", "poisson"])
@pytest.mark.parametrize("decoder", ["linear", "nonnegative"])
def test_count_likelihoods_train_save_and_load(adata, tmp_path, gene_likelihood, decoder):
    model = _fit(
        adata, epochs=5, gene_likelihood=gene_likelihood, decoder=decoder, n_layers=2, setup={"batch_key": "batch"}
    )
    elbo = model.history["elbo_train"].iloc[:, 0].astype(float)
    assert elbo.iloc[-1] < elbo.iloc[0]
    model.save(str(tmp_path / "m"), save_anndata=True)
    loaded = BetaLinearSCVI.load(str(tmp_path / "m"))
    np.testing.assert_array_equal(loaded.get_latent_representation(), model.get_latent_representation())
    pd.testing.assert_frame_equal(loaded.get_loadings(), model.get_loadings())
    pd.testing.assert_series_equal(loaded.get_explained_share(), model.get_explained_share())


@pytest.mark.parametrize("settings", [{"objective": "total_correlation", "beta": 5.0}, {"objective": "capacity"}])
def test_alternative_objectives_lower_their_objective(adata, settings):
    model = _fit(adata, epochs=20, setup={"batch_key": "batch"}, **settings)
    objective = model.history["objective_train"].iloc[:, 0].astype(float)
    assert objective.iloc[-1] < objective.iloc[0]


def test_capacity_is_filled(adata):
    model = _fit(
        adata,
        epochs=150,
        objective="capacity",
        capacity=3.0,
        beta=100.0,
        setup={"batch_key": "batch"},
        train={"batch_size": 32},
    )
    assert float(model.history["kl_local_train"].iloc[-1, 0]) == pytest.approx(3.0, abs=0.5)


def test_free_bits_keep_dimensions_alive(adata):
    kl = {}
    for free_bits in (0.0, 0.5):
        model = _fit(adata, epochs=60, beta=30.0, n_latent=6, free_bits=free_bits, setup={"batch_key": "batch"})
        mean, var = model.get_latent_representation(return_dist=True)
        kl[free_bits] = 0.5 * (mean**2 + var - 1 - np.log(var)).mean(0)
    assert (kl[0.5] > 0.2).sum() > (kl[0.0] > 0.2).sum()


def test_normalized_expression_and_transform_batch(model, adata):
    torch.manual_seed(0)
    observed = model.get_normalized_expression(indices=range(20), n_samples=20)
    moved = model.get_normalized_expression(indices=range(20), transform_batch="batch_1", n_samples=20)
    np.testing.assert_allclose(observed.sum(1), 1, rtol=1e-5)
    in_batch_1 = (adata.obs["batch"].iloc[:20] == "batch_1").to_numpy()
    assert np.abs(np.log(observed) - np.log(moved))[in_batch_1].mean().mean() < 0.1
    effect = np.asarray(adata.varm["true_batch_effect"])
    shift = (np.log(moved) - np.log(observed))[~in_batch_1].mean()
    planted = effect[:, 1] - effect[:, 0]
    assert np.corrcoef(shift, planted)[0, 1] > 0.8


def test_differential_expression_finds_the_planted_genes(model, adata):
    torch.manual_seed(0)
    groups = adata.obs["cell_type"].cat.categories
    table = model.differential_expression(
        groupby="cell_type", group1=groups[0], group2=groups[1], mode="change", silent=True
    )
    rates = pd.DataFrame(np.log(np.asarray(adata.layers["true_rate"])), columns=adata.var_names)
    truth = (
        rates[(adata.obs["cell_type"] == groups[0]).to_numpy()].mean()
        - rates[(adata.obs["cell_type"] == groups[1]).to_numpy()].mean()
    )
    assert np.corrcoef(table["lfc_mean"].loc[adata.var_names], truth)[0, 1] > 0.9


def test_minified_data_give_the_same_answers(adata, tmp_path):
    model = _fit(adata.copy(), epochs=5, setup={"batch_key": "batch"})
    mean, var = model.get_latent_representation(return_dist=True)
    model.adata.obsm["X_latent_qzm"], model.adata.obsm["X_latent_qzv"] = mean, var
    torch.manual_seed(0)
    before = model.get_normalized_expression(n_samples=200)
    model.minify_adata()
    assert model.adata.X.nnz == 0
    np.testing.assert_allclose(model.get_latent_representation(), mean, rtol=1e-6)
    torch.manual_seed(0)
    np.testing.assert_allclose(model.get_normalized_expression(n_samples=200), before, rtol=0.2)
    model.save(str(tmp_path / "m"), save_anndata=True)
    loaded = BetaLinearSCVI.load(str(tmp_path / "m"))
    np.testing.assert_allclose(loaded.get_latent_representation(), mean, rtol=1e-6)


def test_size_factors_replace_the_library(adata):
    adata = adata.copy()
    adata.obs["sf"] = np.asarray(adata.X.sum(1)).ravel() / 1000
    model = _fit(adata, epochs=40, setup={"batch_key": "batch", "size_factor_key": "sf"})
    predicted = model.get_normalized_expression(library_size="latent", n_samples=20)
    observed = np.asarray(adata.X.sum(0)).ravel()
    assert np.corrcoef(np.log(predicted.sum(0)), np.log(observed + 1))[0, 1] > 0.98


def test_surgery_keeps_reference_codes_and_learns_the_new_batch(adata, tmp_path):
    reference, query = (adata[(adata.obs["batch"] == b).to_numpy()].copy() for b in ("batch_0", "batch_1"))
    model = _fit(reference, epochs=60, setup={"batch_key": "batch"})
    before = model.get_latent_representation()
    mapped = BetaLinearSCVI.load_query_data(query, model)
    assert not mapped.is_trained
    mapped.train(60, seed=0, plan_kwargs={"lr": 0.02}, **SILENT)
    np.testing.assert_array_equal(mapped.get_latent_representation(reference), before)
    elbo = mapped.history["elbo_train"].iloc[:, 0].astype(float)
    assert elbo.iloc[-1] < elbo.iloc[0] - 1
    mapped.save(str(tmp_path / "q"))
    loaded = BetaLinearSCVI.load(str(tmp_path / "q"), query)
    loaded.train(2, seed=0, **SILENT)
    np.testing.assert_array_equal(loaded.get_latent_representation(reference), before)


def _quantities(model):
    """What must not depend on the axes."""
    z = model.get_latent_representation()
    covariates = {"chemistry": "v2", "age": 3.0}
    return {
        "decoded": np.log(model.decode(z, covariates=covariates)).to_numpy(),
        "gram": z @ z.T,
        "loadings": model.get_loadings().to_numpy() @ model.get_loadings().to_numpy().T,
    }


@pytest.mark.parametrize("method", ["varimax", "quartimax", "ica"])
def test_rotation_is_exact_saved_and_undone(model, adata, tmp_path, method):
    model.save(str(tmp_path / "original"))
    rotated = BetaLinearSCVI.load(str(tmp_path / "original"), adata)
    before = _quantities(rotated)
    trained = rotated.get_latent_representation()
    torch.manual_seed(0)
    elbo = float(rotated.get_elbo())
    rotated.rotate(method)
    assert rotated.rotation_ == method
    for name, value in _quantities(rotated).items():
        np.testing.assert_allclose(value, before[name], atol=1e-4, rtol=1e-5, err_msg=name)
    torch.manual_seed(0)
    assert float(rotated.get_elbo()) == pytest.approx(elbo, rel=1e-5)
    assert np.abs(rotated.get_latent_representation() - trained).max() > 0.1
    share = rotated.get_explained_share()
    assert share.is_monotonic_decreasing
    assert (rotated.get_loadings().pow(3).sum() >= 0).all()
    rotated.save(str(tmp_path / "rotated"))
    loaded = BetaLinearSCVI.load(str(tmp_path / "rotated"), adata)
    np.testing.assert_array_equal(loaded.get_latent_representation(), rotated.get_latent_representation())
    assert loaded.rotation_ == method
    rotated.rotate(None)
    np.testing.assert_allclose(rotated.get_latent_representation(), trained, atol=1e-4)


def test_varimax_makes_loadings_simpler_and_is_stable_under_repetition(model, adata, tmp_path):
    def simplicity(loadings):
        return (loadings**4).to_numpy().sum() - ((loadings**2).sum() ** 2).sum() / len(loadings)

    model.save(str(tmp_path / "m"))
    rotated = BetaLinearSCVI.load(str(tmp_path / "m"), adata)
    before = simplicity(rotated.get_loadings())
    rotated.rotate("varimax")
    once = rotated.get_loadings()
    assert simplicity(once) > before
    rotated.rotate("varimax")
    np.testing.assert_allclose(rotated.get_loadings(), once, atol=1e-3)


def test_knockouts_follow_the_rotation(adata, tmp_path):
    from scwhatif.tl import knockout

    model = _fit(adata, epochs=20, setup={"batch_key": "batch"})
    results = {}
    for name in (None, "varimax"):
        model.rotate(name)
        result = adata.copy()
        knockout(result, model, n_null=0, progress=False)
        zeroed = adata.copy()
        zeroed.X.data[zeroed.X.indices == 7] = 0
        shift = model.get_latent_representation(zeroed) - model.get_latent_representation()
        np.testing.assert_allclose(result.varm["knockout_shift"][7], shift.mean(0), atol=1e-5)
        results[name] = result
    np.testing.assert_allclose(results[None].var["knockout_score"], results["varimax"].var["knockout_score"], rtol=1e-4)


def test_queries_share_the_rotated_axes(adata):
    reference, query = (adata[(adata.obs["batch"] == b).to_numpy()].copy() for b in ("batch_0", "batch_1"))
    model = _fit(reference, epochs=20, setup={"batch_key": "batch"})
    model.rotate("varimax")
    mapped = BetaLinearSCVI.load_query_data(query, model)
    mapped.train(5, seed=0, **SILENT)
    np.testing.assert_array_equal(mapped.get_latent_representation(reference), model.get_latent_representation())
    with pytest.raises(ValueError, match="shares its reference's axes"):
        mapped.rotate()


def test_rotation_is_refused_where_it_would_be_wrong(adata):
    nonnegative = _fit(adata, epochs=2, decoder="nonnegative", setup={"batch_key": "batch"})
    with pytest.raises(ValueError, match="non-negative"):
        nonnegative.rotate()
    model = _fit(adata, epochs=2, setup={"batch_key": "batch"})
    with pytest.raises(ValueError, match="not one of"):
        model.rotate("oblimin")
    with pytest.raises(RuntimeError, match="untrained"):
        BetaLinearSCVI(adata).rotate()


def test_registry_alone_is_enough_to_build_a_model(model):
    twin = BetaLinearSCVI(registry=model.registry, n_latent=5, n_hidden=32)
    twin.module.load_state_dict(model.module.state_dict())
    pd.testing.assert_frame_equal(twin.get_loadings(), model.get_loadings())


def test_early_stopping_watches_the_objective(adata):
    model = _fit(
        adata,
        epochs=200,
        beta=2.0,
        setup={"batch_key": "batch"},
        train={"early_stopping": True, "early_stopping_patience": 3, "plan_kwargs": {"kl_warmup": 10}},
    )
    objective = model.history["objective_validation"].iloc[:, 0].astype(float)
    assert 10 <= len(objective) < 200
    assert objective.iloc[10:-3].min() <= objective.iloc[-3:].min()


# ---- data on which stock models fail, and continuous matrices ----


def test_constant_library_size_per_batch_trains():
    adata = simulate_factors(200, 40, 3, seed=0)
    rng = np.random.default_rng(0)
    rates = np.asarray(adata.layers["true_rate"], dtype=float)
    adata.X = np.vstack([rng.multinomial(500, p / p.sum()) for p in rates]).astype(np.float32)
    model = _fit(adata, epochs=5, setup={"batch_key": "batch"})
    assert np.isfinite(model.get_latent_representation()).all()


def test_breast_cancer_table():
    data = load_breast_cancer()
    adata = AnnData(data.data.astype(np.float32))
    model = _fit(adata, epochs=150, n_latent=2, gene_likelihood="normal", train={"plan_kwargs": {"lr": 1e-2}})
    z = model.get_latent_representation()
    auc = max(max(a, 1 - a) for a in (roc_auc_score(data.target, z[:, j]) for j in range(2)))
    assert auc > 0.93
    reconstruction = model.decode(z)
    r2 = 1 - ((data.data - reconstruction) ** 2).sum() / ((data.data - data.data.mean(0)) ** 2).sum()
    assert r2.median() > 0.5


def test_unit_variance_makes_beta_the_scale_of_collapse():
    data = StandardScaler().fit_transform(load_breast_cancer().data).astype(np.float32)
    adata = AnnData(data)
    kl = {}
    for beta in (0.5, 60.0):
        model = _fit(adata, epochs=60, n_latent=2, gene_likelihood="normal", dispersion="unit", beta=beta)
        mean, var = model.get_latent_representation(return_dist=True)
        kl[beta] = 0.5 * (mean**2 + var - 1 - np.log(var)).mean(0)
    # published as a "disentangling" setting, it is a posterior that has collapsed altogether
    assert (kl[60.0] < 0.05).all()
    assert (kl[0.5] > 0.5).all()


def test_raman_spectra(shared_data):
    file = np.load(shared_data / "raman_carbs" / "raman_carbs.npz")
    adata = AnnData(file["D"].astype(np.float32))
    model = _fit(
        adata, epochs=300, n_latent=3, gene_likelihood="normal", train={"train_size": 1.0, "plan_kwargs": {"lr": 1e-2}}
    )
    z = np.column_stack([model.get_latent_representation(), np.ones(adata.n_obs)])
    fractions = file["C"]
    fit = z @ np.linalg.lstsq(z, fractions, rcond=None)[0]
    r2 = 1 - ((fractions - fit) ** 2).sum() / ((fractions - fractions.mean(0)) ** 2).sum()
    assert r2 > 0.9


def test_read_counts_of_fetal_cortex(shared_data):
    import anndata

    adata = anndata.read_h5ad(shared_data / "brain_camp" / "camp_fetal_cortex.h5ad")
    adata = adata[:, np.argsort(-np.asarray(adata.X.sum(0)).ravel())[:2000]].copy()
    model = _fit(adata, epochs=30, n_latent=10)
    elbo = model.history["elbo_train"].iloc[:, 0].astype(float)
    assert elbo.iloc[-1] < elbo.iloc[0]
    assert np.isfinite(model.get_latent_representation()).all()


def test_protocol_is_not_readable_from_the_latent_space(shared_data):
    import anndata

    adata = anndata.read_h5ad(shared_data / "sc_mixology" / "sc3cl_2protocol.h5ad")
    model = _fit(adata, epochs=40, n_latent=10, n_hidden=128, setup={"batch_key": "dataset"})
    z = model.get_latent_representation()
    assert _probe(z, adata.obs["dataset"]) <= 0.75
    assert _probe(z, adata.obs["cell_line"]) >= 0.95
