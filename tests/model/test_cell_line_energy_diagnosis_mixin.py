import numpy as np
import pandas as pd
import pytest

from scwhatif.datasets import simulate_pairs
from scwhatif.model import CellLineEnergyModel

SILENT = {"enable_progress_bar": False, "accelerator": "cpu"}
SMALL = {"n_latent": 16, "n_hidden": 16, "n_environment": 4, "trees_weight": 0.0, "embedding": "none"}
HEALTHY = {
    "validation_aupr": 0.4,
    "train_aupr": 0.45,
    "min_gain": 1.2,
    "decoupling": 0.001,
    "line_probe_accuracy": 0.3,
    "active_share": 0.4,
    "temperature": 1.0,
}


class Scripted(CellLineEnergyModel):
    """A model whose history is written by hand."""

    def __init__(self, **curves):
        self.is_trained_ = True
        self.n_lines_trained_ = 4
        self.history_ = {k: pd.DataFrame({k: np.atleast_1d(v)}) for k, v in {**HEALTHY, **curves}.items()}


def fit(epochs=4, plan=None, **kwargs):
    adata = simulate_pairs(4, 3, 8)
    CellLineEnergyModel.setup_anndata(adata, label_key="label", cell_line_key="cell_line", chrom_key="chrom")
    model = CellLineEnergyModel(adata, **{**SMALL, **kwargs})
    plan = {"lr": 1e-2, "restore_best": False, **(plan or {})}
    model.train(epochs, train_size=0.6, early_stopping=False, plan_kwargs=plan, **SILENT)
    return model


def last(model, metric):
    return float(model.history[metric].iloc[-1, 0])


def test_healthy_training_trips_nothing():
    table = Scripted().diagnose()
    assert not table["tripped"].any()
    assert list(table.index) == [
        "divergence", "no_decoupling", "line_in_code", "over_sparsity", "temperature_collapse", "overfitting",
    ]  # fmt: skip
    assert list(table.columns) == ["metric", "value", "bound", "tripped", "remedy"]


@pytest.mark.parametrize(
    ("limit", "curves", "remedy"),
    [
        ("divergence", {"min_gain": -0.1}, "lambda_init=0.01"),
        ("no_decoupling", {"decoupling": 0.05}, "corr_weight"),
        ("line_in_code", {"line_probe_accuracy": 0.9}, "input_norm='rank'"),
        ("over_sparsity", {"active_share": 0.01}, "sparsity='l2'"),
        ("temperature_collapse", {"temperature": 0.1}, "temperature_range"),
        ("overfitting", {"train_aupr": 0.9}, "dropout_rate=0.3"),
    ],
)
def test_each_limit_names_its_remedy(limit, curves, remedy):
    table = Scripted(**curves).diagnose()
    assert table.index[table["tripped"]].tolist() == [limit]
    assert remedy in table.loc[limit, "remedy"]


def test_the_epoch_that_was_kept_is_read_and_what_is_missing_trips_nothing():
    curves = {"validation_aupr": [0.1, 0.5, 0.3], "temperature": [0.1, 1.0, 9.0], "train_aupr": [0.5, 0.55, 0.9]}
    assert not Scripted(**curves).diagnose()["tripped"].any()
    model = Scripted()
    del model.history_["min_gain"]
    table = model.diagnose()
    assert np.isnan(table.loc["divergence", "value"])
    assert not table.loc["divergence", "tripped"]


def test_without_validation_there_is_nothing_to_read():
    model = Scripted()
    del model.history_["validation_aupr"]
    with pytest.raises(RuntimeError, match="train_size below 1"):
        model.diagnose()


def test_negative_gain_is_met_and_a_smaller_coupling_helps():
    bad, good = fit(lambda_init=-60.0), fit(lambda_init=0.01)
    assert bool(bad.diagnose().loc["divergence", "tripped"])
    assert last(good, "min_gain") > 0 > last(bad, "min_gain")


@pytest.mark.slow
def test_sparsity_is_met_and_a_lower_weight_helps():
    plan = {"lr": 0.05}
    bad, good = (fit(sparsity_weight=weight, epochs=15, plan=plan) for weight in (20.0, 0.001))
    assert last(bad, "active_share") < 0.05 < last(good, "active_share")


def test_cold_temperature_is_met_and_bounds_or_a_penalty_help():
    bad, bounded = fit(t_init=-4.0), fit(t_init=-4.0, temperature_range=(0.5, 2.0))
    assert last(bad, "temperature") < 0.1
    assert last(bounded, "temperature") >= 0.5


def test_hot_temperature_is_met_and_a_penalty_helps():
    bad, pulled = (fit(t_init=4.0, t_l2=weight, joint=True, epochs=8, plan={"lr": 0.1}) for weight in (0.0, 50.0))
    assert bool(bad.diagnose().loc["temperature_collapse", "tripped"])
    assert abs(last(pulled, "temperature") - 1) < abs(last(bad, "temperature") - 1)


@pytest.mark.slow
def test_coupled_codes_are_met_and_a_weight_on_them_helps():
    """Without normalisation the code of pairs holds what the environment holds."""
    bad = fit(input_norm=None, epochs=10)
    good = fit(input_norm=None, epochs=10, corr_weight=20.0)
    ranked = fit(epochs=10)
    assert bad.diagnose().loc["no_decoupling", "value"] > 1e-2
    assert last(good, "decoupling") < last(bad, "decoupling")
    assert last(ranked, "line_probe_accuracy") < last(bad, "line_probe_accuracy")


@pytest.mark.slow
def test_overfitting_is_met_and_dropout_and_decay_help():
    bad = fit(epochs=40, dropout_rate=0.0, n_hidden=256, n_latent=64, plan={"weight_decay": 0.0})
    good = fit(epochs=40, dropout_rate=0.3, plan={"weight_decay": 1.0})

    def gap(model):
        return last(model, "train_aupr") - last(model, "validation_aupr")

    assert gap(bad) > 0.15
    assert gap(good) < gap(bad)
