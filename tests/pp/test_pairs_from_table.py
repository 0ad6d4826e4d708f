from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import scwhatif as wi

NAMED = pd.DataFrame(
    {
        "y": [1, 0, 1],
        "enh": ["chr5:317258-317610|GM|E1", "chr5:1,000-1,500", "chrX:50-80 a"],
        "prom": ["chr5:889813-889814|GM|G1|+", "chr5:1400-1401", "chrX:10-20"],
        "line": ["GM", "GM", "HeLa"],
        "CTCF (enhancer)": [0.1, 0.2, np.nan],
        "n_peaks": [1, 2, 3],
    }
)
PLACED = pd.DataFrame(
    {
        "chrom": [1, 1, 2],
        "enhancer_start": [100, 500, 100],
        "enhancer_end": [200, 600, 200],
        "promoter_start": [300, 100, 150],
        "promoter_end": [400, 200, 300],
        "label": [True, False, True],
        "line": "K562",
        "H3K27ac": [0.5, np.nan, 0.1],
    }
)
named = {"cell_line": "line", "label": "y", "enhancer": "enh", "promoter": "prom"}
placed = {"cell_line": "line", "label": "label", "chrom": "chrom"}


def test_places_from_names(tmp_path):
    before = NAMED.copy()
    adata = wi.pp.pairs_from_table(NAMED, **named)
    pd.testing.assert_frame_equal(NAMED, before)
    obs = adata.obs
    assert obs["chrom"].tolist() == ["chr5", "chr5", "chrX"]
    assert obs["enhancer_start"].tolist() == [317258, 1000, 50]
    assert obs["enhancer_end"].tolist() == [317610, 1500, 80]
    assert obs["promoter_start"].tolist() == [889813, 1400, 10]
    assert obs["distance"].tolist() == [889813 - 317610, 0, 30]
    assert obs["enhancer"].tolist() == before["enh"].tolist()
    assert obs["label"].tolist() == [1, 0, 1]
    assert obs["label"].dtype == np.int64
    assert list(adata.var_names) == ["CTCF (enhancer)", "n_peaks"]
    np.testing.assert_array_equal(adata.X, np.array([[0.1, 1], [0.2, 2], [np.nan, 3]], dtype=np.float32))
    assert adata.obs_names.tolist() == ["pair_0", "pair_1", "pair_2"]
    adata.write_h5ad(tmp_path / "x.h5ad")
    back = ad.read_h5ad(tmp_path / "x.h5ad")
    pd.testing.assert_frame_equal(back.obs, adata.obs, check_dtype=False)
    np.testing.assert_array_equal(back.X, adata.X)
    assert back.uns["pairs_from_table"]["params"]["enhancer"] == "enh"


def test_places_from_columns_and_gaps():
    adata = wi.pp.pairs_from_table(PLACED, **placed, add_distance=True)
    assert adata.obs["chrom"].tolist() == ["1", "1", "2"]
    assert adata.obs["distance"].tolist() == [100, 300, 0]
    np.testing.assert_allclose(adata[:, "log10_distance"].X.ravel(), np.log10([101, 301, 1]), rtol=1e-6)
    assert adata.obs["label"].tolist() == [1, 0, 1]
    assert np.isnan(adata[:, "H3K27ac"].X[1, 0])
    # chromosomes read as numbers with a decimal point, from a column with a gap elsewhere
    assert wi.pp.pairs_from_table(PLACED.astype({"chrom": float}), **placed).obs["chrom"].tolist() == ["1", "1", "2"]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([1, 0, None], [1, 0, np.nan]),
        ([True, None, False], [1, np.nan, 0]),
        (["TRUE", "FALSE", None], [1, 0, np.nan]),
        (["1", "0", "1"], [1, 0, 1]),
    ],
)
def test_labels(given: list, expected: list):
    adata = wi.pp.pairs_from_table(PLACED.assign(label=given), **placed)
    np.testing.assert_array_equal(adata.obs["label"], expected)
    assert adata.obs["label"].dtype == (np.float64 if np.isnan(expected).any() else np.int64)


def test_no_label_and_chosen_features():
    adata = wi.pp.pairs_from_table(PLACED, cell_line="line", chrom="chrom", features=["H3K27ac"])
    assert "label" not in adata.obs
    assert list(adata.var_names) == ["H3K27ac"]
    # a label left out is one more numeric column, unless it is named
    assert "label" in wi.pp.pairs_from_table(PLACED, cell_line="line", chrom="chrom").var_names
    out = wi.pp.pairs_from_table(PLACED.assign(other=1), **placed, exclude=["other"])
    assert list(out.var_names) == ["H3K27ac"]


@pytest.mark.parametrize(
    "column", ["pValueAdjusted", "EffectSize", "tf_gbm_cv_prediction", "Significant", "PowerAtEffectSize10", "p.value"]
)
def test_results_are_no_features(column: str):
    table = PLACED.assign(**{column: [0.1, 0.2, 0.3]})
    with pytest.raises(ValueError, match="look like a result"):
        wi.pp.pairs_from_table(table, **placed)
    assert list(wi.pp.pairs_from_table(table, **placed, exclude=[column]).var_names) == ["H3K27ac"]
    asked = wi.pp.pairs_from_table(table, **placed, features=["H3K27ac", column])
    assert list(asked.var_names) == ["H3K27ac", column]


@pytest.mark.parametrize(
    ("table", "kwargs", "error", "message"),
    [
        (PLACED[:0], placed, ValueError, "no rows"),
        (PLACED, placed | {"label": "Label"}, KeyError, "Did you mean 'label'"),
        (PLACED, placed | {"features": ["x"]}, KeyError, "column='x' is not in the columns of table"),
        (PLACED, placed | {"features": ["label"]}, ValueError, "cannot be features"),
        (PLACED, placed | {"features": ["H3K27ac"], "exclude": ["H3K27ac"]}, ValueError, "excluded"),
        (PLACED, placed | {"exclude": ["H3K27ac"]}, ValueError, "no column is left"),
        (PLACED, placed | {"features": ["line"], "cell_line": "chrom"}, TypeError, "'line' are not numeric"),
        (PLACED, {"cell_line": "line"}, ValueError, "no chromosome is told"),
        (PLACED.assign(chrom=["1", "chr1", "2"]), placed, ValueError, "in two ways, as 'chr1' and as '1', '2'"),
        (PLACED.assign(line=["a", None, "b"]), placed, ValueError, "missing in 1 row"),
        (PLACED.assign(label=[0, 1, 2]), placed, ValueError, "must hold 0, 1 or nothing, not '2'"),
        (PLACED.assign(label=["yes", "no", "no"]), placed, ValueError, "not 'yes', 'no'"),
        (PLACED.assign(copy=[1, 0, 1]), placed, ValueError, "'copy' equal the label"),
        (PLACED.assign(H3K27ac=np.inf), placed, ValueError, "infinite"),
        (PLACED.assign(H3K27ac=np.nan), placed, ValueError, "no values at all"),
        (PLACED.assign(enhancer_end=[100, 600, 200]), placed, ValueError, "1 enhancer.s. end before they begin"),
        (PLACED.assign(promoter_start=[1.5, 2, 3]), placed, ValueError, "whole numbers"),
        (NAMED.assign(prom="chr6:1-2"), named, ValueError, "enhancer says 'chr5' and promoter 'chr6'"),
        (NAMED.assign(enh="E1"), named, ValueError, "3 name.s. that do not begin with a place"),
        (NAMED.assign(c=["5", "5", "X"]), named | {"chrom": "c"}, ValueError, "named in two ways"),
        (pd.concat([PLACED, PLACED[["H3K27ac"]]], axis=1), placed, ValueError, "columns of one name"),
    ],
)
def test_bad_input(table: pd.DataFrame, kwargs: dict, error: type[Exception], message: str):
    with pytest.raises(error, match=message):
        wi.pp.pairs_from_table(table, **kwargs)


def test_bengi(shared_data):
    table = pd.read_csv(shared_data / "ep_bengi" / "bengi_hic_4lines.csv.gz", nrows=500)
    adata = wi.pp.pairs_from_table(
        table, label="label", cell_line="celltype", chrom="chrom", enhancer="enh_name", promoter="prom_name"
    )
    assert adata.shape == (500, 25)
    # the table measures from middle to middle
    assert np.abs(adata.obs["distance"] - table["enhancer_distance_to_promoter"].to_numpy()).max() < 2000


def test_targetfinder_refuses_the_prediction(shared_data):
    table = pd.read_csv(shared_data / "ep_targetfinder" / "IMR90.csv.gz").assign(line="IMR90")
    given = {"cell_line": "line", "label": "label", "chrom": "chrom"}
    with pytest.raises(ValueError, match="tf_gbm_cv_prediction"):
        wi.pp.pairs_from_table(table, **given)
    lacking = [column for column in table if table[column].isna().all()]
    adata = wi.pp.pairs_from_table(table, **given, exclude=["tf_gbm_cv_prediction", *lacking])
    assert adata.n_obs == len(table)
    # the table measures to the far end of one of them
    assert np.abs(adata.obs["distance"] - adata[:, "distance"].X.ravel()).max() < 5000
