"""The clean profile that a place in latent space stands for."""

from __future__ import annotations

import warnings
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from scwhatif._keys import Key
from scwhatif._provenance import params
from scwhatif._validation import check_groups
from scwhatif.tl._latent_state import (
    OBSERVED_QUANTILES,
    LatentState,
    change,
    change_name,
    check_decodable,
    dimension_positions,
    fold_pseudo_count,
    mean_decoded,
    neutral_positions,
    posterior_means,
    reference_code,
)
from scwhatif.tl._profile_contrast import ProfileSampler, posterior_draws, profile_contrast

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anndata import AnnData
    from numpy.typing import NDArray
    from scvi.model.base import BaseModelClass


# Where a dimension is set to when no values are given.
_DEFAULT_QUANTILES = (0.05, 0.95)


def pseudo_profiles(
    adata: AnnData,
    model: BaseModelClass,
    groupby: str | None = None,
    *,
    dims: str | int | Sequence[str | int] | None = None,
    values: Sequence[float] | None = None,
    reference: Literal["mean", "zero"] = "mean",
    neutral: str | int | Sequence[str | int] | None = None,
    average: Literal["latent", "decoded"] = "latent",
    contrast: tuple[str, str] | None = None,
    n_samples: int = 200,
    use_rep: str | None = None,
    library_size: float = 1e4,
    batch: str | Sequence[str] | None = None,
    covariates: Mapping[str, Any] | None = None,
    n_top: int = 25,
    seed: int = 0,
    key_added: str = Key.uns.PSEUDO_PROFILES,
    copy: bool = False,
) -> AnnData | None:
    """Decode the denoised profiles of groups of cells and of pure states along latent dimensions.

    A group stands at the centroid of its cells' posterior means. A pure state sets one dimension to a value and
    leaves all others at the reference. Both are what the model expects there, without sampling noise; they are
    points, so they say nothing about the spread within a group. Of two of these states, ``contrast`` tells the
    difference with an interval.

    Parameters
    ----------
    adata
        The model's data, or data like it.
    model
        A trained model of the scvi-tools kind that :func:`scwhatif.tl.decode` decodes.
    groupby
        Column of ``obs`` whose groups are decoded; ``None`` decodes pure states only.
    dims
        Dimensions moved, as ``"z3"`` or 3; ``None`` moves none, or all where ``groupby`` is ``None`` too.
    values
        Values each of ``dims`` is set to; by default its 5 % and 95 % quantile over the cells.
    reference
        Where the other dimensions are held: at their ``"mean"`` over the cells, or at ``"zero"``, the mean of the
        prior.
    neutral
        Dimensions held at 0, the mean of the prior, in every state, such as those that carry technical variation.
    average
        What stands for a group: the decoded centroid of its cells (``"latent"``), or the average of its decoded cells
        (``"decoded"``). They agree for continuous features; of counts the latter are means, the former closer to
        geometric means, which single cells with extreme expression move less.
    contrast
        Names of two states, ``(A, B)``: how A differs from B.
    n_samples
        Number of samples for the intervals of ``contrast``. Each decodes both states from as many cells as they have,
        drawn with replacement, and a draw from the posterior of each. A pure state's value is given, not estimated;
        only the reference behind it varies, and is the same for two pure states.
    use_rep
        Key of ``obsm`` with the posterior means; ``None`` takes them from the model. Intervals then vary over the
        cells only, because there are no posteriors.
    library_size
        Total counts of the profiles; ignored for continuous features.
    batch, covariates
        As in :func:`scwhatif.tl.decode`.
    n_top
        Number of marker genes listed per state.
    seed
        Seeds the samples.
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
    ``uns["pseudo_profiles"]["contrast"]`` : DataFrame
        With ``contrast`` only. One row per feature, in order and indexed by name: ``log2_fold_change`` as above
        (``difference`` for continuous features) of A over B, the median of the samples; ``lower`` and ``upper``, their
        2.5 % and 97.5 % quantiles; ``sign_probability``, the share of them with the median's sign. This is how
        precisely the cells determine the difference of the two profiles under this fit: it knows nothing of how
        another fit would differ, is not corrected for the number of features, and tells states apart that were chosen
        to differ.
    ``uns["pseudo_profiles"]["params"]`` : dict
        Arguments, ``pseudo_count`` (what is added to counts), versions, model class and hash of its weights.

    Raises
    ------
    KeyError
        A column, dimension, state, representation, batch or category does not exist.
    TypeError
        The model cannot be decoded from a latent code.
    ValueError
        ``values`` without ``dims``, empty or repeated; a dimension both moved and neutral; ``contrast`` of other than
        two different states; a setting out of range; other features than the model's; labels missing, continuous or
        of a single cell; a representation of another width than the model's.

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
    >>> wi.tl.pseudo_profiles(adata, model, "cell_type", contrast=("type_1", "type_0"), n_samples=20)
    >>> list(adata.uns["pseudo_profiles"]["contrast"].columns)
    ['log2_fold_change', 'lower', 'upper', 'sign_probability']
    """
    decoder = check_decodable(adata, model, reference=reference, library_size=library_size)
    _check_settings(average, contrast, n_samples, n_top)
    z = posterior_means(adata, model, use_rep)
    moved = _moved(dims, z.shape[1], default_all=groupby is None, held=neutral)
    held = neutral_positions(neutral, moved, z.shape[1])
    origin = reference_code(z, reference, held)
    states = _cursor_states(z, origin, moved, values)
    if groupby is not None:
        states = [*_group_states(check_groups(adata, groupby, min_groups=1), groupby, z, held), *states]
    table = _state_table(states)
    _warn_extrapolated(table)

    decode = partial(decoder.decode, library_size=library_size, batch=batch, covariates=covariates)
    # copied, since pandas hands out read-only views
    profiles = decode(np.stack([state.code for state in states])).to_numpy(copy=True).T
    if average == "decoded":
        for i, state in enumerate(states):
            if state.dim is None:
                codes = z[state.members]
                codes[:, held] = 0.0
                profiles[:, i] = mean_decoded(decode, codes, adata.n_vars)
    at_reference = decode(origin).to_numpy()[0]
    pseudo_count = fold_pseudo_count(decoder, library_size)
    result: dict[str, Any] = {"states": table}
    result["markers"] = _markers(profiles, at_reference, table, adata.var_names, n_top, pseudo_count)
    if contrast is not None:
        sampler = ProfileSampler(
            (lambda members: z[None, members]) if use_rep else partial(posterior_draws, adata, model, seed=seed),
            decode,
            adata.n_vars,
            reference=reference,
            held=held,
            average=average,
            n_samples=n_samples,
            rng=np.random.default_rng(seed),
        )
        first, second = (sampler.profiles(states[i], adata.n_obs) for i in _chosen(contrast, list(table.index)))
        result["contrast"] = profile_contrast(first, second, adata.var_names, pseudo_count)

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
            neutral=[f"z{j}" for j in held],
            average=average,
            contrast=contrast,
            n_samples=n_samples,
            use_rep=use_rep,
            library_size=library_size,
            batch=batch,
            covariates=None if covariates is None else dict(covariates),
            n_top=n_top,
            pseudo_count=pseudo_count,
            seed=seed,
        ),
        **result,
    }
    return target if copy else None


def _check_settings(average: str, contrast: tuple[str, str] | None, n_samples: int, n_top: int) -> None:
    if average not in ("latent", "decoded"):
        msg = f"average={average!r} must be 'latent' or 'decoded'."
        raise ValueError(msg)
    if n_samples < 2 or n_top < 1:
        msg = f"n_samples={n_samples} must be at least 2, and n_top={n_top} at least 1."
        raise ValueError(msg)
    if contrast is not None and (isinstance(contrast, str) or len(contrast) != 2 or contrast[0] == contrast[1]):
        msg = f"contrast={contrast!r} must name two different states."
        raise ValueError(msg)


def _chosen(contrast: tuple[str, str], known: list[str]) -> list[int]:
    """Positions of the contrasted states."""
    unknown = [state for state in contrast if state not in known]
    if unknown:
        msg = f"contrast names {unknown}, which are not among the states decoded here: {known}."
        raise KeyError(msg)
    return [known.index(state) for state in contrast]


def _moved(dims: str | int | Sequence[str | int] | None, n_latent: int, *, default_all: bool, held: Any) -> list[int]:
    """Positions of the dimensions to move."""
    if dims is not None:
        return dimension_positions(dims, n_latent, "dims")
    fixed = [] if held is None else dimension_positions(held, n_latent, "neutral")
    return [j for j in range(n_latent) if j not in fixed] if default_all else []


def _group_states(groups: pd.Categorical, groupby: str, z: NDArray[np.float64], held: list[int]) -> list[LatentState]:
    states = []
    for code, name in enumerate(groups.categories):
        members = groups.codes == code
        states.append(LatentState(name, groupby, reference_code(z[members], "mean", held), members))
    return states


def _cursor_states(
    z: NDArray[np.float64], origin: NDArray[np.float64], moved: list[int], values: Sequence[float] | None
) -> list[LatentState]:
    if values is not None:
        wanted = np.asarray(values, dtype=np.float64)
        if not moved or wanted.ndim != 1 or wanted.size == 0 or not np.isfinite(wanted).all():
            msg = f"values={values!r} must be finite numbers, at least one, for the dimensions named in dims."
            raise ValueError(msg)
    states = []
    nobody = np.zeros(len(z), dtype=bool)
    for j in moved:
        low, high = np.quantile(z[:, j], OBSERVED_QUANTILES)
        for value in np.quantile(z[:, j], _DEFAULT_QUANTILES) if values is None else wanted:
            code = origin.copy()
            code[j] = value
            outside = bool(value < low or value > high)
            name = f"z{j} = {value:+.4g}"
            states.append(LatentState(name, f"z{j}", code, nobody, j, float(value), extrapolated=outside))
    return states


def _state_table(states: list[LatentState]) -> pd.DataFrame:
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
        excess = change(profiles[:, i], rest, pseudo_count)
        top = np.argsort(-excess, kind="stable")[:n_top]
        frames.append(
            pd.DataFrame(
                {
                    "state": name,
                    "gene": np.asarray(genes, dtype=object)[top],
                    "expression": profiles[top, i],
                    "rest": rest[top],
                    change_name(pseudo_count): excess[top],
                }
            )
        )
    markers = pd.concat(frames, ignore_index=True)
    markers.index = markers.index.astype(str)
    return markers
