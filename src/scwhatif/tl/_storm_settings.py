"""What is asked of multi-omic samples: which drivers, within which strata, against which reference."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
import pandas as pd

from scwhatif._validation import check_at_least_one
from scwhatif.tl._driver_settings import check_drivers
from scwhatif.tl._layer_values import training_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from anndata import AnnData
    from mudata import MuData
    from numpy.typing import NDArray
    from scvi.model.base import BaseModelClass
    from typing_extensions import TypeIs

    from scwhatif.model import MultiOmicLPM
    from scwhatif.tl._fold_models import FoldModels

COHORT: Literal["cohort"] = "cohort"
STORM: Literal["storm"] = "storm"
_MIN_REFERENCE = 2


def check_defaults(function: Callable[..., Any], given: Mapping[str, Any], kind: str) -> None:
    """Raise unless arguments that do not apply to a kind of data were left alone.

    Parameters
    ----------
    function
        The tool.
    given
        Its arguments that do not apply.
    kind
        ``"AnnData"`` or ``"MuData"``.

    Raises
    ------
    ValueError
        One is not at its default.
    """
    parameters = inspect.signature(function).parameters
    for name, value in given.items():
        default = parameters[name].default
        if value is not default and value != default:
            msg = f"{name}={value!r} does not apply to {kind}; leave it out."
            raise ValueError(msg)


def in_mudata(data: AnnData | MuData) -> TypeIs[MuData]:
    """Whether data are a MuData."""
    return hasattr(data, "mod")


def check_single(model: BaseModelClass | Sequence[MultiOmicLPM]) -> BaseModelClass:
    """The model itself.

    Parameters
    ----------
    model
        Of AnnData.

    Returns
    -------
    The model.

    Raises
    ------
    TypeError
        There are several.
    """
    if isinstance(model, list | tuple):
        msg = "Several models are for MuData; pass a single model with AnnData."
        raise TypeError(msg)
    return cast("BaseModelClass", model)


def check_counts(n_null: int, **settings: int) -> None:
    """Raise ``ValueError`` for a negative number of draws, or another number below 1."""
    if n_null < 0:
        msg = f"n_null={n_null} must not be negative."
        raise ValueError(msg)
    check_at_least_one(**settings)


def driver_columns(model: MultiOmicLPM, candidates: str | Sequence[str] | None) -> NDArray[np.int64]:
    """Positions of the drivers asked for, sorted.

    Parameters
    ----------
    model
        The model.
    candidates
        ``None`` for all.

    Returns
    -------
    The positions.

    Raises
    ------
    KeyError
        A driver does not exist.
    ValueError
        The model has no drivers, or none was asked for.
    """
    layer = model.module.drivers
    if layer is None:
        msg = "The model was set up without drivers, so there are none to rank."
        raise ValueError(msg)
    names = pd.Index(model.get_state_registry(layer)["column_names"])
    if candidates is None:
        return np.arange(len(names))
    wanted = check_drivers(candidates, list(names), name="candidates")
    return np.unique(names.get_indexer(wanted))


def driver_names(model: MultiOmicLPM, columns: NDArray[np.int64]) -> list[str]:
    """Names of drivers.

    Parameters
    ----------
    model
        A model with drivers.
    columns
        Their positions.

    Returns
    -------
    The names.
    """
    return [str(name) for name in model.get_state_registry(model.module.drivers)["column_names"][columns]]


def sides_of(found: FoldModels) -> int:
    """Sides of a test in the direction of the models.

    Parameters
    ----------
    found
        The models.

    Returns
    -------
    1 for a single model of samples that it has not seen. The models of several folds have learned from each other's
    samples, so 2.
    """
    return 1 if found.held_out and len(found.folds) == 1 else 2


def check_reference(mdata: MuData, reference: tuple[str, str] | str) -> NDArray[np.bool_]:
    """Which samples are the reference.

    Parameters
    ----------
    mdata
        The samples.
    reference
        Column of ``mdata.obs`` and one of its groups, or ``"cohort"`` for all samples.

    Returns
    -------
    ``(n_samples,)``.

    Raises
    ------
    KeyError
        There is no such column or group.
    ValueError
        ``reference`` is neither, or has a single sample.
    """
    if reference == COHORT:
        return np.ones(mdata.n_obs, dtype=bool)
    if isinstance(reference, str) or len(reference) != 2:
        msg = (
            f"reference={reference!r} must name a column of mdata.obs and one of its groups, such as ('tissue', "
            "'normal'), or be 'cohort' to compare with the mean of all samples."
        )
        raise ValueError(msg)
    column, group = reference
    if column not in mdata.obs:
        msg = f"reference={reference!r}: {column!r} is not in mdata.obs, which holds {list(mdata.obs.columns)}."
        raise KeyError(msg)
    members = (mdata.obs[column].astype(str) == str(group)).to_numpy() & mdata.obs[column].notna().to_numpy()
    if not members.any():
        known = sorted(mdata.obs[column].dropna().astype(str).unique())
        msg = f"reference={reference!r}: mdata.obs[{column!r}] has no {group!r}; it holds {known}."
        raise KeyError(msg)
    _check_size(int(members.sum()), reference, "mdata")
    return np.asarray(members)


def fitted_rows(
    mdata: MuData, model: MultiOmicLPM, reference: tuple[str, str] | str
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Samples that a model was fitted to, and which of them are the reference.

    Parameters
    ----------
    mdata
        Samples with the column of the reference, among which those of the model may be.
    model
        The model.
    reference
        As for :func:`check_reference`.

    Returns
    -------
    Positions in the model's own data, and a mask over them.

    Raises
    ------
    ValueError
        Fewer than two of them are the reference.
    """
    seen = training_rows(model)
    if reference == COHORT:
        return seen, np.ones(len(seen), dtype=bool)
    column, group = cast("tuple[str, str]", reference)
    names = model.adata.obs_names[seen]
    source = mdata.obs if names.isin(mdata.obs_names).any() else model.adata.obs
    labels = source[column].reindex(names) if column in source else pd.Series(index=names, dtype=object)
    members = np.asarray((labels.astype(str) == str(group)) & labels.notna())
    _check_size(int(members.sum()), reference, "the samples that a model was fitted to")
    return seen, members


def _check_size(n: int, reference: tuple[str, str] | str, where: str) -> None:
    if n < _MIN_REFERENCE:
        msg = f"reference={reference!r} has {n} sample(s) in {where}; at least {_MIN_REFERENCE} are needed."
        raise ValueError(msg)
