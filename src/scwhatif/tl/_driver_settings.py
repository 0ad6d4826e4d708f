"""What tests of drivers have in common: their settings, and what to say of a single model."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:
    from collections.abc import Sequence

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


def check_drivers(
    asked: str | Sequence[str] | None, known: Sequence[str], *, name: Literal["drivers", "candidates"]
) -> list[str]:
    """Names of the drivers asked for.

    Parameters
    ----------
    asked
        One or several; ``None`` for all.
    known
        Those of the model.
    name
        Name of the argument.

    Returns
    -------
    Each once, in the order asked for.

    Raises
    ------
    KeyError
        A driver does not exist.
    ValueError
        None was asked for.
    """
    if asked is None:
        return list(known)
    wanted = [asked] if isinstance(asked, str) else list(dict.fromkeys(asked))
    if not wanted:
        msg = f"{name} is empty; name at least one driver, or pass None for all."
        raise ValueError(msg)
    unknown = [each for each in wanted if each not in known]
    if unknown:
        msg = f"{name} names {unknown}, which are not drivers of the model; it has {list(known)}."
        raise KeyError(msg)
    return wanted


def warn_in_sample(models: FoldModels, *, stacklevel: int = 3) -> None:
    """Warn the caller of a tool, ``stacklevel`` frames up, if a model is asked about samples it was fitted to."""
    if not models.held_out:
        warnings.warn(
            "The model is asked about samples it was fitted to: effects look larger and p-values smaller than they "
            "are. Pass the models of the folds of a cross-validation.",
            UserWarning,
            stacklevel=stacklevel,
        )
