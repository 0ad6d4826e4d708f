from dataclasses import fields

import numpy as np
import pytest

from scwhatif.engine import FusedTail


def test_holds_what_a_loop_needs_and_cannot_be_changed():
    arrays = [np.zeros((3, 2)), np.ones(2), np.zeros(2)]
    tail = FusedTail(
        *arrays, layer_norm=False, eps=0, head=np.zeros((2, 4)), head_bias=np.zeros(4), var_eps=0, lower=-12, upper=8
    )
    assert {each.name for each in fields(tail)} >= {"weight", "scale", "shift", "head", "head_bias"}
    with pytest.raises(AttributeError):
        tail.eps = 1.0
