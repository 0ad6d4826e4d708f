from __future__ import annotations

import re
from typing import TYPE_CHECKING

import anndata as ad
import matplotlib.pyplot as plt
import numpy as np
import pytest

import scwhatif as wi

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from anndata import AnnData


@pytest.fixture(autouse=True)
def _close_figures() -> Iterator[None]:
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def classified() -> AnnData:
    rng = np.random.default_rng(0)
    adata = ad.AnnData(np.ones((90, 1), dtype=np.float32))
    adata.obs["state"] = np.resize(["rest", "low", "high"], 90)
    adata.obsm["X_wi"] = rng.normal(size=(90, 2)) + 1.5 * (adata.obs["state"] == "high").to_numpy()[:, None]
    wi.tl.latent_classifier(adata, "state", groups=None, n_permutations=0, floors=[])
    return adata


def test_shares_numbers_and_intervals(classified: AnnData):
    ax = wi.pl.confusion(classified, show=False)
    table = classified.uns["latent_classifier"]["confusion"]
    drawn = np.asarray(ax.collections[0].get_array()).reshape(3, 3)
    np.testing.assert_array_equal(drawn, table["share"].to_numpy().reshape(3, 3))
    np.testing.assert_allclose(drawn.sum(axis=1), 1)
    assert ax.collections[0].get_clim() == (0, 1)
    labels = ["high", "low", "rest"]
    assert [text.get_text() for text in ax.get_xticklabels()] == labels
    assert [text.get_text() for text in ax.get_yticklabels()] == labels
    # the first true label stands on top
    assert ax.yaxis_inverted()
    written = {text.get_position(): [] for text in ax.texts}
    for text in ax.texts:
        written[text.get_position()].append(text.get_text())
    for i, row in enumerate(table.itertuples()):
        share, rest = written[i % 3 + 0.5, i // 3 + 0.5]
        assert share == f"{row.share:.2f}"
        assert rest == f"{row.low:.2f}–{row.high:.2f}\nn = {row.n}"


def test_dark_cells_are_written_on_in_white(classified: AnnData):
    ax = wi.pl.confusion(classified, show=False)
    colors = [text.get_color() for text in ax.texts[::2]]
    expected = classified.uns["latent_classifier"]["confusion"]["share"] > 0.55
    assert [color == "white" for color in colors] == expected.tolist()
    assert 0 < expected.sum() < 9


def test_long_labels_are_turned(classified: AnnData):
    other = classified.copy()
    table = other.uns["latent_classifier"]["confusion"]
    for column in ("true", "predicted"):
        table[column] = table[column].cat.rename_categories({"rest": "not touched at all"})
    turned, level = (wi.pl.confusion(each, show=False) for each in (other, classified))
    assert {label.get_rotation() for label in turned.get_xticklabels()} == {45}
    assert {label.get_rotation() for label in level.get_xticklabels()} == {0}


def test_given_axes_and_other_key(classified: AnnData):
    other = classified.copy()
    other.uns["mine"] = other.uns.pop("latent_classifier")
    _, ax = plt.subplots()
    assert wi.pl.confusion(other, key="mine", ax=ax, show=False) is ax


def test_what_was_read_back_is_drawn(classified: AnnData, tmp_path: Path):
    classified.write_h5ad(tmp_path / "cells.h5ad")
    ax = wi.pl.confusion(ad.read_h5ad(tmp_path / "cells.h5ad"), show=False)
    assert len(ax.texts) == 18


def test_names_the_tool_to_run(classified: AnnData):
    with pytest.raises(KeyError, match=re.escape("scwhatif.tl.latent_classifier(adata, label, key_added='other')")):
        wi.pl.confusion(classified, key="other")
    other = classified.copy()
    other.uns["other"] = {"scores": 1}
    with pytest.raises(KeyError, match="holds no confusion"):
        wi.pl.confusion(other, key="other")
