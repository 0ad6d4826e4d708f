"""What each condition does to each gene of a count matrix."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scwhatif.perturbation import Edit, Perturbation
from scwhatif.pp._scale_counts import enlarge, thin

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from scwhatif.pp._scale_counts import RatePrior

PerturbationLike = Perturbation | str | Mapping[str, str | float]

_NOT_COUNTS = {
    "latent": "moves a latent code, which counts do not have; decode it with scwhatif.tl.pseudo_profiles",
    "modality": "hides a modality, which one count matrix does not have; leave it out of the model's data instead",
    "context": "swaps a context, which counts do not have; change the column of obs that holds it instead",
}


@dataclass(frozen=True)
class EditChain:
    """The edits of one gene under one condition, in order."""

    column: int
    gene: str
    edits: tuple[Edit, ...]

    @property
    def is_factor(self) -> bool:
        """Whether the edits are nothing but factors, so that their product says it all."""
        return all(edit.op in ("ko", "x", "thin") for edit in self.edits)

    @property
    def factor(self) -> float:
        """Product of the factors among the edits."""
        factor = math.prod(_factor(edit) for edit in self.edits)
        # x3 and x0.333… undo each other only up to rounding
        return 1.0 if math.isclose(factor, 1.0, rel_tol=1e-12) else factor

    @property
    def enlarges(self) -> bool:
        """Whether counts have to be added at random."""
        return self.factor > 1 if self.is_factor else any(_factor(edit) > 1 for edit in self.edits)

    @property
    def keeps_zeros(self) -> bool:
        """Whether a gene without counts stays so."""
        return all(edit.keeps_zeros() for edit in self.edits)

    def draw(
        self, counts: NDArray[np.int64], rng: np.random.Generator, prior: RatePrior | None = None
    ) -> NDArray[np.int64]:
        """Edited counts; factors are carried out at random, on edits in order where they are not all factors."""
        if self.is_factor:
            return _scale(counts, self.factor, rng, prior)
        for edit in self.edits:
            counts = _scale(counts, _factor(edit), rng, None) if edit.op == "x" else edit.apply(counts, rng)
        return counts

    def multiply(self, values: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
        """Edited values, factors multiplied; the result need not be counts."""
        for edit in self.edits:
            values = edit.apply(values, rng)
        return values

    def __str__(self) -> str:
        return " + ".join(str(Edit("feature", (self.gene,), edit.op, edit.value)) for edit in self.edits)


def _factor(edit: Edit) -> float:
    if edit.op == "ko":
        return 0.0
    return float(edit.value) if edit.op in ("x", "thin") and edit.value is not None else 1.0


def _scale(
    counts: NDArray[np.int64], factor: float, rng: np.random.Generator, prior: RatePrior | None
) -> NDArray[np.int64]:
    if factor == 1:
        return counts
    return thin(counts, factor, rng) if factor < 1 else enlarge(counts, factor, rng, prior)


def read_conditions(
    perturbations: Perturbation | str | Mapping[str, PerturbationLike],
    sets: Mapping[str, Iterable[str]] | None,
    control: str | None,
) -> dict[str, Perturbation]:
    """Name of every condition and its perturbation; a single perturbation is called ``"perturbed"``."""
    named: Mapping[str, Any] = perturbations if isinstance(perturbations, Mapping) else {"perturbed": perturbations}
    if not named:
        msg = "perturbations is empty; name at least one condition."
        raise ValueError(msg)
    conditions = {}
    for name, perturbation in named.items():
        if not isinstance(name, str) or not name:
            msg = f"a condition needs a name, not {name!r}."
            raise TypeError(msg)
        if name == control:
            msg = f"{name!r} names both a condition and the unedited copy; rename the condition, or pass control=."
            raise ValueError(msg)
        try:
            conditions[name] = Perturbation.coerce(perturbation, sets=sets)
        except (TypeError, ValueError) as error:
            error.add_note(f"This is condition {name!r}: perturbations maps names of conditions to perturbations.")
            raise
    return conditions


def edit_chains(perturbation: Perturbation, var_names: pd.Index, condition: str) -> list[EditChain]:
    """Edits of every gene that is touched, by column. Refuses what is not about counts of one matrix."""
    for edit in perturbation:
        if edit.kind != "feature":
            msg = f"condition {condition!r}: {edit} {_NOT_COUNTS[edit.kind]}."
            raise ValueError(msg)
    by_column: dict[int, list[Edit]] = {}
    for column, edit in perturbation.feature_edits(var_names):
        by_column.setdefault(column, []).append(edit)
    if not by_column:
        msg = f"condition {condition!r} changes no gene; the unedited copy is there without it."
        raise ValueError(msg)
    return [EditChain(column, str(var_names[column]), tuple(edits)) for column, edits in sorted(by_column.items())]


def check_integers(chains: Sequence[EditChain], condition: str) -> None:
    """Refuse to set or add what is no count."""
    for chain in chains:
        for edit in chain.edits:
            if edit.op in ("=", "+") and not float(edit.value or 0).is_integer():
                msg = (
                    f"condition {condition!r}: {edit} would leave {chain.gene!r} without integer counts; use an "
                    "integer, or method='deterministic'."
                )
                raise ValueError(msg)


def check_pure_factors(chains: Sequence[EditChain], condition: str, up: str) -> None:
    """Refuse a gene that is both enlarged and set or shifted: what its rate would be then is not known."""
    for chain in chains:
        if chain.enlarges and not chain.is_factor:
            msg = (
                f"condition {condition!r}: {chain} mixes factors with other operations, and up={up!r} knows the rate "
                "of unedited counts only. Use factors alone, or up='poisson'."
            )
            raise ValueError(msg)
