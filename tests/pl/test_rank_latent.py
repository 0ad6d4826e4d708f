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
def ranked() -> AnnData:
    adata = wi.datasets.simulate_factors(200, 80, 5, n_cell_types=3)
    wi.tl.rank_latent(adata, "cell_type", use_rep="true_factors", n_permutations=49)
    return adata


def drawn(ax: plt.Axes) -> np.ndarray:
    """Values of the heat map, groups × dimensions."""
    return np.asarray(ax.collections[0].get_array()).reshape(3, 5)


def test_heat_map_holds_the_signed_auc(ranked: AnnData):
    ax = wi.pl.rank_latent(ranked, show=False)
    expected = wi.metrics.one_vs_rest_auc(ranked.obsm["true_factors"], ranked.obs["cell_type"]).T
    np.testing.assert_allclose(drawn(ax), expected, atol=1e-12)
    assert [label.get_text() for label in ax.get_xticklabels()] == ["z0", "z1", "z2", "z3", "z4"]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["type_0", "type_1", "type_2"]
    assert ax.collections[0].get_clim() == (0, 1)


def test_best_dimension_carries_its_auc(ranked: AnnData):
    ax = wi.pl.rank_latent(ranked, show=False)
    floors = ranked.uns["rank_latent"]["floors"]
    assert [text.get_text() for text in ax.texts] == [f"{auc:.2f}".removeprefix("0") for auc in floors["auc"]]
    places = [(int(x), int(y)) for x, y in (text.get_position() for text in ax.texts)]
    assert places == [(int(dim[1:]), row) for row, dim in enumerate(floors["best_dimension"])]
    assert {text.get_fontweight() for text in ax.texts} == {"bold"}


def test_dots_mark_the_other_significant_dimensions(ranked: AnnData):
    ax = wi.pl.rank_latent(ranked, show=False)
    table = ranked.uns["rank_latent"]["table"]
    others = table[table.duplicated("group") & (table["padj"] < 0.05)]
    expected = {(int(row.dimension[1:]) + 0.5, int(row.group[5:]) + 0.5) for row in others.itertuples()}
    assert expected
    assert {tuple(place) for place in ax.collections[1].get_offsets().tolist()} == expected


def test_what_is_not_significant_is_not_bold(ranked: AnnData):
    other = ranked.copy()
    other.uns["rank_latent"]["table"]["padj"] = 0.2
    ax = wi.pl.rank_latent(other, show=False)
    assert {text.get_fontweight() for text in ax.texts} == {"normal"}
    assert len(ax.collections[1].get_offsets()) == 0


def test_floors_stand_on_the_right(ranked: AnnData):
    right = wi.pl.rank_latent(ranked, show=False).child_axes[0]
    row = ranked.uns["rank_latent"]["floors"].iloc[0]
    codes = {"PC": row["pc_auc"], "IC": row["ica_auc"], "FA": row["fa_auc"]}
    best = max(codes, key=codes.__getitem__)
    expected = f"{best} {codes[best]:.2f}, {row['gene']} {row['gene_auc']:.2f}"
    assert right.get_yticklabels()[0].get_text() == expected
    assert not wi.pl.rank_latent(ranked, floors=False, show=False).child_axes


@pytest.mark.parametrize(("tried", "pattern"), [(["pca"], r"PC \d\.\d\d"), (["gene"], r"gene_\d+ \d\.\d\d"), ([], "")])
def test_floors_that_were_not_tried_are_not_written(ranked: AnnData, tried: list[str], pattern: str):
    other = ranked.copy()
    wi.tl.rank_latent(other, "cell_type", use_rep="true_factors", n_permutations=1, floors=tried)
    right = wi.pl.rank_latent(other, show=False).child_axes[0]
    assert all(re.fullmatch(pattern, label.get_text()) for label in right.get_yticklabels())


def test_draws_into_given_axes_and_what_was_read_from_a_file(ranked: AnnData, tmp_path: Path):
    ranked.write_h5ad(tmp_path / "x.h5ad")
    _, ax = plt.subplots()
    assert wi.pl.rank_latent(ad.read_h5ad(tmp_path / "x.h5ad"), ax=ax, show=False) is ax
    np.testing.assert_array_equal(drawn(ax), drawn(wi.pl.rank_latent(ranked, show=False)))


def test_without_its_data(ranked: AnnData):
    with pytest.raises(KeyError, match=r"tl\.rank_latent\(adata, groupby, key_added='other'\)"):
        wi.pl.rank_latent(ranked, key="other")
