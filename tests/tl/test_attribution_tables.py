import numpy as np
import pandas as pd
import pytest

from scwhatif.tl._attribution_tables import attribution_lines, attribution_table, labelled

LINES = np.array(["b", "a", "b", "a"])


def test_means_and_sizes_over_all_and_by_line():
    found = np.array([[1.0, -4.0], [-1.0, np.nan], [3.0, 4.0], [1.0, np.nan]])
    table = attribution_table(found, ["x", "y"], LINES)
    assert list(table["cell_line"].cat.categories) == ["all", "a", "b"]
    rows = table.set_index(["cell_line", "feature"])
    assert rows["direction"].isna().all()
    rows = rows.drop(columns="direction")
    assert rows.loc[("all", "x")].tolist() == [1.0, 1.5, 4]
    assert rows.loc[("all", "y")].tolist() == [0.0, 4.0, 2]
    assert rows.loc[("b", "y")].tolist() == [0.0, 4.0, 2]
    assert np.isnan(rows.loc[("a", "y"), "size"])
    # the largest first, and what was not measured last
    assert table["feature"].tolist() == ["y", "x", "x", "y", "y", "x"]


def test_direction_is_the_correlation_with_the_value():
    found = np.array([[1.0, -4.0], [-1.0, np.nan], [3.0, 4.0], [1.0, 1.0]])
    values = np.array([[0.1, 9.0], [0.0, np.nan], [0.5, 1.0], [0.2, np.nan]])
    rows = attribution_table(found, ["x", "y"], LINES, values).set_index(["cell_line", "feature"])["direction"]
    assert rows["all", "x"] == pytest.approx(np.corrcoef(found[:, 0], values[:, 0])[0, 1])
    assert rows["all", "y"] == rows["b", "y"] == pytest.approx(-1)
    assert rows["b", "x"] == pytest.approx(1)
    assert np.isnan(rows["a", "y"])


def test_what_is_lacking_relative_to_what_is_explained():
    lines = attribution_lines(LINES, np.array([1.0, 2.0, 3.0, 2.0]), np.array([2.0, 2.0, 2.0, -2.0])).set_index(
        "cell_line"
    )
    assert lines.loc["b"].tolist() == [2, 2.0, 0.5]
    assert lines.loc["a"].tolist() == [2, 0.0, 1.0]
    assert attribution_lines(LINES, np.zeros(4), None)["completeness"].isna().all()


def test_labels_are_fit_for_a_file():
    table = labelled(pd.DataFrame({"cell_line": ["b", "a"]}), ["a", "b"])
    assert list(table.index) == ["0", "1"]
    assert list(table["cell_line"].cat.categories) == ["a", "b"]
