from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import LineCollection
from scipy import sparse

import scwhatif as wi
from scwhatif.pl._latent_ridge import dimension

if TYPE_CHECKING:
    from collections.abc import Iterator

    from anndata import AnnData


@pytest.fixture(autouse=True)
def _close_figures() -> Iterator[None]:
    yield
    plt.close("all")


@pytest.fixture
def adata() -> AnnData:
    return wi.datasets.simulate_factors(200, 30, 3, n_cell_types=3)


def medians(ax: plt.Axes) -> list[float]:
    """Where the ticks at the medians stand, from the top."""
    lines = [each for each in ax.collections if isinstance(each, LineCollection)]
    return [float(line.get_segments()[0][0, 0]) for line in lines]


def test_groups_stand_by_their_medians(adata: AnnData):
    ax = wi.pl.latent_ridge(adata, "cell_type", "z1", use_rep="true_factors", show=False)
    names = [label.get_text() for label in ax.get_yticklabels()]
    expected = pd.Series(adata.obsm["true_factors"][:, 1]).groupby(adata.obs["cell_type"].to_numpy()).median()
    expected = expected.sort_values(ascending=False)
    assert names == list(expected.index)
    np.testing.assert_allclose(medians(ax), expected)
    assert ax.get_xlabel() == "z1"
    # the first row is on top
    assert ax.yaxis_inverted()


def test_order_of_the_categories_and_a_threshold(adata: AnnData):
    _, given = plt.subplots()
    ax = wi.pl.latent_ridge(adata, "cell_type", 1, use_rep="true_factors", sort=False, threshold=1.25, ax=given)
    assert ax is given
    assert [label.get_text() for label in ax.get_yticklabels()] == ["type_0", "type_1", "type_2"]
    assert any(list(line.get_xdata()) == [1.25, 1.25] for line in ax.lines)


def test_densities_have_one_height(adata: AnnData):
    ax = wi.pl.latent_ridge(adata, "cell_type", "z0", use_rep="true_factors", overlap=1.5, show=False)
    curves = [line for line in ax.lines if len(line.get_xdata()) > 2]
    assert len(curves) == 3
    for row, curve in enumerate(curves):
        assert curve.get_ydata().min() == pytest.approx(row - 1.5)


@pytest.mark.parametrize("kind", ["array", "frame", "sparse"])
def test_dimension_by_name_or_position(adata: AnnData, kind: str):
    values = adata.obsm["true_factors"]
    if kind == "frame":
        adata.obsm["rep"] = pd.DataFrame(values, adata.obs_names, ["p", "q", "r/s"])
    else:
        adata.obsm["rep"] = sparse.csr_matrix(values) if kind == "sparse" else values
    name = "r/s" if kind == "frame" else "z2"
    for dim in (2, name):
        found, column = dimension(adata, "rep", dim)
        assert found == name
        np.testing.assert_allclose(column, values[:, 2])
    for wrong in (3, -1, "z9"):
        with pytest.raises(KeyError, match="not a dimension"):
            dimension(adata, "rep", wrong)


def test_bad_input(adata: AnnData):
    with pytest.raises(KeyError, match="get_latent_representation"):
        wi.pl.latent_ridge(adata, "cell_type", 0)
    with pytest.raises(KeyError, match="not a dimension"):
        wi.pl.latent_ridge(adata, "cell_type", 7, use_rep="true_factors")
    with pytest.raises(ValueError, match="continuous"):
        wi.pl.latent_ridge(adata, "library_size", 0, use_rep="true_factors")
    with pytest.raises(ValueError, match="overlap=0"):
        wi.pl.latent_ridge(adata, "cell_type", 0, use_rep="true_factors", overlap=0)
