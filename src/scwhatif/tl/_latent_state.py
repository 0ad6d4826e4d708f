"""Places in latent space to decode, shared by the tools that decode them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from scwhatif._validation import check_rep, check_var_names

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pandas as pd
    from anndata import AnnData
    from numpy.typing import NDArray
    from scvi.model.base import BaseModelClass

    from scwhatif.model._decoder import Decoder


# Beyond which a value was hardly ever seen.
OBSERVED_QUANTILES = (0.005, 0.995)
# One count in ten thousand keeps genes without expression from having the largest fold changes.
_PSEUDO_SHARE = 1e-4
# Entries of the decoded cells held at once.
_BLOCK_ENTRIES = 2**22


@dataclass(frozen=True)
class LatentState:
    """A place in latent space to decode.

    Parameters
    ----------
    name, family
        What it is called, and among which states it is compared.
    code
        ``(n_latent,)``.
    members
        Which cells belong to it, ``(n_cells,)``; none, for a place that no cells define.
    dim, value
        Position of the dimension that is moved and what it is set to; ``None`` and NaN for groups of cells.
    extrapolated
        Whether ``value`` is beyond what was observed.
    """

    name: str
    family: str
    code: NDArray[np.float64]
    members: NDArray[np.bool_]
    dim: int | None = None
    value: float = np.nan
    extrapolated: bool = False

    @property
    def n_cells(self) -> int:
        """Number of cells that define the state."""
        return int(self.members.sum())


def check_decodable(adata: AnnData, model: BaseModelClass, *, reference: str, library_size: float) -> Decoder:
    """Raise unless ``model`` decodes, ``adata`` has its features, and the settings all decoding tools have are sound.

    Parameters
    ----------
    adata, model, reference, library_size
        As given to the tool.

    Returns
    -------
    The model's decoder.

    Raises
    ------
    TypeError
        The model cannot be decoded from a latent code.
    ValueError
        A setting is out of range, the features are not the model's, or the model's codes are shares.
    """
    if reference not in ("mean", "zero"):
        msg = f"reference={reference!r} must be 'mean' or 'zero'."
        raise ValueError(msg)
    if not (np.isfinite(library_size) and library_size > 0):
        msg = f"library_size={library_size} must be finite and above 0."
        raise ValueError(msg)
    return checked_decoder(adata, model)


def checked_decoder(adata: AnnData, model: BaseModelClass) -> Decoder:
    """The decoder of a model whose latent dimensions can be moved one by one, for data that have its features.

    Parameters
    ----------
    adata, model
        As given to the tool.

    Returns
    -------
    The decoder.

    Raises
    ------
    TypeError
        The model cannot be decoded from a latent code, or the data are no AnnData.
    ValueError
        The features are not the model's, or its codes are shares.
    """
    from anndata import AnnData

    from scwhatif.model._decoder import Decoder

    decoder = Decoder.from_model(model)
    if not isinstance(adata, AnnData):
        msg = (
            f"adata is a {type(adata).__name__}, but an AnnData is needed. Codes of a model of MuData are decoded by "
            "scwhatif.tl.decode(model, z)."
        )
        raise TypeError(msg)
    check_var_names(adata, decoder.features)
    if decoder.plan.simplex:
        msg = (
            "the model was built with latent_distribution='ln': its codes are shares that add up to 1, so none can be "
            "moved without the others. Build it with latent_distribution='normal'."
        )
        raise ValueError(msg)
    return decoder


def posterior_means(adata: AnnData, model: BaseModelClass, use_rep: str | None) -> NDArray[np.float64]:
    """Posterior means from the model, or from ``obsm`` where they were stored.

    Parameters
    ----------
    adata, model, use_rep
        As given to the tool.

    Returns
    -------
    ``(n_cells, n_latent)``.

    Raises
    ------
    KeyError
        There is no such representation.
    ValueError
        It is of another width than the model's.
    """
    if use_rep is None:
        from scwhatif._compat import forgetting

        with forgetting(model):
            return np.asarray(model.get_latent_representation(adata), dtype=np.float64)
    check_rep(adata, use_rep)
    z = np.asarray(adata.obsm[use_rep], dtype=np.float64)
    n_latent = model.module.n_latent
    if z.shape[1] != n_latent:
        msg = f"adata.obsm[{use_rep!r}] has {z.shape[1]} dimensions, but the model has n_latent={n_latent}."
        raise ValueError(msg)
    return z


def dimension_positions(dims: str | int | Sequence[str | int], n_latent: int, name: str) -> list[int]:
    """Positions of dimensions named such as ``"z3"`` or 3, each once, in the order given.

    Parameters
    ----------
    dims
        One or several.
    n_latent
        How many there are.
    name
        The argument that carried them.

    Returns
    -------
    Positions.

    Raises
    ------
    KeyError
        There is no such dimension.
    """
    known = [f"z{j}" for j in range(n_latent)]
    positions = []
    for dim in [dims] if isinstance(dims, str | int | np.integer) else dims:
        wanted = dim if isinstance(dim, str) else f"z{dim}"
        if wanted not in known:
            msg = f"{name}={dim!r} is not a dimension of the model; it has {known[0]!r} to {known[-1]!r}."
            raise KeyError(msg)
        positions.append(known.index(wanted))
    return list(dict.fromkeys(positions))


def neutral_positions(
    neutral: Sequence[str | int] | str | int | None, moved: Sequence[int], n_latent: int
) -> list[int]:
    """Positions of the dimensions held at 0, none of which may be moved.

    Parameters
    ----------
    neutral, n_latent
        As for :func:`dimension_positions`.
    moved
        Positions of the dimensions that are moved.

    Returns
    -------
    Positions.

    Raises
    ------
    ValueError
        A dimension is to be moved and held.
    """
    held = [] if neutral is None else dimension_positions(neutral, n_latent, "neutral")
    both = [f"z{j}" for j in held if j in moved]
    if both:
        msg = f"{', '.join(both)}: a dimension cannot be both moved and neutral."
        raise ValueError(msg)
    return held


def reference_code(z: NDArray[np.float64], reference: str, held: Sequence[int]) -> NDArray[np.float64]:
    """Where dimensions stand that are not moved.

    Parameters
    ----------
    z
        Posterior means, ``(n_cells, n_latent)``.
    reference
        ``"mean"`` of the cells or ``"zero"``.
    held
        Positions set to 0 in any case.

    Returns
    -------
    ``(n_latent,)``.
    """
    code = z.mean(axis=0) if reference == "mean" else np.zeros(z.shape[1])
    code[list(held)] = 0.0
    return code


def mean_decoded(decode: Callable[..., pd.DataFrame], codes: NDArray[np.float64], n_vars: int) -> NDArray[np.float64]:
    """Average of the decoded codes, a block of them at a time.

    Parameters
    ----------
    decode
        From codes to profiles.
    codes
        ``(n, n_latent)``.
    n_vars
        Number of features.

    Returns
    -------
    ``(n_vars,)``.
    """
    step = max(1, _BLOCK_ENTRIES // n_vars)
    total = np.zeros(n_vars)
    for start in range(0, len(codes), step):
        total += decode(codes[start : start + step]).to_numpy().sum(axis=0, dtype=np.float64)
    return total / len(codes)


def fold_pseudo_count(decoder: Decoder, library_size: float) -> float | None:
    """What is added to counts before their ratio is taken; continuous features have differences, not ratios.

    Parameters
    ----------
    decoder
        What the profiles were decoded with.
    library_size
        Total of a profile.

    Returns
    -------
    The count, ``None`` for continuous features.
    """
    return _PSEUDO_SHARE * library_size if decoder.plan.log_link else None


def change_name(pseudo_count: float | None) -> str:
    """Column under which :func:`change` is given.

    Parameters
    ----------
    pseudo_count
        From :func:`fold_pseudo_count`.

    Returns
    -------
    ``"log2_fold_change"`` or ``"difference"``.
    """
    return "difference" if pseudo_count is None else "log2_fold_change"


def change(
    profile: NDArray[np.floating], rest: NDArray[np.floating], pseudo_count: float | None
) -> NDArray[np.floating]:
    """Change from ``rest`` to ``profile``: a log2 fold change of counts, a difference of continuous features.

    Parameters
    ----------
    profile, rest
        Decoded profiles of any shapes that go together.
    pseudo_count
        From :func:`fold_pseudo_count`.

    Returns
    -------
    The change.
    """
    if pseudo_count is None:
        return profile - rest
    return np.log2((profile + pseudo_count) / (rest + pseudo_count))
