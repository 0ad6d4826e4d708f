"""One elementary change."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

import numpy as np

from scwhatif.perturbation._lexicon import LATENT_NAME, format_name, format_number

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import ArrayLike, NDArray

Kind = Literal["feature", "latent", "modality", "context"]
Op = Literal["ko", "x", "=", "+", "thin", "hide", "swap"]

KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
OPS: Final[dict[Kind, tuple[Op, ...]]] = {
    "feature": ("ko", "x", "=", "+", "thin"),
    "latent": ("x", "=", "+"),
    "modality": ("hide",),
    "context": ("swap",),
}
_NUMBER_RANGE: Final[dict[str, tuple[float, float]]] = {
    "x": (0.0, math.inf),
    "=": (-math.inf, math.inf),
    "+": (-math.inf, math.inf),
    "thin": (0.0, 1.0),
}


@dataclass(frozen=True, slots=True)
class Edit:
    """One operation on one target: a feature, a set of features, a latent dimension, a modality or a context.

    Usually written as text and read by :meth:`Perturbation.parse`; the constructor takes the same facts apart.

    Parameters
    ----------
    kind
        What the target is: ``"feature"``, ``"latent"``, ``"modality"`` or ``"context"``.
    members
        The names touched. Several are allowed for features only, where they form a set: they are stored sorted and
        without repeats. A latent dimension is named ``"z0"``, ``"z1"``, ….
    op
        For features ``"ko"`` (set to 0), ``"x"`` (multiply), ``"="`` (set), ``"+"`` (add; negative to subtract) or
        ``"thin"`` (keep each molecule with a probability); for latent dimensions ``"x"``, ``"="`` or ``"+"``; for a
        modality ``"hide"``; for a context ``"swap"``.
    value
        The number of ``"x"`` (at least 0), ``"="``, ``"+"`` and ``"thin"`` (within 0 and 1), or the context swapped
        in. ``None`` for ``"ko"`` and ``"hide"``. ``x0``, ``=0`` and ``ko`` are different values that do the same
        to counts.
    set_name
        Name of the feature set, or empty.

    Raises
    ------
    ValueError
        If the operation does not exist for the kind, the number is out of range, or a name is empty.
    TypeError
        If a name or the value has the wrong type.

    Examples
    --------
    >>> edit = Edit("feature", ("STMN2", "NEFL"), "x", 0.5, set_name="ALS_down")
    >>> print(edit)
    ALS_down{NEFL,STMN2}:x0.5
    >>> edit.apply([4, 3])
    array([2. , 1.5])
    """

    kind: Kind
    members: tuple[str, ...]
    op: Op
    value: float | str | None = None
    set_name: str = ""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            msg = f"unknown kind {self.kind!r}; choose one of {', '.join(KINDS)}"
            raise ValueError(msg)
        if self.op not in OPS[self.kind]:
            choices = ", ".join(OPS[self.kind])
            msg = f"operation {self.op!r} does not apply to a {self.kind} target; choose one of {choices}"
            raise ValueError(msg)
        object.__setattr__(self, "members", _check_members(self.kind, self.members))
        if not isinstance(self.set_name, str) or (self.set_name and self.kind != "feature"):
            msg = f"set_name must be a str and belongs to feature sets only, got {self.set_name!r} for {self.kind!r}"
            raise ValueError(msg)
        object.__setattr__(self, "value", check_value(self.op, self.value))

    @property
    def target(self) -> str:
        """What is changed, as the grammar writes it."""
        if self.kind == "latent":
            return self.members[0]
        names = ",".join(format_name(member) for member in self.members)
        if self.set_name:
            return f"{format_name(self.set_name)}{{{names}}}"
        return f"{{{names}}}" if len(self.members) > 1 else names

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the features touched; empty for other kinds."""
        return self.members if self.kind == "feature" else ()

    @property
    def dim(self) -> int | None:
        """0-based latent dimension; ``None`` for other kinds."""
        return int(self.members[0][1:]) if self.kind == "latent" else None

    def __str__(self) -> str:
        if isinstance(self.value, str):
            return f"{self.target}:{self.op}({format_name(self.value)})"
        if self.value is None:
            return f"{self.target}:{self.op}"
        number = format_number(self.value)
        # A negative number carries its own sign.
        return f"{self.target}:{number if self.op == '+' and self.value < 0 else self.op + number}"

    def keeps_zeros(self, *, clip: bool = True) -> bool:
        """Whether zeros stay zeros, so that only stored entries of a sparse matrix need a visit.

        Parameters
        ----------
        clip
            As in :meth:`apply`.

        Returns
        -------
        ``True`` if applying the edit to 0 gives 0.

        Examples
        --------
        >>> Edit("feature", ("TP53",), "ko").keeps_zeros(), Edit("feature", ("TP53",), "+", 3).keeps_zeros()
        (True, False)
        """
        if not isinstance(self.value, float):
            return self.op == "ko"
        if self.op in ("x", "thin"):
            return True
        clipped = clip and self.kind == "feature" and self.op == "+"
        return self.value == 0 or (clipped and self.value < 0)

    def apply(
        self, values: ArrayLike, rng: np.random.Generator | int | None = None, *, clip: bool = True
    ) -> NDArray[Any]:
        """Apply the edit to every element.

        Parameters
        ----------
        values
            Numbers of the feature or latent dimension, of any shape. Never changed.
        rng
            Generator or seed; needed by ``thin`` only. Zeros draw nothing, so that dense and sparse data agree.
        clip
            Whether features are amounts that cannot fall below 0, such as counts: subtracting then stops at 0.
            Pass ``False`` for signed data, such as log ratios. Latent dimensions are always signed.

        Returns
        -------
        A new array: of the same dtype where that is floating, or where it is integer and the operation keeps
        integers (``ko``, ``thin``, and integer numbers in the others); otherwise ``float64``.

        Raises
        ------
        ValueError
            If the edit changes no numbers (``hide``, ``swap``), if ``thin`` meets anything but counts or has no
            ``rng``, if values are signed although ``clip`` says they are not, or if a result does not fit the dtype.
        TypeError
            If the values are not real numbers.

        Examples
        --------
        >>> Edit("feature", ("MYC",), "+", -3).apply([5, 2, 0])
        array([2, 0, 0])
        >>> Edit("feature", ("MYC",), "thin", 0.5).apply([8, 8, 0], rng=0)
        array([5, 3, 0])
        """
        values = np.asarray(values)
        if values.dtype.kind not in "biuf":
            msg = f"{self} needs real numbers, got dtype {values.dtype}"
            raise TypeError(msg)
        if isinstance(self.value, str) or self.op == "hide":
            msg = (
                f"{self} changes no numbers: a {self.kind} edit is carried out by a model that has {self.kind} targets"
            )
            raise ValueError(msg)
        number = 0.0 if self.value is None else self.value
        if self.op == "thin":
            return self._thin(values, number, rng)
        clip = clip and self.kind == "feature"
        if clip and ((self.op == "=" and number < 0) or (self.op == "+" and bool((values < 0).any()))):
            msg = f"{self} meets values below 0; pass clip=False if this feature is signed (not a count)"
            raise ValueError(msg)
        if values.dtype.kind == "f" or not number.is_integer():
            floats = values if values.dtype.kind == "f" else values.astype(np.float64)
            return self._on_floats(floats, number, clip=clip)
        return self._on_integers(values, int(number), clip=clip)

    def _on_floats(self, values: NDArray[Any], number: float, *, clip: bool) -> NDArray[Any]:
        if abs(number) > float(np.finfo(values.dtype).max):
            raise self._overflow(values.dtype)
        if self.op == "x":
            return np.asarray(values * values.dtype.type(number))
        if self.op == "+":
            moved = values + values.dtype.type(number)
            return np.asarray(np.maximum(moved, 0) if clip else moved)
        return np.full_like(values, number)

    def _on_integers(self, values: NDArray[Any], number: int, *, clip: bool) -> NDArray[Any]:
        if not values.size:
            return values.copy()
        # Python integers cannot overflow, so the extremes show whether any element would.
        extremes = int(values.min()), int(values.max())
        if self.op == "x":
            after = [extreme * number for extreme in extremes]
        elif self.op == "+":
            after = [max(extreme + number, 0) if clip else extreme + number for extreme in extremes]
        else:
            after = [number]
        lowest, highest = (0, 1) if values.dtype.kind == "b" else _integer_range(values.dtype)
        wide_lowest, wide_highest = _integer_range(np.dtype(np.int64))
        if min(after) < lowest or max(after) > highest:
            raise self._overflow(values.dtype)
        if min(*after, *extremes, number) < wide_lowest or max(*after, *extremes, number) > wide_highest:
            raise self._overflow(np.dtype(np.int64))
        wide = values.astype(np.int64)
        if self.op == "x":
            result = wide * number
        elif self.op == "+":
            result = np.maximum(wide + number, 0) if clip else wide + number
        else:
            result = np.full(values.shape, number)
        return np.asarray(result).astype(values.dtype)

    def _thin(self, values: NDArray[Any], probability: float, rng: np.random.Generator | int | None) -> NDArray[Any]:
        if rng is None:
            msg = f"{self} draws at random: pass rng=, a seed or a numpy Generator"
            raise ValueError(msg)
        if values.dtype.kind == "f" and not bool((values == np.floor(values)).all() and np.isfinite(values).all()):
            msg = f"{self} needs integer counts: thin raw counts, or use x{format_number(probability)} on other values"
            raise ValueError(msg)
        if bool((values < 0).any()):
            msg = f"{self} needs counts, got values below 0"
            raise ValueError(msg)
        thinned = values.copy()
        drawn = np.nonzero(values)
        thinned[drawn] = np.random.default_rng(rng).binomial(values[drawn].astype(np.int64), probability)
        return thinned

    def _overflow(self, dtype: np.dtype) -> ValueError:
        return ValueError(f"the result of {self} does not fit in {dtype}; convert the values to a wider dtype first")


def feature_edit(features: str | Iterable[str], op: Op, value: float | None = None) -> Edit:
    """One edit of a feature, or of several together."""
    return Edit("feature", (features,) if isinstance(features, str) else tuple(features), op, value)


def check_value(op: Op, value: float | str | None) -> float | str | None:
    """Return the value an operation stores, or raise if it takes no such value."""
    if op in _NUMBER_RANGE:
        if isinstance(value, str | bool | np.bool_) or value is None:
            msg = f"operation {op!r} takes a number, got {value!r}"
            raise TypeError(msg)
        # Adding 0.0 turns -0.0 into 0.0: the two are equal, so they must not leave different bits in the data.
        number = float(value) + 0.0
        lowest, highest = _NUMBER_RANGE[op]
        if not math.isfinite(number) or not lowest <= number <= highest:
            bounds = f" of at least {lowest:g}" if math.isfinite(lowest) else ""
            bounds += f" and at most {highest:g}" if math.isfinite(highest) else ""
            msg = f"operation {op!r} takes a finite number{bounds}, got {value!r}"
            raise ValueError(msg)
        return number
    if op == "swap":
        if not isinstance(value, str):
            msg = f"operation 'swap' takes the name of a context, got {value!r}"
            raise TypeError(msg)
        if not value:
            msg = "operation 'swap' takes the name of a context, got an empty one"
            raise ValueError(msg)
        return value
    if value is not None:
        msg = f"operation {op!r} takes no value, got {value!r}"
        raise ValueError(msg)
    return None


def _check_members(kind: Kind, members: tuple[str, ...]) -> tuple[str, ...]:
    if not isinstance(members, tuple) or not all(isinstance(member, str) for member in members):
        msg = f"members must be a tuple of str, got {members!r}"
        raise TypeError(msg)
    # A set has no order: storing it sorted makes equal sets equal values. str() drops subclasses such as np.str_.
    names = tuple(sorted({str(member) for member in members}))
    if not names or not all(names):
        msg = f"an edit needs names that are not empty, got {members!r}"
        raise ValueError(msg)
    if kind != "feature" and len(names) > 1:
        msg = f"a {kind} edit has one target, got {names!r}; write one edit for each"
        raise ValueError(msg)
    if kind == "latent":
        if not LATENT_NAME.fullmatch(names[0]):
            msg = f"a latent dimension is named z0, z1, …, got {names[0]!r}"
            raise ValueError(msg)
        return (f"z{int(names[0][1:])}",)
    return names


def _integer_range(dtype: np.dtype) -> tuple[int, int]:
    limits = np.iinfo(dtype)
    return int(limits.min), int(limits.max)
