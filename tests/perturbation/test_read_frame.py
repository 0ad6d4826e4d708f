from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from scwhatif.perturbation._read_frame import read_frame


def test_rows_become_factors_and_names_are_taken_as_they_are():
    frame = pd.DataFrame({"symbol": ["z3", "A b", "z3"], "dose": [2, 0.5, 3]})
    edits = read_frame(frame, gene="symbol", factor="dose")
    assert [str(edit) for edit in edits] == ['"z3":x2', '"A b":x0.5', '"z3":x3']


@pytest.mark.parametrize(
    ("columns", "error", "match"),
    [
        ({"gene": ["A"]}, KeyError, "no column 'factor'; the columns are 'gene'"),
        ({"factor": [1.0]}, KeyError, "no column 'gene'; the columns are 'factor'"),
        (
            {"gene": ["A", "B"], "factor": [1, np.nan]},
            ValueError,
            "feature 'B': .*finite number of at least 0, got nan",
        ),
        ({"gene": ["A"], "factor": [-1]}, ValueError, "feature 'A': .*got -1"),
        ({"gene": [None], "factor": [1]}, TypeError, "must be a tuple of str"),
    ],
)
def test_unusable_tables_are_refused(columns, error, match):
    with pytest.raises(error, match=match):
        read_frame(pd.DataFrame(columns), gene="gene", factor="factor")
