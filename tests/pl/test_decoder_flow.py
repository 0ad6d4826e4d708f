from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
import pytest

import scwhatif as wi

if TYPE_CHECKING:
    from collections.abc import Iterator

    from anndata import AnnData

KEY = "decoder_flow"


@pytest.fixture(autouse=True)
def _close_figures() -> Iterator[None]:
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def adata() -> AnnData:
    adata = wi.datasets.simulate_factors(150, 40, 3, n_cell_types=3, seed=0)
    adata.var_names = [f"HLA-{i}" for i in range(40)]
    wi.model.BetaLinearSCVI.setup_anndata(adata)
    model = wi.model.BetaLinearSCVI(adata, n_latent=2, seed=0)
    model.train(max_epochs=20, batch_size=32, seed=0, accelerator="cpu", enable_progress_bar=False)
    wi.tl.decoder_flow(adata, model, "HLA-3", n_steps=4)
    wi.tl.decoder_flow(adata, model, "HLA-3", n_steps=60, groupby="cell_type", key_added="groups")
    return adata


def test_bars_are_changes(adata: AnnData):
    ax = wi.pl.decoder_flow(adata, n_top=8, show=False)
    names = [label.get_text() for label in ax.get_yticklabels()]
    assert names[0] == "HLA-3"
    assert len(names) == 9
    widths = np.array([bar.get_width() for bar in ax.patches])
    np.testing.assert_allclose(widths, adata.varm[KEY][adata.var_names.get_indexer(names), 0])
    assert (np.diff(widths[1:]) <= 0).all()
    strongest = adata.uns[KEY]["genes"]["gene"][1:9]
    assert set(names[1:]) == set(strongest)
    agreement = adata.uns[KEY]["by_group"]["agreement"].item()
    assert ax.get_title(loc="left") == f"HLA-3 up\nagreement with its knockout {agreement:.2f}".replace(" -", " −")
    assert ax.get_xlabel() == "log2 fold change"


def test_several_groups_are_a_heat_map(adata: AnnData):
    ax = wi.pl.decoder_flow(adata, key="groups", n_top=5, show=False)
    names = [label.get_text() for label in ax.get_yticklabels()]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["type_0", "type_1", "type_2"]
    shown = np.asarray(ax.collections[0].get_array()).reshape(6, 3)
    np.testing.assert_allclose(shown, adata.varm["groups"][adata.var_names.get_indexer(names)], rtol=1e-6)
    assert "HLA-3 up" in ax.get_title(loc="left")


def test_paths_end_with_a_cross_where_cells_end(adata: AnnData):
    ax = wi.pl.decoder_flow(adata, key="groups", kind="path", show=False)
    table, path = adata.uns["groups"]["by_group"], adata.uns["groups"]["path"]
    assert (table["stopped"] == "outside").all()
    lines = [line for line in ax.lines if len(line.get_xdata()) > 1]
    assert [line.get_label() for line in lines] == ["type_0", "type_1", "type_2"]
    for line, name in zip(lines, table["group"], strict=True):
        np.testing.assert_allclose(line.get_ydata(), path.loc[path["group"] == name, "expression"])
    crosses = [line for line in ax.lines if line.get_marker() == "x" and len(line.get_xdata()) == 1]
    assert [cross.get_xdata()[0] for cross in crosses] == table["n_steps"].tolist()
    assert ax.get_legend().get_texts()[-1].get_text() == "end of the cells"
    assert ax.get_yscale() == "log"
    assert ax.get_ylabel() == f"{adata.uns['groups']['params']['gene']}, expected counts per 10,000"
    assert wi.pl.decoder_flow(adata, kind="path", show=False).get_legend() is None


def test_given_axes(adata: AnnData):
    for kind in ("genes", "path"):
        _, ax = plt.subplots()
        assert wi.pl.decoder_flow(adata, kind=kind, ax=ax, show=False) is ax


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"key": "flow"}, KeyError, r"scwhatif\.tl\.decoder_flow\(adata, model, gene, key_added='flow'\)"),
        ({"kind": "bars"}, ValueError, "kind='bars'"),
        ({"n_top": 0}, ValueError, "n_top=0"),
    ],
)
def test_bad_input(adata: AnnData, arguments: dict, error: type, message: str):
    with pytest.raises(error, match=message):
        wi.pl.decoder_flow(adata, show=False, **arguments)
