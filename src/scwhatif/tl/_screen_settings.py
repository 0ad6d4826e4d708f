"""What every screen can be asked, and what it refuses before it starts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from scwhatif.metrics import MIN_MATCHED
from scwhatif.tl._screen_table import Covariate

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from anndata import AnnData
    from numpy.typing import NDArray

    from scwhatif.engine import EncoderPlan, ScreenStore
    from scwhatif.perturbation import Edit

Library = Literal["original", "renorm"]
Pairs = Literal["layer", "zarr"]

# Any name will do: the operation is carried out on one gene after another.
_TARGET = "gene"


def read_op(op: str) -> Edit:
    """The edit that a text such as ``"x0.5"`` stands for, or ``ValueError``."""
    from scwhatif.perturbation import Perturbation

    edits = Perturbation.parse(f"{_TARGET}:{op}").edits
    if len(edits) != 1 or edits[0].kind != "feature":
        msg = f"op={op!r} is not one operation on a gene, such as 'ko', 'x0.5', '=1', '+3' or 'thin0.5'."
        raise ValueError(msg)
    return edits[0]


def gene_columns(adata: AnnData, genes: str | Sequence[str] | None) -> NDArray[np.int64]:
    """Columns of the genes asked for, sorted; of all genes for ``None``."""
    from scwhatif.perturbation import Perturbation

    if genes is None:
        return np.arange(adata.n_vars)
    if not len(genes):
        msg = "genes is empty; pass None to test all."
        raise ValueError(msg)
    edits = Perturbation.knockout(genes).feature_edits(adata.var_names)
    return np.array(sorted(column for column, _ in edits))


def check_plan(plan: EncoderPlan, model_name: str, *, library: str, match_on: Sequence[str]) -> None:
    """Raise ``ValueError`` for what an encoder cannot be asked."""
    if library not in get_args(Library):
        msg = f"library={library!r} must be one of {get_args(Library)}."
        raise ValueError(msg)
    if plan.signed and library == "renorm":
        msg = "library='renorm' is about totals of counts, but this model's features are continuous; leave it out."
        raise ValueError(msg)
    if "weight" in match_on and plan.weight_norm is None:
        msg = f"the encoder of {model_name} has no weights per gene to match on; leave 'weight' out of match_on."
        raise ValueError(msg)


def check_match_on(match_on: Sequence[str]) -> None:
    """Raise ``ValueError`` unless these are covariates that genes can be matched on."""
    known = get_args(Covariate)
    if isinstance(match_on, str) or not match_on or not set(match_on) <= set(known):
        msg = f"match_on={match_on!r} must hold one or more of {known}."
        raise ValueError(msg)


def check_n_null(n_null: int) -> None:
    """Raise ``ValueError`` unless so many matched genes are enough to compare one with, or none are wanted."""
    if n_null != 0 and n_null < MIN_MATCHED:
        msg = f"n_null={n_null} is too few to estimate a spread; use {MIN_MATCHED} or more, or 0 for none."
        raise ValueError(msg)


def check_pairs(pairs: str | None, store: str | Path | None) -> None:
    """Raise ``ValueError`` unless there is a place for the pairs that are to be kept."""
    if pairs not in (None, *get_args(Pairs)):
        msg = f"pairs={pairs!r} must be None or one of {get_args(Pairs)}."
        raise ValueError(msg)
    if pairs == "zarr" and store is None:
        msg = "pairs='zarr' needs store=, the folder to write them to; pairs='layer' keeps them in memory."
        raise ValueError(msg)
    if pairs == "layer" and store is not None:
        msg = "pairs='layer' and store= exclude each other, because a store keeps the pairs itself; use pairs='zarr'."
        raise ValueError(msg)


def open_store(path: str | Path | None, recorded: Mapping[str, Any]) -> ScreenStore | None:
    """Where a screen keeps its checkpoints: another model, or other arguments of its tool, make it another screen."""
    if path is None:
        return None
    from scwhatif.engine import ScreenStore

    # arguments that only concern what is made of the sums may change
    named = ("model_class", "model_hash", "op", "plan")
    return ScreenStore(path, {name: value for name, value in recorded.items() if name in named})
