import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import Callback

from scwhatif.datasets import simulate_factors
from scwhatif.model import BetaLinearSCVI
from scwhatif.module import BetaLinearVAE
from scwhatif.train import TrainingDivergedError, TrainingPlan

SILENT = {"enable_progress_bar": False, "accelerator": "cpu"}


def _model(seed=0, n_obs=120, **kwargs):
    adata = simulate_factors(n_obs, 40, 3, seed=0)
    BetaLinearSCVI.setup_anndata(adata, batch_key="batch")
    return BetaLinearSCVI(adata, n_latent=4, n_hidden=16, seed=seed, **kwargs)


@pytest.mark.parametrize(
    ("kl_warmup", "max_epochs", "expected"),
    [(0.25, 400, 100), (0.5, 3, 1), (1.0, 10, 9), (0.25, 1, 0), (50, 10, 9), (5, 10, 5), (0, 10, 0), (0.0, 10, 0)],
)
def test_warmup_always_ends_within_training(kl_warmup, max_epochs, expected):
    assert TrainingPlan.n_warmup_epochs(kl_warmup, max_epochs) == expected


@pytest.mark.parametrize("max_epochs", [1, 2, 7])
def test_full_weight_is_reached_whatever_max_epochs(max_epochs):
    model = _model(beta=3.0)
    model.train(max_epochs, seed=0, plan_kwargs={"kl_warmup": 0.9}, **SILENT)
    weights = model.history["kl_weight"].iloc[:, 0].astype(float).to_numpy()
    assert weights[-1] == 1.0
    assert (np.diff(weights) >= 0).all()


def test_logged_metrics_are_means_over_cells():
    model = _model(beta=2.0)
    model.train(3, seed=0, batch_size=50, check_val_every_n_epoch=1, **SILENT)
    history = {key: float(value.iloc[-1, 0]) for key, value in model.history.items()}
    for stage in ("train", "validation"):
        assert history[f"elbo_{stage}"] == pytest.approx(
            history[f"reconstruction_loss_{stage}"] + history[f"kl_local_{stage}"]
        )
        per_dimension = sum(history[f"kl_z{j}_{stage}"] for j in range(4))
        assert per_dimension == pytest.approx(history[f"kl_local_{stage}"], rel=1e-5)
        assert history[f"objective_{stage}"] == pytest.approx(
            history[f"reconstruction_loss_{stage}"] + 2 * history[f"kl_local_{stage}"], rel=1e-5
        )
    # the validation metrics are those of the final weights: no dropout, only the posterior sample is random
    kl = model.get_latent_representation(indices=model.validation_indices, return_dist=True)
    mean, var = kl
    expected = 0.5 * (mean**2 + var - 1 - np.log(var)).sum(1).mean()
    assert history["kl_local_validation"] == pytest.approx(expected, rel=1e-4)


def test_latent_covariance_is_measured_on_the_training_cells():
    model = _model(dropout_rate=0.0)
    model.train(30, seed=0, plan_kwargs={"lr": 1e-9, "weight_decay": 0.0}, **SILENT)
    z = model.get_latent_representation(indices=model.train_indices)
    np.testing.assert_allclose(model.module.latent_covariance.numpy(), np.cov(z.T, bias=True), rtol=1e-3, atol=1e-4)


def test_biases_dispersions_and_covariate_effects_are_not_decayed():
    plan = TrainingPlan(BetaLinearVAE(6, n_batch=2, n_latent=2, n_hidden=4), weight_decay=0.1)
    decayed, spared = plan.configure_optimizers()["optimizer"].param_groups
    names = {id(p): name for name, p in plan.module.named_parameters()}
    assert decayed["weight_decay"] == 0.1
    assert spared["weight_decay"] == 0.0
    assert {names[id(p)] for p in decayed["params"]} == {
        "z_encoder.first.weight",
        "z_encoder.mean.weight",
        "z_encoder.log_var.weight",
        "decoder.weight",
    }
    assert len(decayed["params"]) + len(spared["params"]) == len(names)


def test_cosine_schedule_ends_near_zero():
    model = _model()
    model.train(4, seed=0, plan_kwargs={"lr": 1e-2, "lr_schedule": "cosine"}, learning_rate_monitor=True, **SILENT)
    rates = next(value for key, value in model.history.items() if key.startswith("lr")).iloc[:, 0].astype(float)
    np.testing.assert_allclose(rates, 1e-2 * (1 + np.cos(np.pi * np.arange(4) / 4)) / 2)


def test_divergence_names_the_epoch_and_restores_healthy_weights():
    model = _model()
    model.train(2, seed=0, **SILENT)
    healthy = {key: value.clone() for key, value in model.module.state_dict().items()}
    with pytest.raises(TrainingDivergedError, match=r"diverged in epoch 1 .* lr=1e\+30 is too high") as error:
        model.train(5, seed=0, plan_kwargs={"lr": 1e30}, **SILENT)
    assert (error.value.epoch, error.value.n_epochs_kept) == (1, 0)
    for key, value in model.module.state_dict().items():
        assert torch.equal(value, healthy[key]), key
    assert model.is_trained
    assert np.isfinite(model.get_latent_representation()).all()


def test_late_divergence_keeps_the_healthy_epochs():
    model = _model()

    class PoisonAtEpoch3(Callback):
        def on_train_epoch_start(self, trainer, pl_module):
            if trainer.current_epoch == 3:
                with torch.no_grad():
                    pl_module.module.decoder.bias.fill_(float("nan"))

    with pytest.raises(TrainingDivergedError, match=r"diverged in epoch 3 .* after 2 healthy epoch") as error:
        model.train(5, seed=0, callbacks=[PoisonAtEpoch3()], **SILENT)
    assert error.value.n_epochs_kept == 2
    assert model.is_trained
    assert np.isfinite(model.get_latent_representation()).all()
    twin = _model()
    twin.train(2, seed=0, plan_kwargs={"kl_warmup": 1}, **SILENT)
    # same seed, same warm-up of one epoch (a quarter of five): the restored weights are those of a two-epoch fit
    assert torch.equal(twin.module.z_encoder.first.weight, model.module.z_encoder.first.weight)


def test_divergence_at_once_leaves_the_model_untrained():
    model = _model()
    with pytest.raises(TrainingDivergedError, match="Restored the weights before training"):
        model.train(5, seed=0, plan_kwargs={"lr": 1e30}, **SILENT)
    assert not model.is_trained
    assert not model.module.training


def test_a_second_fit_trains_with_dropout():
    model = _model(dropout_rate=0.9)
    modes = []

    class RecordMode(Callback):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            modes.append(pl_module.module.z_encoder.hidden[-1].training)

    for _ in range(2):
        model.train(1, seed=0, callbacks=[RecordMode()], **SILENT)
    assert modes
    assert all(modes)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"lr_schedule": "step"}, "use 'cosine'"),
        ({"lr_schedule": "cosine", "reduce_lr_on_plateau": True}, "choose one"),
        ({"kl_warmup": 1.5}, "fraction of max_epochs"),
        ({"kl_warmup": -1}, "fraction of max_epochs"),
        ({"max_kl_weight": 4.0, "n_epochs_kl_warmup": 10}, "use kl_warmup .* beta"),
    ],
)
def test_contradictory_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        TrainingPlan(BetaLinearVAE(4, n_latent=2), **arguments)
