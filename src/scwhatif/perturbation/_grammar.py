"""Reads the text form of a perturbation.

The text is read once from left to right, and at every point one rule says what a character is:

- A term is ``TARGET:OP``; exactly one operation follows, so the ``+`` after it joins terms. A ``+`` where an operation
  must start is an addition: ``MYC:+3 + TP53:ko`` is two terms.
- A number runs as far as it can: ``MYC:x1e+3`` multiplies by 1000.
- A bare name runs up to the last single colon (one that is not part of ``::``) before a blank, a joiner or a bracket:
  the target of ``chr1:10-20:ko`` is ``chr1:10-20`` and that of ``BCR::ABL1:ko`` is ``BCR::ABL1``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from numbers import Real
from typing import Final, NamedTuple, NoReturn

from scwhatif.perturbation._edit import OPS, Edit, Kind, Op, check_value
from scwhatif.perturbation._lexicon import BARE_NAME, LATENT_NAME, NUMBER
from scwhatif.perturbation._syntax_error import PerturbationSyntaxError

Sets = Mapping[str, Iterable[str]]

_BLANKS: Final = re.compile(r"\s*")
_SINGLE_COLON: Final = re.compile(r"(?<!:):(?!:)")
_WORD_OP: Final = re.compile(r"ko|hide|swap")
_NUMBER_OP: Final = re.compile(r"thin|[x=+-]")

_OPS_REMEDY: Final = (
    "operations: ko, x2 (multiply), =5 (set), +3 or -3 (add), thin0.5 (keep each molecule with that probability), "
    "hide (a modality), swap(NAME) (a context)"
)
_LATENT_REMEDY: Final = 'latent operations: +2, -1.5, =0, x0.5; a name such as z3 is written "z3" in double quotes'
_NAME_REMEDY: Final = 'names with blanks or any of + , { } ( ) " are written in double quotes, with \\" and \\\\ inside'
_TERM_REMEDY: Final = "write terms as TARGET:OP joined by +, such as TP53:ko + MYC:x2"


class _Name(NamedTuple):
    text: str
    bare: bool = False


class _Target(NamedTuple):
    start: int
    name: _Name
    members: tuple[str, ...] | None

    @property
    def latent(self) -> bool:
        return self.members is None and _is_latent(self.name)


class _Operation(NamedTuple):
    start: int
    op: Op
    value: float | str | None


def read_perturbation(text: str, sets: Sets | None = None) -> list[Edit]:
    """Read terms joined by ``+``; blank text holds none.

    Parameters
    ----------
    text
        The whole text.
    sets
        Feature sets by name; a bare name found here stands for the set.

    Returns
    -------
    The edits in the order written.

    Raises
    ------
    PerturbationSyntaxError
        If the text does not follow the grammar.
    """
    reader = _Reader(text, sets)
    edits: list[Edit] = []
    reader.skip_blanks()
    if reader.at_end():
        return edits
    while True:
        target = reader.target(in_term=True)
        reader.expect(":", "expected ':' and an operation", _OPS_REMEDY)
        edits.append(reader.edit(target, reader.operation()))
        reader.skip_blanks()
        if reader.at_end():
            return edits
        reader.expect("+", "expected '+' or the end after an operation", _TERM_REMEDY)


def read_terms(terms: Mapping[str, str | float], sets: Sets | None = None) -> list[Edit]:
    """Read terms whose targets and operations come as separate texts.

    Parameters
    ----------
    terms
        What is left of the colon, and right of it; a number is a factor. Nothing needs to mark where a target ends,
        so colons in a bare name are free.
    sets
        As in :func:`read_perturbation`.

    Returns
    -------
    The edits in the order given.

    Raises
    ------
    PerturbationSyntaxError
        If a text does not follow the grammar; it carries the text at fault.
    TypeError
        If a target is not text, or an operation neither text nor a number.
    """
    edits = []
    for target, operation in terms.items():
        number = isinstance(operation, Real) and not isinstance(operation, bool)
        if not isinstance(target, str) or not (number or isinstance(operation, str)):
            msg = f"expected a target and an operation such as 'ko' or a factor, got {target!r}: {operation!r}"
            raise TypeError(msg)
        reader = _Reader(target, sets)
        parsed = reader.target(in_term=False)
        reader.expect_end("expected the end of the target", _NAME_REMEDY)
        if isinstance(operation, str):
            operation_reader = _Reader(operation, sets)
            # Whatever is wrong with the two together is shown at the target.
            parsed_operation = operation_reader.operation()._replace(start=parsed.start)
            operation_reader.expect_end("expected the end of the operation", _OPS_REMEDY)
        else:
            parsed_operation = _Operation(parsed.start, "x", reader.value("x", operation, parsed.start))
        edits.append(reader.edit(parsed, parsed_operation))
    return edits


class _Reader:
    """A position in a text, and the rules that move it."""

    def __init__(self, text: str, sets: Sets | None) -> None:
        self.text = text
        self.sets = sets or {}
        self.position = 0

    def fail(self, problem: str, remedy: str, position: int | None = None) -> NoReturn:
        raise PerturbationSyntaxError(problem, self.text, self.position if position is None else position, remedy)

    def at_end(self) -> bool:
        return self.position == len(self.text)

    def next_is(self, char: str) -> bool:
        return self.text.startswith(char, self.position)

    def skip_blanks(self) -> None:
        self.position = self._after_blanks(self.position)

    def _after_blanks(self, position: int) -> int:
        found = _BLANKS.match(self.text, position)
        return found.end() if found else position

    def expect(self, char: str, problem: str, remedy: str) -> None:
        self.skip_blanks()
        if not self.next_is(char):
            self.fail(problem, remedy)
        self.position += 1

    def expect_end(self, problem: str, remedy: str) -> None:
        self.skip_blanks()
        if not self.at_end():
            self.fail(problem, remedy)

    def target(self, *, in_term: bool) -> _Target:
        self.skip_blanks()
        start = self.position
        name = _Name("") if self.next_is("{") else self.name("expected a target", _TERM_REMEDY, before_op=in_term)
        brace = self._after_blanks(self.position)
        if not self.text.startswith("{", brace):
            return _Target(start, name, None)
        self.position = brace + 1
        members = [self.member()]
        self.skip_blanks()
        while not self.next_is("}"):
            self.expect(",", "expected ',' or '}' in a feature set", _NAME_REMEDY)
            members.append(self.member())
            self.skip_blanks()
        self.position += 1
        return _Target(start, name, tuple(members))

    def member(self) -> str:
        self.skip_blanks()
        start = self.position
        name = self.name("expected a feature name", _NAME_REMEDY)
        if _is_latent(name):
            self.fail("latent dimensions do not form sets", _LATENT_REMEDY, start)
        return name.text

    def name(self, problem: str, remedy: str, *, before_op: bool = False) -> _Name:
        if self.next_is('"'):
            return _Name(self.quoted_name())
        found = BARE_NAME.match(self.text, self.position)
        run = found.group() if found else ""
        if before_op and not self._run_is_name(run):
            colons = list(_SINGLE_COLON.finditer(run))
            run = run[: colons[-1].start()] if colons else run
        if not run:
            self.fail(problem, remedy)
        self.position += len(run)
        return _Name(run, bare=True)

    def _run_is_name(self, run: str) -> bool:
        """Whether a bracket or a detached colon follows, so that no colon inside the run precedes an operation."""
        after = self._after_blanks(self.position + len(run))
        return self.text.startswith(":", after) or (self.text.startswith("{", after) and not run.endswith(":"))

    def quoted_name(self) -> str:
        start = self.position
        self.position += 1
        chars: list[str] = []
        while not self.next_is('"'):
            if self.next_is("\\"):
                self.position += 1
                if not (self.next_is("\\") or self.next_is('"')):
                    self.fail("unknown escape in a quoted name", _NAME_REMEDY, self.position - 1)
            if self.at_end():
                self.fail("this quote is never closed", _NAME_REMEDY, start)
            chars.append(self.text[self.position])
            self.position += 1
        self.position += 1
        if not chars:
            self.fail("empty name", _NAME_REMEDY, start)
        return "".join(chars)

    def operation(self) -> _Operation:
        self.skip_blanks()
        start = self.position
        operation = self._word_operation(start) or self._number_operation(start)
        if operation is None or BARE_NAME.match(self.text, self.position):
            rest = BARE_NAME.match(self.text, self.position)
            shown = self.text[start : rest.end() if rest else start + 1]
            problem = f"unknown operation {shown!r}" if shown else "expected an operation"
            self.fail(problem, _OPS_REMEDY, start)
        return operation

    def _word_operation(self, start: int) -> _Operation | None:
        found = _WORD_OP.match(self.text, start)
        if found is None:
            return None
        self.position = found.end()
        if found.group() != "swap":
            return _Operation(start, "ko" if found.group() == "ko" else "hide", None)
        if BARE_NAME.match(self.text, self.position):
            return None
        if not self.next_is("("):
            self.fail("expected '(' after 'swap'", _OPS_REMEDY)
        self.position += 1
        self.skip_blanks()
        context = self.name("expected the name of a context", _NAME_REMEDY).text
        self.expect(")", "expected ')'", _NAME_REMEDY)
        return _Operation(start, "swap", context)

    def _number_operation(self, start: int) -> _Operation | None:
        found = _NUMBER_OP.match(self.text, start)
        if found is None:
            return None
        head = found.group()
        self.position = number_start = found.end()
        negative = head == "-"
        if head not in "+-" and self.next_is("-"):
            negative = True
            self.position += 1
        number = NUMBER.match(self.text, self.position)
        if number is None:
            # "xyz" is an unknown word, but "x" or "=five" lacks its number.
            if head.isalpha() and BARE_NAME.match(self.text, number_start):
                return None
            self.fail(f"expected a number after {head!r}", _OPS_REMEDY, number_start)
        self.position = number.end()
        op: Op = "+" if head == "-" else head  # type: ignore[assignment]
        value = -float(number.group()) if negative else float(number.group())
        return _Operation(start, op, self.value(op, value, number_start))

    def value(self, op: Op, value: float, position: int) -> float | str | None:
        try:
            return check_value(op, value)
        except ValueError as error:
            self.fail(str(error), _OPS_REMEDY, position)

    def edit(self, target: _Target, operation: _Operation) -> Edit:
        kind: Kind = next(kind for kind, ops in OPS.items() if operation.op in ops)
        if target.latent:
            if target.name.text in self.sets:
                self.fail("this names both a latent dimension and a feature set", "rename the set", target.start)
            if operation.op not in OPS["latent"]:
                self.fail(f"{operation.op!r} does not apply to a latent dimension", _LATENT_REMEDY, operation.start)
            kind = "latent"
        if kind in ("modality", "context") and target.members is not None:
            self.fail(f"{operation.op!r} takes one {kind}, not a feature set", _OPS_REMEDY, operation.start)
        members, set_name = self._members(target, resolve=kind == "feature")
        return Edit(kind, members, operation.op, operation.value, set_name=set_name)

    def _members(self, target: _Target, *, resolve: bool) -> tuple[tuple[str, ...], str]:
        if target.members is not None:
            return target.members, target.name.text
        name = target.name.text
        if not (resolve and target.name.bare and name in self.sets):
            return (name,), ""
        members = self.sets[name]
        if isinstance(members, str):
            msg = f"feature set {name!r} is the str {members!r}; give a list of names"
            raise TypeError(msg)
        names = tuple(members)
        if not names:
            self.fail(f"feature set {name!r} is empty", "give it members or leave the term out", target.start)
        return names, name


def _is_latent(name: _Name) -> bool:
    return name.bare and LATENT_NAME.fullmatch(name.text) is not None
