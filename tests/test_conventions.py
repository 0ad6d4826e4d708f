"""Every public function of ``tl``, ``pl`` and ``pp`` has the same shape of signature."""

from __future__ import annotations

import inspect
from importlib import import_module
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

DATA = ("adata", "mdata")
POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
KEYWORD_ONLY = inspect.Parameter.KEYWORD_ONLY


def returned(function: Callable) -> str:
    """The return annotation as text."""
    annotation = inspect.signature(function).return_annotation
    return annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)


def check_common(function: Callable) -> list[str]:
    parameters = inspect.signature(function).parameters
    positional = [name for name, p in parameters.items() if p.kind in POSITIONAL]
    problems = []
    if len(positional) > 3:
        problems.append(f"{len(positional)} positional arguments, at most 3 are allowed")
    if returned(function) == "inspect._empty":
        problems.append("no return annotation")
    problems += [
        f"{name} must be keyword-only"
        for name in ("ax", "copy", "key_added", "rng", "seed", "show")
        if name in parameters and parameters[name].kind is not KEYWORD_ONLY
    ]
    return problems


def check_data_first(function: Callable) -> list[str]:
    names = list(inspect.signature(function).parameters)
    problems = []
    if not names or names[0] not in DATA:
        problems.append(f"the first argument must be one of {DATA}")
    if "model" in names and names.index("model") != 1:
        problems.append("model must be the second argument")
    return problems


def check_tool(function: Callable) -> list[str]:
    """In place with ``copy=False`` and None by default, or a pure look-up that returns a value and writes nothing."""
    parameters = inspect.signature(function).parameters
    parts = {part.strip() for part in returned(function).split("|")}
    problems = check_common(function)
    if parts <= {"AnnData", "MuData", "None"} and "None" in parts:
        problems += check_data_first(function)
        if (parts != {"None"}) != ("copy" in parameters):
            problems.append("copy and a return annotation of '<data> | None' belong together")
        if "copy" in parameters and parameters["copy"].default is not False:
            problems.append("copy must default to False")
    else:
        problems += [
            f"{name} belongs to a function that writes in place, and those return '<data> | None'"
            for name in ("copy", "key_added")
            if name in parameters
        ]
    return problems


def check_plot(function: Callable) -> list[str]:
    """Data first, ``ax`` and ``show`` None by default, Axes returned, nothing saved."""
    parameters = inspect.signature(function).parameters
    problems = check_common(function) + check_data_first(function)
    problems += [
        f"{name} must be there and default to None"
        for name in ("ax", "show")
        if name not in parameters or parameters[name].default is not None
    ]
    if "save" in parameters:
        problems.append("save is not for us: the caller has the Axes")
    if "Axes" not in returned(function) or "None" in returned(function):
        problems.append("the return annotation must be Axes, or a list or array of them")
    return problems


@pytest.mark.parametrize(("namespace", "check"), [("tl", check_tool), ("pp", check_tool), ("pl", check_plot)])
def test_signatures(namespace: str, check: Callable):
    module = import_module(f"scwhatif.{namespace}")
    functions = [getattr(module, name) for name in getattr(module, "__all__", [])]
    problems = [f"{namespace}.{f.__name__}: {p}" for f in functions if inspect.isfunction(f) for p in check(f)]
    assert not problems, "\n".join(problems)


def good_tool(adata, model, genes=None, *, key_added="knockout", seed=0, copy=False) -> AnnData | None: ...  # noqa: F821
def good_lookup(genes, names, *, species="human") -> DataFrame: ...  # noqa: F821
def good_plot(adata, genes=None, *, key="knockout", ax=None, show=None) -> Axes: ...  # noqa: F821


def bad_first(data, *, copy=False) -> AnnData | None: ...  # noqa: F821
def bad_model(adata, genes, model, *, copy=False) -> AnnData | None: ...  # noqa: F821
def bad_many(adata, a, b, c, *, copy=False) -> AnnData | None: ...  # noqa: F821
def bad_positional(adata, copy=False) -> AnnData | None: ...  # noqa: F821
def bad_default(adata, *, copy=True) -> AnnData | None: ...  # noqa: F821
def bad_no_copy(adata) -> AnnData | None: ...  # noqa: F821
def bad_lookup(adata, *, key_added="x") -> DataFrame: ...  # noqa: F821
def bad_bare(adata): ...


def bad_save(adata, *, ax=None, show=None, save=None) -> Axes: ...  # noqa: F821
def bad_none(adata, *, ax=None, show=None) -> Axes | None: ...  # noqa: F821
def bad_no_ax(adata, *, show=None) -> Axes: ...  # noqa: F821
def bad_show(adata, *, ax=None, show=True) -> Axes: ...  # noqa: F821


@pytest.mark.parametrize(
    ("function", "check", "problem"),
    [
        (good_tool, check_tool, None),
        (good_lookup, check_tool, None),
        (good_plot, check_plot, None),
        (bad_first, check_tool, "first argument"),
        (bad_model, check_tool, "second argument"),
        (bad_many, check_tool, "4 positional"),
        (bad_positional, check_tool, "copy must be keyword-only"),
        (bad_default, check_tool, "default to False"),
        (bad_no_copy, check_tool, "belong together"),
        (bad_lookup, check_tool, "key_added belongs"),
        (bad_bare, check_tool, "no return annotation"),
        (bad_save, check_plot, "save"),
        (bad_none, check_plot, "return annotation"),
        (bad_no_ax, check_plot, "ax must be there"),
        (bad_show, check_plot, "show must be there"),
    ],
)
def test_the_checks_themselves(function: Callable, check: Callable, problem: str | None):
    found = check(function)
    assert (not found) if problem is None else any(problem in each for each in found)
