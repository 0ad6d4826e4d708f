"""Runs whose course is known, from every form that a history comes in."""

from __future__ import annotations

import warnings
from types import SimpleNamespace

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import scwhatif as wi

EPOCH = np.arange(21)
GOOD = pd.DataFrame({"epoch": EPOCH, "loss": 1 / (1 + EPOCH), "map": 0.6 + 0.01 * EPOCH, "strategy": "supcon"})
# loss falls, ratio rises, retrieval first rises and then falls
FAR = GOOD.assign(ratio=4.0 + EPOCH, map=np.r_[0.6, 0.7 - 0.01 * EPOCH[1:]], strategy="farthest")
WORSE = FAR.assign(map=0.6 - 0.01 * EPOCH)


@pytest.fixture
def adata():
    return ad.AnnData(np.zeros((3, 2), np.float32))


@pytest.fixture(scope="module")
def trained():
    cells = wi.datasets.simulate_factors(100, 20, 3, seed=0)
    wi.model.BetaLinearSCVI.setup_anndata(cells)
    model = wi.model.BetaLinearSCVI(cells, n_latent=3, seed=0)
    monitor = wi.train.EmbeddingMonitor(identity_key="cell_type", split="all", every_n_epochs=2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.train(max_epochs=4, seed=0, enable_progress_bar=False, callbacks=[monitor])
    return model, monitor


def test_one_row_per_run_and_epoch(adata):
    wi.tl.compare_runs(adata, {"good": GOOD, "far": FAR})
    epochs = adata.uns["compare_runs"]["epochs"]
    assert list(epochs.columns[:2]) == ["run", "epoch"]
    for name, run in {"good": GOOD, "far": FAR}.items():
        part = epochs[epochs["run"] == name]
        for column in run:
            assert part[column].tolist() == run[column].tolist()
    assert epochs.loc[epochs["run"] == "good", "ratio"].isna().all()


def test_trends_are_those_of_each_run(adata):
    wi.tl.compare_runs(adata, {"good": GOOD, "far": FAR}, window=8)
    trends = adata.uns["compare_runs"]["trends"]
    for name, run in {"good": GOOD, "far": FAR}.items():
        expected = wi.metrics.training_trends(run, window=8).table
        part = trends[trends["run"] == name].drop(columns="run").set_index("metric")
        pd.testing.assert_frame_equal(part, expected.set_index("metric").loc[part.index])


def test_rules_are_seen_while_the_run_goes_on(adata):
    wi.tl.compare_runs(adata, {"good": GOOD, "far": FAR})
    messages = adata.uns["compare_runs"]["messages"]
    assert set(messages["run"]) == {"far"}
    parted = messages[messages["message"].str.startswith("ratio up, map down")].iloc[0]
    assert 4 <= parted["first"] <= 10
    assert (parted["last"], parted["now"]) == (20, True)
    for message, first in zip(messages["message"], messages["first"], strict=True):
        before = wi.metrics.training_trends(FAR[FAR["epoch"] < first]).messages
        now = wi.metrics.training_trends(FAR[FAR["epoch"] <= first]).messages
        assert message in now
        assert first == 4 or message not in before


def test_advice(adata):
    wi.tl.compare_runs(adata, {"worse": WORSE, "far": FAR, "good": GOOD, "none": GOOD[["epoch", "loss"]]})
    summary = adata.uns["compare_runs"]["summary"].set_index("run")
    assert summary.index.tolist() == ["good", "far", "worse", "none"]
    assert summary["best_epoch"].to_dict() == {"good": 20, "far": 1, "worse": 0, "none": -1}
    assert summary["advice"].to_dict() == {
        "good": "take the last epoch",
        "far": "take the best epoch",
        "worse": "training does not help",
        "none": "",
    }
    assert summary.loc["far", ["start", "best", "last", "gain"]].tolist() == pytest.approx([0.6, 0.69, 0.5, 0.09])
    wi.tl.compare_runs(adata, {"far": FAR, "good": GOOD[1:]}, criterion="loss", mode="min")
    summary = adata.uns["compare_runs"]["summary"].set_index("run")
    assert summary.loc["far", "gain"] == pytest.approx(1 - 1 / 21)
    assert np.isnan(summary.loc["good", "start"])


def test_of_equal_epochs_the_first_is_best(adata):
    wi.tl.compare_runs(adata, GOOD.assign(map=0.5))
    summary = adata.uns["compare_runs"]["summary"].iloc[0]
    assert (summary["run"], summary["best_epoch"], summary["advice"]) == ("run", 0, "training does not help")


def test_the_input_is_kept_only_where_training_starts_from_it(adata):
    head, network = (SimpleNamespace(table_=WORSE, encoder=encoder) for encoder in ("residual", "mlp"))
    wi.tl.compare_runs(adata, {"head": head, "with": [head, WORSE], "network": network, "good": GOOD})
    advice = adata.uns["compare_runs"]["summary"].set_index("run")["advice"]
    assert advice.to_dict() == {
        "good": "take the last epoch",
        "head": "keep the input",
        "with": "keep the input",
        "network": "training does not help",
    }


def test_models_histories_and_monitors(adata, trained):
    model, monitor = trained
    wi.tl.compare_runs(adata, {"both": [model, monitor], "model": model, "history": model.history, "monitor": monitor})
    epochs = adata.uns["compare_runs"]["epochs"]
    both, alone, history, seen = (epochs[epochs["run"] == each] for each in ("both", "model", "history", "monitor"))
    assert both["epoch"].tolist() == [0, 1, 2, 3, 4]
    assert alone["epoch"].tolist() == history["epoch"].tolist() == [1, 2, 3, 4]
    assert seen["epoch"].tolist() == [0, 2, 4]
    np.testing.assert_allclose(both["loss"][1:], model.history["train_loss"].to_numpy(float).ravel())
    np.testing.assert_array_equal(both["map"].iloc[::2], monitor.table_["map"])
    assert both["map"].iloc[1::2].isna().all()
    assert both["verdict"].iloc[::2].tolist() == monitor.table_["verdict"].tolist()
    assert both["verdict"].iloc[1] == ""
    np.testing.assert_allclose(alone["map"].iloc[1::2], monitor.table_["map"][1:], rtol=1e-5)
    # a history is one run, although it is a dict
    wi.tl.compare_runs(adata, model.history)
    assert adata.uns["compare_runs"]["summary"]["run"].tolist() == ["run"]


def test_different_galleries_cannot_be_compared(adata):
    runs = {"a": GOOD.assign(gallery=100.0), "b": GOOD.assign(gallery=90.0)}
    with pytest.warns(UserWarning, match=r"differ in gallery \(cells ranked\): {'a': 100.0, 'b': 90.0}"):
        wi.tl.compare_runs(adata, runs)


def test_written_and_read(adata, trained, tmp_path):
    found = wi.tl.compare_runs(adata, {"both": list(trained), "far": FAR}, copy=True)
    assert not adata.uns
    found.write_h5ad(tmp_path / "cells.h5ad")
    read = ad.read_h5ad(tmp_path / "cells.h5ad").uns["compare_runs"]
    for name in ("epochs", "trends", "messages", "summary"):
        pd.testing.assert_frame_equal(read[name], found.uns["compare_runs"][name], check_dtype=False)


def test_into_mudata(tmp_path):
    mdata = wi.datasets.simulate_flow(20, n_rna=6, n_protein=5, n_ptm=(4,), n_metabolites=3, fusion_layer=0)
    wi.tl.compare_runs(mdata, {"good": GOOD, "far": FAR})
    assert mdata.uns["compare_runs"]["summary"]["run"].tolist() == ["good", "far"]


def test_bad_input(adata, trained):
    untrained = wi.model.BetaLinearSCVI(trained[0].adata, n_latent=2, seed=0)
    for runs, match in (
        ({}, "runs is empty"),
        ({"a": GOOD.drop(columns="epoch"), "b": GOOD}, "run 'a' needs a column 'epoch'"),
        (pd.concat([GOOD, GOOD]), "has epoch 0 twice"),
        (untrained, "has no history"),
        ({"a": [GOOD, {"x_step": GOOD}]}, "history of run 'a' is empty"),
    ):
        with pytest.raises(ValueError, match=match):
            wi.tl.compare_runs(adata, runs)
    with pytest.raises(ValueError, match="mode='largest'"):
        wi.tl.compare_runs(adata, GOOD, mode="largest")
    with pytest.raises(ValueError, match="window=2"):
        wi.tl.compare_runs(adata, GOOD, window=2)
    with pytest.raises(KeyError, match="criterion='rank_1' was logged in no run"):
        wi.tl.compare_runs(adata, GOOD, criterion="rank_1")
    with pytest.raises(TypeError, match="Run 'a' is a str"):
        wi.tl.compare_runs(adata, {"a": "model"})
