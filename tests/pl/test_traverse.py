from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
import pytest

import scwhatif as wi

if TYPE_CHECKING:
    from collections.abc import Iterator

    from anndata import AnnData


@pytest.fixture(autouse=True)
def _close_figures() -> Iterator[None]:
    yield
    plt.close("all")


def traversed(likelihood: str) -> AnnData:
    adata = wi.datasets.simulate_factors(150, 40, 3, n_cell_types=3, likelihood=likelihood)
    adata.var["shift"] = np.arange(40, 0, -1) * 5.0
    wi.model.BetaLinearSCVI.setup_anndata(adata)
    model = wi.model.BetaLinearSCVI(adata, n_latent=2, gene_likelihood=likelihood, seed=0)
    model.train(max_epochs=3, seed=0, accelerator="cpu", enable_progress_bar=False)
    wi.tl.traverse(adata, model, "z1", n_steps=5, n_top=12)
    return adata


@pytest.fixture(scope="module")
def counts() -> AnnData:
    return traversed("nb")


@pytest.fixture(scope="module")
def continuous() -> AnnData:
    return traversed("normal")


def test_heat_map_shows_changes_from_the_mean(counts: AnnData):
    ax = wi.pl.traverse(counts, n_top=8, show=False)
    names = [label.get_text() for label in ax.get_yticklabels()]
    top = counts.uns["traverse"]["top"][:8]
    assert names == top.sort_values("log2_fold_change", ascending=False)["gene"].tolist()
    log = np.log2(counts.varm["traverse"][counts.var_names.get_indexer(names)].astype(float) + 1)
    image = ax.collections[0]
    shown = np.asarray(image.get_array()).reshape(8, 5)
    np.testing.assert_allclose(shown, log - log.mean(axis=1, keepdims=True), atol=1e-6)
    assert image.norm.vmin == -image.norm.vmax == pytest.approx(-np.abs(shown).max())
    values = counts.uns["traverse"]["steps"]["value"]
    assert [label.get_text() for label in ax.get_xticklabels()] == [f"{v:.1f}".replace("-", "−") for v in values]
    assert ax.get_xlabel() == "z1"
    assert "log2" in ax.figure.axes[1].get_ylabel()


def test_chosen_features_in_their_order(continuous: AnnData):
    ax = wi.pl.traverse(continuous, features=["gene_7", "gene_2"], show=False)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["gene_7", "gene_2"]
    rows = continuous.varm["traverse"][[7, 2]].astype(float)
    shown = np.asarray(ax.collections[0].get_array()).reshape(2, 5)
    np.testing.assert_allclose(shown, rows - rows.mean(axis=1, keepdims=True), atol=1e-6)
    assert ax.figure.axes[1].get_ylabel() == "change from the mean step"


def test_lines_are_the_profiles(counts: AnnData):
    ax = wi.pl.traverse(counts, kind="lines", n_top=6, show=False)
    names = [text.get_text() for text in ax.texts]
    assert sorted(names) == sorted(counts.uns["traverse"]["top"]["gene"][:6])
    assert ax.get_yscale() == "log"
    drawn = {tuple(np.round(line.get_ydata(), 4)) for line in ax.lines}
    rows = counts.varm["traverse"][counts.var_names.get_indexer(names)]
    assert drawn == {tuple(np.round(row.astype(float), 4)) for row in rows}
    heights = sorted(text.xyann[1] for text in ax.texts)
    assert np.diff(heights).min() > 0.044
    assert ax.get_ylabel() == "expected counts per 10,000"


def test_spectra_are_coloured_by_step(continuous: AnnData):
    ax = wi.pl.traverse(continuous, x="shift", show=False)
    assert len(ax.lines) == 5
    np.testing.assert_array_equal(ax.lines[0].get_xdata(), np.arange(1, 41) * 5.0)
    np.testing.assert_allclose(ax.lines[4].get_ydata(), continuous.varm["traverse"][::-1, 4], rtol=1e-6)
    assert len({tuple(line.get_color()) for line in ax.lines}) == 5
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("shift", "expected value")
    assert ax.figure.axes[1].get_ylabel() == "z1"


def test_draws_into_given_axes(counts: AnnData):
    for arguments in ({}, {"kind": "lines"}, {"x": "shift"}):
        _, ax = plt.subplots()
        assert wi.pl.traverse(counts, ax=ax, show=False, **arguments) is ax


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"key": "other"}, KeyError, r"tl\.traverse\(adata, model, dim, key_added='other'\)"),
        ({"kind": "bars"}, ValueError, "'heatmap' or 'lines'"),
        ({"features": ["gene_99"]}, KeyError, "gene_99"),
        ({"x": "mass"}, KeyError, "mass"),
        ({"x": "shift", "features": ["gene_1"]}, ValueError, "exclude each other"),
    ],
)
def test_bad_input(counts: AnnData, arguments: dict, error: type, message: str):
    with pytest.raises(error, match=message):
        wi.pl.traverse(counts, **arguments)
