import random

import numpy as np
import pytest
import scvi
import torch

from scwhatif._compat import minified_type, seeded
from scwhatif.datasets import simulate_factors


def _draw():
    return random.random(), float(np.random.rand()), float(torch.rand(1))  # noqa: NPY002


def _seed_all(seed):
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    torch.manual_seed(seed)


def _fail_while_seeded(seed):
    with seeded(seed):
        _draw()
        raise KeyError


def test_seeded_repeats_inside_and_leaves_no_trace_outside():
    with seeded(3):
        first = _draw()
        assert scvi.settings.seed == 3
    with seeded(3):
        assert _draw() == first
    _seed_all(0)
    expected = _draw()
    _seed_all(0)
    with pytest.raises(KeyError):
        _fail_while_seeded(3)
    assert _draw() == expected
    assert scvi.settings.seed is None


def test_no_seed_changes_nothing():
    torch.manual_seed(0)
    expected = _draw()[2]
    torch.manual_seed(0)
    with seeded(None):
        assert _draw()[2] == expected


def test_data_are_not_minified_until_they_are():
    assert minified_type(simulate_factors(10, 20, 3, seed=0)) is None
