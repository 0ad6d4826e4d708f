"""Which rows :class:`scwhatif.model.MetricEncoder` learns from and which it is judged by."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import torch
from scipy import sparse

from scwhatif.model._metric_encoder_checks import check_constant, codes_of, input_of
from scwhatif.train._pk_sampler import has_positive
from scwhatif.train._pk_splitter import MetricRows

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anndata import AnnData
    from numpy.typing import NDArray

SplitBy = Literal["identity", "exam", "row"]

_SHARE = {"identity": 1 / 3, "exam": 0.25, "row": 0.25}
# with fewer there would be too few to learn from once some are held out
_MIN_IDENTITIES = 5


@dataclass
class MetricSplit:
    """Parts of the rows, as positions.

    Attributes
    ----------
    train, validation
        Rows to learn from, and rows that ask for others of their identity.
    gallery
        Rows among which they look.
    unused
        All others.
    by
        What was held out: ``"identity"``, ``"exam"``, ``"row"``, or ``"external"``.
    """

    train: NDArray[np.int64]
    validation: NDArray[np.int64]
    gallery: NDArray[np.int64]
    unused: NDArray[np.int64]
    by: str


def read_rows(adata: AnnData, setup: Mapping[str, Any]) -> MetricRows:
    """Read the input and the codes of identities and exams.

    Parameters
    ----------
    adata
        The data.
    setup
        Arguments of ``setup_anndata``.

    Returns
    -------
    The rows, on the CPU.

    Raises
    ------
    ValueError
        The input is constant.
    """
    stored, name = input_of(adata, setup)
    x = dense(stored)
    check_constant(x, name)
    exam = None if setup["exam_key"] is None else torch.from_numpy(codes_of(adata, setup["exam_key"]))
    return MetricRows(torch.from_numpy(x), torch.from_numpy(codes_of(adata, setup["identity_key"])), exam)


def dense(values: Any) -> NDArray[np.float32]:
    """Values as a dense array of its own, float32.

    Parameters
    ----------
    values
        Array, sparse matrix, or backed matrix.

    Returns
    -------
    The array.
    """
    values = values.to_memory() if hasattr(values, "to_memory") else values[:]
    return np.array(values.toarray() if sparse.issparse(values) else values, dtype=np.float32, order="C")


def split_rows(
    identity: NDArray[np.int64],
    exam: NDArray[np.int64] | None,
    *,
    split_by: SplitBy | None = None,
    validation_size: float | None = None,
    external_indexing: Sequence[NDArray] | None = None,
    seed: int | None = 0,
) -> MetricSplit:
    """Hold out identities, exams or rows.

    Parameters
    ----------
    identity, exam
        Codes; exams may be ``None``.
    split_by
        What to hold out; ``None`` is identities where there are 5 or more, otherwise rows.
    validation_size
        Share to hold out; by default a third of the identities, or a quarter of the exams or rows.
    external_indexing
        Positions of training and validation rows, instead; the others take no part.
    seed
        Seeds the split.

    Returns
    -------
    The split.

    Raises
    ------
    ValueError
        A setting is not known or out of range, or too little is left to learn from or to be judged by.
    """
    usable = has_positive(identity, exam)
    if external_indexing is not None:
        train, validation = _given(external_indexing, len(identity))
        gallery, by = validation, "external"
    else:
        found = np.unique(identity[usable])
        by = split_by if split_by is not None else _default(len(found))
        if by not in get_args(SplitBy):
            msg = f"split_by={by!r} must be one of {get_args(SplitBy)}, or None."
            raise ValueError(msg)
        if by == "exam" and exam is None:
            msg = "split_by='exam' holds out exams, so it needs exam_key in setup_anndata."
            raise ValueError(msg)
        share = _SHARE[by] if validation_size is None else validation_size
        if not 0 < share < 1:
            msg = f"validation_size={share} must be between 0 and 1."
            raise ValueError(msg)
        rng = np.random.default_rng(seed)
        if by == "row":
            held = _some_of_each(identity, exam, share, rng)
        else:
            units = identity if by == "identity" or exam is None else exam
            names = np.unique(units[usable])
            least = 2 if by == "identity" else 1
            n_held = max(least, round(share * len(names)))
            held = np.isin(units, rng.permutation(names)[:n_held])
        train, validation = np.flatnonzero(usable & ~held), np.flatnonzero(usable & held)
        gallery = np.flatnonzero(usable) if by == "exam" else validation
    _check_parts(identity, exam, train, validation, gallery, by)
    unused = np.setdiff1d(np.arange(len(identity)), np.concatenate([train, validation]))
    return MetricSplit(train, validation, gallery, unused, by)


def _default(n_identities: int) -> SplitBy:
    if n_identities >= _MIN_IDENTITIES:
        return "identity"
    warnings.warn(
        f"There are {n_identities} identities, too few to hold some out: a quarter of the rows of each is held out "
        "instead. The choice of the epoch then rests on identities that are trained on, and says nothing of others.",
        UserWarning,
        stacklevel=4,
    )
    return "row"


def _given(parts: Sequence[NDArray], n_rows: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    arrays = [np.asarray(part, dtype=np.int64) for part in parts]
    together = np.concatenate(arrays) if arrays else np.zeros(0, dtype=np.int64)
    inside = len(together) == 0 or (together.min() >= 0 and together.max() < n_rows)
    if len(arrays) not in (2, 3) or not inside or len(np.unique(together)) < len(together):
        msg = (
            "external_indexing must hold the positions of training and validation rows, and perhaps of others that "
            f"take no part: from 0 to {n_rows - 1}, none of them twice."
        )
        raise ValueError(msg)
    return arrays[0], arrays[1]


def _some_of_each(
    identity: NDArray[np.int64], exam: NDArray[np.int64] | None, share: float, rng: np.random.Generator
) -> NDArray[np.bool_]:
    """A share of the rows of every identity, spread over its exams, at least two of those that have four."""
    held = np.zeros(len(identity), dtype=bool)
    for code in np.unique(identity):
        rows = rng.permutation(np.flatnonzero(identity == code))
        if len(rows) < 4:
            continue
        n_held = max(2, round(share * len(rows)))
        if exam is not None:
            # every so many rows of each exam in turn
            turn = np.zeros(len(rows))
            for each in np.unique(exam[rows]):
                own = exam[rows] == each
                turn[own] = np.arange(own.sum())
            rows = rows[np.argsort(turn, kind="stable")]
        held[rows[:n_held]] = True
    return held


def _check_parts(
    identity: NDArray[np.int64],
    exam: NDArray[np.int64] | None,
    train: NDArray[np.int64],
    validation: NDArray[np.int64],
    gallery: NDArray[np.int64],
    by: str,
) -> None:
    seen = "two rows" if exam is None else "rows in two exams"
    learnt = has_positive(identity[train], None if exam is None else exam[train])
    if len(np.unique(identity[train][learnt])) < 2:
        msg = (
            f"Fewer than 2 identities have {seen} among the {len(train)} training rows (split by {by}); hold out less "
            "(validation_size), split by something else (split_by), or give the split as external_indexing."
        )
        raise ValueError(msg)
    found = has_positive(identity[gallery], None if exam is None else exam[gallery])
    asking = np.intersect1d(gallery[found], validation)
    if not len(asking) or len(np.unique(identity[gallery])) < 2:
        msg = (
            f"None of the {len(validation)} validation rows (split by {by}) has an answer and a competitor: no two "
            f"identities have {seen}. Hold out more (validation_size), split by something else (split_by), or give "
            "the split as external_indexing."
        )
        raise ValueError(msg)
