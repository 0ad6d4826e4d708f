from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from scwhatif.tl import _latent_state as latent


def test_dimensions_by_name_and_by_number():
    assert latent.dimension_positions("z3", 5, "dims") == [3]
    assert latent.dimension_positions(np.int64(3), 5, "dims") == [3]
    assert latent.dimension_positions(["z1", 0, 1], 5, "dims") == [1, 0]


@pytest.mark.parametrize("dim", ["z5", 5, -1, "y0", "z01"])
def test_unknown_dimensions(dim: str | int):
    with pytest.raises(KeyError, match=r"neutral=.* has 'z0' to 'z4'"):
        latent.dimension_positions(dim, 5, "neutral")


def test_neutral_dimensions():
    assert latent.neutral_positions(None, [0], 3) == []
    assert latent.neutral_positions(["z2"], [0], 3) == [2]
    with pytest.raises(ValueError, match="z0: a dimension cannot be both moved and neutral"):
        latent.neutral_positions([0, 2], [0, 1], 3)


def test_reference_code():
    z = np.array([[1.0, 2.0, 3.0], [3.0, 4.0, 5.0]])
    np.testing.assert_array_equal(latent.reference_code(z, "mean", [1]), [2.0, 0.0, 4.0])
    np.testing.assert_array_equal(latent.reference_code(z, "zero", []), np.zeros(3))
    np.testing.assert_array_equal(z[:, 1], [2.0, 4.0])


@pytest.mark.parametrize("entries", [1, 8, 1000])
def test_mean_decoded_does_not_depend_on_the_blocks(entries: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(latent, "_BLOCK_ENTRIES", entries)
    codes = np.random.default_rng(0).normal(size=(11, 4))
    np.testing.assert_allclose(latent.mean_decoded(lambda z: pd.DataFrame(np.exp(z)), codes, 4), np.exp(codes).mean(0))


def test_change():
    a, b = np.array([3.0, 0.0]), np.array([1.0, 0.0])
    assert latent.change_name(None) == "difference"
    np.testing.assert_array_equal(latent.change(a, b, None), [2.0, 0.0])
    assert latent.change_name(1.0) == "log2_fold_change"
    np.testing.assert_allclose(latent.change(a, b, 1.0), [1.0, 0.0])
