"""recover_counts gives the counts back, or says why it cannot."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from scipy import sparse

import scwhatif as wi


def make_counts(n_obs: int = 60, n_vars: int = 80, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    counts = rng.negative_binomial(0.6, 0.15, (n_obs, n_vars)).astype(np.float32)
    counts[:, 0] = 1
    return counts


def normalised(counts, *, target_sum: float | None = 1e4, base: float | None = None) -> ad.AnnData:
    adata = ad.AnnData(counts.copy())
    adata.obs["total"] = np.asarray(counts.sum(axis=1)).ravel()
    sc.pp.normalize_total(adata, target_sum=target_sum)
    sc.pp.log1p(adata, base=base)
    return adata


@pytest.fixture(scope="module")
def pbmc() -> ad.AnnData:
    return sc.datasets.pbmc68k_reduced()


@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_matrix, sparse.csc_matrix, sparse.csr_array])
@pytest.mark.parametrize("target_sum", [None, 1e4, 1e6])
def test_round_trip(kind, target_sum: float | None):
    counts = make_counts()
    adata = ad.AnnData(kind(normalised(counts, target_sum=target_sum).X))
    before = adata.X.copy()
    assert wi.pp.recover_counts(adata) is None
    got = adata.layers["counts"]
    assert got.dtype == np.float32
    assert sparse.issparse(got) == sparse.issparse(before)
    if sparse.issparse(got):
        assert got.format == "csr"
        assert got.has_canonical_format
    np.testing.assert_array_equal(got.toarray() if sparse.issparse(got) else got, counts)
    assert abs(adata.X - before).max() == 0
    used = np.median(counts.sum(1)) if target_sum is None else target_sum
    np.testing.assert_allclose(adata.obs["recover_counts_divisor"], used / counts.sum(1), rtol=1e-5)


@pytest.mark.parametrize("base", [2, 10])
def test_base_is_read_from_what_scanpy_wrote(base: int):
    counts = make_counts()
    adata = normalised(counts, base=base)
    wi.pp.recover_counts(adata)
    np.testing.assert_array_equal(adata.layers["counts"], counts)
    assert adata.uns["recover_counts"]["params"]["base"] == base
    del adata.uns["log1p"]
    with pytest.raises(ValueError, match="no divisor gives integers"):
        wi.pp.recover_counts(adata)
    wi.pp.recover_counts(adata, base=base, layer_added="again")
    np.testing.assert_array_equal(adata.layers["again"], counts)


def test_base_must_make_a_logarithm():
    with pytest.raises(ValueError, match=r"base=1 must be greater than 1"):
        wi.pp.recover_counts(normalised(make_counts()), base=1)


def test_copy_leaves_the_input_alone():
    adata = normalised(make_counts())
    before = adata.copy()
    changed = wi.pp.recover_counts(adata, copy=True, layer_added="umi", key_added="rc")
    assert not adata.layers
    assert list(adata.uns) == list(before.uns)
    assert list(adata.obs) == list(before.obs)
    np.testing.assert_array_equal(changed.layers["umi"], make_counts())
    assert {"rc", "log1p"} == set(changed.uns)
    assert changed.uns["rc"]["params"]["layer_added"] == "umi"


def test_layer_is_read():
    counts = make_counts()
    adata = normalised(counts)
    adata.layers["lognorm"] = adata.X.copy()
    sc.pp.scale(adata)
    with pytest.raises(ValueError, match=r"adata\.X holds negative values.*before scaling or regression"):
        wi.pp.recover_counts(adata)
    wi.pp.recover_counts(adata, layer="lognorm")
    np.testing.assert_array_equal(adata.layers["counts"], counts)


def test_raw_is_read_and_cut_to_the_genes_at_hand():
    counts = make_counts()
    adata = normalised(counts)
    adata.raw = adata
    adata = adata[:, ["7", "3", "40"]].copy()
    sc.pp.scale(adata)
    wi.pp.recover_counts(adata)
    np.testing.assert_array_equal(adata.layers["counts"], counts[:, [7, 3, 40]])
    assert adata.uns["recover_counts"]["params"]["source"] == "adata.raw"


def test_raw_without_the_genes_at_hand():
    adata = normalised(make_counts())
    adata.raw = adata
    adata.var_names = [f"other_{i}" for i in range(adata.n_vars)]
    with pytest.raises(KeyError, match=r"'other_0' is not among them.*use_raw=False"):
        wi.pp.recover_counts(adata)
    wi.pp.recover_counts(adata, use_raw=False)
    np.testing.assert_array_equal(adata.layers["counts"], make_counts())


def test_source_must_exist_and_be_one():
    adata = normalised(make_counts())
    with pytest.raises(KeyError, match=r"adata\.raw is not set"):
        wi.pp.recover_counts(adata, use_raw=True)
    with pytest.raises(KeyError, match="layer='nope'"):
        wi.pp.recover_counts(adata, layer="nope")
    with pytest.raises(ValueError, match="exclude each other"):
        wi.pp.recover_counts(adata, layer="nope", use_raw=True)


def test_backed_data_are_streamed(tmp_path):
    counts = make_counts()
    for kind in (np.asarray, sparse.csr_matrix, sparse.csc_matrix):
        normalised(kind(counts)).write_h5ad(tmp_path / "x.h5ad")
        adata = ad.read_h5ad(tmp_path / "x.h5ad", backed="r")
        wi.pp.recover_counts(adata)
        got = adata.layers["counts"]
        np.testing.assert_array_equal(got.toarray() if sparse.issparse(got) else got, counts)
        adata.file.close()


def test_dask_in_chunks_of_rows_and_columns():
    da = pytest.importorskip("dask.array")
    adata = normalised(make_counts())
    adata.X = da.from_array(adata.X, chunks=(7, 11))
    wi.pp.recover_counts(adata)
    np.testing.assert_array_equal(adata.layers["counts"], make_counts())


def test_result_does_not_depend_on_block_size(monkeypatch):
    from scwhatif import _validation

    adata = normalised(make_counts())
    whole = wi.pp.recover_counts(adata, copy=True)
    from scwhatif.pp import _recover_counts

    monkeypatch.setattr(_recover_counts, "iter_blocks", lambda x: _validation.iter_blocks(x, max_entries=80 * 7))
    blocks = wi.pp.recover_counts(adata, copy=True)
    np.testing.assert_array_equal(blocks.layers["counts"], whole.layers["counts"])
    pd.testing.assert_frame_equal(blocks.obs, whole.obs)
    assert blocks.uns["recover_counts"] == whole.uns["recover_counts"]


def test_pbmc68k_matches_the_simple_inversion(pbmc):
    adata = wi.pp.recover_counts(pbmc, copy=True)
    logs = pbmc.raw.X.toarray().astype(float)
    values = np.expm1(logs)
    simple = values / np.where(values > 0, values, np.inf).min(axis=1, keepdims=True)
    assert np.abs(simple - simple.round()).max() == pytest.approx(0.1122, abs=1e-4)
    np.testing.assert_array_equal(adata.layers["counts"].toarray(), simple.round())
    found = adata.uns["recover_counts"]
    # fitting the divisor to all values, not to the smallest alone, comes closer
    assert found["max_deviation"] == pytest.approx(0.0829, abs=1e-4)
    # the file holds values rounded to three decimals
    assert found["tolerance"]["absolute"] == 5e-4
    assert found["n_cells_smallest_above_one"] == 0


def test_pbmc68k_totals_are_over_all_genes(pbmc):
    adata = wi.pp.recover_counts(pbmc, total_counts_key="n_counts", copy=True)
    share = np.asarray(adata.layers["counts"].sum(1)).ravel() / pbmc.obs["n_counts"].to_numpy()
    assert 0.10 < share.min() < 0.12
    assert 0.27 < share.max() < 0.29
    found = adata.uns["recover_counts"]
    assert found["target_sum"] == pytest.approx(1e4, rel=1e-5)
    assert found["n_cells_common_factor"] == 0
    np.testing.assert_allclose(adata.obs["recover_counts_divisor"] * pbmc.obs["n_counts"], 1e4, rtol=8e-4)


def test_common_factor_is_settled_by_totals_only():
    counts = make_counts()
    counts[3] *= 2
    counts[5] *= 3
    adata = normalised(counts)
    wi.pp.recover_counts(adata, layer_added="alone")
    np.testing.assert_array_equal(adata.layers["alone"][[3, 5]], make_counts()[[3, 5]])
    wi.pp.recover_counts(adata, total_counts_key="total")
    np.testing.assert_array_equal(adata.layers["counts"], counts)
    assert adata.uns["recover_counts"]["n_cells_common_factor"] == 2
    assert adata.uns["recover_counts"]["n_cells_smallest_above_one"] == 2
    assert adata.uns["recover_counts"]["target_sum"] == pytest.approx(1e4, rel=1e-5)


def test_totals_over_other_genes_are_refused():
    adata = normalised(make_counts())
    adata.obs["total"] = make_counts()[:, :40].sum(1)
    with pytest.raises(ValueError, match=r"adata\.obs\['total'\] does not hold the totals .* target sum of"):
        wi.pp.recover_counts(adata, total_counts_key="total")


def test_totals_below_the_counts_are_refused():
    adata = normalised(make_counts())
    adata.obs["total"] *= 0.5
    with pytest.raises(ValueError, match=r"for cell '0', less than the \d+ counts recovered"):
        wi.pp.recover_counts(adata, total_counts_key="total")


@pytest.mark.parametrize("bad", [0.0, -1.0, np.nan])
def test_totals_must_be_positive(bad: float):
    adata = normalised(make_counts())
    adata.obs["total"] = adata.obs["total"].astype(float)
    adata.obs.loc["4", "total"] = bad
    with pytest.raises(ValueError, match=rf"positive totals, but cell '4' has {bad}"):
        wi.pp.recover_counts(adata, total_counts_key="total")
    with pytest.raises(KeyError, match="total_counts_key='n_count'"):
        wi.pp.recover_counts(adata, total_counts_key="n_count")


def test_a_corrupt_value_does_not_move_the_target_sum_of_others():
    counts = make_counts(n_vars=30)
    counts[7, 5] = 40_000
    adata = normalised(counts)
    adata.obs["total"] *= 2
    # half a count: only counts twice as large explain it
    adata.X[7, 5] = np.log1p(np.expm1(float(adata.X[7, 5])) / 40_000 * 40_000.5)
    wi.pp.recover_counts(adata, layer_added="alone")
    assert adata.uns["recover_counts"]["n_cells_smallest_above_one"] == 1
    with pytest.raises(ValueError, match="cell '7' implies a target sum"):
        wi.pp.recover_counts(adata, total_counts_key="total")


def test_smallest_count_of_two_is_found_within_max_smallest():
    counts = np.array([[2, 3, 7, 0], [3, 4, 0, 8], [1, 5, 9, 9]], dtype=np.float32)
    adata = normalised(counts)
    wi.pp.recover_counts(adata)
    np.testing.assert_array_equal(adata.layers["counts"], counts)
    assert adata.uns["recover_counts"]["n_cells_smallest_above_one"] == 2
    with pytest.raises(ValueError, match="tried as counts of 1 to 2"):
        wi.pp.recover_counts(adata, max_smallest=2)


def test_averaged_data_are_refused_with_the_deviation():
    adata = normalised(make_counts())
    adata.X = (adata.X + adata.X[::-1]) / 2
    with pytest.raises(ValueError, match=r"in 60 of the first 60 cells.*'\d+' \(row \d+\): 0\.\d+ from an integer"):
        wi.pp.recover_counts(adata)


def test_one_wrong_cell_is_named():
    adata = normalised(make_counts())
    adata.X[13, adata.X[13] > 0] += 0.05
    with pytest.raises(ValueError, match=r"in 1 of the first 60 cells.*cell '13' \(row 13\)"):
        wi.pp.recover_counts(adata)


def test_too_coarse_data_are_refused():
    counts = make_counts()
    counts[2, 1] = 9000
    adata = normalised(counts)
    adata.X = adata.X.round(2)
    with pytest.raises(ValueError, match=r"too coarsely.*cell '2' \(row 2\).*pass the true precision as tolerance"):
        wi.pp.recover_counts(adata)


def test_a_given_tolerance_is_used():
    counts = make_counts().astype(np.float64)
    counts[0, 1] = 2_000_001
    adata = ad.AnnData(np.log1p(counts / counts.sum(1, keepdims=True) * 1e4))
    with pytest.raises(ValueError, match="too coarsely"):
        wi.pp.recover_counts(adata)
    wi.pp.recover_counts(adata, tolerance=1e-13)
    np.testing.assert_array_equal(adata.layers["counts"], counts)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.zeros((3, 2)), "nothing but zeros"),
        (np.array([[1.0, 2.0], [0.0, 3.0]]), "integers already"),
        (np.array([[1e3, 20.5], [0.3, 300.0]]), "not on a log scale"),
        (np.array([[0.7, np.nan], [0.3, 1.1]]), "1 NaN or infinite.*row 0, column 1"),
    ],
)
def test_other_data_are_refused(x: np.ndarray, message: str):
    with pytest.raises(ValueError, match=message):
        wi.pp.recover_counts(ad.AnnData(x))


@pytest.mark.filterwarnings("ignore:Some cells have zero counts")
def test_empty_cells_stay_empty():
    counts = make_counts()
    counts[4] = 0
    adata = normalised(counts)
    wi.pp.recover_counts(adata)
    np.testing.assert_array_equal(adata.layers["counts"], counts)
    assert np.isnan(adata.obs["recover_counts_divisor"].iloc[4])


def test_survives_writing(tmp_path, pbmc):
    adata = wi.pp.recover_counts(pbmc, total_counts_key="n_counts", copy=True)
    adata.write_h5ad(tmp_path / "x.h5ad")
    back = ad.read_h5ad(tmp_path / "x.h5ad")
    assert abs(back.layers["counts"] - adata.layers["counts"]).max() == 0
    assert back.uns["recover_counts"] == adata.uns["recover_counts"]


def test_real_read_counts_far_above_umi_depth(shared_data):
    camp = ad.read_h5ad(shared_data / "brain_camp" / "camp_fetal_cortex.h5ad")
    camp = camp[:40].copy()
    truth = sparse.csr_matrix(camp.X).toarray()
    camp.obs["total"] = truth.sum(1)
    sc.pp.normalize_total(camp, target_sum=1e6)
    sc.pp.log1p(camp)
    wi.pp.recover_counts(camp, use_raw=False, layer_added="recovered", total_counts_key="total")
    got = camp.layers["recovered"]
    np.testing.assert_array_equal(got.toarray() if sparse.issparse(got) else got, truth)
