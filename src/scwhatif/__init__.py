"""What-if experiments on single-cell and multi-omic generative models.

Every experiment is model × perturbation × readout: train a model (:mod:`scwhatif.model`), say what changes
(:class:`scwhatif.Perturbation`), and ask what follows (:mod:`scwhatif.tl`, :mod:`scwhatif.pl`).
Namespaces load on first use, so importing the package costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scwhatif import datasets, metrics, model, perturbation, pl, pp, tl, train
    from scwhatif.perturbation import Perturbation

__version__ = version("scwhatif")

__all__ = ["Perturbation", "datasets", "metrics", "model", "perturbation", "pl", "pp", "tl", "train"]


def __getattr__(name: str) -> Any:
    if name == "Perturbation":
        return import_module("scwhatif.perturbation").Perturbation
    if name in __all__:
        return import_module(f"scwhatif.{name}")
    msg = f"module 'scwhatif' has no attribute {name!r}"
    raise AttributeError(msg)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
