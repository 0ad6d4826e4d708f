"""Settings that tests of drivers share."""

from __future__ import annotations

import warnings

import pytest

from scwhatif.tl._driver_settings import check_driver_test, check_drivers, warn_in_sample
from scwhatif.tl._fold_models import FoldModels


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"null": "normal"}, "null='normal' is not one of"),
        ({"min_carriers": 1}, "min_carriers=1"),
        ({"n_null": 99}, "n_null=99 draws"),
    ],
)
def test_bad_settings(changed, message):
    good = {"null": "permutation", "min_carriers": 5, "n_null": 100}
    check_driver_test(**good)
    with pytest.raises(ValueError, match=message):
        check_driver_test(**good | changed)


def test_drivers_are_named_once_in_the_order_asked_for():
    known = ["mut_0", "mut_1", "cna"]
    assert check_drivers(None, known, name="drivers") == known
    assert check_drivers("cna", known, name="drivers") == ["cna"]
    assert check_drivers(["cna", "mut_0", "cna"], known, name="drivers") == ["cna", "mut_0"]
    with pytest.raises(KeyError, match=r"candidates names \['BRAF'\], which are not drivers .*'mut_0', 'mut_1', 'cna'"):
        check_drivers(["mut_0", "BRAF"], known, name="candidates")
    with pytest.raises(ValueError, match="drivers is empty; name at least one driver"):
        check_drivers([], known, name="drivers")


def test_only_models_asked_about_their_own_samples_are_warned_of():
    with pytest.warns(UserWarning, match="samples it was fitted to"):
        warn_in_sample(FoldModels([], held_out=False))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_in_sample(FoldModels([], held_out=True))
