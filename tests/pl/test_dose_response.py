"""Tests of the dose-response plot by what it draws."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

import scwhatif as wi


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


def rows(target: str, op: str, values: list[float], *, null: bool = True) -> pd.DataFrame:
    n = len(values)
    return pd.DataFrame(
        {
            "target": target,
            "op": op,
            "value": values,
            "score": np.abs(np.array(values) - 1) + (0.2 if target == "A" else 0.1),
            "score_expected": 0.1 if null else np.nan,
            "padj": np.where(np.arange(n) == 0, 0.01, 0.5) if null else np.nan,
        }
    )


def with_screen(*parts: pd.DataFrame) -> AnnData:
    table = pd.concat(parts, ignore_index=True)
    table.insert(0, "group", pd.Categorical(["all"] * len(table)))
    for name in ("target", "op"):
        table[name] = pd.Categorical(table[name])
    adata = AnnData(np.zeros((1, 1), np.float32))
    adata.uns["screen"] = {"params": {}, "by_group": table}
    return adata


def lines(ax: plt.Axes) -> dict[str, np.ndarray]:
    return {line.get_label(): line.get_xydata() for line in ax.lines if not line.get_label().startswith("_")}


def test_draws_every_target_with_its_doses_in_order():
    adata = with_screen(
        rows("A", "x", [4, 0.5, 2]), rows("A", "ko", [np.nan]).assign(score=9.0), rows("B", "x", [2, 3])
    )
    ax = wi.pl.dose_response(adata, show=False)
    found = lines(ax)
    assert list(found) == ["A", "B", "random stand-ins"]
    # a knockout is a factor of 0
    np.testing.assert_allclose(found["A"], [[0, 9], [0.5, 0.7], [2, 1.2], [4, 3.2]])
    np.testing.assert_allclose(found["B"], [[2, 1.1], [3, 2.1]])
    assert [label.get_text() for label in ax.get_xticklabels()] == ["0", "0.5", "2", "3", "4"]
    assert ax.get_xscale() == "symlog"
    assert ax.get_xlabel() == "factor"
    filled = np.concatenate([np.asarray(each.get_offsets()) for each in ax.collections[::2] if len(each.get_offsets())])
    assert len(filled) == 3


def test_a_target_with_one_dose_has_no_response():
    adata = with_screen(rows("A", "+", [1, 3]), rows("B", "+", [2]))
    assert list(lines(wi.pl.dose_response(adata, show=False)))[:1] == ["A"]
    assert "B" in lines(wi.pl.dose_response(adata, "B", show=False))
    assert list(lines(wi.pl.dose_response(adata, ["B", "A"], show=False)))[:2] == ["B", "A"]


def test_without_stand_ins_there_is_no_word_of_them():
    ax = wi.pl.dose_response(with_screen(rows("A", "thin", [0.2, 0.6], null=False)), show=False)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["A"]
    assert ax.get_xlabel() == "share of counts kept"


def test_draws_into_given_axes():
    _, (left, right) = plt.subplots(1, 2)
    assert wi.pl.dose_response(with_screen(rows("A", "x", [1, 2])), ax=right, show=False) is right
    assert not left.lines


def test_bad_input():
    adata = with_screen(rows("A", "x", [1, 2]), rows("A", "+", [1, 2]))
    with pytest.raises(ValueError, match=r"holds doses of \['x', '\+'\]; choose one with op="):
        wi.pl.dose_response(adata)
    assert len(lines(wi.pl.dose_response(adata, op="+", show=False)))
    with pytest.raises(ValueError, match="op='thin' is not among"):
        wi.pl.dose_response(adata, op="thin")
    with pytest.raises(KeyError, match=r"targets=\['C'\] have no doses.*\['A'\]"):
        wi.pl.dose_response(adata, "C", op="x")
    with pytest.raises(ValueError, match="holds no doses"):
        wi.pl.dose_response(with_screen(rows("A", "ko", [np.nan])))
    with pytest.raises(KeyError, match=r"run scwhatif.tl.screen\(adata, model, doses, key_added='other'\)"):
        wi.pl.dose_response(adata, key="other")
