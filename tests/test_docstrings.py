"""Everything public has a complete numpy docstring."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
import textwrap
from enum import Enum
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import scwhatif

if TYPE_CHECKING:
    from collections.abc import Iterator

SOURCE = Path(scwhatif.__file__).parent
ROOMS = sorted(path.parent.name for path in SOURCE.glob("*/__init__.py"))
# What torch, lightning and scvi-tools call and define: an override there needs only say what is different.
INTERNAL = ("module", "nn", "train")
SELF = ("self", "cls")


def sections(doc: str) -> dict[str, str]:
    """Text of a numpy docstring by section; what stands before the first one is ``""``."""
    parts = re.split(r"^(\S[^\n]*)\n-{3,}[ ]*$", doc, flags=re.MULTILINE)
    return {"": parts[0], **dict(zip(parts[1::2], parts[2::2], strict=True))}


def documented(section: str) -> set[str]:
    """Names that head the entries of a Parameters section."""
    heads = re.findall(r"^(\S[^:\n]*)", section, flags=re.MULTILINE)
    return {name.strip().replace("\\", "").lstrip("*") for head in heads for name in head.split(",")}


def raised(function: Any) -> set[str]:
    """Names of the exceptions a function raises itself, nested functions and re-raises left out."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError):  # generated code, as in dataclasses
        return set()
    found: set[str] = set()
    # Python 3.13 takes the first line of the module for the source of what a namedtuple generates
    open_nodes: list[ast.AST] = list(getattr(tree.body[0], "body", []))
    while open_nodes:
        node = open_nodes.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef):
            continue
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call | ast.Name):
            found.add(ast.unparse(node.exc.func if isinstance(node.exc, ast.Call) else node.exc))
        open_nodes += ast.iter_child_nodes(node)
    return {name for name in found if name[0].isupper()} - {"NotImplementedError"}


def parameters(function: Any) -> list[str]:
    try:
        names = inspect.signature(function).parameters
    except (TypeError, ValueError):
        return []
    return [name for name in names if name not in SELF and not name.startswith("_")]


def returns_something(function: Any) -> bool:
    annotation = inspect.signature(function).return_annotation
    return annotation not in (None, "None", "NoReturn", "Never", inspect.Signature.empty)


def check_text(doc: str | None) -> list[str]:
    if not doc or not doc.strip():
        return ["no docstring"]
    problems = [] if sections(doc)[""].strip() else ["no summary"]
    return problems + (["a %(...)s was not filled in"] if re.search(r"%\(\w*\)s", doc) else [])


def check_function(function: Any, *, contract: Any = None) -> list[str]:
    """``contract``: the method of a foreign base class that is overridden; what it names needs no second telling."""
    doc = inspect.getdoc(function)
    if problems := check_text(doc):
        return problems
    parts = sections(doc or "")
    told = documented(parts.get("Parameters", "")) | documented(parts.get("Other Parameters", ""))
    known = {*told, *(parameters(contract) if contract else ())}
    problems = [f"parameter {name} is not documented" for name in parameters(function) if name not in known]
    problems += [f"{name} is documented but not a parameter" for name in told - {*parameters(function), "", *SELF}]
    if not contract and returns_something(function) and not {"Returns", "Yields"} & set(parts):
        problems.append("no Returns section")
    return problems + check_raises(function, parts)


def check_raises(function: Any, parts: dict[str, str]) -> list[str]:
    section = parts.get("Raises", "")
    return [f"{name} is missing from Raises" for name in sorted(raised(function)) if name not in section]


def foreign_base(cls: type, name: str) -> Any:
    """The attribute of that name in a base class outside the package."""
    for base in cls.__mro__[1:]:
        if name in vars(base) and base.__module__.partition(".")[0] not in ("scwhatif", "builtins"):
            return getattr(base, name)
    return None


def check_class(cls: type, *, internal: bool) -> Iterator[tuple[str, str]]:
    name = cls.__qualname__
    doc = inspect.getdoc(cls) if cls.__doc__ else None
    if problems := check_text(doc):
        yield from ((name, problem) for problem in problems)
        return
    parts = sections(doc or "")
    told = documented(parts.get("Parameters", "")) | documented(parts.get("Attributes", ""))
    if not issubclass(cls, Enum | BaseException):
        names = parameters(cls)
        if dataclasses.is_dataclass(cls):
            names = [field.name for field in dataclasses.fields(cls) if field.init and field.name in names]
        yield from ((name, f"parameter {each} is not documented") for each in names if each not in told)
    for special in ("__init__", "__post_init__", "__new__"):
        if special in vars(cls):
            yield from ((name, problem) for problem in check_raises(vars(cls)[special], parts))
    for owner in cls.__mro__:
        if owner.__module__.partition(".")[0] != "scwhatif":
            continue
        for key, value in vars(owner).items():
            if key.startswith("_"):
                continue
            where = f"{owner.__qualname__}.{key}"
            if isinstance(value, property):
                yield from ((where, problem) for problem in check_text(inspect.getdoc(value)))
            elif inspect.isfunction(function := inspect.unwrap(getattr(value, "__func__", value))):
                contract = foreign_base(owner, key) if internal else None
                yield from ((where, problem) for problem in check_function(function, contract=contract))


def public(room: str) -> list[Any]:
    module = import_module(f"scwhatif.{room}")
    return [getattr(module, name) for name in getattr(module, "__all__", [])]


@pytest.mark.parametrize("room", ROOMS)
def test_public_names_are_listed(room: str):
    """Otherwise every test that walks ``__all__`` would pass on nothing."""
    if any(path.name != "__init__.py" for path in (SOURCE / room).rglob("*.py")):
        assert public(room)


@pytest.mark.parametrize("room", ROOMS)
def test_docstrings(room: str):
    problems = check_text(import_module(f"scwhatif.{room}").__doc__) if public(room) else []
    for thing in public(room):
        if inspect.isclass(thing):
            found = check_class(thing, internal=room in INTERNAL)
            problems += [f"{room}.{where}: {problem}" for where, problem in found]
        elif inspect.isfunction(thing):
            problems += [f"{room}.{thing.__name__}: {problem}" for problem in check_function(thing)]
    assert not problems, "\n".join(sorted(set(problems)))


def good(a: int, *rest: int, b: int = 0) -> int:
    r"""Add.

    Parameters
    ----------
    a, \*rest
        What is added:
        numbers.
    b : int, optional
        Added as well.

    Returns
    -------
    The sum.

    Raises
    ------
    ValueError
        If a is negative.
    """
    if a < 0:
        raise ValueError
    return sum(rest, a + b)


def undocumented(a: int) -> None: ...


def no_sections(a: int) -> int:
    """Add."""
    if a < 0:
        raise KeyError("a")
    return a


def leaking(a: int) -> None:
    """Add.

    Parameters
    ----------
    %(param_a)s
    """


def stale(a: int) -> None:
    """Add.

    Parameters
    ----------
    a
        A number.
    b
        Gone.
    """


@pytest.mark.parametrize(
    ("function", "problems"),
    [
        (good, []),
        (undocumented, ["no docstring"]),
        (no_sections, ["parameter a is not documented", "no Returns section", "KeyError is missing from Raises"]),
        (leaking, ["a %(...)s was not filled in"]),
        (stale, ["b is documented but not a parameter"]),
    ],
)
def test_the_checks_themselves(function: Any, problems: list[str]):
    assert check_function(function) == problems


class Undocumented:
    """Hold a number.

    Parameters
    ----------
    a
        The number.
    """

    def __init__(self, a: int, b: int):
        if a < b:
            raise ValueError

    def method(self, c: int) -> None:
        """Do nothing."""

    @property
    def bare(self) -> int:
        return 0


def test_the_checks_themselves_on_a_class(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Undocumented, "__module__", "scwhatif.fake")
    assert dict(check_class(Undocumented, internal=False)) == {
        "Undocumented": "ValueError is missing from Raises",
        "Undocumented.method": "parameter c is not documented",
        "Undocumented.bare": "no docstring",
    }
    assert ("Undocumented", "parameter b is not documented") in list(check_class(Undocumented, internal=False))
