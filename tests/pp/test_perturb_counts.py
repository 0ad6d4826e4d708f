"""Edited counts are counts, change as they should, and nothing else changes."""

from __future__ import annotations

import warnings

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scvi
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse, stats
from sklearn.metrics import roc_auc_score

import scwhatif as wi
from scwhatif import Perturbation
from scwhatif._compat import seeded
from scwhatif.pp import perturb_counts

DOWN, UP = [f"gene_{i}" for i in range(10)], [f"gene_{i}" for i in range(20, 35)]
SETS = {"als": DOWN, "hd": UP}
SPEC = {"ALS": "als:x0.5", "HD": "hd:x2"}


@pytest.fixture(scope="module")
def adata() -> ad.AnnData:
    """5000 cells; not to be changed by a test."""
    return wi.datasets.simulate_factors(5000, 60, 4, library_size=600, seed=1)


@pytest.fixture(scope="module")
def edited(adata: ad.AnnData) -> ad.AnnData:
    return perturb_counts(adata, SPEC, sets=SETS)


@pytest.fixture(scope="module")
def small() -> ad.AnnData:
    return wi.datasets.simulate_factors(200, 40, 4, library_size=2000)


def dense(adata: ad.AnnData, condition: str | None = None, genes: list[str] | None = None) -> np.ndarray:
    rows = slice(None) if condition is None else (adata.obs["condition"] == condition).to_numpy()
    return adata[rows, slice(None) if genes is None else genes].X.toarray().astype(np.float64)


def assert_mean(after: np.ndarray, expected: np.ndarray, se: np.ndarray) -> None:
    """Every gene's mean is within 3 standard errors, as drawn with a fixed seed."""
    assert (np.abs(after.mean(0) - expected.mean(0)) < 3 * se).all()


def test_every_cell_thrice(adata: ad.AnnData, edited: ad.AnnData):
    assert edited.shape == (15_000, 60)
    assert edited.obs["condition"].cat.categories.tolist() == ["control", "ALS", "HD"]
    assert pd.crosstab(edited.obs["base_cell"], edited.obs["condition"]).eq(1).all(axis=None)
    assert edited.obs["base_cell"].cat.categories.tolist() == adata.obs_names.tolist()
    assert edited.obs_names[[0, 5000, 14_999]].tolist() == ["cell_0-control", "cell_0-ALS", "cell_4999-HD"]
    for key in adata.obs:
        np.testing.assert_array_equal(edited.obs[key], np.tile(adata.obs[key], 3))
    pd.testing.assert_frame_equal(edited.var, adata.var)
    assert edited.obsm["true_factors"].shape == (15_000, 4)
    for matrix in (edited.X, edited.layers["counts"]):
        assert isinstance(matrix, sparse.csr_matrix)
        assert matrix.dtype == np.float32
        assert (matrix.data == matrix.data.round()).all()
    assert abs(edited.X - edited.layers["counts"]).max() == 0


def test_what_is_not_touched_stays_bit_by_bit(adata: ad.AnnData, edited: ad.AnnData):
    base = adata.X.toarray()
    np.testing.assert_array_equal(dense(edited, "control"), base)
    for condition, genes in [("ALS", DOWN), ("HD", UP)]:
        rest = ~adata.var_names.isin(genes)
        np.testing.assert_array_equal(dense(edited, condition)[:, rest], base[:, rest])


def test_thinning(adata: ad.AnnData, edited: ad.AnnData):
    base, after = adata[:, DOWN].X.toarray(), dense(edited, "ALS", DOWN)
    assert (after <= base).all()
    assert_mean(after, 0.5 * base, np.sqrt(0.25 * base.sum(0)) / len(base))
    # the other half of the molecules is missing, too: the two are independent Poisson-binomial draws
    np.testing.assert_allclose(((after - 0.5 * base) ** 2).sum(0) / (0.25 * base.sum(0)), 1, atol=0.1)


def test_adding(adata: ad.AnnData, edited: ad.AnnData):
    base, after = adata[:, UP].X.toarray(), dense(edited, "HD", UP)
    assert (after >= base).all()
    np.testing.assert_array_equal(after == 0, base == 0)
    assert_mean(after, 2 * base, np.sqrt(base.sum(0)) / len(base))


def test_record(adata: ad.AnnData, edited: ad.AnnData):
    table = edited.uns["perturb_counts"]["genes"]
    assert table["condition"].tolist() == ["ALS"] * 10 + ["HD"] * 15
    assert table["gene"].tolist() == [*DOWN, *UP]
    assert table["edit"].tolist() == [f"{g}:x0.5" for g in DOWN] + [f"{g}:x2" for g in UP]
    base, after = dense(adata), dense(edited, "HD")
    first = adata.var_names.get_loc(UP[0])
    row = table.iloc[10]
    assert row["n_cells_changed"] == (base[:, first] != after[:, first]).sum()
    assert row["mean_control"] == pytest.approx(base[:, first].mean())
    assert row["mean_edited"] == pytest.approx(after[:, first].mean())
    recorded = edited.uns["perturb_counts"]["params"]
    assert recorded["conditions"].tolist() == ["ALS", "HD"]
    assert recorded["perturbations"][0] == str(Perturbation.parse("als:x0.5", sets=SETS))
    assert (recorded["method"], recorded["up"], recorded["library"], recorded["seed"]) == ("thin", "poisson", "free", 0)
    assert "layer" not in recorded


def test_operations_without_chance(small: ad.AnnData):
    spec = {"ko": "gene_0:ko + gene_1:x0", "set": "gene_0:=7 + gene_1:+3 + gene_2:-2", "none": "gene_0:x1 + gene_1:x2"}
    spec["none"] += " + gene_1:x0.5"
    edited = perturb_counts(small, spec)
    base = dense(small)
    assert dense(edited, "ko", ["gene_0", "gene_1"]).max() == 0
    after = dense(edited, "set")
    np.testing.assert_array_equal(after[:, 0], 7)
    np.testing.assert_array_equal(after[:, 1], base[:, 1] + 3)
    np.testing.assert_array_equal(after[:, 2], np.maximum(base[:, 2] - 2, 0))
    np.testing.assert_array_equal(dense(edited, "none"), base)
    assert edited.uns["perturb_counts"]["genes"].query("condition == 'none'")["n_cells_changed"].tolist() == [0, 0]


@given(
    factor=st.floats(0, 6),
    up=st.sampled_from(["poisson", "nb", "thin_control"]),
    library=st.sampled_from(["free", "keep"]),
    seed=st.integers(0, 2**64),
)
@settings(deadline=None, max_examples=40)
def test_counts_stay_counts(small: ad.AnnData, factor: float, up: str, library: str, seed: int):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        edited = perturb_counts(small, {"c": {"gene_3": factor}}, up=up, library=library, seed=seed)
    x = edited.X
    assert (x.data > 0).all()
    assert (x.data == x.data.round()).all()
    base, control, after = dense(small), dense(edited, "control"), dense(edited, "c")
    if library == "keep":
        np.testing.assert_array_equal(control.sum(1), after.sum(1))
    else:
        np.testing.assert_array_equal(np.delete(after, 3, 1), np.delete(base, 3, 1))
        assert (after >= control).all() if factor > 1 else (after <= control).all()


def test_draws_depend_on_neither_order_nor_company(small: ad.AnnData):
    one = perturb_counts(small, {"a": "gene_0:x0.5 + gene_1:x3", "b": "gene_1:x3"}, up="nb")
    other = perturb_counts(small, {"b": "gene_1:x3", "c": "gene_2:x0.1", "a": "gene_1:x3 + gene_0:x0.5"}, up="nb")
    for condition in ("a", "b"):
        np.testing.assert_array_equal(dense(one, condition), dense(other, condition))
    assert (dense(one, "a", ["gene_1"]) != dense(one, "b", ["gene_1"])).any()
    alone = perturb_counts(small, {"a": "gene_1:x3"}, up="nb", control=None)
    assert alone.obs["condition"].tolist() == ["a"] * 200
    np.testing.assert_array_equal(dense(alone)[:, 1], dense(one, "a")[:, 1])
    again, changed = (perturb_counts(small, {"a": "gene_1:x3"}, up="nb", control=None, seed=s) for s in (0, 1))
    assert abs(alone.X - again.X).max() == 0
    assert abs(alone.X - changed.X).max() > 0
    for library, up in [("keep", "poisson"), ("free", "thin_control")]:
        spec = {"a": "gene_1:x3", "b": "gene_1:x2 + gene_4:x0.2"}
        x = perturb_counts(small, spec, library=library, up=up)
        y = perturb_counts(small, dict(reversed(spec.items())), library=library, up=up)
        for condition in ("control", "a", "b"):
            np.testing.assert_array_equal(dense(x, condition), dense(y, condition))


@pytest.mark.parametrize("dispersion", ["dispersion", None])
def test_nb_gives_what_a_gene_expressed_more_would(dispersion: str | None):
    # one cell type and no factors: every gene is negative binomial with a share of the library
    adata = wi.datasets.simulate_factors(
        20_000, 20, 1, n_cell_types=1, n_batches=1, loading_scale=0, library_size=100, seed=2
    )
    edited = perturb_counts(adata, {"up": "{gene_1,gene_2,gene_3}:x3"}, up="nb", dispersion=dispersion)
    genes = ["gene_1", "gene_2", "gene_3"]
    base, after = dense(adata, None, genes), dense(edited, "up", genes)
    theta = adata.var.loc[genes, "dispersion"].to_numpy()
    mean = 3 * adata[:, genes].layers["true_rate"].astype(float)
    variance = (mean + mean**2 / theta).sum(0)
    assert (np.abs((after - mean).sum(0)) < 3 * np.sqrt(variance)).all()
    np.testing.assert_allclose(((after - mean) ** 2).sum(0) / variance, 1, atol=0.1)
    zeros = stats.nbinom(theta, theta / (theta + mean)).pmf(0)
    deviation = ((after == 0) - zeros).sum(0) / np.sqrt((zeros * (1 - zeros)).sum(0))
    # expectation of the library is what the share is of, so the estimate of the dispersion has a say here
    assert (np.abs(deviation) < (3 if dispersion else 6)).all()
    assert (after[base == 0] > 0).any()
    # taking the count for the rate is more dispersed, and keeps too many zeros
    naive = dense(perturb_counts(adata, {"up": "{gene_1,gene_2,gene_3}:x3"}), "up", genes)
    assert (((naive - mean) ** 2).sum(0) > 1.2 * variance).all()
    assert ((naive == 0).sum(0) > 1.2 * zeros.sum(0)).all()


@pytest.mark.parametrize("model_class", [wi.model.BetaLinearSCVI, scvi.model.SCVI])
def test_posterior_of_a_model(model_class: type):
    adata = wi.datasets.simulate_factors(400, 30, 4, library_size=1000)
    model_class.setup_anndata(adata, layer="counts")
    with seeded(0):
        model = model_class(adata, n_latent=4, gene_likelihood="nb")
        model.train(25, batch_size=64, enable_progress_bar=False, accelerator="cpu", logger=False)
    genes = ["gene_2", "gene_5", "gene_7"]
    edited = perturb_counts(
        adata, {"up": "{gene_2,gene_5,gene_7}:x3 + gene_1:x0.5"}, up="posterior", model=model, layer="counts"
    )
    base, after = dense(adata, None, genes), dense(edited, "up", genes)
    assert (after >= base).all()
    np.testing.assert_allclose(after.sum(0) / base.sum(0), 3, rtol=0.15)
    np.testing.assert_array_equal(
        np.delete(dense(edited, "up"), [1, 2, 5, 7], 1), np.delete(dense(adata), [1, 2, 5, 7], 1)
    )
    assert edited.uns["perturb_counts"]["params"]["model_class"] == model_class.__name__
    assert not any(key.startswith("_scvi") for key in [*edited.uns, *edited.obs])
    again = perturb_counts(
        adata, {"up": "{gene_2,gene_5,gene_7}:x3 + gene_1:x0.5"}, up="posterior", model=model, layer="counts"
    )
    assert abs(again.layers["counts"] - edited.layers["counts"]).max() == 0
    # the result is ready for the next model
    model_class.setup_anndata(edited, layer="counts")
    model_class(edited, n_latent=2)


def test_thinning_the_control_instead(adata: ad.AnnData):
    spec = {"most": "gene_1:x4 + gene_2:x2", "some": "gene_1:x2", "less": "gene_1:x0.5 + gene_3:x0.5"}
    edited = perturb_counts(adata, spec, up="thin_control")
    base, control = dense(adata), dense(edited, "control")
    rest = np.delete(np.arange(60), [1, 2, 3])
    for condition in ("control", *spec):
        after = dense(edited, condition)
        assert (after <= base).all()
        np.testing.assert_array_equal(after[:, rest], base[:, rest])
        if condition != "less":
            np.testing.assert_array_equal(after[:, 3], base[:, 3])
    # the condition with the largest factor is the cell as observed, and what is not edited is as in the control
    np.testing.assert_array_equal(dense(edited, "most")[:, :3], base[:, :3])
    np.testing.assert_array_equal(dense(edited, "some")[:, 2], control[:, 2])
    for condition, share in [("control", 1 / 4), ("some", 2 / 4), ("less", 1 / 8)]:
        after = dense(edited, condition)[:, [1]]
        assert_mean(after, share * base[:, [1]], np.sqrt(share * (1 - share) * base[:, 1].sum()) / 5000)
        assert (after >= control[:, [1]]).all() if condition != "less" else (after <= control[:, [1]]).all()
    assert_mean(control[:, [2]], base[:, [2]] / 2, np.sqrt(base[:, 2].sum() / 4) / 5000)


def library_auc(edited: ad.AnnData, condition: str) -> float:
    total = np.asarray(edited.X.sum(1)).ravel()
    rows = edited.obs["condition"].isin(["control", condition]).to_numpy()
    return float(roc_auc_score((edited.obs["condition"] == condition)[rows], total[rows]))


@pytest.mark.parametrize("up", ["poisson", "thin_control"])
def test_library_size_gives_nothing_away(adata: ad.AnnData, up: str):
    spec = {"ALS": "als:x0.1", "HD": "hd:x10"}
    free = perturb_counts(adata, spec, sets=SETS, up=up)
    keep = perturb_counts(adata, spec, sets=SETS, up=up, library="keep")
    assert library_auc(free, "HD") > 0.6
    assert library_auc(free, "ALS") < 0.45
    totals = np.asarray(keep.X.sum(1)).reshape(3, -1)
    np.testing.assert_array_equal(totals, totals[[0]].repeat(3, axis=0))
    np.testing.assert_array_equal(totals[0], np.asarray(free.X.sum(1)).reshape(3, -1).min(0))
    assert library_auc(keep, "HD") == pytest.approx(0.5, abs=1e-12)
    assert library_auc(keep, "ALS") == pytest.approx(0.5, abs=1e-12)
    # drawing down leaves shares as they were
    for condition in ("control", "ALS", "HD"):
        before, after = dense(free, condition), dense(keep, condition)
        expected = before * (totals[0] / before.sum(1))[:, None]
        assert (np.abs((after - expected).sum(0)) < 4 * np.sqrt(expected.sum(0))).all()


def test_deterministic_reproduces_the_artefact(small: ad.AnnData):
    edited = perturb_counts(small, {"half": "gene_0:x0.5 + gene_1:+0.5", "twice": "gene_0:x2"}, method="deterministic")
    base = dense(small)
    half, twice = dense(edited, "half"), dense(edited, "twice")
    np.testing.assert_array_equal(half[:, 0], base[:, 0] / 2)
    np.testing.assert_array_equal(half[:, 1], base[:, 1] + 0.5)
    np.testing.assert_array_equal(twice[:, 0], base[:, 0] * 2)
    np.testing.assert_array_equal(half[:, 2:], base[:, 2:])
    assert edited.X.dtype == np.float32
    # the artefact: fractions alone tell who was edited
    assert (half % 1).any(axis=1).mean() > 0.4
    assert not (dense(edited, "control") % 1).any()


def test_composition_of_doses(adata: ad.AnnData):
    effects = pd.DataFrame({"gene": DOWN, "log2fc": -0.7})
    once, twice = (wi.pp.snp_perturbation(effects, dosage=d) for d in (1, 2))
    direct = perturb_counts(adata, {"c": twice}, control=None)
    stepwise = perturb_counts(
        perturb_counts(adata, {"a": once}, control=None, base_cell_key="x", condition_key="y"),
        {"c": once},
        control=None,
        seed=1,
    )
    a, b, base = dense(direct, None, DOWN), dense(stepwise, None, DOWN), dense(adata, None, DOWN)
    share = 2**-1.4
    for after in (a, b):
        assert_mean(after, share * base, np.sqrt(share * (1 - share) * base.sum(0)) / 5000)
        np.testing.assert_allclose(
            ((after - share * base) ** 2).sum(0) / (share * (1 - share) * base.sum(0)), 1, atol=0.1
        )
    nothing = perturb_counts(adata, {"c": wi.pp.snp_perturbation(effects, dosage=0)}, control=None)
    np.testing.assert_array_equal(dense(nothing), dense(adata))


@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_matrix, sparse.csc_matrix, sparse.csr_array])
def test_formats_agree(small: ad.AnnData, kind):
    expected = perturb_counts(small, {"c": "gene_1:x3 + gene_0:x0.5"})
    other = small.copy()
    other.X = kind(small.X.toarray())
    found = perturb_counts(other, {"c": "gene_1:x3 + gene_0:x0.5"})
    assert isinstance(found.X, np.ndarray if kind is np.asarray else kind)
    x = found.X if kind is np.asarray else found.X.toarray()
    np.testing.assert_array_equal(x, expected.X.toarray())


def test_integers_stay_integers_and_must_fit(small: ad.AnnData):
    other = ad.AnnData(np.minimum(small.X.toarray(), 200).astype(np.uint8), obs=small.obs, var=small.var)
    assert perturb_counts(other, "gene_0:x0.5").X.dtype == np.uint8
    with pytest.raises(ValueError, match=r"condition 'perturbed': a count of .* does not fit in uint8; use a wider"):
        perturb_counts(other, "gene_0:x1000")
    assert perturb_counts(other, "gene_0:x0.5", method="deterministic").X.dtype == np.float64


def test_views_and_files(small: ad.AnnData, tmp_path):
    half = small[::2]
    expected = perturb_counts(half.copy(), "gene_0:x0.5")
    assert abs(perturb_counts(half, "gene_0:x0.5").X - expected.X).max() == 0
    small.write_h5ad(tmp_path / "x.h5ad")
    backed = ad.read_h5ad(tmp_path / "x.h5ad", backed="r")
    assert abs(perturb_counts(backed, "gene_0:x0.5").X - perturb_counts(small, "gene_0:x0.5").X).max() == 0
    backed.file.close()


def test_input_is_left_alone(small: ad.AnnData):
    before = small.copy()
    perturb_counts(small, "gene_0:x2", up="thin_control", library="keep")
    assert abs(small.X - before.X).max() == 0
    assert abs(small.layers["counts"] - before.layers["counts"]).max() == 0
    pd.testing.assert_frame_equal(small.obs, before.obs)
    assert list(small.uns) == list(before.uns)


def test_survives_writing(small: ad.AnnData, tmp_path):
    edited = perturb_counts(small, {"a/b": "gene_0:x2", "c": "gene_1:ko"}, up="nb", dispersion=3.0)
    edited.write_h5ad(tmp_path / "x.h5ad")
    back = ad.read_h5ad(tmp_path / "x.h5ad")
    assert abs(back.X - edited.X).max() == 0
    pd.testing.assert_frame_equal(back.obs, edited.obs)
    found, written = back.uns["perturb_counts"], edited.uns["perturb_counts"]
    # which type text has depends on the release of pandas
    text = {"gene": object, "edit": object}
    pd.testing.assert_frame_equal(
        found["genes"].astype(text), written["genes"].astype(text), check_index_type=False, check_column_type=False
    )
    assert found["params"]["conditions"].tolist() == ["a/b", "c"]
    assert found["params"]["dispersion"] == 3.0


def test_real_counts():
    adata = wi.datasets.pbmc68k()
    edited = perturb_counts(adata, {"up": "CD3D:x3", "down": "{LYZ,NKG7}:x0.2"}, library="keep", up="nb")
    assert edited.n_obs == 3 * 700
    totals = np.asarray(edited.X.sum(1)).reshape(3, -1)
    assert (totals == totals[0]).all()
    table = edited.uns["perturb_counts"]["genes"].set_index("gene")
    ratio = table["mean_edited"] / table["mean_control"]
    np.testing.assert_allclose(ratio[["CD3D", "LYZ", "NKG7"]], [3, 0.2, 0.2], rtol=0.1)
