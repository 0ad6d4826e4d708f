from __future__ import annotations

from xml.etree import ElementTree

import numpy as np
import pytest
from anndata import AnnData

from scwhatif.datasets import simulate_flow, simulate_pairs
from scwhatif.model import BetaLinearSCVI, CellLineEnergyModel, MetricEncoder, MultiOmicLPM

SILENT = {"enable_progress_bar": False, "accelerator": "cpu"}


def rows_of(model) -> dict[str, str]:
    """The HTML table, which must be well formed."""
    table = ElementTree.fromstring(f"<div>{model._repr_html_()}</div>").find("table")
    return {row.find("th").text: row.find("td").text for row in table}


def make_cells() -> AnnData:
    rng = np.random.default_rng(0)
    adata = AnnData(rng.poisson(2, (60, 9)).astype(np.float32))
    adata.obs["<b>run & lane"] = np.array(["x", "y"])[np.arange(60) % 2]
    adata.obs["chemistry"] = np.array(["v1", "v2", "v3"])[np.arange(60) % 3]
    adata.obs["age"] = np.arange(60.0)
    return adata


@pytest.fixture(scope="module")
def linear() -> BetaLinearSCVI:
    adata = make_cells()
    BetaLinearSCVI.setup_anndata(
        adata,
        batch_key="<b>run & lane",
        categorical_covariate_keys=["chemistry"],
        continuous_covariate_keys=["age"],
    )
    return BetaLinearSCVI(adata, n_latent=2, n_hidden=8, seed=0)


def test_a_linear_model_before_and_after_training(linear, tmp_path):
    data = {
        "Data": "60 cells × 9 features",
        "Batches": "2 (<b>run & lane)",
        "Covariates": "chemistry (3 categories), age",
    }
    assert rows_of(linear) == {"Training status": "Not Trained"} | data
    assert "&lt;b&gt;run &amp; lane" in linear._repr_html_()
    linear.train(2, seed=0, **SILENT)
    linear.rotate("varimax")
    last = float(linear.history["objective_train"].iloc[-1, 0])
    expected = data | {"Rotation": "varimax", "Epochs": f"2, last objective_train {last:.4g}"}
    assert rows_of(linear) == {"Training status": "Trained"} | expected
    linear.save(str(tmp_path / "m"), save_anndata=True)
    assert rows_of(BetaLinearSCVI.load(str(tmp_path / "m"))) == rows_of(linear)
    linear.rotate(None)
    assert "Rotation" not in rows_of(linear)


def test_text_is_that_of_scvi_tools_and_the_same_facts(linear, capsys):
    lines = repr(linear).splitlines()
    assert lines[0].startswith("BetaLinearSCVI: n_latent 2, beta 1 (kl)")
    assert lines[1].startswith("Training status: ")
    assert "Data: 60 cells × 9 features" in lines
    assert repr(linear) == linear.summary_string == str(linear)
    # a notebook asks for text and table, and shows one of them
    assert capsys.readouterr().out == ""


def test_what_was_not_set_up_is_left_out():
    adata = make_cells()
    BetaLinearSCVI.setup_anndata(adata)
    assert list(rows_of(BetaLinearSCVI(adata, n_latent=2))) == ["Training status", "Data"]


def test_layers():
    mdata = simulate_flow(
        60, n_drivers=5, n_rna=12, n_protein=8, n_ptm=(4,), n_metabolites=3, fusion_layer=0, n_latent=2
    )
    MultiOmicLPM.setup_mudata(
        mdata,
        rna="rna",
        protein="protein",
        ptm=["ptm_0"],
        metabolome="metabolome",
        categorical_covariate_keys=["lineage"],
    )
    model = MultiOmicLPM(mdata, n_latent=2)
    rows = rows_of(model)
    assert rows["Data"] == "60 samples × 5 layers"
    assert rows["Layers"] == "drivers (5), rna (12), protein (8), ptm_0 (4), metabolome (3)"
    assert rows["Covariates"].startswith("lineage (")
    assert repr(model).splitlines()[0].startswith("MultiOmicLPM (Latent Perturbation Model)")
    # the registry tells how many samples each layer has, not how many there are
    assert rows_of(MultiOmicLPM(registry=model.registry, n_latent=2)) == rows | {"Data": "samples × 5 layers"}


def test_pairs():
    adata = simulate_pairs(2, 3, 10)
    CellLineEnergyModel.setup_anndata(adata, label_key="label", cell_line_key="cell_line", chrom_key="chrom")
    rows = rows_of(CellLineEnergyModel(adata))
    assert rows["Data"] == f"{adata.n_obs} pairs × {adata.n_vars} features"
    assert rows["Cell lines"] == "2 (cell_line)"


def test_rows_of_an_embedding():
    adata = make_cells()
    adata.obsm["z"] = np.random.default_rng(1).normal(size=(60, 4)).astype(np.float32)
    MetricEncoder.setup_anndata(adata, identity_key="chemistry", exam_key="<b>run & lane", obsm_key="z")
    model = MetricEncoder(adata, n_hidden=8)
    assert rows_of(model) == {"Training status": "Not Trained", "Data": "60 rows × 4 features"}
    assert "exam &#x27;&lt;b&gt;run &amp; lane&#x27;" in model._repr_html_()
