from __future__ import annotations

from typing import TYPE_CHECKING

import anndata as ad
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

import scwhatif as wi
from scwhatif.pl._kl_history import _spread
from scwhatif.pl._style import OKABE_ITO

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from anndata import AnnData


@pytest.fixture(autouse=True)
def _close_figures() -> Iterator[None]:
    yield
    plt.close("all")


@pytest.fixture
def trained() -> AnnData:
    history = pd.DataFrame(
        {
            "epoch": [0, 1, 2, 3, 1, 3],
            "stage": pd.Categorical(["train"] * 4 + ["validation"] * 2),
            "kl": [0.5, 1.5, 2.0, 2.0, 1.4, 2.1],
            "kl_weight": [0.0, 0.5, 1.0, 1.0, 0.5, 1.0],
            "z0": [0.2, 1.0, 1.9, 2.0, np.nan, np.nan],
            "z1": [0.3, 0.5, 0.1, 0.0, np.nan, np.nan],
        },
        index=list("012345"),
    )
    adata = ad.AnnData(np.zeros((2, 2), np.float32))
    adata.uns["latent_usage"] = {
        "table": pd.DataFrame({"active": [True, False]}, index=["z0", "z1"]),
        "kl_history": history,
    }
    return adata


def test_a_line_per_dimension(trained: AnnData):
    ax = wi.pl.kl_history(trained, show=False)
    lines = {line.get_label(): line for line in ax.get_lines()}
    # what is dead lies beneath
    assert list(lines) == ["z1", "z0"]
    assert lines["z0"].get_ydata().tolist() == [0.2, 1.0, 1.9, 2.0]
    assert lines["z0"].get_color() != lines["z1"].get_color()
    assert [text.get_text() for text in ax.texts] == ["z0", "warm-up"]
    assert ax.get_xlim() == (0, 3)


def test_warm_up_is_shaded(trained: AnnData):
    (span,) = wi.pl.kl_history(trained, show=False).patches
    assert (span.get_x(), span.get_width()) == (0, 2)
    trained.uns["latent_usage"]["kl_history"]["kl_weight"] = 1.0
    assert not wi.pl.kl_history(trained, show=False).patches


def test_the_sum_where_dimensions_were_not_logged(trained: AnnData):
    ax = wi.pl.kl_history(trained, stage="validation", show=False)
    (line,) = ax.get_lines()
    assert line.get_xydata().tolist() == [[1, 1.4], [3, 2.1]]
    assert "sum over dimensions" in ax.get_ylabel()


def test_a_colour_that_comes_again_is_dashed(trained: AnnData):
    result = trained.uns["latent_usage"]
    names = [f"z{i}" for i in range(len(OKABE_ITO) + 1)]
    for name in names[2:]:
        result["kl_history"][name] = result["kl_history"]["z0"]
    result["table"] = pd.DataFrame({"active": True}, index=names)
    lines = {line.get_label(): line for line in wi.pl.kl_history(trained, show=False).get_lines()}
    assert [lines[name].get_linestyle() for name in names] == ["-"] * len(OKABE_ITO) + ["--"]
    assert lines[names[0]].get_color() == lines[names[-1]].get_color()


def test_a_collapse_is_not_blown_up(trained: AnnData):
    trained.uns["latent_usage"]["kl_history"][["z0", "z1"]] *= 1e-4
    assert wi.pl.kl_history(trained, show=False).get_ylim() == (0, 0.5)


def test_names_are_kept_apart():
    placed = _spread({"a": 1.0, "b": 1.0, "c": 1.05, "d": 3.0}, 0.2)
    assert placed["d"] == 3.0
    np.testing.assert_allclose([placed["a"], placed["b"], placed["c"]], np.array([-0.2, 0, 0.2]) + 3.05 / 3)
    assert _spread({}, 0.2) == {}


def test_draws_into_given_axes_what_was_read_from_a_file(trained: AnnData, tmp_path: Path):
    trained.write_h5ad(tmp_path / "x.h5ad")
    _, ax = plt.subplots()
    assert wi.pl.kl_history(ad.read_h5ad(tmp_path / "x.h5ad"), ax=ax, show=False) is ax
    assert len(ax.get_lines()) == 2


def test_without_its_data(trained: AnnData):
    with pytest.raises(KeyError, match=r"tl\.latent_usage\(adata, model, key_added='other'\)"):
        wi.pl.kl_history(trained, key="other")
    with pytest.raises(KeyError, match=r"stage='test'.*\['train', 'validation'\]"):
        wi.pl.kl_history(trained, stage="test")
    del trained.uns["latent_usage"]["kl_history"]
    with pytest.raises(KeyError, match=r"model\.history"):
        wi.pl.kl_history(trained)
