"""The head starts as its input, learns what identities share, and gives the input back where it cannot."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from anndata import AnnData
from scipy import sparse

from scwhatif.metrics import retrieval_scores
from scwhatif.model import MetricEncoder
from scwhatif.train import EmbeddingMonitor

SILENT = {"enable_progress_bar": False, "accelerator": "cpu"}


def fit(adata: AnnData, epochs: int = 2, *, encoder: str = "residual", exam: str | None = "when", **kwargs):
    MetricEncoder.setup_anndata(adata, identity_key="who", exam_key=exam, obsm_key="z")
    model = MetricEncoder(adata, encoder=encoder, n_hidden=16)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Training did not help|The input finds")
        model.train(epochs, **{"seed": 0, **SILENT, **kwargs})
    return model


def mean_ap(z: np.ndarray, obs: pd.DataFrame) -> float:
    return retrieval_scores(z, obs["who"].to_numpy(), exam=obs["when"].to_numpy(), ks=(1,))["ap"].mean()


def test_epoch_0_is_the_input(metric_adata: AnnData):
    MetricEncoder.setup_anndata(metric_adata, identity_key="who", obsm_key="z")
    model = MetricEncoder(metric_adata)
    assert np.abs(model.get_latent_representation() - metric_adata.obsm["z"]).max() < 1e-6
    assert model.n_latent == 8


def test_planted_identity_is_found_in_unseen_identities(metric_adata: AnnData, metric_model: MetricEncoder):
    rows = np.asarray(metric_model.validation_indices)
    who = metric_adata.obs["who"].to_numpy()
    assert set(who[rows]).isdisjoint(who[np.asarray(metric_model.train_indices)])
    assert metric_model.improved_
    assert metric_model.best_epoch_ > 0
    table = metric_model.table_.set_index("epoch")
    # epoch 0 is the input, and the weights are those of the best epoch
    assert table.loc[0, "map"] == pytest.approx(mean_ap(metric_adata.obsm["z"][rows], metric_adata.obs.iloc[rows]))
    assert table["map"].idxmax() == metric_model.best_epoch_
    z = metric_model.get_latent_representation(indices=rows)
    assert mean_ap(z, metric_adata.obs.iloc[rows]) == pytest.approx(table["map"].max(), abs=1e-4)
    assert table["map"].max() > table.loc[0, "map"] + 0.2
    # what is not identity has been put away
    share = np.linalg.norm(z[:, 4:]) / np.linalg.norm(z)
    assert share < 0.8 * np.linalg.norm(metric_adata.obsm["z"][rows, 4:]) / np.linalg.norm(metric_adata.obsm["z"][rows])


def test_table_and_history(metric_model: MetricEncoder):
    table, history = metric_model.table_, metric_model.history
    assert table["epoch"].tolist() == list(range(len(table)))
    assert table["mining"].tolist() == ["none"] + ["all"] * (len(table) - 1)
    assert history["mining"]["mining"].tolist() == table["mining"].tolist()[1:]
    np.testing.assert_allclose(history["validation_map"].to_numpy(float).ravel(), table["map"][1:], rtol=1e-5)
    assert table["loss"].iloc[-1] < table["loss"].iloc[1]
    assert table["ratio"].iloc[-1] > table["ratio"].iloc[0]


@pytest.mark.parametrize("rank", [True, False])
def test_input_is_given_back_where_training_does_not_help(rank: bool):
    """Identities that are told apart already leave nothing to gain."""
    who = np.repeat(np.arange(10), 6)
    z = np.eye(10)[who] + np.random.default_rng(0).normal(size=(60, 10)) * 1e-3
    adata = AnnData(obs=pd.DataFrame({"who": who, "when": 0}, index=[str(i) for i in range(60)]), obsm={"z": z})
    MetricEncoder.setup_anndata(adata, identity_key="who", obsm_key="z")
    model = MetricEncoder(adata, n_hidden=8)
    with pytest.warns(UserWarning, match="gives the input back as it is"):
        model.train(3, monitor="rank_1" if rank else "map", plan_kwargs={"lr": 0.05}, **SILENT)
    assert not model.improved_
    assert model.best_epoch_ == 0
    assert len(model.table_) == 4
    np.testing.assert_allclose(model.get_latent_representation(), z, atol=1e-6)


@pytest.mark.parametrize("mining", ["all", "random", "semihard", "hard", "full-hard"])
def test_strategies_run_and_are_told(metric_adata: AnnData, mining: str):
    model = fit(metric_adata, loss="triplet", mining=mining, margin=0.3)
    table = model.table_
    assert table["mining"].tolist() == ["none", mining, mining]
    assert table["margin"][1:].tolist() == [0.3, 0.3]
    assert table["active_pairs"][1:].between(0, 1).all()
    assert table["pairs_age"][1:].tolist() == pytest.approx([0.0 if mining == "full-hard" else np.nan] * 2, nan_ok=True)


def test_pairs_of_a_bank(metric_adata: AnnData):
    model = fit(metric_adata, loss="triplet", mining="full-hard", search="bank")
    table = model.table_.iloc[1:]
    n_train = len(model.train_indices)
    # the bank fills up in the first epoch and is full from then on
    assert table["rows_searched"].iloc[0] < table["rows_searched"].iloc[1] == n_train
    assert table["pairs_age"].between(0, 2).all()
    assert table["active_pairs"].between(0, 1).all()
    exact = fit(metric_adata, loss="triplet", mining="full-hard").table_.iloc[1:]
    assert exact["rows_searched"].tolist() == [n_train] * 2


def test_hard_pairs_are_harder(metric_adata: AnnData):
    easy, hard = (fit(metric_adata, 1, loss="triplet", mining=mining).table_.iloc[1] for mining in ("random", "hard"))
    assert hard["batch_intra"] > easy["batch_intra"]
    assert hard["batch_inter"] < easy["batch_inter"]
    assert hard["active_pairs"] > easy["active_pairs"]


@pytest.mark.parametrize("loss", ["multi_similarity", "contrastive", "proxy_anchor", "center"])
def test_losses_learn(metric_adata: AnnData, loss: str):
    model = fit(metric_adata, 4, loss=loss, plan_kwargs={"lr": 2e-2})
    table = model.table_
    assert table["loss"].iloc[-1] < table["loss"].iloc[1]
    assert table["map"].iloc[1:].max() > table["map"].iloc[0]


def test_schedules_are_told(metric_adata: AnnData):
    model = fit(metric_adata, 3, loss="triplet", mining={0: "random", 2: "semihard"}, margin={0: 0.1, 2: 0.3})
    assert model.table_["mining"].tolist() == ["none", "random", "random", "semihard"]
    assert model.table_["margin"].tolist()[1:] == pytest.approx([0.1, 0.2, 0.3])


def test_same_seed_same_result(metric_adata: AnnData):
    first, same, other = (fit(metric_adata, 1, mining="random", seed=seed) for seed in (1, 1, 2))
    pd.testing.assert_frame_equal(first.table_, same.table_)
    assert not first.table_["loss"].equals(other.table_["loss"])


@pytest.mark.parametrize("split_by", ["exam", "row"])
def test_known_identities_seen_again(metric_adata: AnnData, split_by: str):
    model = fit(metric_adata, 1, split_by=split_by)
    rows, gallery = np.asarray(model.validation_indices), model.gallery_indices_
    assert model.split_by_ == split_by
    who = metric_adata.obs["who"].to_numpy()
    assert set(who[rows]) == set(who[np.asarray(model.train_indices)])
    if split_by == "exam":
        # a new exam looks for its identity among those that are known
        assert len(gallery) == metric_adata.n_obs
        when = metric_adata.obs["when"].to_numpy()
        assert set(when[rows]).isdisjoint(when[np.asarray(model.train_indices)])
    expected = retrieval_scores(
        metric_adata.obsm["z"][gallery],
        who[gallery],
        exam=metric_adata.obs["when"].to_numpy()[gallery],
        queries=np.isin(gallery, rows),
        ks=(1,),
    )["ap"].mean()
    assert model.table_["map"].iloc[0] == pytest.approx(expected, abs=1e-4)


def test_a_gain_within_noise_is_not_taken(metric_adata: AnnData):
    free, strict = (fit(metric_adata, 4, min_gain=min_gain) for min_gain in (0.0, 0.9))
    assert free.best_epoch_ > 0
    start = free.table_["map"].iloc[0]
    assert free.table_["map"].max() < start + 0.9 * (1 - start)
    pd.testing.assert_frame_equal(free.table_, strict.table_)
    assert strict.best_epoch_ == 0
    np.testing.assert_allclose(strict.get_latent_representation(), metric_adata.obsm["z"], atol=1e-6)


def test_from_scratch_is_compared_with_its_input(metric_adata: AnnData):
    MetricEncoder.setup_anndata(metric_adata, identity_key="who", obsm_key="z")
    model = MetricEncoder(metric_adata, encoder="mlp", n_latent=2, n_hidden=4)
    with pytest.warns(UserWarning, match="The input finds the validation rows as well or better"):
        model.train(1, plan_kwargs={"lr": 1e-6}, **SILENT)
    assert model.get_latent_representation().shape == (120, 2)
    assert not model.improved_


@pytest.mark.parametrize("wrap", [np.asarray, sparse.csr_matrix])
def test_counts(wrap):
    """Depth, which differs between rows, is no part of an identity."""
    rng = np.random.default_rng(0)
    who = np.repeat(np.arange(8), 6)
    rate = rng.gamma(1.0, 1.0, (8, 20))[who] * rng.uniform(5, 20, 48)[:, None]
    obs = pd.DataFrame({"who": who}, index=[str(i) for i in range(48)])
    adata = AnnData(wrap(rng.poisson(rate).astype(np.float32) + 0.0), obs=obs)
    MetricEncoder.setup_anndata(adata, identity_key="who")
    model = MetricEncoder(adata, n_hidden=8)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Training did not help")
        model.train(1, plan_kwargs={"lr": 1e-9}, **SILENT)
    x = adata.X.toarray() if sparse.issparse(adata.X) else adata.X
    sums = np.sort(x[np.asarray(model.train_indices)].sum(axis=1))
    # the lower of the two in the middle
    assert model.module.depth.item() == sums[(len(sums) - 1) // 2]
    expected = np.log1p(x / x.sum(axis=1, keepdims=True) * model.module.depth.item())
    np.testing.assert_allclose(model.get_latent_representation(), expected, rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="features"):
        model.get_latent_representation(adata[:, ::-1].copy())


def test_save_and_load(metric_adata: AnnData, metric_model: MetricEncoder, tmp_path):
    metric_model.save(tmp_path / "model", overwrite=True)
    loaded = MetricEncoder.load(tmp_path / "model", adata=metric_adata)
    z = metric_model.get_latent_representation()
    np.testing.assert_array_equal(loaded.get_latent_representation(), z)
    pd.testing.assert_frame_equal(loaded.table_, metric_model.table_)
    pd.testing.assert_frame_equal(loaded.get_improvement(n_boot=9), metric_model.get_improvement(n_boot=9))
    assert (loaded.best_epoch_, loaded.improved_, loaded.split_by_) == (metric_model.best_epoch_, True, "identity")
    bare = MetricEncoder.load(tmp_path / "model", adata=False)
    np.testing.assert_array_equal(bare.get_latent_representation(metric_adata), z)


def test_training_goes_on_from_where_it_was(metric_adata: AnnData):
    model = fit(metric_adata, 2, plan_kwargs={"lr": 5e-3}, min_gain=0.0)
    assert model.best_epoch_ > 0
    best, scale = model.table_["map"].max(), model.module.scale.clone()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.train(1, seed=0, **SILENT)
    assert model.table_["map"].iloc[0] == pytest.approx(best, abs=1e-6)
    assert torch.equal(model.module.scale, scale)


def test_early_stopping_on_retrieval(metric_adata: AnnData):
    model = fit(metric_adata, 40, plan_kwargs={"lr": 1e-12}, early_stopping_patience=2)
    assert len(model.table_) < 10


def test_monitor_of_embeddings(metric_adata: AnnData):
    monitor = EmbeddingMonitor(identity_key="who", exam_key="when")
    model = fit(metric_adata, 2, callbacks=[monitor], early_stopping=False)
    np.testing.assert_allclose(monitor.table_["map"], model.table_["map"], atol=1e-4)
    np.testing.assert_allclose(monitor.table_["ratio"], model.table_["ratio"], rtol=1e-3)
    assert len(model.history["embedding_map"]) == 2


def test_rows_without_a_partner_are_dropped_and_told(metric_adata: AnnData):
    metric_adata.obs["who"] = metric_adata.obs["who"].astype(str)
    metric_adata.obs.iloc[[3, 10], 0] = ["alone", "lonely"]
    MetricEncoder.setup_anndata(metric_adata, identity_key="who", obsm_key="z")
    model = MetricEncoder(metric_adata, n_hidden=4)
    with pytest.warns(UserWarning, match="2 of 120 rows take no part") as told:
        model.train(1, **SILENT)
    assert model.n_dropped_ == 2
    assert {3, 10} <= set(model.test_indices.tolist())
    assert sum("take no part" in str(each.message) for each in told) == 1


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"loss": "suncon"}, "loss='suncon' must be one of"),
        ({"loss_kwargs": {"temprature": 1}}, "has no option"),
        ({"mining": "semi-hard"}, "mining='semi-hard' must be one of"),
        ({"loss": "proxy_anchor", "mining": "hard"}, "has no use for mining"),
        ({"margin": 0.2}, "no meaning for loss='supcon'"),
        ({"n_identities": 14}, "13 of 13 identities have two rows, which is fewer than the 14"),
        ({"n_per_identity": 1}, "n_per_identity=1"),
        ({"monitor": "loss"}, "monitor='loss'"),
        ({"min_gain": 1.0}, "min_gain=1.0"),
        ({"split_by": "exam"}, "needs exam_key"),
        ({"refresh_every": 0}, "refresh_every=0"),
        ({"mining": "full-hard", "search": "bank", "bank_size": 7}, "bank_size=7 must be at least .*, the rows of a"),
        ({"search": "bank"}, "search='bank' is how mining='full-hard' finds pairs"),
        ({"positive_quantile": 2.0, "mining": "full-hard"}, "positive_quantile=2.0"),
        ({"negative_ranks": (3, 1), "mining": "full-hard"}, "negative_ranks"),
    ],
)
def test_wrong_settings_are_named_before_training(metric_adata: AnnData, kwargs: dict, message: str):
    MetricEncoder.setup_anndata(metric_adata, identity_key="who", obsm_key="z")
    model = MetricEncoder(metric_adata)
    with pytest.raises(ValueError, match=message):
        model.train(1, **kwargs, **SILENT)
    assert not model.is_trained
    np.testing.assert_allclose(model.get_latent_representation(), metric_adata.obsm["z"], atol=1e-6)


def test_a_constant_embedding_is_refused(metric_adata: AnnData):
    metric_adata.obsm["z"][:] = 2.5
    MetricEncoder.setup_anndata(metric_adata, identity_key="who", obsm_key="z")
    with pytest.raises(ValueError, match="is constant"):
        MetricEncoder(metric_adata).train(1, **SILENT)


DDP_SCRIPT = """
import sys
import numpy as np, pandas as pd, torch
from anndata import AnnData
from scwhatif.model import MetricEncoder

if __name__ == "__main__":
    rng = np.random.default_rng(0)
    who = np.repeat(np.arange(12), 6)
    z = rng.normal(size=(12, 6))[who] + rng.normal(size=(72, 6))
    adata = AnnData(obs=pd.DataFrame({"who": who}, index=[str(i) for i in range(72)]), obsm={"z": z})
    MetricEncoder.setup_anndata(adata, identity_key="who", obsm_key="z")
    model = MetricEncoder(adata, n_hidden=8)
    model.train(3, loss=sys.argv[2], mining=sys.argv[3], search=sys.argv[4], accelerator="cpu", devices=2,
                strategy="ddp", enable_progress_bar=False)
    torch.save({"weights": model.module.state_dict(), "table": model.table_},
               f"{sys.argv[1]}/rank{model.trainer.global_rank}.pt")
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("loss", "mining", "search"),
    [("triplet", "full-hard", "exact"), ("triplet", "full-hard", "bank"), ("proxy_anchor", "all", "exact")],
)
def test_plain_ddp_on_two_cpu_ranks_gives_equal_weights(tmp_path, loss: str, mining: str, search: str):
    script = tmp_path / "fit.py"
    script.write_text(textwrap.dedent(DDP_SCRIPT))
    finished = subprocess.run(
        [sys.executable, str(script), str(tmp_path), loss, mining, search],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=tmp_path,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr[-3000:]
    first, second = (torch.load(tmp_path / f"rank{rank}.pt", weights_only=False) for rank in (0, 1))
    for key, value in first["weights"].items():
        assert torch.equal(value, second["weights"][key]), key
    pd.testing.assert_frame_equal(first["table"].drop(columns="mining"), second["table"].drop(columns="mining"))
    assert first["table"]["epoch"].tolist() == [0, 1, 2, 3]


def ecg_beats(shared_data) -> tuple[np.ndarray, pd.DataFrame]:
    """Means of three beats each; who was recorded, and in which recording."""
    from scipy.signal import find_peaks

    stored = np.load(shared_data / "ecg_id" / "ecg_id.npz")
    beats, who, when = [], [], []
    for recording, (signal, subject) in enumerate(zip(stored["signal"][:, 1], stored["subject"], strict=True)):
        trace = signal - np.median(signal)
        trace = trace / np.abs(trace).max()
        peaks, _ = find_peaks(trace, distance=200, height=0.35 * trace.max())
        peaks = peaks[(peaks > 150) & (peaks < 4800)]
        for start in range(0, len(peaks) - 2, 3):
            beats.append(np.mean([trace[peak - 150 : peak + 200 : 3] for peak in peaks[start : start + 3]], axis=0))
            who.append(f"s{subject}")
            when.append(f"r{recording}")
    return np.array(beats), pd.DataFrame({"who": who, "when": when}, index=[str(i) for i in range(len(who))])


def mixed_lines(shared_data) -> tuple[np.ndarray, pd.DataFrame]:
    """Cells of five lines; log-normalised, the thousand most variable genes."""
    import anndata as ad

    adata = ad.read_h5ad(shared_data / "sc_mixology" / "sc5cl_3plate.h5ad")
    adata = adata[adata.obs["demuxlet_cls"] != "DBL"].to_memory()
    x = adata.X.toarray() if sparse.issparse(adata.X) else adata.X
    x = np.log1p(x / x.sum(axis=1, keepdims=True) * 1e4)
    obs = pd.DataFrame({"who": adata.obs["cell_line_demuxlet"].astype(str), "when": adata.obs["dataset"].astype(str)})
    return x[:, np.argsort(-x.var(axis=0))[:1000]], obs


@pytest.mark.slow
@pytest.mark.parametrize("read", [ecg_beats, mixed_lines])
def test_never_below_the_input_on_unseen_identities(shared_data, read):
    from sklearn.decomposition import PCA

    x, obs = read(shared_data)
    names = np.random.default_rng(0).permutation(obs["who"].unique())
    unseen = obs["who"].isin(names[: len(names) // 2]).to_numpy()
    z = PCA(32, random_state=0).fit(x[~unseen]).transform(x).astype(np.float32)
    known, new = (AnnData(obs=obs[rows], obsm={"z": z[rows]}) for rows in (~unseen, unseen))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "There are 3 identities|Training did not help|.*rows take no part")
        MetricEncoder.setup_anndata(known, identity_key="who", exam_key="when", obsm_key="z")
        model = MetricEncoder(known)
        model.train(seed=0, **SILENT)
    gain = mean_ap(model.get_latent_representation(new), new.obs) - mean_ap(new.obsm["z"], new.obs)
    assert gain > -0.01
    assert read is mixed_lines or gain > 0.03
