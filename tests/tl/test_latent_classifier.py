from __future__ import annotations

import gc
import warnings
import weakref
from typing import TYPE_CHECKING

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from scipy.stats import binomtest, kstest
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import scwhatif as wi

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from anndata import AnnData

N_BASE, N_GENES, N_DIMS = 150, 120, 20
LABELS = ["control", "down", "up"]
FACTORS = {"down": 0.25, "up": 4.0}


def base_cells() -> AnnData:
    return wi.datasets.simulate_factors(N_BASE, N_GENES, 5, n_cell_types=3, n_batches=1, seed=0)


def expressed(base: AnnData, n: int, seed: int = 0) -> list[str]:
    """Names of so many genes that most cells express."""
    detection = np.asarray((base.X > 0).mean(axis=0)).ravel()
    return list(base.var_names[np.random.default_rng(seed).permutation(np.flatnonzero(detection > 0.5))[:n]])


def edited(
    base: AnnData, sets: Mapping[str, list[str]], factors: Mapping[str, float], *, whole: bool = True, seed: int = 0
) -> AnnData:
    """Control copies and one copy per set, thinned or added to; ``whole=False`` multiplies."""
    rng = np.random.default_rng(seed)
    x = base.X.toarray()
    states = [x]
    for name, genes in sets.items():
        columns, factor = base.var_names.get_indexer(genes), factors[name]
        copy = x.copy()
        if not whole:
            copy[:, columns] *= factor
        elif factor < 1:
            copy[:, columns] = rng.binomial(x[:, columns].astype(int), factor)
        else:
            copy[:, columns] += rng.poisson((factor - 1) * x[:, columns])
        states.append(copy)
    obs = pd.concat([base.obs.assign(base_cell=base.obs_names, condition=name) for name in ["control", *sets]])
    obs.index = [f"row_{i}" for i in range(len(obs))]
    return ad.AnnData(sparse.csr_matrix(np.vstack(states)), obs=obs, var=base.var[[]].copy())


def encode(states: AnnData, *, blind_to: tuple[str, ...] = ()) -> np.ndarray:
    """A fixed linear encoder of log counts, which may read nothing of some genes."""
    weight = np.random.default_rng(7).normal(size=(states.n_vars, N_DIMS))
    weight[states.var_names.get_indexer(list(blind_to))] = 0
    return np.log1p(states.X.toarray()) @ weight / np.sqrt(states.n_vars)


@pytest.fixture(scope="module")
def base() -> AnnData:
    return base_cells()


@pytest.fixture(scope="module")
def sets(base: AnnData) -> dict[str, list[str]]:
    genes = expressed(base, 18)
    return {"down": genes[:6], "up": genes[6:]}


@pytest.fixture(scope="module")
def strong(base: AnnData, sets: dict[str, list[str]]) -> AnnData:
    """Factors of 4 and 1/4, read by logistic regression."""
    adata = edited(base, sets, FACTORS)
    adata.obsm["X_wi"] = encode(adata)
    wi.tl.latent_classifier(adata, "condition", gene_sets=sets, n_permutations=49)
    return adata


def test_nothing_is_found_where_nothing_was_done(base: AnnData, sets: dict[str, list[str]]):
    adata = edited(base, sets, {"down": 1.0, "up": 1.0})
    adata.obsm["X_wi"] = encode(adata)
    wi.tl.latent_classifier(adata, "condition", gene_sets=sets, n_permutations=19, n_splits=2)
    found = adata.uns["latent_classifier"]
    assert found["verdict"] == "Not distinguishable from chance (AUROC 0.50, p = 1)."
    np.testing.assert_allclose(found["scores"]["accuracy"], 1 / 3, atol=1e-12)
    np.testing.assert_allclose(found["scores"]["auroc"], 0.5, atol=1e-9)


def test_noise_is_at_chance(base: AnnData, sets: dict[str, list[str]]):
    """Independent noise on every copy, so that copies differ but not by their state."""
    adata = edited(base, sets, {"down": 1.0, "up": 1.0})
    adata.obsm["X_wi"] = encode(adata) + np.random.default_rng(1).normal(size=(adata.n_obs, N_DIMS))
    wi.tl.latent_classifier(adata, "condition", n_permutations=39, floors=["majority"])
    found = adata.uns["latent_classifier"]
    own = found["scores"].iloc[0]
    assert own["pval"] > 0.05
    assert abs(own["accuracy"] - 1 / 3) < 2 * np.sqrt(2 / 9 / adata.n_obs)
    assert own["auroc_low"] < 0.5 < own["auroc_high"]
    assert found["verdict"].startswith("Not distinguishable from chance")


def test_strong_edits_are_seen_and_by_two_numbers_as_well(strong: AnnData):
    found = strong.uns["latent_classifier"]
    scores = found["scores"].set_index("reader")
    assert list(scores.index) == ["latent", "majority", "library", "gene_sets", "integrality"]
    assert scores.loc["latent", "accuracy"] >= 0.8
    assert scores.loc["latent", "pval"] == 0.02 == found["smallest_pval"]
    assert scores.loc["gene_sets", "auroc"] > 0.98
    assert scores.loc["majority", ["accuracy", "balanced_accuracy", "auroc"]].tolist() == [1 / 3, 1 / 3, 0.5]
    assert scores.loc["integrality", "auroc"] == 0.5
    assert scores["n_features"].tolist() == [N_DIMS, 0, 1, 2, 1]
    assert "Told apart better than by chance" in found["verdict"]
    assert "a two-number gene-set score does" in found["verdict"]


def test_predictions_are_out_of_fold(strong: AnnData):
    codes = strong.obs["condition"].astype("category").cat.codes.to_numpy()
    fold, values = strong.obs["latent_classifier_fold"].to_numpy(), strong.obsm["X_wi"]
    expected = np.empty((strong.n_obs, 3))
    for k in range(5):
        train, test = fold != k, fold == k
        model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(values[train], codes[train])
        expected[test] = model.predict_proba(values[test])
    np.testing.assert_allclose(strong.obsm["latent_classifier_probability"], expected, atol=1e-10)
    predicted = np.array(LABELS)[expected.argmax(axis=1)]
    assert (strong.obs["latent_classifier_predicted"] == predicted).all()
    assert strong.uns["latent_classifier"]["labels"].tolist() == LABELS


def test_copies_stay_together_and_folds_are_balanced(strong: AnnData):
    fold = strong.obs["latent_classifier_fold"]
    assert fold.groupby(strong.obs["base_cell"]).nunique().max() == 1
    assert (pd.crosstab(fold, strong.obs["condition"]) == N_BASE / 5).all(axis=None)


def test_confusion_adds_up(strong: AnnData):
    table = strong.uns["latent_classifier"]["confusion"]
    assert table.groupby("true", observed=True)["n"].sum().tolist() == [N_BASE] * 3
    hits = table.loc[table["true"].astype(str) == table["predicted"].astype(str), "n"].sum()
    scores = strong.uns["latent_classifier"]["scores"]
    assert hits / strong.n_obs == pytest.approx(scores["accuracy"].iloc[0])
    # a base cell has one copy of a label, so cells of a label are independent
    row = table.iloc[0]
    expected = binomtest(row["n"], N_BASE).proportion_ci(method="wilson")
    assert row["low"] == pytest.approx(expected.low, abs=3e-3)


def test_gain_is_the_difference(strong: AnnData):
    scores = strong.uns["latent_classifier"]["scores"]
    np.testing.assert_allclose(scores["gain"].iloc[1:], (scores["auroc"].iloc[0] - scores["auroc"]).iloc[1:])
    assert scores["gain"].isna().tolist() == [True, *[False] * 4]
    assert (scores["gain_low"] <= scores["gain"]).iloc[1:].all()
    assert scores["pval"].notna().tolist() == [True, *[False] * 4]
    for name in ("accuracy", "balanced_accuracy", "auroc"):
        assert (scores[f"{name}_low"] <= scores[name] + 1e-9).all()
        assert (scores[name] <= scores[f"{name}_high"] + 1e-9).all()


def test_multiplied_counts_give_themselves_away(base: AnnData, sets: dict[str, list[str]]):
    adata = edited(base, sets, {"down": 0.5, "up": 2.0}, whole=False)
    adata.obsm["X_wi"] = np.random.default_rng(0).normal(size=(adata.n_obs, 3))
    wi.tl.latent_classifier(adata, "condition", gene_sets=sets, n_permutations=19)
    found = adata.uns["latent_classifier"]
    scores = found["scores"].set_index("reader")
    # the halved copies are found to a cell, and the others are not told apart
    assert scores.loc["integrality", "accuracy"] == pytest.approx(2 / 3, abs=0.02)
    assert "while a two-number gene-set score tells them apart" in found["verdict"]
    assert "a check for fractional counts tells them apart" in found["verdict"]


def test_majority_of_unequal_labels(strong: AnnData):
    adata = strong.copy()
    adata.obs["touched"] = np.where(adata.obs["condition"] == "control", "no", "yes")
    wi.tl.latent_classifier(adata, "touched", n_permutations=0, floors=["majority"])
    scores = adata.uns["latent_classifier"]["scores"].set_index("reader")
    assert scores.loc["majority", "accuracy"] == 2 / 3
    assert scores.loc["majority", "balanced_accuracy"] == 0.5
    assert np.isnan(scores.loc["latent", "pval"])
    assert "Not tested against chance" in adata.uns["latent_classifier"]["verdict"]
    assert len(adata.uns["latent_classifier"]["permutations"]) == 0


@pytest.mark.parametrize(("labels", "n_params"), [(LABELS, 283), (LABELS[:2], 275)])
def test_parameters_of_the_small_net(labels: list[str], n_params: int):
    rng = np.random.default_rng(0)
    adata = ad.AnnData(rng.poisson(3, (120, 4)).astype(np.float32))
    adata.obs["condition"] = np.resize(labels, 120)
    adata.obsm["X_wi"] = rng.normal(size=(120, 36))
    adata.obsm["X_wi"][:, 0] += 4 * pd.Categorical(adata.obs["condition"]).codes
    wi.tl.latent_classifier(adata, "condition", groups=None, estimator="mlp", n_permutations=0, floors=[])
    found = adata.uns["latent_classifier"]
    assert found["n_params_hidden_weights"] == 252
    assert found["n_params"] == n_params
    assert found["scores"]["auroc"].item() > 0.8
    assert found["verdict"].endswith("no floor was tried.")
    assert found["params"]["hidden"].tolist() == [7]


def test_neighbours_take_a_cell_for_its_copy(base: AnnData, sets: dict[str, list[str]]):
    """Copies in training and test push nearest neighbours below chance, since the nearest cell has another label."""
    adata = edited(base, sets, {"down": 0.9, "up": 1.1})
    adata.obsm["X_wi"] = encode(adata)
    arguments = {"estimator": KNeighborsClassifier(5), "n_permutations": 0, "floors": []}
    with pytest.warns(UserWarning, match="Copies of one cell .*groups='base_cell'"):
        wi.tl.latent_classifier(adata, "condition", groups=None, key_added="leaky", **arguments)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        wi.tl.latent_classifier(adata, "condition", key_added="fair", **arguments)
    leaky, fair = (adata.uns[key]["scores"]["accuracy"].item() for key in ("leaky", "fair"))
    assert leaky < 0.25
    assert abs(fair - 1 / 3) < 0.08
    assert "n_params" not in adata.uns["fair"]
    assert "KNeighborsClassifier" in adata.uns["fair"]["params"]["estimator"]


def donors(seed: int, *, effect: float = 0.0, spread: float = 1.0, n_donors: int = 8) -> AnnData:
    """Treated and untreated cells of each donor; each donor responds in a way of its own, and all alike by `effect`."""
    rng = np.random.default_rng(seed)
    donor, treated = np.repeat(np.arange(n_donors), 12), np.tile([0, 1], 6 * n_donors)
    values = rng.normal(size=(12 * n_donors, 2)) + spread * rng.normal(size=(n_donors, 2, 2))[donor, treated]
    values[:, 0] += effect * treated
    obs = pd.DataFrame({"donor": donor.astype(str), "treated": np.where(treated, "yes", "no")})
    obs.index = obs.index.astype(str)
    return ad.AnnData(np.ones((len(obs), 1), np.float32), obs=obs, obsm={"X_wi": values})


def donor_pval(adata: AnnData, **arguments: object) -> float:
    wi.tl.latent_classifier(adata, "treated", groups="donor", n_splits=2, floors=[], **arguments)
    return adata.uns["latent_classifier"]["scores"]["pval"].item()


@pytest.mark.slow
def test_pvalues_are_uniform_if_donors_respond_each_in_its_own_way():
    """Cells shuffled within donors would find what no new donor shows; donors' halves exchanged whole do not."""
    pvals = np.array([donor_pval(donors(seed), n_permutations=19, seed=seed) for seed in range(50)])
    smooth = pvals - np.random.default_rng(0).uniform(0, 1 / 20, len(pvals))
    assert kstest(smooth, "uniform").pvalue > 0.01


def test_what_all_donors_share_is_found():
    assert donor_pval(donors(0, effect=4.0), n_permutations=39) <= 0.05


def test_too_few_donors_are_said_to_be():
    adata = donors(0, effect=5.0, spread=0.0, n_donors=4)
    assert donor_pval(adata, n_permutations=39) > 0.05
    found = adata.uns["latent_classifier"]
    assert found["smallest_pval"] == pytest.approx(2 / 16)
    assert found["verdict"].startswith("Too few groups or shuffles to tell from chance")


def test_copies_are_exchanged_while_donors_are_held_out(strong: AnnData):
    adata = strong.copy()
    donor = pd.Series(np.arange(N_BASE) % 5, adata.obs["base_cell"].unique())
    adata.obs["donor"] = adata.obs["base_cell"].map(donor).astype(str)
    wi.tl.latent_classifier(
        adata, "condition", groups="donor", permute_within="base_cell", n_permutations=19, floors=[]
    )
    assert adata.obs["latent_classifier_fold"].groupby(adata.obs["donor"]).nunique().max() == 1
    assert adata.uns["latent_classifier"]["scores"]["pval"].item() == 1 / 20
    assert adata.uns["latent_classifier"]["params"]["permute_within"] == "base_cell"


def test_labels_of_whole_groups_are_shuffled_among_these():
    """Ten clones, each of one state, which is all that tells them apart: cells shuffled singly would find it."""
    rng = np.random.default_rng(0)
    clone = np.repeat(np.arange(10), 15)
    adata = ad.AnnData(np.ones((150, 1), np.float32), obsm={"X_wi": rng.normal(size=(10, 2))[clone]})
    adata.obsm["X_wi"] += 0.3 * rng.normal(size=(150, 2))
    adata.obs["clone"] = clone.astype(str)
    adata.obs["state"] = np.where(clone % 2, "a", "b")
    wi.tl.latent_classifier(adata, "state", groups="clone", n_permutations=39, floors=[])
    found = adata.uns["latent_classifier"]
    assert found["scores"]["pval"].item() > 0.05
    assert found["permutations"]["auroc"].std() > 0.1


def test_special_genes_stand_out_from_matched_ones_and_others_do_not(base: AnnData, sets: dict[str, list[str]]):
    """An encoder that reads the edited genes only, and one that reads all alike, beside sets like them."""
    others = tuple(set(base.var_names) - {gene for genes in sets.values() for gene in genes})
    draws = wi.tl.matched_gene_sets(base, sets, n_sets=19)
    pvals, verdicts = {}, {}
    for name, blind in (("these", others), ("any", ())):
        adata = edited(base, sets, {"down": 0.5, "up": 2.0})
        adata.obsm["X_wi"] = encode(adata, blind_to=blind)
        null = (encode(edited(base, drawn, {"down": 0.5, "up": 2.0}), blind_to=blind) for drawn in draws)
        wi.tl.latent_classifier(adata, "condition", null_reps=null, n_permutations=0, floors=[], n_splits=2)
        found = adata.uns["latent_classifier"]
        pvals[name], verdicts[name] = found["matched_pval"], found["verdict"]
        drawn = found["matched_sets"]["auroc"]
        assert len(drawn) == 19
        own = found["scores"]["auroc"].item()
        assert found["matched_gain"] == pytest.approx(own - drawn.mean())
        assert found["matched_pval"] == (1 + (drawn >= own).sum()) / 20
    assert pvals["these"] == 1 / 20
    assert "More than random genes of like expression give" in verdicts["these"]
    assert pvals["any"] > 0.05
    assert "Not distinguishable from random genes of like expression" in verdicts["any"]


@pytest.mark.slow
def test_results_do_not_depend_on_the_number_of_jobs(strong: AnnData):
    tables = []
    for n_jobs in (1, 2):
        found = wi.tl.latent_classifier(
            strong,
            "condition",
            n_permutations=4,
            null_reps=iter([strong.obsm["X_wi"][::-1].copy(), strong.obsm["X_wi"]]),
            floors=[],
            n_jobs=n_jobs,
            copy=True,
        ).uns["latent_classifier"]
        tables.append(pd.concat([found["permutations"], found["matched_sets"]]))
    pd.testing.assert_frame_equal(*tables)


def test_shuffles_come_from_the_seed(strong: AnnData):
    def null(seed: int) -> list[float]:
        other = wi.tl.latent_classifier(strong, "condition", n_permutations=3, floors=[], seed=seed, copy=True)
        return other.uns["latent_classifier"]["permutations"]["auroc"].tolist()

    assert null(0) == null(0) != null(1)


def test_written_and_read_back(strong: AnnData, tmp_path: Path):
    adata = strong.copy()
    wi.tl.latent_classifier(
        adata, "condition", gene_sets={"one / two": ["gene_1"]}, n_permutations=2, null_reps=[adata.obsm["X_wi"]]
    )
    adata.write_h5ad(tmp_path / "cells.h5ad")
    back = ad.read_h5ad(tmp_path / "cells.h5ad")
    found, expected = (each.uns["latent_classifier"] for each in (back, adata))
    assert set(found) == set(expected)
    for name in ("scores", "confusion", "permutations", "matched_sets"):
        pd.testing.assert_frame_equal(found[name].reset_index(drop=True), expected[name], check_names=False)
    assert found["verdict"] == expected["verdict"]
    assert found["labels"].tolist() == LABELS
    assert found["gene_sets"].to_numpy().tolist() == [["one / two", "gene_1"]]
    np.testing.assert_array_equal(
        back.obsm["latent_classifier_probability"], adata.obsm["latent_classifier_probability"]
    )


def test_copy_leaves_the_data_alone_and_key_added_names_everything(strong: AnnData):
    before = strong.copy()
    for key in ("latent_classifier_predicted", "latent_classifier_fold"):
        del before.obs[key]
    del before.obsm["latent_classifier_probability"], before.uns["latent_classifier"]
    columns, counts = list(before.obs), before.X.copy()
    after = wi.tl.latent_classifier(before, "condition", key_added="mine", n_permutations=1, floors=[], copy=True)
    assert list(before.obs) == columns
    assert (counts != before.X).nnz == 0
    assert not before.uns
    assert list(before.obsm) == ["X_wi"]
    assert set(after.obs) - set(columns) == {"mine_predicted", "mine_fold"}
    assert set(after.obsm) == {"X_wi", "mine_probability"}
    assert list(after.uns) == ["mine"]


def test_representation_and_counts_may_be_anything_two_dimensional(strong: AnnData):
    other = strong.copy()
    other.obsm["X_wi"] = pd.DataFrame(other.obsm["X_wi"], index=other.obs_names)
    other.layers["counts"] = other.X.toarray()
    other.X = None
    wi.tl.latent_classifier(other, "condition", layer="counts", n_permutations=0)
    found = other.uns["latent_classifier"]["scores"].set_index("reader")
    expected = strong.uns["latent_classifier"]["scores"].set_index("reader").loc[found.index]
    pd.testing.assert_frame_equal(found.drop(columns="pval"), expected.drop(columns="pval"), check_categorical=False)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"label": "nothing"}, KeyError, "label='nothing' is not in adata.obs"),
        ({"label": "one"}, ValueError, "holds only 'x'; at least 2"),
        ({"label": "number"}, ValueError, "continuous"),
        ({"label": "unknown"}, ValueError, r"missing for 1 cell\(s\)"),
        ({"use_rep": "nothing"}, KeyError, "use_rep='nothing' is not in adata.obsm"),
        ({"use_rep": "gaps"}, ValueError, r"obsm\['gaps'\] holds 1 NaN"),
        ({"groups": "nothing"}, KeyError, "groups='nothing' is not in adata.obs"),
        ({"groups": "condition"}, ValueError, "all cells of 'control'.*are of 'control'"),
        ({"groups": 3}, TypeError, "must be the name of a column"),
        ({"groups": "third"}, ValueError, "'control'.*has 3 value.*fewer than n_splits=5; pass n_splits=3"),
        ({"groups": None, "label": "rare"}, ValueError, r"'x' .*has 4 cell\(s\), fewer than n_splits=5"),
        ({"n_splits": 1}, ValueError, "n_splits=1 must be at least 2"),
        ({"n_permutations": -1}, ValueError, "n_permutations=-1"),
        ({"estimator": "svm"}, ValueError, "estimator='svm' must be one of"),
        ({"estimator": StandardScaler()}, TypeError, "fit and predict_proba"),
        ({"estimator": KNeighborsClassifier}, TypeError, "an instance"),
        ({"estimator": "mlp", "hidden": ()}, ValueError, "hidden="),
        ({"floors": ["best"]}, ValueError, "floors="),
        ({"layer": "nothing"}, KeyError, "layer='nothing'"),
        ({"layer": "log"}, ValueError, "fractional values in every cell.*layer"),
        ({"layer": "negative"}, ValueError, "negative"),
        ({"layer": "holes"}, ValueError, "NaN"),
        ({"gene_sets": {"a": ["gene_1", "nix"]}}, KeyError, "'nix'.*match_genes"),
        ({"gene_sets": {"a": []}}, ValueError, r"no genes for \['a'\]"),
        ({"gene_sets": {"a": "gene_1"}}, TypeError, "lists of genes"),
        ({"gene_sets": ["gene_1"]}, TypeError, "must map names"),
        ({"gene_sets": {}}, ValueError, "gene_sets is empty"),
        ({"permute_within": "nothing"}, KeyError, "permute_within='nothing'"),
        ({"permute_within": "condition"}, ValueError, "leaves nothing to exchange"),
        ({"permute_within": "third"}, ValueError, "is divided by groups='base_cell'"),
        ({"permute_within": "unknown"}, ValueError, r"missing for 1 cell\(s\)"),
        ({"null_reps": []}, ValueError, "null_reps holds nothing"),
        ({"null_reps": [np.ones((3, 2))]}, ValueError, r"number 0 of null_reps has shape \(3, 2\)"),
    ],
)
def test_bad_input(strong: AnnData, arguments: dict, error: type[Exception], message: str):
    adata = strong.copy()
    adata.obs["one"] = "x"
    adata.obs["number"] = np.linspace(0, 1, adata.n_obs)
    adata.obs["rare"] = np.where(np.arange(adata.n_obs) < 4, "x", "y")
    adata.obs["third"] = (adata.obs["base_cell"].astype("category").cat.codes % 3).astype(str)
    adata.obs["unknown"] = adata.obs["base_cell"].where(np.arange(adata.n_obs) > 0)
    adata.obsm["gaps"] = np.where(np.arange(adata.n_obs * 2).reshape(-1, 2) == 5, np.nan, 1.0)
    dense = adata.X.toarray()
    adata.layers["log"], adata.layers["negative"] = np.log1p(dense), dense - 1
    adata.layers["holes"] = np.where(np.arange(dense.size).reshape(dense.shape) == 5, np.nan, dense)
    given = {"label": "condition", "n_permutations": 0, **arguments}
    with pytest.raises(error, match=message):
        wi.tl.latent_classifier(adata, **given)


def test_base_cells_must_be_named(strong: AnnData):
    adata = strong.copy()
    del adata.obs["base_cell"]
    with pytest.raises(KeyError, match=r"which cell each is a copy of, or the donor.*groups=None"):
        wi.tl.latent_classifier(adata, "condition")


def test_groups_that_cannot_be_parted_as_often_as_asked():
    """Five sites of each label, but four of a label are one site."""
    adata = donors(0, n_donors=10)
    donor = adata.obs["donor"].astype(int)
    # label 'yes' in five donors of which each holds 'no' too, and five donors of 'no' alone
    keep = (donor < 5) | (adata.obs["treated"] == "no")
    adata = adata[keep].copy()
    wi.tl.latent_classifier(adata, "treated", groups="donor", floors=[], n_permutations=9)
    assert adata.obs["latent_classifier_fold"].nunique() == 5


@pytest.mark.slow
def test_the_recipe_of_the_docstring(base: AnnData, sets: dict[str, list[str]]):
    """Copies by the package's own edit, codes by a model that saw none of them, random genes one draw at a time."""
    cells = ad.AnnData(base.X.copy(), obs=base.obs[[]].copy(), var=base.var[[]].copy())
    wi.model.BetaLinearSCVI.setup_anndata(cells)
    model = wi.model.BetaLinearSCVI(cells, n_latent=4, seed=0)
    model.train(2, seed=0, enable_progress_bar=False, accelerator="cpu")
    edits = {"down": "down:x0.25", "up": "up:x4"}
    states = wi.pp.perturb_counts(cells, edits, sets=sets)
    states.obsm["X_wi"] = model.get_latent_representation(states)
    seen = []

    def code(drawn: dict[str, list[str]]) -> np.ndarray:
        other = wi.pp.perturb_counts(cells, edits, sets=drawn)
        seen.append(weakref.ref(other))
        z = model.get_latent_representation(other)
        model.deregister_manager()
        return z

    null = (code(drawn) for drawn in wi.tl.matched_gene_sets(cells, sets, n_sets=3))
    wi.tl.latent_classifier(states, "condition", gene_sets=sets, null_reps=null, n_permutations=4)
    found = states.uns["latent_classifier"]
    assert found["labels"].tolist() == ["control", "down", "up"]
    assert len(found["matched_sets"]) == len(seen) == 3
    assert 1 / 4 <= found["matched_pval"] <= 1
    gc.collect()
    assert not any(each() is not None for each in seen)


@pytest.mark.slow
def test_a_model_that_saw_the_edited_copies_learns_the_edit():
    """The same edit, which a model of unedited cells hardly shows, is what a model of all copies is about."""
    base = wi.datasets.simulate_factors(400, 200, 4, n_cell_types=3, n_batches=1, seed=1)
    cells = ad.AnnData(base.X, obs=base.obs[[]].copy(), var=base.var[[]].copy())
    genes = expressed(base, 30, seed=1)
    sets = {"down": genes[:10], "up": genes[10:]}
    states = wi.pp.perturb_counts(cells, {"down": "down:x0.25", "up": "up:x4"}, sets=sets)
    accuracy = {}
    for name, training in (("unedited", cells), ("all", states)):
        wi.model.BetaLinearSCVI.setup_anndata(training)
        model = wi.model.BetaLinearSCVI(training, n_latent=10, seed=0)
        model.train(60, seed=0, enable_progress_bar=False, accelerator="cpu")
        states.obsm["X_wi"] = model.get_latent_representation(states)
        wi.tl.latent_classifier(states, "condition", gene_sets=sets, n_permutations=19)
        found = states.uns["latent_classifier"]
        scores = found["scores"].set_index("reader")
        accuracy[name] = scores.loc["latent", "accuracy"]
        assert scores.loc["latent", "pval"] == 1 / 20
        assert scores.loc["gene_sets", "accuracy"] > 0.95
        assert "a two-number gene-set score does" in found["verdict"]
    assert accuracy["all"] >= 0.8
    assert accuracy["unedited"] < accuracy["all"] - 0.2


@pytest.mark.slow
def test_matched_pvalues_are_uniform_for_sets_drawn_at_random(base: AnnData):
    """Genes that were picked blindly must not stand out from genes like them."""
    factors = {"down": 0.5, "up": 2.0}
    pvals = []
    for seed in range(30):
        genes = expressed(base, 12, seed=seed)
        sets = {"down": genes[:6], "up": genes[6:]}
        draws = wi.tl.matched_gene_sets(base, sets, n_sets=19, seed=seed)
        adata = edited(base, sets, factors)
        adata.obsm["X_wi"] = encode(adata)
        null = (encode(edited(base, drawn, factors)) for drawn in draws)
        wi.tl.latent_classifier(adata, "condition", null_reps=null, n_permutations=0, floors=[], n_splits=2)
        pvals.append(adata.uns["latent_classifier"]["matched_pval"])
    smooth = np.array(pvals) - np.random.default_rng(0).uniform(0, 1 / 20, len(pvals))
    assert kstest(smooth, "uniform").pvalue > 0.01
