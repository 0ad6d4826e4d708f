"""Input checks: what they refuse, in which words, and that they change nothing."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from anndata.experimental import read_elem_lazy
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from scwhatif import _validation as v

COUNTS = np.array([[1, 0, 3], [0, 2, 0], [4, 0, 0], [0, 5, 6]], dtype=np.float32)
NAMES = [f"cell_{i}" for i in range(4)]


@pytest.fixture
def adata() -> ad.AnnData:
    obs = pd.DataFrame({"batch": pd.Categorical(["a", "a", "b", "b"]), "cell_type": list("xyxy")}, index=NAMES)
    return ad.AnnData(COUNTS.copy(), obs=obs, var=pd.DataFrame(index=["g0", "g1", "g2"]), layers={"counts": COUNTS})


@pytest.fixture(params=["dense", "csr", "csc", "coo", "csr_array", "frame", "h5_dense", "h5_csr", "h5_csc", "dask"])
def as_container(request, tmp_path):
    """Put a matrix into each container a user may bring."""
    opened = []

    def backed(x):
        ad.AnnData(x).write_h5ad(tmp_path / "x.h5ad")
        opened.append(ad.read_h5ad(tmp_path / "x.h5ad", backed="r"))
        return opened[-1].X

    def dask(x):
        return pytest.importorskip("dask.array").from_array(x, chunks=(2, 2))

    kinds = {
        "dense": np.asarray,
        "csr": sparse.csr_matrix,
        "csc": sparse.csc_matrix,
        "coo": sparse.coo_matrix,
        "csr_array": sparse.csr_array,
        "frame": pd.DataFrame,
        "h5_dense": backed,
        "h5_csr": lambda x: backed(sparse.csr_matrix(x)),
        "h5_csc": lambda x: backed(sparse.csc_matrix(x)),
        "dask": dask,
    }
    yield kinds[request.param]
    for each in opened:
        each.file.close()


@pytest.fixture
def small_blocks(monkeypatch):
    """Force several blocks, so that positions have to be put together."""
    whole = v.iter_blocks
    monkeypatch.setattr(v, "iter_blocks", lambda x: whole(x, max_entries=4))


def changed(at: tuple[int, int], value: float) -> np.ndarray:
    x = COUNTS.copy()
    x[at] = value
    return x


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize(
    ("x", "message"),
    [
        (changed((2, 1), np.nan), r"^X holds 1 NaN or infinite value\(s\), the first at row 2, column 1\."),
        (changed((3, 2), np.inf), r"1 NaN or infinite value\(s\), the first at row 3, column 2\..*fill the values"),
        (changed((1, 2), -1), r"^X holds 1 negative value\(s\), the first at row 1, column 2.*layer='counts'"),
        (changed((0, 2), 2.5), r"^X holds 1 non-integer value\(s\), the first at row 0, column 2.*recover_counts"),
        (changed((2, 0), 0), r"^X has 1 cell\(s\) without any count: 'cell_2'\..*sc\.pp\.filter_cells\(adata, min_c"),
    ],
)
def test_each_container_is_refused_alike(as_container, x: np.ndarray, message: str):
    with pytest.raises(ValueError, match=message):
        v.check_count_matrix(as_container(x), NAMES, "X")


@pytest.mark.usefixtures("small_blocks")
def test_each_container_of_counts_passes(as_container):
    v.check_count_matrix(as_container(COUNTS), NAMES, "X")


def test_dask_chunks_of_whole_rows():
    da = pytest.importorskip("dask.array")
    x = da.from_array(changed((3, 1), 0.5), chunks=(3, 2))
    with pytest.raises(ValueError, match="row 3, column 1"):
        v.check_counts(x, name="X")


def test_lazy_element_of_a_file(tmp_path):
    pytest.importorskip("dask.array")
    import h5py

    ad.AnnData(sparse.csr_matrix(changed((3, 1), -2))).write_h5ad(tmp_path / "x.h5ad")
    with h5py.File(tmp_path / "x.h5ad") as f, pytest.raises(ValueError, match=r"negative.*row 3, column 1"):
        v.check_counts(read_elem_lazy(f["X"]), name="X")


@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_matrix, sparse.csc_matrix])
def test_nothing_is_changed(kind):
    x = kind(changed((0, 0), np.nan))
    before = x.copy()
    for check in (v.check_counts, v.check_finite):
        with pytest.raises(ValueError, match="NaN"):
            check(x, name="X")
    data, data_before = (x.data, before.data) if sparse.issparse(x) else (x, before)
    np.testing.assert_array_equal(data, data_before)
    assert x.dtype == before.dtype


@given(
    bad=st.sets(st.tuples(st.integers(0, 3), st.integers(0, 2)), min_size=1),
    kind=st.sampled_from([np.asarray, sparse.csr_matrix, sparse.csc_matrix]),
    max_entries=st.integers(1, 12),
)
@settings(deadline=None, max_examples=50)
def test_number_and_first_position(bad, kind, max_entries: int):
    x = COUNTS.copy()
    for at in bad:
        x[at] = 0.5
    with pytest.MonkeyPatch.context() as patch:
        whole = v.iter_blocks
        patch.setattr(v, "iter_blocks", lambda m: whole(m, max_entries=max_entries))
        row, col = min(bad)
        with pytest.raises(ValueError, match=rf"holds {len(bad)} non-integer.*row {row}, column {col},"):
            v.check_counts(kind(x), name="X")


@given(max_entries=st.integers(1, 20))
@settings(deadline=None, max_examples=20)
def test_blocks_put_together_are_the_matrix(max_entries: int):
    for kind in (np.asarray, sparse.csr_matrix, sparse.csc_matrix):
        seen = np.full(COUNTS.shape, np.nan)
        for row, col, block in v.iter_blocks(kind(COUNTS), max_entries=max_entries):
            values = block.toarray() if sparse.issparse(block) else block
            seen[row : row + values.shape[0], col : col + values.shape[1]] = values
        np.testing.assert_array_equal(seen, COUNTS)


def test_blocks_stay_within_their_size():
    x = sparse.random(1000, 300, density=0.01, format="csr", random_state=0)
    assert max(np.prod(block.shape) for _, _, block in v.iter_blocks(x, max_entries=3000)) == 3000


def test_float_noise_is_not_a_fraction():
    v.check_counts(COUNTS + 9e-4 * (COUNTS > 0), name="X")
    with pytest.raises(ValueError, match="non-integer"):
        v.check_counts(COUNTS + 2e-3 * (COUNTS > 0), name="X")


@pytest.mark.parametrize("dtype", [bool, np.uint16, np.int64, np.float16, np.float64])
def test_numeric_dtypes_pass(dtype):
    v.check_count_matrix((COUNTS > 0).astype(dtype), NAMES, "X")


def test_text_is_a_type_error():
    with pytest.raises(TypeError, match=r"X has dtype object; convert it"):
        v.check_counts(COUNTS.astype(object), name="X")


def test_one_dimension_is_refused():
    with pytest.raises(ValueError, match="must have two dimensions"):
        v.check_counts(COUNTS[0], name="X")


def test_negative_integers_are_refused():
    with pytest.raises(ValueError, match="1 negative"):
        v.check_counts(changed((0, 0), -3).astype(int), name="X")


def test_log_normalised_data_are_recognised_by_their_total():
    x = np.log1p(COUNTS / COUNTS.sum(1, keepdims=True) * 1e4)
    with pytest.raises(ValueError, match=r"log-normalised.*adds up to 10000\).*scwhatif\.pp\.recover_counts"):
        v.check_counts(x, name="adata.X")


def test_normalised_data_off_the_log_scale_have_another_remedy():
    x = COUNTS / COUNTS.sum(1, keepdims=True) * 1e4
    with pytest.raises(ValueError, match="round expected counts") as error:
        v.check_counts(x + 0.5, name="adata.X")
    assert "recover_counts" not in str(error.value)


def test_finite_data_may_be_anything_else():
    v.check_finite(np.array([[-1.5, 0.2]]), name="X")
    v.check_finite(sparse.csr_matrix((3, 2)), name="X")
    with pytest.raises(ValueError, match=r"^protein holds 2 NaN or infinite value\(s\), the first at row 0, column 1"):
        v.check_finite(np.array([[0.0, np.nan], [-np.inf, 1.0]]), name="protein")


def test_empty_cells_are_counted_and_the_first_few_named():
    x = sparse.csr_matrix((8, 3))
    names = pd.Index([f"c{i}" for i in range(8)])
    message = r"X has 8 cell\(s\) without any count: 'c0', 'c1', 'c2', 'c3', 'c4', … \(3 more\)\..*filter_cells"
    with pytest.raises(ValueError, match=message):
        v.check_count_matrix(x, names, "X")


def test_stored_zeros_do_not_fill_a_cell():
    x = sparse.csr_matrix((np.array([0.0, 1.0]), np.array([0, 1]), np.array([0, 1, 2])), shape=(2, 2))
    for kind in (x, x.tocsc()):
        with pytest.raises(ValueError, match="'a'"):
            v.check_count_matrix(kind, ["a", "b"], "X")


def test_choices_are_put_in_order():
    assert v.check_choices(["gene", "pca", "gene"], ("pca", "ica", "gene"), name="floors") == ["pca", "gene"]
    assert v.check_choices([], ("pca",), name="floors") == []
    for wrong in (["umap"], "pca"):
        with pytest.raises(ValueError, match=r"floors=.*must be a list of some of \['pca', 'gene'\]"):
            v.check_choices(wrong, ("pca", "gene"), name="floors")


def test_obs_key(adata):
    v.check_obs_key(adata, "batch", "batch_key")
    message = r"batch_key='Bacth' is not in adata\.obs\. Did you mean 'batch'\? It holds: \['batch', 'cell_type'\]"
    with pytest.raises(KeyError, match=message):
        v.check_obs_key(adata, "Bacth", "batch_key")
    with pytest.raises(KeyError, match=r"key='zzz' is not in adata\.obs\. It holds: \['batch'"):
        v.check_obs_key(adata, "zzz")


def test_layer(adata):
    v.check_layer(adata, None)
    v.check_layer(adata, "counts")
    with pytest.raises(KeyError, match=r"layer='count' is not in adata\.layers\. Did you mean 'counts'"):
        v.check_layer(adata, "count")
    del adata.layers["counts"]
    with pytest.raises(KeyError, match="It holds: nothing"):
        v.check_layer(adata, "counts")
    adata.X = None
    with pytest.raises(KeyError, match=r"adata\.X is not set; name the layer"):
        v.check_layer(adata, None)


def test_batches(adata):
    v.check_batches(adata, "batch")
    before = adata.obs.copy()
    with pytest.raises(KeyError, match="batch_key='sample'"):
        v.check_batches(adata, "sample")
    with pytest.raises(ValueError, match=r"batch\(es\) of a single cell: 'b'\..*merge such batches"):
        v.check_batches(adata[:3], "batch")
    pd.testing.assert_frame_equal(adata.obs, before)
    adata.obs["batch"] = pd.Categorical(["a", "a", None, "a"])
    with pytest.raises(ValueError, match=r"missing for 1 cell\(s\): 'cell_2'\..*notna"):
        v.check_batches(adata, "batch")


def test_unused_batch_categories_do_not_matter(adata):
    v.check_batches(adata[:2], "batch")


@pytest.mark.parametrize(
    ("expected", "message"),
    [
        (["g0", "g1", "g2", "g3"], r"query lacks 1 of the 4 features .*'g3'.*prepare_query_anndata.*match_genes"),
        (["g0", "g2"], r"query has 1 features the model was not trained on: 'g1'.*prepare_query_anndata"),
        (["g0", "g2", "g1"], r"another order: position 1 holds 'g1', expected 'g2'.*prepare_query_anndata"),
    ],
)
def test_var_names(adata, expected: list[str], message: str):
    v.check_var_names(adata, ["g0", "g1", "g2"], "query")
    with pytest.raises(ValueError, match=message):
        v.check_var_names(adata, expected, "query")
    assert list(adata.var_names) == ["g0", "g1", "g2"]


def test_duplicated_var_names():
    with pytest.warns(UserWarning, match="not unique"):
        adata = ad.AnnData(COUNTS, var=pd.DataFrame(index=["g0", "g1", "g1"]))
    with pytest.raises(ValueError, match=r"1 duplicated var_names: 'g1'\. Run adata\.var_names_make_unique"):
        v.check_var_names(adata, ["g0", "g1"], "query")


def test_numbers_of_at_least_one():
    v.check_at_least_one(n_top=1, batch_size=None)
    with pytest.raises(ValueError, match=r"batch_size=0 must be at least 1\."):
        v.check_at_least_one(n_top=1, batch_size=0, n_steps=-1)
