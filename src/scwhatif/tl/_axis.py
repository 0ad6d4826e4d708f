"""The direction that leads from one state to another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

import numpy as np
import pandas as pd

from scwhatif._keys import Key
from scwhatif._provenance import params
from scwhatif._validation import check_groups, check_rep
from scwhatif.metrics._auc import column_auc
from scwhatif.tl._holdout import holdout

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

Method = Literal["mean", "lda", "logistic"]


def axis(
    adata: AnnData,
    groupby: str,
    states: tuple[str, str],
    *,
    use_rep: str = Key.obsm.LATENT,
    method: Method = "mean",
    within: str | None = None,
    groups: str | None = None,
    n_splits: int = 5,
    name: str | None = None,
    seed: int = 0,
    key_added: str = Key.uns.AXIS,
    copy: bool = False,
) -> AnnData | None:
    """Find the direction from one state to another in a representation, and how well it holds up on other cells.

    The direction is fitted to the cells of the two states. How far along it they separate is scored on cells that had
    no part in the fit. :func:`scwhatif.tl.latent_edit` moves cells along it.

    Parameters
    ----------
    adata
        Cells with labels.
    groupby
        Column of ``obs`` with the states.
    states
        From the first of these to the second.
    use_rep
        Key of ``obsm`` with the representation.
    method
        ``"mean"``: from the mean of one state to that of the other. ``"lda"``: the linear discriminant, which turns
        away from directions in which cells of both states scatter (with a shrunken covariance). ``"logistic"``: the
        coefficients of a logistic regression on standardised dimensions.
    within
        Column of ``obs``, such as the cell type or the donor: states are compared within each of its values, and the
        differences averaged with equal weights. Values that lack either state take no part.
    groups
        Column of ``obs`` whose values are not divided when separation is scored, such as the donor.
    n_splits
        Largest number of parts held out in turn.
    name
        What to call the axis; ``None`` makes ``"a_to_b"`` of states a and b.
    seed
        Seed of the parts held out.
    key_added
        Key of ``uns`` to add the axis to, beside others that are there.
    copy
        Whether to return a copy instead of writing into ``adata``.

    Returns
    -------
    ``None``, or the copy, with

    ``obs["axis_<name>"]`` : float64
        Position of every cell along the axis: 0 at the centre of the first state, 1 at that of the second.
    ``uns["axis"][name]`` : dict
        ``vector`` (``n_dims``,) from the first to the second state; ``unit``, the same of length 1; ``origin`` and
        ``target``, the centres of the states (mean over the values of ``within``); ``length``, the distance of these
        along the axis; ``auc``, the area under the ROC curve by which positions tell the states apart, on the cells
        it was fitted to; ``held_out_auc``, on cells it was not, mean over ``fold_auc``; both compare cells of one
        value of ``within`` only.
    ``uns["axis"][name]["by_level"]`` : DataFrame
        One row per value of ``within`` (``"all"`` without): ``level``, ``n_first``, ``n_second``, ``length`` (of the
        difference of its states along the axis) and ``cosine`` (of that difference with the axis: 1 where it points
        the same way).
    ``uns["axis"][name]["params"]`` : dict
        Arguments and versions.

    Raises
    ------
    KeyError
        A column, state or representation does not exist.
    ValueError
        Labels are missing, or of too few cells; the states have the same centre, or nothing can be held out; a name
        with ``"/"``, which no file can hold; a setting is out of range.

    Examples
    --------
    >>> import scwhatif as wi
    >>> adata = wi.datasets.simulate_factors(200, 50, 4)
    >>> wi.tl.axis(adata, "cell_type", ("type_0", "type_1"), use_rep="true_factors")
    >>> found = adata.uns["axis"]["type_0_to_type_1"]
    >>> found["vector"].shape, bool(found["held_out_auc"] > 0.9)
    ((4,), True)
    """
    name = _checked_name(states, method, n_splits, name)
    check_rep(adata, use_rep)
    labels = check_groups(adata, groupby)
    unknown = [state for state in states if state not in labels.categories]
    if unknown:
        msg = f"states={unknown} are not in adata.obs[{groupby!r}], which holds {list(labels.categories)}."
        raise KeyError(msg)
    levels = pd.Categorical(["all"] * adata.n_obs)
    if within is not None:
        levels = check_groups(adata, within, name="within", min_groups=1)
    z = np.asarray(adata.obsm[use_rep], dtype=np.float64)
    second = np.asarray(labels == states[1])
    used = _comparable(np.asarray(labels == states[0]), second, levels, within)
    part = adata[used]
    folds, _ = holdout(part, labels[used].remove_unused_categories(), groupby, groups, n_splits=n_splits, seed=seed)

    cells = _Cells(z[used], second[used].astype(np.int64), levels.codes[used])
    fitted = _fit(cells, method)
    fold_auc = []
    for fold in range(int(folds.max()) + 1):
        trained = _fit(cells.at(folds != fold), method)
        fold_auc.append(_auc(cells.at(folds == fold), trained.unit))
    result: dict[str, Any] = {
        "vector": fitted.unit * fitted.length,
        "unit": fitted.unit,
        "origin": fitted.origin,
        "target": fitted.target,
        "length": fitted.length,
        "auc": _auc(cells, fitted.unit),
        "held_out_auc": float(np.nanmean(fold_auc)),
        "fold_auc": np.array(fold_auc),
        "by_level": _by_level(cells, fitted.unit, list(levels.categories)),
        Key.uns.PARAMS: params(
            groupby=groupby,
            states=list(states),
            use_rep=use_rep,
            method=method,
            within=within,
            groups=groups,
            n_splits=n_splits,
            seed=seed,
        ),
    }
    target = adata.copy() if copy else adata
    target.obs[f"{key_added}_{name}"] = positions(z, result)
    target.uns[key_added] = {**target.uns.get(key_added, {}), name: result}
    return target if copy else None


def positions(z: NDArray[np.float64], found: dict[str, Any]) -> NDArray[np.float64]:
    """Where codes stand along an axis.

    Parameters
    ----------
    z
        ``(n, n_dims)``.
    found
        The axis, as written.

    Returns
    -------
    ``(n,)``, 0 at the centre of the first state and 1 at that of the second.
    """
    return (z - found["origin"]) @ found["unit"] / found["length"]


def check_space(adata: AnnData, name: str, found: dict[str, Any], z: NDArray[np.float64]) -> None:
    """Raise unless an axis was found among these codes.

    Parameters
    ----------
    adata
        Which holds the axis, and the representation it was found in.
    name, found
        The axis.
    z
        Codes of the cells in a model's latent space, ``(n_obs, n_latent)``.

    Raises
    ------
    ValueError
        It lies in another space.
    """
    use_rep = str(found[Key.uns.PARAMS]["use_rep"])
    rep = np.asarray(adata.obsm.get(use_rep, np.empty((0, 0))))
    if rep.shape != z.shape or not np.allclose(rep, z, rtol=1e-3, atol=1e-3):
        msg = (
            f"the axis {name!r} lies in {use_rep!r}, which is not this model's latent code. Write "
            f"adata.obsm[{use_rep!r}] = model.get_latent_representation() and run scwhatif.tl.axis again."
        )
        raise ValueError(msg)


def _checked_name(states: tuple[str, str], method: str, n_splits: int, name: str | None) -> str:
    if isinstance(states, str) or len(states) != 2 or states[0] == states[1]:
        msg = f"states={states!r} must name two different groups of cells."
        raise ValueError(msg)
    if method not in get_args(Method):
        msg = f"method={method!r} must be one of {get_args(Method)}."
        raise ValueError(msg)
    if n_splits < 2:
        msg = f"n_splits={n_splits} must be at least 2."
        raise ValueError(msg)
    if name is None:
        return f"{states[0]}_to_{states[1]}".replace("/", "|")
    if not name or "/" in name:
        msg = f"name={name!r} must not be empty or hold '/', which no h5ad file can keep in a name."
        raise ValueError(msg)
    return name


def _comparable(
    first: NDArray[np.bool_], second: NDArray[np.bool_], levels: pd.Categorical, within: str | None
) -> NDArray[np.bool_]:
    """Cells of either state in the levels that have both."""
    n_levels = len(levels.categories)
    n_first, n_second = (np.bincount(levels.codes[state], minlength=n_levels) for state in (first, second))
    both = (n_first > 0) & (n_second > 0)
    if not both.any():
        msg = f"no value of adata.obs[{within!r}] has cells of both states, so they cannot be compared within it."
        raise ValueError(msg)
    return (first | second) & both[levels.codes]


class _Cells(NamedTuple):
    """Codes, state (0 or 1) and level of cells."""

    z: NDArray[np.float64]
    state: NDArray[np.int64]
    level: NDArray[np.integer]

    def at(self, rows: NDArray[np.bool_]) -> _Cells:
        return _Cells(self.z[rows], self.state[rows], self.level[rows])

    def centres(self) -> tuple[NDArray[np.integer], NDArray[np.float64]]:
        """Levels that have both states, and the means of these, ``(n_levels, 2, n_dims)``."""
        both = np.intersect1d(self.level[self.state == 0], self.level[self.state == 1])
        means = [
            [self.z[(self.level == level) & (self.state == state)].mean(axis=0) for state in (0, 1)] for level in both
        ]
        return both, np.array(means).reshape(len(both), 2, self.z.shape[1])


class _Fitted(NamedTuple):
    unit: NDArray[np.float64]
    origin: NDArray[np.float64]
    target: NDArray[np.float64]
    length: float


def _fit(cells: _Cells, method: Method) -> _Fitted:
    both, centres = cells.centres()
    origin, target = centres.mean(axis=0)
    direction = target - origin
    if method != "mean":
        # within each level, so that differences between levels are no part of the direction
        inside = np.isin(cells.level, both)
        middle = centres.mean(axis=1)[np.searchsorted(both, cells.level[inside])]
        direction = _discriminant(cells.z[inside] - middle, cells.state[inside], method)
    norm = float(np.linalg.norm(direction))
    unit = direction / norm if norm > 0 else direction
    length = float((target - origin) @ unit)
    if not length > 0:
        msg = (
            f"the states do not differ along the direction found by method={method!r}: their centres are "
            f"{float(np.linalg.norm(target - origin)):.3g} apart."
        )
        raise ValueError(msg)
    return _Fitted(unit, origin, target, length)


def _discriminant(z: NDArray[np.float64], state: NDArray[np.int64], method: Method) -> NDArray[np.float64]:
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
    from sklearn.linear_model import LogisticRegression

    if method == "lda":
        return LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto").fit(z, state).coef_[0]
    scale = z.std(axis=0)
    scale[scale == 0] = 1.0
    return LogisticRegression(max_iter=1000).fit(z / scale, state).coef_[0] / scale


def _auc(cells: _Cells, unit: NDArray[np.float64]) -> float:
    """Mean over the levels, weighted by the pairs of cells that each compares; NaN where there is no pair."""
    position = cells.z @ unit
    both, _ = cells.centres()
    scores, n_pairs = [], []
    for level in both:
        here = cells.level == level
        scores.append(column_auc(position[here, None], cells.state[here], 2)[0, 1])
        n_second = int(cells.state[here].sum())
        n_pairs.append(n_second * (int(here.sum()) - n_second))
    return float(np.average(scores, weights=n_pairs)) if scores else float("nan")


def _by_level(cells: _Cells, unit: NDArray[np.float64], names: list[str]) -> pd.DataFrame:
    both, centres = cells.centres()
    difference = centres[:, 1] - centres[:, 0]
    along = difference @ unit
    norm = np.linalg.norm(difference, axis=1)
    table = pd.DataFrame(
        {
            "level": np.array(names, dtype=object)[both],
            "n_first": [int(((cells.level == level) & (cells.state == 0)).sum()) for level in both],
            "n_second": [int(((cells.level == level) & (cells.state == 1)).sum()) for level in both],
            "length": along,
            "cosine": np.divide(along, norm, out=np.zeros_like(along), where=norm > 0),
        }
    )
    table.index = table.index.astype(str)
    return table
