"""The clean profile that a place in latent space stands for."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from scwhatif._keys import Key
from scwhatif._provenance import params
from scwhatif._validation import check_groups, check_rep, check_var_names

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anndata import AnnData
    from numpy.typing import NDArray

    from scwhatif.model import BetaLinearSCVI

# Where a dimension is set to when no values are given, and beyond which a value was hardly ever seen.
_DEFAULT_QUANTILES = (0.05, 0.95)
_OBSERVED_QUANTILES = (0.005, 0.995)
# One count in ten thousand keeps genes without expression from having the largest fold changes.
_PSEUDO_SHARE = 1e-4


def pseudo_profiles(
    adata: AnnData,
    model: BetaLinearSCVI,
    groupby: str | None = None,
    *,
    dims: str | int | Sequence[str | int] | None = None,
    values: Sequence[float] | None = None,
    reference: Literal["mean", "zero"] = "mean",
    use_rep: str | None = None,
    library_size: float = 1e4,
    batch: str | Sequence[str] | None = None,
    covariates: Mapping[str, Any] | None = None,
    n_top: int = 25,
    key_added: str = Key.uns.PSEUDO_PROFILES,
    copy: bool = False,
) -> AnnData | None:
    """Decode the denoised profiles of groups of cells and of pure states along latent dimensions.

    A group stands at the centroid of its cells' posterior means. A pure state sets one dimension to a value and
    leaves all others at the reference. Both are what the model expects there, without sampling noise; they are
    points, so they say nothing about the spread within a group.

    Parameters
    ----------
    adata
        The model's data, or data like it.
    model
        A trained :class:`scwhatif.model.BetaLinearSCVI`.
    groupby
        Column of ``obs`` whose groups are decoded; ``None`` decodes pure states only.
    dims
        Dimensions moved, as ``"z3"`` or 3; ``None`` moves none, or all where ``groupby`` is ``None`` too.
    values
        Values each of ``dims`` is set to; by default its 5 % and 95 % quantile over the cells.
    reference
        Where the other dimensions are held: at their ``"mean"`` over the cells, or at ``"zero"``, the mean of the
        prior.
    use_rep
        Key of ``obsm`` with the posterior means; ``None`` takes them from the model.
    library_size
        Total counts of the profiles; ignored for continuous features.
    batch, covariates
        As in :meth:`~scwhatif.model.BetaLinearSCVI.decode`.
    n_top
        Number of marker genes listed per state.
    key_added
        Key of ``varm`` and ``uns`` to write to.
    copy
        Whether to return a copy instead of writing into ``adata``.

    Returns
    -------
    ``None``, or the copy, with

    ``varm["pseudo_profiles"]`` : array (``n_vars`` × states), float32
        Expected counts at ``library_size``, or expected values of continuous features. Columns in the order of
        ``states``.
    ``uns["pseudo_profiles"]["states"]`` : DataFrame
        One row per state, indexed by its name (the group, or such as ``"z3 = +1.52"``): ``family`` (``groupby``, or
        the dimension), ``value`` (that the dimension is set to, NaN for groups), ``n_cells`` (0 for pure states),
        ``extrapolated`` (bool: the value lies outside the 0.5–99.5 % range of the cells), and the latent code, one
        column per dimension.
    ``uns["pseudo_profiles"]["markers"]`` : DataFrame
        The ``n_top`` features that most exceed the mean of the other states of the family, or the reference where
        there is no other, best first: ``state``, ``gene``, ``expression``, ``rest`` (that mean), and
        ``log2_fold_change`` with one count in ten thousand added to both (``difference`` for continuous features).
    ``uns["pseudo_profiles"]["params"]`` : dict
        Arguments, versions, model class and hash of its weights.

    Raises
    ------
    KeyError
        A column, dimension, representation, batch or category does not exist.
    TypeError
        The model has no ``decode``.
    ValueError
        ``values`` without ``dims``, empty or repeated; a setting out of range; other features than the model's; labels
        missing, continuous or of a single cell; a representation of another width than the model's.

    Warns
    -----
    UserWarning
        A value lies outside the 0.5–99.5 % range of the cells: what is decoded there is extrapolation.

    Examples
    --------
    >>> import scwhatif as wi
    >>> adata = wi.datasets.simulate_factors(100, 50, 4)
    >>> wi.model.BetaLinearSCVI.setup_anndata(adata)
    >>> model = wi.model.BetaLinearSCVI(adata, n_latent=3, seed=0)
    >>> model.train(max_epochs=1, seed=0, enable_progress_bar=False)
    >>> wi.tl.pseudo_profiles(adata, model, "cell_type")
    >>> adata.varm["pseudo_profiles"].shape
    (50, 4)
    >>> list(adata.uns["pseudo_profiles"]["states"].index)
    ['type_0', 'type_1', 'type_2', 'type_3']
    """
    if not hasattr(model, "decode"):
        msg = f"{type(model).__name__} has no decode(z)."
        raise TypeError(msg)
    if reference not in ("mean", "zero"):
        msg = f"reference={reference!r} must be 'mean' or 'zero'."
        raise ValueError(msg)
    if not (np.isfinite(library_size) and library_size > 0) or n_top < 1:
        msg = f"library_size={library_size} must be finite and above 0, and n_top={n_top} at least 1."
        raise ValueError(msg)
    check_var_names(adata, model.get_var_names())
    z = _posterior_means(adata, model, use_rep)
    origin = z.mean(axis=0) if reference == "mean" else np.zeros(z.shape[1])
    moved = _moved(dims, z.shape[1], default_all=groupby is None)
    states = _cursor_states(z, origin, moved, values)
    if groupby is not None:
        states = [*_group_states(check_groups(adata, groupby, min_groups=1), groupby, z), *states]
    table = _state_table(states)
    _warn_extrapolated(table)

    decode = partial(model.decode, library_size=library_size, batch=batch, covariates=covariates)
    profiles = decode(np.stack([state.code for state in states])).to_numpy().T
    at_reference = decode(origin).to_numpy()[0]
    is_counts = getattr(model.module, "gene_likelihood", None) != "normal"
    pseudo_count = _PSEUDO_SHARE * library_size if is_counts else None

    target = adata.copy() if copy else adata
    # an array, not a data frame: groups may be called "CD4+/CD25 T Reg", and h5ad has no "/" in column names
    target.varm[key_added] = profiles
    target.uns[key_added] = {
        Key.uns.PARAMS: params(
            model,
            groupby=groupby,
            dims=[f"z{j}" for j in moved],
            values=None if values is None else [float(value) for value in values],
            reference=reference,
            use_rep=use_rep,
            library_size=library_size,
            batch=batch,
            covariates=None if covariates is None else dict(covariates),
            n_top=n_top,
        ),
        "states": table,
        "markers": _markers(profiles, at_reference, table, adata.var_names, n_top, pseudo_count),
    }
    return target if copy else None


@dataclass(frozen=True)
class _State:
    """A place in latent space to decode."""

    name: str
    family: str
    code: NDArray[np.float64]
    value: float = np.nan
    n_cells: int = 0
    extrapolated: bool = False


def _posterior_means(adata: AnnData, model: BetaLinearSCVI, use_rep: str | None) -> NDArray[np.float64]:
    if use_rep is None:
        return np.asarray(model.get_latent_representation(adata), dtype=np.float64)
    check_rep(adata, use_rep)
    z = np.asarray(adata.obsm[use_rep], dtype=np.float64)
    if z.shape[1] != model.n_latent:
        msg = f"adata.obsm[{use_rep!r}] has {z.shape[1]} dimensions, but the model has n_latent={model.n_latent}."
        raise ValueError(msg)
    return z


def _moved(dims: str | int | Sequence[str | int] | None, n_latent: int, *, default_all: bool) -> list[int]:
    """Positions of the dimensions to move."""
    if dims is None:
        return list(range(n_latent)) if default_all else []
    names = [f"z{j}" for j in range(n_latent)]
    wanted = [dims] if isinstance(dims, str | int | np.integer) else list(dims)
    positions = []
    for dim in wanted:
        name = dim if isinstance(dim, str) else f"z{dim}"
        if name not in names:
            msg = f"dims={dim!r} is not a dimension of the model; it has {names[0]!r} to {names[-1]!r}."
            raise KeyError(msg)
        positions.append(names.index(name))
    return list(dict.fromkeys(positions))


def _group_states(groups: pd.Categorical, groupby: str, z: NDArray[np.float64]) -> list[_State]:
    members = [groups.codes == code for code in range(len(groups.categories))]
    return [
        _State(name, groupby, z[inside].mean(axis=0), n_cells=int(inside.sum()))
        for name, inside in zip(groups.categories, members, strict=True)
    ]


def _cursor_states(
    z: NDArray[np.float64], origin: NDArray[np.float64], moved: list[int], values: Sequence[float] | None
) -> list[_State]:
    if values is not None:
        wanted = np.asarray(values, dtype=np.float64)
        if not moved or wanted.ndim != 1 or wanted.size == 0 or not np.isfinite(wanted).all():
            msg = f"values={values!r} must be finite numbers, at least one, for the dimensions named in dims."
            raise ValueError(msg)
    states = []
    for j in moved:
        low, high = np.quantile(z[:, j], _OBSERVED_QUANTILES)
        for value in np.quantile(z[:, j], _DEFAULT_QUANTILES) if values is None else wanted:
            code = origin.copy()
            code[j] = value
            outside = bool(value < low or value > high)
            states.append(_State(f"z{j} = {value:+.4g}", f"z{j}", code, float(value), extrapolated=outside))
    return states


def _state_table(states: list[_State]) -> pd.DataFrame:
    names = pd.Index([state.name for state in states])
    if not names.is_unique:
        msg = f"Two states have the same name: {list(names[names.duplicated()].unique())}. Give each value once."
        raise ValueError(msg)
    table = pd.DataFrame(
        {
            "family": [state.family for state in states],
            "value": [state.value for state in states],
            "n_cells": [state.n_cells for state in states],
            "extrapolated": [state.extrapolated for state in states],
        },
        index=names,
    )
    codes = np.stack([state.code for state in states])
    return table.assign(**{f"z{j}": codes[:, j] for j in range(codes.shape[1])})


def _warn_extrapolated(table: pd.DataFrame) -> None:
    beyond = list(table.index[table["extrapolated"]])
    if beyond:
        warnings.warn(
            f"{', '.join(beyond)}: outside the 0.5–99.5 % range of the cells, where the model has not been tested "
            "against data.",
            UserWarning,
            stacklevel=3,
        )


def _markers(
    profiles: NDArray[np.float32],
    at_reference: NDArray[np.float32],
    table: pd.DataFrame,
    genes: pd.Index,
    n_top: int,
    pseudo_count: float | None,
) -> pd.DataFrame:
    """Features by which each state exceeds the mean of its family's other states."""
    family = table["family"].to_numpy()
    frames = []
    for i, name in enumerate(table.index):
        others = (family == family[i]) & (np.arange(len(family)) != i)
        rest = profiles[:, others].mean(axis=1) if others.any() else at_reference
        if pseudo_count is None:
            column, contrast = "difference", profiles[:, i] - rest
        else:
            column = "log2_fold_change"
            contrast = np.log2((profiles[:, i] + pseudo_count) / (rest + pseudo_count))
        top = np.argsort(-contrast, kind="stable")[:n_top]
        frames.append(
            pd.DataFrame(
                {
                    "state": name,
                    "gene": np.asarray(genes, dtype=object)[top],
                    "expression": profiles[top, i],
                    "rest": rest[top],
                    column: contrast[top],
                }
            )
        )
    markers = pd.concat(frames, ignore_index=True)
    markers.index = markers.index.astype(str)
    return markers
