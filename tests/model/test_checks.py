"""Bad input: nothing is trained, nothing is changed, the message names the remedy."""

import numpy as np
import pytest

from scwhatif.datasets import simulate_factors
from scwhatif.model import BetaLinearSCVI

SILENT = {"enable_progress_bar": False, "accelerator": "cpu"}


@pytest.fixture
def cells():
    adata = simulate_factors(50, 20, 3, seed=0)
    adata.X = adata.X.toarray() if hasattr(adata.X, "toarray") else np.asarray(adata.X)
    return adata


def _state(adata):
    return set(adata.obs), set(adata.uns), set(adata.obsm), set(adata.layers), np.array(adata.X, copy=True)


def _assert_unchanged(adata, before):
    after = _state(adata)
    assert after[:4] == before[:4]
    np.testing.assert_array_equal(after[4], before[4])


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda x: np.where(x == x.max(), np.nan, x), "NaN or infinite"),
        (lambda x: -x, "negative"),
        (lambda x: x + 0.3, "non-integer"),
        (np.log1p, r"scwhatif\.pp\.recover_counts"),
        (lambda x: np.vstack([np.zeros((1, x.shape[1])), x[1:]]), r"filter_cells\(adata, min_counts=1\)"),
    ],
)
def test_data_that_are_not_counts_are_refused_before_training(cells, spoil, message):
    cells.X = spoil(cells.X)
    BetaLinearSCVI.setup_anndata(cells)
    before = _state(cells)
    with pytest.raises(ValueError, match=message):
        BetaLinearSCVI(cells)
    _assert_unchanged(cells, before)


def test_continuous_data_may_be_negative_but_not_missing(cells):
    cells.X = cells.X - 3.5
    BetaLinearSCVI.setup_anndata(cells)
    BetaLinearSCVI(cells, gene_likelihood="normal")
    cells.X[3, 4] = np.nan
    with pytest.raises(ValueError, match="NaN or infinite"):
        BetaLinearSCVI(cells, gene_likelihood="normal")


@pytest.mark.parametrize(
    ("setup", "error", "message"),
    [
        ({"batch_key": "bach"}, KeyError, "Did you mean 'batch'"),
        ({"labels_key": "labels"}, KeyError, "labels_key"),
        ({"layer": "raw_counts"}, KeyError, "layer"),
        ({"size_factor_key": "nope"}, KeyError, "size_factor_key"),
        ({"size_factor_key": "batch"}, ValueError, "finite numbers above 0"),
        ({"categorical_covariate_keys": ["donor"]}, KeyError, "categorical_covariate_keys"),
        ({"continuous_covariate_keys": ["holey"]}, ValueError, "1 NaN"),
        ({"batch_key": "lonely"}, ValueError, "'rare'"),
    ],
)
def test_columns_that_cannot_be_used_are_refused_at_setup(cells, setup, error, message):
    cells.obs["lonely"] = ["rare"] + ["common"] * 49
    cells.obs["holey"] = [np.nan] + [1.0] * 49
    before = _state(cells)
    with pytest.raises(error, match=message):
        BetaLinearSCVI.setup_anndata(cells, **setup)
    _assert_unchanged(cells, before)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"gene_likelihood": "gaussian"}, "gene_likelihood='gaussian' is not one of"),
        ({"decoder": "mlp"}, "decoder"),
        ({"objective": "tc"}, "objective"),
        ({"dispersion": "unit"}, "variance of gene_likelihood='normal'"),
        ({"beta": -1.0}, "beta"),
        ({"beta": float("nan")}, "beta"),
        ({"n_latent": 0}, "n_latent"),
        ({"objective": "capacity", "free_bits": 0.1}, "free_bits"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(cells, settings, message):
    BetaLinearSCVI.setup_anndata(cells)
    with pytest.raises(ValueError, match=message):
        BetaLinearSCVI(cells, **settings)


def test_data_with_other_features_are_refused_everywhere(cells, tmp_path):
    BetaLinearSCVI.setup_anndata(cells, batch_key="batch")
    model = BetaLinearSCVI(cells, n_latent=2, seed=0)
    model.train(1, seed=0, **SILENT)
    model.save(str(tmp_path / "m"))
    lacking = cells[:, :-3].copy()
    shuffled = cells[:, ::-1].copy()
    for other, message in [(lacking, "3"), (shuffled, "order")]:
        before = _state(other)
        with pytest.raises(ValueError, match=message):
            model.get_latent_representation(other)
        with pytest.raises(ValueError, match=message):
            BetaLinearSCVI.load(str(tmp_path / "m"), other)
        with pytest.raises(ValueError, match=message):
            BetaLinearSCVI.load_query_data(other, model)
        with pytest.raises(ValueError, match=message):
            BetaLinearSCVI.load_query_data(other, str(tmp_path / "m"))
        _assert_unchanged(other, before)


def test_one_cell_of_a_batch_may_be_read_by_a_trained_model(cells, tmp_path):
    BetaLinearSCVI.setup_anndata(cells, batch_key="batch")
    model = BetaLinearSCVI(cells, n_latent=2, seed=0)
    model.train(1, seed=0, **SILENT)
    model.save(str(tmp_path / "m"))
    few = cells[:1].copy()
    loaded = BetaLinearSCVI.load(str(tmp_path / "m"), few)
    np.testing.assert_allclose(
        loaded.get_latent_representation(), model.get_latent_representation(indices=[0]), rtol=1e-5
    )
