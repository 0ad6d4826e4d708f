from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from scwhatif.metrics._labelled import labelled


def test_codes_follow_the_categories_that_occur():
    given = labelled(pd.DataFrame({"a/b": [1, 2, 3]}), pd.Categorical(["y", "x", "y"], categories=["z", "y", "x"]))
    assert given.names == ["y", "x"]
    assert given.codes.tolist() == [0, 1, 0]
    assert given.values.dtype == np.float64
    assert list(given.dims) == ["a/b"]
    assert labelled([[1.0], [2.0]], ["a", "b"]).dims is None


@pytest.mark.parametrize(
    ("values", "labels", "message"),
    [
        ([1.0, 2.0], ["a", "b"], "shape"),
        ([[1.0], [2.0]], ["a", "b", "a"], "for 3 labels"),
        ([[1.0], [np.nan]], ["a", "b"], "missing or infinite"),
        ([[1.0], [2.0]], ["a", None], "missing or infinite"),
        ([[1.0], [2.0]], ["a", "a"], "two distinct"),
    ],
)
def test_bad_input(values: list, labels: list, message: str):
    with pytest.raises(ValueError, match=message):
        labelled(values, labels)
