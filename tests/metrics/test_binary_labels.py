from __future__ import annotations

import numpy as np
import pytest

from scwhatif.metrics._binary_labels import binary_labels


def test_passes_through():
    positive, values = binary_labels([0, 1, 1.0], [1, 2, 3])
    assert positive.dtype == bool
    assert positive.tolist() == [False, True, True]
    assert values.dtype == np.float64
    assert binary_labels([True, False], [0.0, 1.0], probability=True)[0].tolist() == [True, False]
    assert binary_labels([1, 1], [0.0, 1.0], both=False)[0].all()


@pytest.mark.parametrize(
    ("labels", "scores", "kwargs", "message"),
    [
        ([0, 1, 2], [0, 0, 0], {}, "must be 0 or 1, not 2"),
        ([0, 1, np.nan], [0, 0, 0], {}, "not nan; leave unlabelled rows out"),
        (["a", "b"], [0, 0], {}, "not 'a'"),
        ([0, 0], [0, 1], {}, "both 0 and 1, not only 0"),
        ([0, 1], [0, 1, 2], {}, "of one length"),
        ([], [], {}, "of one length"),
        ([0, 1], [0, np.inf], {}, "missing or infinite"),
        ([0, 1], [0, 1.5], {"probability": True}, "from 0 to 1.5"),
    ],
)
def test_bad_input(labels, scores, kwargs, message):
    with pytest.raises(ValueError, match=message):
        binary_labels(labels, scores, **kwargs)
