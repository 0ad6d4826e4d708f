import numpy as np

from scwhatif.datasets import simulate_pairs
from scwhatif.model import CellLineEnergyModel

SETUP = {"label_key": "label", "cell_line_key": "cell_line"}


def test_arguments_are_registered_and_nothing_else_is_written():
    adata = simulate_pairs(3, 2, 8)
    adata.obsm["raw"] = np.ones((adata.n_obs, 2))
    obs, uns = set(adata.obs), set(adata.uns)
    CellLineEnergyModel.setup_anndata(adata, **SETUP, chrom_key="chrom", environment_key="raw")
    assert set(adata.obs) - obs == {"_scvi_cell_line"}
    assert set(adata.uns) - uns <= {"_scvi_uuid", "_scvi_manager_uuid"}
    model = CellLineEnergyModel(adata, trees_weight=0.0)
    expected = {**SETUP, "chrom_key": "chrom", "environment_key": "raw"}
    assert {key: model.registry["setup_args"][key] for key in expected} == expected
    assert model.lines == ["line_0", "line_1", "line_2"]


def test_data_of_other_lines_may_lack_labels():
    adata = simulate_pairs(3, 2, 8)
    CellLineEnergyModel.setup_anndata(adata, **SETUP)
    registry = CellLineEnergyModel(adata).registry
    other = simulate_pairs(2, 2, 8)
    other.obs["cell_line"] = other.obs["cell_line"].cat.rename_categories(["x", "y"])
    other.obs["label"] = np.nan
    CellLineEnergyModel.setup_anndata(other, **SETUP, source_registry=registry)
    assert CellLineEnergyModel(other, lines=["line_0", "line_1", "line_2"]).module.n_lines == 3
