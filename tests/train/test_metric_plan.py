"""Schedules, the choice of pairs, and what is logged of an epoch."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scvi import REGISTRY_KEYS

from scwhatif.metrics import retrieval_scores
from scwhatif.module import MetricEncoderModule
from scwhatif.nn import MetricLoss
from scwhatif.train import MetricTrainingPlan, TrainingDivergedError, global_hard_pairs
from scwhatif.train._pk_splitter import MetricRows


def make(**kwargs) -> MetricTrainingPlan:
    loss = kwargs.pop("metric_loss", None) or MetricLoss("triplet")
    plan = MetricTrainingPlan(MetricEncoderModule(3, n_latent=3), metric_loss=loss, **kwargs)
    x = torch.randn(24, 3, generator=torch.Generator().manual_seed(0))
    rows = MetricRows(x, torch.arange(24) // 4, torch.arange(24) % 2)
    data = SimpleNamespace(rows=rows, train_idx=np.arange(16), val_idx=np.arange(16, 24), gallery=np.arange(16, 24))
    plan._trainer = SimpleNamespace(
        datamodule=data, current_epoch=0, max_epochs=5, world_size=1, global_rank=0, barebones=False, loggers=[]
    )
    plan.log = plan.log_dict = lambda *args, **kwargs: None
    return plan


def test_schedules():
    plan = make(mining={5: "hard", 0: "random"}, margin={0: 0.1, 10: 0.5})
    assert [plan.mining_at(epoch) for epoch in (0, 4, 5, 9)] == ["random", "random", "hard", "hard"]
    assert [plan.margin_at(epoch) for epoch in (0, 5, 10, 99)] == pytest.approx([0.1, 0.3, 0.5, 0.5])
    plain = make()
    assert (plain.mining_at(3), plain.margin_at(3)) == ("all", 0.2)


def test_margin_follows_its_schedule():
    plan = make(margin={0: 0.1, 4: 0.5})
    plan._trainer.current_epoch = 2
    plan.on_train_epoch_start()
    assert plan.metric_loss.margin == pytest.approx(0.3)


def test_scores_are_those_of_the_validation_rows():
    plan = make()
    rows = plan._data.rows
    found = retrieval_scores(rows.x[16:].numpy(), rows.identity[16:].numpy(), exam=rows.exam[16:].numpy(), ks=(1,))
    scores = plan.scores()
    expected = {"map": found["ap"].mean(), "rank_1": found["rank@1"].mean(), "auc": found["auc"].mean()}
    assert {name: scores[name] for name in expected} == pytest.approx(expected)
    plan._data.gallery = np.arange(24)
    among = retrieval_scores(
        rows.x.numpy(), rows.identity.numpy(), exam=rows.exam.numpy(), queries=np.arange(16, 24), ks=(1,)
    )
    assert plan.scores()["map"] == pytest.approx(among["ap"].mean())


def test_pairs_of_all_rows_are_named_by_position():
    plan = make(mining="full-hard", positive_quantile=1.0, negative_ranks=(1, 1))
    plan._data.train_idx = np.arange(8, 24)
    plan.on_train_epoch_start()
    rows = plan._data.rows
    found = global_hard_pairs(
        rows.x[8:], rows.identity[8:], exams=rows.exam[8:], positive_quantile=1.0, negative_ranks=(1, 1)
    )
    assert torch.equal(plan._pairs.positive[8:], found.positive + 8)
    assert torch.equal(plan._pairs.negative[8:], found.negative + 8)
    assert (plan._pairs.positive[:8] == -1).all()
    batch, triplets = plan._with_pairs(rows[[9, 20]])
    anchor, positive, negative = (batch[REGISTRY_KEYS.INDICES_KEY][each].tolist() for each in triplets)
    assert anchor == [9, 20]
    assert positive == plan._pairs.positive[[9, 20]].tolist()
    assert negative == plan._pairs.negative[[9, 20]].tolist()


def test_pairs_of_a_bank_are_named_by_position_and_dated():
    plan = make(mining="full-hard", search="bank", bank_size=6, positive_quantile=1.0, negative_ranks=(1, 1))
    plan._data.train_idx = np.arange(8, 24)
    plan.on_train_start()
    plan.on_train_epoch_start()
    rows = plan._data.rows
    for dealt in ([8, 9, 12, 13], [16, 17, 14, 20]):
        batch, triplets = plan._with_pairs(rows[dealt])
        plan._totals["n"] += 1
    anchor, positive, negative = (batch[REGISTRY_KEYS.INDICES_KEY][each] for each in triplets)
    # 20 is alone in the bank, which has lost 8 and 9
    assert anchor.tolist() == [16, 17, 14]
    assert positive.tolist() == [17, 16, 13]
    unit = torch.nn.functional.normalize(rows.x)
    for a, n in zip(anchor.tolist(), negative.tolist(), strict=True):
        others = [each for each in (12, 13, 16, 17, 14, 20) if each // 4 != a // 4]
        assert n == max(others, key=lambda each: float(unit[a] @ unit[each]))
    # 4 rows at the first step and 6 at the second; ages are in epochs of two batches
    plan.on_train_epoch_end()
    last = plan.table[-1]
    assert last["rows_searched"] == 5.0
    n_old = sum(each in (12, 13) for each in (*positive.tolist(), *negative.tolist()))
    assert last["pairs_age"] == pytest.approx((n_old / 6) / 2 / 2)
    bank = plan._bank
    plan.on_train_epoch_start()
    assert plan._bank is bank
    plan.mining = {0: "hard"}
    plan.on_train_epoch_start()
    assert plan._bank is None


def test_search_is_repeated_when_due():
    plan = make(mining={0: "full-hard", 5: "hard"}, refresh_every=3)
    searched = []
    plan._search = lambda epoch: searched.append(epoch) or object()
    for epoch in range(6):
        plan._trainer.current_epoch = epoch
        plan.on_train_epoch_start()
    assert searched == [0, 3]
    assert plan._pairs is None


def test_without_pairs_nothing_else_is_done_in_silence():
    plan = make(mining="full-hard")
    with pytest.raises(RuntimeError, match="needs pairs found among all training rows"):
        plan.training_step(plan._data.rows[[0, 1, 4, 5]], 0)


def test_all_pairs_are_of_different_exams():
    plan = make()
    batch = plan._data.rows[[0, 1, 2, 4, 5]]
    anchor, positive, other, negative = plan._chosen(batch[REGISTRY_KEYS.X_KEY], batch)
    assert sorted(zip(anchor.tolist(), positive.tolist(), strict=True)) == [
        (0, 1), (1, 0), (1, 2), (2, 1), (3, 4), (4, 3),
    ]  # fmt: skip
    assert len(other) == len(negative) == 12
    del batch["exam"]
    assert plan._chosen(batch[REGISTRY_KEYS.X_KEY], batch) is None


@pytest.mark.parametrize("mining", ["random", "semihard", "hard"])
def test_triplets_of_a_batch(mining: str):
    plan = make(mining=mining)
    plan.on_train_epoch_start()
    batch = plan._data.rows[[0, 1, 2, 4, 5]]
    anchor, positive, negative = plan._chosen(batch[REGISTRY_KEYS.X_KEY], batch)
    identity, exam = batch["identity"], batch["exam"]
    assert (identity[anchor] == identity[positive]).all()
    assert (exam[anchor] != exam[positive]).all()
    assert (identity[anchor] != identity[negative]).all()


def test_a_loss_that_is_no_number_stops():
    plan = make()
    plan._best_state = plan._snapshot()
    plan.on_train_epoch_start()
    batch = plan._data.rows[[0, 1, 4, 5]]
    batch[REGISTRY_KEYS.X_KEY][0] = torch.nan
    with pytest.raises(TrainingDivergedError, match="lower it"):
        plan.training_step(batch, 0)


def test_proxies_are_trained_without_decay():
    plan = make(metric_loss=MetricLoss("proxy_anchor", n_identities=4, n_latent=3))
    groups = plan.configure_optimizers()["optimizer"].param_groups
    assert groups[-1]["params"] == [plan.metric_loss.proxies]
    assert groups[-1]["weight_decay"] == 0
