"""What tests of drivers have in common: their settings, and what to say of a single model."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:
    from scwhatif.tl._fold_models import FoldModels

DriverNull = Literal["permutation", "conditional"]
_FEWEST_DRAWS = 100


def check_driver_test(*, null: str, min_carriers: int, n_null: int) -> None:
    """Raise ``ValueError`` naming the setting and what is allowed."""
    if null not in get_args(DriverNull):
        msg = f"null={null!r} is not one of {get_args(DriverNull)}."
        raise ValueError(msg)
    if min_carriers < 2:
        msg = f"min_carriers={min_carriers} must be at least 2."
        raise ValueError(msg)
    if n_null < _FEWEST_DRAWS:
        msg = f"n_null={n_null} draws cannot tell anything; use at least {_FEWEST_DRAWS}."
        raise ValueError(msg)


def warn_in_sample(models: FoldModels, *, stacklevel: int = 3) -> None:
    """Warn the caller of a tool, ``stacklevel`` frames up, if a model is asked about samples it was fitted to."""
    if not models.held_out:
        warnings.warn(
            "The model is asked about samples it was fitted to: effects look larger and p-values smaller than they "
            "are. Pass the models of the folds of a cross-validation.",
            UserWarning,
            stacklevel=stacklevel,
        )
