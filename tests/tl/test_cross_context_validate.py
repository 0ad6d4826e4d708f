from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import scwhatif as wi

KEY = "cross_context_validate"
validate = wi.tl.cross_context_validate
FAST = ("prevalence", "distance", "logistic", "logistic_rank")


@pytest.fixture(scope="module")
def pairs() -> ad.AnnData:
    adata = wi.datasets.simulate_pairs(3, 5, 20, seed=2)
    validate(adata, baselines=FAST)
    return adata


def test_every_labelled_pair_is_predicted_once(pairs: ad.AnnData):
    result, predicted = pairs.uns[KEY], pairs.obsm[KEY]
    assert list(predicted.columns) == list(FAST)
    assert list(predicted.index) == list(pairs.obs_names)
    assert predicted.notna().to_numpy().all()
    table = result["table"]
    assert len(table) == 3 * 5 * len(FAST)
    assert (table.groupby("method", observed=True)["n"].sum() == pairs.n_obs).all()
    np.testing.assert_allclose(table["lift"], table["aupr"] / table["prevalence"])
    assert result["params"]["share_of_known_loci"] == 0
    assert list(result["params"]["cell_lines"]) == ["line_0", "line_1", "line_2"]


def test_scores_are_those_of_the_predictions(pairs: ad.AnnData):
    table, predicted = pairs.uns[KEY]["table"], pairs.obsm[KEY]
    row = table[(table["cell_line"] == "line_1") & (table["method"] == "logistic")].iloc[0]
    chroms = pairs.obs["chrom"].astype(str)
    # folds of equal chromosomes are dealt in the order of their names
    rows = ((pairs.obs["cell_line"] == "line_1") & (chroms == "chr1")).to_numpy()
    expected = wi.metrics.average_precision_at(pairs.obs["label"][rows], predicted["logistic"][rows])
    assert row["aupr"] == pytest.approx(expected)


def test_features_beat_distance_and_ranks_beat_raw(pairs: ad.AnnData):
    found = pairs.uns[KEY]["differences"].set_index(["method", "reference", "score"])
    summary = pairs.uns[KEY]["summary"].set_index(["method", "score"])["mean"]
    assert found.loc[("logistic_rank", "distance", "aupr"), "low"] > 0
    assert summary["prevalence", "auroc"] == 0.5
    assert summary["prevalence", "lift"] == pytest.approx(1)
    assert summary["logistic_rank", "aupr"] > 2 * summary["prevalence", "aupr"]


def test_survives_writing_and_copy(pairs: ad.AnnData, tmp_path):
    pairs.write_h5ad(tmp_path / "x.h5ad")
    back = ad.read_h5ad(tmp_path / "x.h5ad")
    for name in ("table", "summary", "differences", "reliability"):
        pd.testing.assert_frame_equal(
            back.uns[KEY][name], pairs.uns[KEY][name], check_dtype=False, check_index_type=False
        )
    pd.testing.assert_frame_equal(back.obsm[KEY], pairs.obsm[KEY], check_names=False)
    assert back.uns[KEY]["params"]["n_chrom_folds"] == 5
    before = pairs.obs.copy()
    again = validate(pairs, baselines=["prevalence"], cell_lines=["line_2"], key_added="other", copy=True)
    assert "other" not in pairs.uns
    part = validate(pairs, baselines=["prevalence"], folds=[3, 1], copy=True).uns[KEY]["table"]
    whole = pairs.uns[KEY]["table"]
    whole = whole[whole["fold"].isin([1, 3]) & (whole["method"] == "prevalence")]
    np.testing.assert_array_equal(part[["fold", "aupr"]], whole[["fold", "aupr"]])
    assert set(again.uns["other"]["table"]["cell_line"]) == {"line_2"}
    assert again.obsm["other"]["prevalence"].notna().sum() == (pairs.obs["cell_line"] == "line_2").sum()
    pd.testing.assert_frame_equal(pairs.obs, before)


def test_random_splits_are_refused_because_a_lookup_would_look_good():
    adata = wi.datasets.simulate_pairs(3, 5, 20, shared=1.0, shift=0, locus_share=0.9)
    with pytest.raises(ValueError, match=r"share an enhancer or a promoter with training pairs.*force=True"):
        validate(adata, chrom_key=None)
    with pytest.warns(UserWarning, match="it was forced"):
        leaky = validate(adata, chrom_key=None, force=True, baselines=["lookup", "logistic"], copy=True)
    honest = validate(adata, baselines=["lookup", "logistic"], copy=True)
    aupr = {
        name: each.uns[KEY]["summary"].set_index(["method", "score"])["mean"].unstack()["aupr"]
        for name, each in (("leaky", leaky), ("honest", honest))
    }
    prevalence = adata.obs["label"].mean()
    # reads no feature, and beats the one that does, where loci are shared; knows nothing where they are not
    assert aupr["leaky"]["lookup"] > 2 * prevalence
    assert aupr["leaky"]["lookup"] > aupr["leaky"]["logistic"] + 0.1
    assert aupr["honest"]["lookup"] == pytest.approx(prevalence, abs=0.03)
    assert leaky.uns[KEY]["params"]["share_of_known_loci"] == 1
    adata.obs = adata.obs.drop(columns="enhancer_start")
    with pytest.raises(ValueError, match="obs does not tell which of them share"):
        validate(adata, chrom_key=None)
    # by chromosome, no places are needed
    validate(adata, baselines=["prevalence"])
    assert np.isnan(adata.uns[KEY]["params"]["share_of_known_loci"])


def test_a_column_that_is_no_chromosome_is_found_out():
    adata = wi.datasets.simulate_pairs(2, 4, 10)
    adata.obs["block"] = np.random.default_rng(0).choice(list("abcdef"), adata.n_obs)
    with pytest.raises(ValueError, match="share an enhancer or a promoter"):
        validate(adata, chrom_key="block")


class Recorder:
    """Predicts from a feature, and remembers what it was given."""

    given: list = []  # noqa: RUF012
    _setup_adata_manager_store: dict = {}  # noqa: RUF012
    _per_instance_manager_store: dict = {}  # noqa: RUF012

    def __init__(self, adata: ad.AnnData, *, power: float = 1.0, seed: int = 99):
        self.adata, self.power, self.seed = adata, power, seed

    @classmethod
    def setup_anndata(cls, adata: ad.AnnData, *, label_key: str, cell_line_key: str, chrom_key: str) -> None:
        adata.uns["_scvi_uuid"] = "x"
        cls.keys = (label_key, cell_line_key, chrom_key)

    def train(self, *, external_indexing: list, max_epochs: int = 5, enable_progress_bar: bool = True) -> None:
        self.given.append((self.adata.obs["label"].to_numpy(), external_indexing, max_epochs, self.seed))

    def predict_proba(self, adata: ad.AnnData | None = None, *, indices: np.ndarray) -> np.ndarray:
        values = self.adata.obs["true_probability"].to_numpy()[indices]
        return values**self.power


def test_model_sees_no_test_label_and_comes_last():
    adata = wi.datasets.simulate_pairs(3, 4, 15, seed=1)
    Recorder.given.clear()
    validate(
        adata,
        Recorder,
        n_chrom_folds=4,
        baselines=["logistic"],
        model_kwargs={"power": 2.0},
        train_kwargs={"max_epochs": 7},
        seed=11,
    )
    assert Recorder.keys == ("label", "cell_line", "chrom")
    assert len(Recorder.given) == 12
    for labels, parts, max_epochs, seed in Recorder.given:
        assert sorted(np.concatenate(parts)) == list(range(adata.n_obs))
        learnt = np.concatenate(parts[:2])
        np.testing.assert_array_equal(labels[learnt], adata.obs["label"].to_numpy()[learnt])
        assert np.isnan(labels[parts[2]]).all()
        assert (max_epochs, seed) == (7, 11)
    result = adata.uns[KEY]
    assert list(result["table"]["method"].cat.categories) == ["logistic", "Recorder"]
    summary = result["summary"].set_index(["method", "score"])["mean"]
    found = result["differences"].set_index(["method", "reference", "score"])
    # the truth squared orders pairs as the truth does, and is no probability
    assert found.loc[("Recorder", "logistic", "aupr"), "mean"] > 0
    assert found.loc[("Recorder", "logistic", "aupr"), "share_better"] > 0.6
    assert summary["Recorder", "calibration_slope"] < 0.8
    assert summary["Recorder", "ece"] > summary["logistic", "ece"] * 0.5
    assert result["params"]["model_class"] == "Recorder"
    assert result["params"]["model_kwargs"] == {"power": 2.0}
    assert "label" in adata.obs
    assert adata.obs["label"].notna().all()


@pytest.mark.slow
def test_energy_model():
    adata = wi.datasets.simulate_pairs(4, 4, 20, seed=1)
    validate(
        adata,
        wi.model.CellLineEnergyModel,
        n_chrom_folds=4,
        cell_lines=["line_2"],
        folds=[0, 2],
        baselines=["prevalence"],
        train_kwargs={"max_epochs": 4},
    )
    summary = adata.uns[KEY]["summary"].set_index(["method", "score"])["mean"]
    assert summary["CellLineEnergyModel", "lift"] > 1.5
    tested = (adata.obs["cell_line"] == "line_2") & adata.obs["chrom"].isin(["chr1", "chr3"])
    np.testing.assert_array_equal(adata.obsm[KEY]["CellLineEnergyModel"].notna(), tested)


def test_unlabelled_pairs_and_missing_marks_are_left_in_peace():
    adata = wi.datasets.simulate_pairs(3, 4, 15, n_missing_marks=1)
    adata.obs["label"] = adata.obs["label"].astype(float)
    adata.obs.iloc[::4, adata.obs.columns.get_loc("label")] = np.nan
    validate(adata, n_chrom_folds=4, baselines=["logistic_rank", "gradient_boosting"])
    predicted = adata.obsm[KEY]
    np.testing.assert_array_equal(predicted.isna().all(axis=1), adata.obs["label"].isna())
    assert predicted[adata.obs["label"].notna()].notna().to_numpy().all()


@pytest.mark.slow
def test_results_do_not_depend_on_n_jobs():
    adata = wi.datasets.simulate_pairs(2, 3, 12)
    one, two = (
        validate(adata, n_chrom_folds=3, baselines=["logistic", "gradient_boosting"], n_jobs=n, copy=True)
        for n in (1, 2)
    )
    pd.testing.assert_frame_equal(one.uns[KEY]["table"], two.uns[KEY]["table"])


def test_a_line_and_fold_of_one_label_is_left_out():
    adata = wi.datasets.simulate_pairs(3, 4, 15)
    adata.obs.loc[(adata.obs["cell_line"] == "line_1") & (adata.obs["chrom"] == "chr2"), "label"] = 0
    with pytest.warns(UserWarning, match=r"1 line.s. × fold.s. were left out .* 'line_1 × fold 1'"):
        validate(adata, n_chrom_folds=4, baselines=["prevalence"])
    assert len(adata.uns[KEY]["table"]) == 11


def test_all_positives_in_one_line():
    adata = wi.datasets.simulate_pairs(2, 4, 15)
    adata.obs.loc[adata.obs["cell_line"] == "line_1", "label"] = 0
    with pytest.raises(ValueError, match="the pairs for train do not have both labels"):
        validate(adata, n_chrom_folds=4)


def with_column(column: str, value: object) -> ad.AnnData:
    adata = wi.datasets.simulate_pairs(2, 4, 8)
    adata.obs[column] = value
    return adata


@pytest.mark.parametrize(
    ("adata", "kwargs", "error", "message"),
    [
        (with_column("cell_line", "K562"), {}, ValueError, "only one cell line, 'K562'"),
        (with_column("label", 2), {}, ValueError, "must hold 0, 1 or NaN, not '2'"),
        (with_column("label", "yes"), {}, ValueError, "not 'yes'"),
        (with_column("chrom", ["1", "chr2"] * 160), {}, ValueError, "in two ways"),
        (with_column("chrom", None), {}, ValueError, "missing for 320 pair"),
        (with_column("x", 0), {"label_key": "Label"}, KeyError, "Did you mean 'label'"),
        (with_column("x", 0), {"cell_lines": ["HeLa"]}, KeyError, "'HeLa'"),
        (with_column("x", 0), {"layer": "raw"}, KeyError, "layer='raw'"),
        (with_column("x", 0), {}, ValueError, "n_chrom_folds=5 needs at least as many chromosomes, not 4"),
        (with_column("x", 0), {"n_chrom_folds": 2}, ValueError, "must be at least 3"),
        (with_column("x", 0), {"folds": [5]}, ValueError, "must be of 0 to 4"),
        (with_column("x", 0), {"folds": []}, ValueError, "must be of 0 to 4"),
        (with_column("x", 0), {"confidence": 1}, ValueError, "confidence=1"),
        (with_column("x", 0), {"baselines": []}, ValueError, "nothing to validate"),
        (with_column("x", 0), {"baselines": ["forest"], "n_chrom_folds": 3}, ValueError, "'forest'"),
        (with_column("x", 0), {"model_class": dict}, TypeError, "has no setup_anndata"),
        (
            with_column("x", 0),
            {"model_class": Recorder, "train_kwargs": {"external_indexing": []}},
            ValueError,
            "train_kwargs sets",
        ),
    ],
)
def test_bad_input(adata: ad.AnnData, kwargs: dict, error: type[Exception], message: str):
    with pytest.raises(error, match=message):
        validate(adata, **kwargs)
    assert KEY not in adata.uns
