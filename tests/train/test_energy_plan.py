import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from scwhatif.module import CellLineEnergyModule
from scwhatif.module._cell_line_energy import (
    ENVIRONMENT_KEY,
    ENVIRONMENT_OBSERVED_KEY,
    FEATURES_KEY,
    GROUP_KEY,
    LABEL_KEY,
    LINE_KEY,
    OBSERVED_KEY,
    SUPPORT_KEY,
)
from scwhatif.train import EnergyTrainingPlan, EpisodeSampler, TrainingDivergedError
from scwhatif.train._energy_plan import BLOCK_KEY

SEED_WEIGHTS = {"corr": 0.1, "adversary": 0.1, "contrast": 0.05, "sparsity": 0.01, "prototype": 0.05}
N_LINES = 3


class Rows(Dataset):
    def __init__(self, seed=0, n=180):
        generator = torch.Generator().manual_seed(seed)
        lines = torch.arange(n) % N_LINES
        x = torch.randn(n, 4, generator=generator)
        logit = 2 * x[:, 0] - 0.5 * lines
        observed = torch.ones(n, 4, dtype=torch.bool)
        self.tensors = {
            FEATURES_KEY: x,
            OBSERVED_KEY: observed,
            ENVIRONMENT_KEY: x + lines.unsqueeze(1),
            ENVIRONMENT_OBSERVED_KEY: observed,
            LINE_KEY: lines,
            LABEL_KEY: (torch.rand(n, generator=generator) < torch.sigmoid(logit)).float(),
            BLOCK_KEY: torch.arange(n) % 4,
        }

    def __len__(self):
        return len(self.tensors[LINE_KEY])

    def __getitem__(self, episode):
        batch = {key: value[torch.as_tensor(episode.rows)] for key, value in self.tensors.items()}
        batch[GROUP_KEY] = torch.as_tensor(episode.group)
        batch[SUPPORT_KEY] = torch.as_tensor(episode.support)
        return batch


def loaders(seed=0):
    rows = Rows(seed)
    lines, labels = rows.tensors[LINE_KEY].numpy(), rows.tensors[LABEL_KEY].numpy()
    return [
        DataLoader(
            rows, sampler=EpisodeSampler(lines, labels, n_support=8, n_query=16, lines_per_episode=3), batch_size=None
        )
        for _ in range(2)
    ]


def fit(module, epochs=3, callbacks=(), **kwargs):
    from scvi.train import Trainer

    torch.manual_seed(0)
    train, validation = loaders()
    module.initialize(train.dataset.tensors)
    plan = EnergyTrainingPlan(module, line_names=["a", "b", "c"], probe_every=2, **kwargs)
    trainer = Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        devices=1,
        enable_progress_bar=False,
        check_val_every_n_epoch=1,
        log_every_n_steps=1,
        callbacks=list(callbacks),
    )
    module.train()
    trainer.fit(plan, train, validation)
    return plan, trainer


def build(**kwargs):
    torch.manual_seed(0)
    return CellLineEnergyModule(4, 4, N_LINES, n_latent=8, n_environment=4, n_hidden=16, **kwargs)


def test_warm_up_leaves_the_environment_bitwise_alone():
    module = build(weights=SEED_WEIGHTS)
    frozen = {
        name: value.clone()
        for name, value in module.state_dict().items()
        if name.startswith(
            ("environment_encoder", "interaction.coupling", "interaction.energy", "adversary", "prototyp")
        )
    }
    before = module.score_head.weight.detach().clone()
    fit(module, epochs=2, weight_decay=0.1, lambda_weight_decay=0.1, restore_best=False)
    for name, value in frozen.items():
        assert torch.equal(module.state_dict()[name], value), name
    assert not torch.equal(module.score_head.weight, before)
    assert not bool(module.energy_on)


def test_after_the_warm_up_everything_moves():
    module = build(weights=SEED_WEIGHTS)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    _, trainer = fit(module, epochs=4, restore_best=False)
    after = module.state_dict()
    for name in ("environment_encoder.0.weight", "interaction.coupling", "adversary.0.weight", "prototypes.values"):
        assert not torch.equal(after[name], before[name]), name
    assert bool(module.energy_on)
    history = trainer.logger.history
    np.testing.assert_allclose(history["corr_weight"].to_numpy(float).ravel(), [0, 0, 0.1, 0.11], atol=1e-6)


def test_everything_that_is_watched_is_there_in_every_epoch():
    _, trainer = fit(build(weights=SEED_WEIGHTS), epochs=3)
    history = trainer.logger.history
    scores = ("aupr", "auroc", "f1", "ece", "brier", "calibration_slope")
    watched = [f"{stage}_{score}" for stage in ("train", "validation") for score in scores]
    watched += ["decoupling", "line_probe_accuracy", "active_share", "temperature", "lambda", "min_gain"]
    watched += ["energy_a", "energy_b", "energy_c", "validation_loss", "task_loss_train"]
    watched += [f"{name}_weight" for name in SEED_WEIGHTS]
    for name in watched:
        assert len(history[name]) == 3, name
        assert np.isfinite(history[name].to_numpy(float)).all(), name
    # the auxiliary losses are only there once they take part, plain and weighted
    assert len(history["corr_loss_train"]) == 1
    weighted = history["corr_weighted_train"].to_numpy(float) / history["corr_loss_train"].to_numpy(float)
    np.testing.assert_allclose(weighted, 0.1, rtol=1e-5)


def test_best_weights_are_restored_and_stopping_waits_its_patience(monkeypatch):
    from scwhatif.train import _energy_plan

    curve = iter([0.1, 0.2, 0.3, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.0])
    kept = {}

    def scripted(probability, label, lines):
        return dict.fromkeys(("aupr", "auroc", "f1", "ece", "brier", "calibration_slope"), 0.5)

    monkeypatch.setattr(_energy_plan, "line_scores", scripted)
    original = EnergyTrainingPlan._scores

    def scores(self, rows):
        found = original(self, rows)
        if "z" in rows:
            found[0]["aupr"] = next(curve)
            kept[self.current_epoch] = {k: v.clone() for k, v in self.module.state_dict().items()}
        return found

    monkeypatch.setattr(EnergyTrainingPlan, "_scores", scores)
    from scvi.train._callbacks import LoudEarlyStopping

    stop = LoudEarlyStopping(monitor="validation_aupr", mode="max", patience=3, warmup_epochs=2)
    module = build()
    plan, _ = fit(module, epochs=10, callbacks=[stop])
    assert plan.best_epoch == 3
    assert max(kept) == 6
    for name, value in module.state_dict().items():
        assert torch.equal(value, kept[3][name]), name


@pytest.mark.parametrize(("interaction", "best"), [("scalar", 3), ("none", 0)])
def test_weights_without_energy_are_kept_only_where_there_is_none(monkeypatch, interaction, best):
    """The order of pairs is best before the energy sets in, which it cannot improve."""
    curve = iter([0.9, 0.8, 0.3, 0.6, 0.5])
    original = EnergyTrainingPlan._scores

    def scores(self, rows):
        found = original(self, rows)
        if "z" in rows:
            found[0]["aupr"] = next(curve)
        return found

    monkeypatch.setattr(EnergyTrainingPlan, "_scores", scores)
    module = build(interaction=interaction)
    plan, _ = fit(module, epochs=5)
    assert plan.best_epoch == best
    if interaction == "scalar":
        assert bool(module.energy_on)


def test_only_the_coupling_decays_when_asked():
    module = build()
    plan = EnergyTrainingPlan(module, lambda_weight_decay=0.3)
    groups = plan.configure_optimizers()["optimizer"].param_groups
    decays = {id(p): group["weight_decay"] for group in groups for p in group["params"]}
    assert decays[id(module.interaction.coupling)] == 0.3
    assert decays[id(module.interaction.t)] == 0.0
    assert decays[id(module.score_head.weight)] > 0
    assert len(decays) == len(list(module.parameters()))


def test_divergence_names_the_remedy_and_leaves_finite_weights():
    module = build()
    with pytest.raises(TrainingDivergedError, match=r"lambda_init=0\.01") as raised:
        fit(module, epochs=4, lr=1e30)
    assert raised.value.epoch == 0
    assert all(torch.isfinite(p).all() for p in module.parameters())


def test_margins_are_watched():
    _, trainer = fit(build(loss="theory", interaction="channels", n_channels=2), epochs=3)
    assert len(trainer.logger.history["rho_positive"]) == 3
    assert len(trainer.logger.history["lambda_1"]) == 3
