"""What perturb_counts refuses or warns of, before anything is edited."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import scwhatif as wi
from scwhatif.pp import perturb_counts


@pytest.fixture(scope="module")
def small() -> ad.AnnData:
    """Not to be changed by a test."""
    return wi.datasets.simulate_factors(200, 40, 4, library_size=2000)


def dense(adata: ad.AnnData, condition: str, genes: list[str]) -> np.ndarray:
    return adata[(adata.obs["condition"] == condition).to_numpy(), genes].X.toarray()


def test_names_of_columns(small: ad.AnnData):
    edited = perturb_counts(small, "gene_0:ko", control="WT", condition_key="arm", base_cell_key="cell")
    assert edited.obs["arm"].cat.categories.tolist() == ["WT", "perturbed"]
    assert edited.obs["cell"].tolist() == [*small.obs_names] * 2
    with pytest.raises(ValueError, match="has a column 'arm' already; rename it, or pass another condition_key"):
        perturb_counts(edited, "gene_0:ko", condition_key="arm")
    with pytest.raises(ValueError, match="both 'x'; they need different names"):
        perturb_counts(small, "gene_0:ko", condition_key="x", base_cell_key="x")
    twice = small[[0, 0, 1]]
    with pytest.raises(ValueError, match="obs_names are not unique"):
        perturb_counts(twice, "gene_0:ko")


def test_genes_without_counts(small: ad.AnnData):
    other = small.copy()
    x = other.X.toarray()
    x[:, :3] = 0
    other.X = sparse.csr_matrix(x)
    with pytest.raises(ValueError, match="condition 'c' changes nothing: no cell has a count of 'gene_0', 'gene_1'"):
        perturb_counts(other, {"c": "gene_0:x2 + gene_1:ko"})
    with pytest.warns(
        UserWarning, match=r"No cell has a count of 2 gene\(s\), which stay as they are: 'gene_0'"
    ) as caught:
        perturb_counts(other, {"c": "gene_0:x2 + gene_1:ko + gene_5:ko"}, up="nb")
    assert caught[0].filename == __file__
    assert dense(perturb_counts(other, {"c": "gene_0:=2"}), "c", ["gene_0"]).min() == 2


def test_cells_left_empty():
    adata = ad.AnnData(
        np.array([[3.0, 0.0], [1.0, 2.0]]), pd.DataFrame(index=["a", "b"]), pd.DataFrame(index=["g", "h"])
    )
    with pytest.warns(
        UserWarning, match=r"'ko' leaves 1 cell\(s\) without any count: 'a'. Models of counts refuse"
    ) as caught:
        perturb_counts(adata, {"ko": "g:ko"})
    assert caught[0].filename == __file__
    with pytest.raises(ValueError, match="so library='keep' would empty all their copies"):
        perturb_counts(adata, {"ko": "g:ko"}, library="keep")


def test_not_counts(small: ad.AnnData):
    other = small.copy()
    other.layers["log"] = np.log1p(small.X.toarray())
    with pytest.raises(ValueError, match=r"adata.layers\['log'\] holds .* non-integer value"):
        perturb_counts(other, "gene_0:x0.5", layer="log")
    with pytest.raises(KeyError, match=r"layer='nope' is not in adata\.layers"):
        perturb_counts(other, "gene_0:x0.5", layer="nope")
    edited = perturb_counts(other, "gene_0:ko", layer="counts")
    assert dense(edited, "perturbed", ["gene_0"]).max() == 0
    np.testing.assert_array_equal(edited.layers["log"], np.vstack([other.layers["log"]] * 2))


@pytest.mark.parametrize(
    ("perturbations", "kwargs", "error", "message"),
    [
        ("gene_99:ko", {}, KeyError, "features not in var_names: 'gene_99' .close: gene_9"),
        ("z0:+1", {}, ValueError, "moves a latent code"),
        ("gene_0:=0.5", {}, ValueError, "without integer counts"),
        ("gene_0:+1 + gene_0:x2", {"up": "thin_control"}, ValueError, "mixes factors with other operations"),
        ("gene_0:ko", {"method": "round"}, ValueError, r"method='round' must be one of \('thin', 'deterministic'\)"),
        ("gene_0:ko", {"up": "more"}, ValueError, "up='more' must be one of"),
        ("gene_0:ko", {"library": "fix"}, ValueError, "library='fix' must be one of"),
        ("gene_0:ko", {"up": "posterior"}, ValueError, "up='posterior' and model belong together"),
        ("gene_0:ko", {"model": object()}, ValueError, "up='posterior' and model belong together"),
        ("gene_0:ko", {"dispersion": 2.0}, ValueError, "dispersion belongs to up='nb'"),
        ("gene_0:ko", {"up": "nb", "dispersion": -1.0}, ValueError, "inverse dispersions above 0"),
        ("gene_0:ko", {"up": "nb", "dispersion": "nope"}, KeyError, "dispersion='nope' is not in adata.var"),
        ("gene_0:ko", {"up": "nb", "method": "deterministic"}, ValueError, "so up='nb' has no meaning"),
        ("gene_0:ko", {"library": "keep", "method": "deterministic"}, ValueError, "leaves fractions of them"),
        ({"control": "gene_0:ko"}, {}, ValueError, "names both a condition and the unedited copy"),
    ],
)
def test_refusals(small: ad.AnnData, perturbations, kwargs: dict, error: type[Exception], message: str):
    with pytest.raises(error, match=message):
        perturb_counts(small, perturbations, **kwargs)
