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


def decoded(likelihood: str) -> AnnData:
    adata = wi.datasets.simulate_factors(
        150, 40, 3, n_cell_types=3, likelihood="normal" if likelihood == "normal" else "nb"
    )
    wi.model.BetaLinearSCVI.setup_anndata(adata)
    model = wi.model.BetaLinearSCVI(adata, n_latent=2, gene_likelihood=likelihood, seed=0)
    model.train(max_epochs=3, seed=0, accelerator="cpu", enable_progress_bar=False)
    wi.tl.pseudo_profiles(adata, model, "cell_type", dims="z1", n_top=6)
    return adata


@pytest.fixture(scope="module")
def counts() -> AnnData:
    return decoded("nb")


def labels(axis: plt.Axis) -> list[str]:
    return [label.get_text() for label in axis.get_ticklabels()]


def test_heat_map_holds_the_profiles_of_the_markers(counts: AnnData):
    ax = wi.pl.pseudo_profiles(counts, n_top=3, show=False)
    states, genes = labels(ax.yaxis), labels(ax.xaxis)
    result = counts.uns["pseudo_profiles"]
    assert states == list(result["states"].index)
    markers = result["markers"]
    top = [gene for state in states for gene in markers.loc[markers["state"] == state, "gene"][:3]]
    assert genes == list(dict.fromkeys(top))
    values = np.asarray(ax.collections[0].get_array()).reshape(len(states), len(genes))
    profiles = counts.varm["pseudo_profiles"][counts.var_names.get_indexer(genes)].T
    np.testing.assert_allclose(values, np.log10(1 + profiles), rtol=1e-6)


def test_chosen_states_in_their_order(counts: AnnData):
    ax = wi.pl.pseudo_profiles(counts, states=["type_2", "type_0"], n_top=2, show=False)
    assert labels(ax.yaxis) == ["type_2", "type_0"]
    genes = labels(ax.xaxis)
    columns = counts.var_names.get_indexer(genes)
    expected = np.log10(1 + counts.varm["pseudo_profiles"][columns][:, [2, 0]].T)
    np.testing.assert_allclose(np.ravel(ax.collections[0].get_array()), expected.ravel(), rtol=1e-6)


def test_colour_bar_is_labelled_in_counts(counts: AnnData):
    bar = wi.pl.pseudo_profiles(counts, show=False).figure.axes[1]
    assert [label.get_text() for label in bar.get_yticklabels()][:3] == ["0", "1", "10"]
    np.testing.assert_allclose(bar.get_yticks()[:3], np.log10([1, 2, 11]))
    assert "per 10,000" in bar.get_ylabel()


def test_continuous_features_are_not_logged():
    adata = decoded("normal")
    ax = wi.pl.pseudo_profiles(adata, n_top=2, show=False)
    columns = adata.var_names.get_indexer(labels(ax.xaxis))
    np.testing.assert_array_equal(
        np.ravel(ax.collections[0].get_array()), adata.varm["pseudo_profiles"][columns].T.ravel()
    )
    assert ax.figure.axes[1].get_ylabel() == "expected value"


def test_draws_into_given_axes(counts: AnnData):
    _, ax = plt.subplots()
    assert wi.pl.pseudo_profiles(counts, ax=ax, show=False) is ax


def test_without_its_data(counts: AnnData):
    with pytest.raises(KeyError, match=r"tl\.pseudo_profiles\(adata, model, groupby, key_added='other'\)"):
        wi.pl.pseudo_profiles(counts, key="other")
    with pytest.raises(KeyError, match=r"\['type_9'\].*it holds"):
        wi.pl.pseudo_profiles(counts, states=["type_0", "type_9"])
