"""How a result came about, in a form that an h5ad file can hold."""

from __future__ import annotations

from hashlib import sha256
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from torch import nn

_HASH_LENGTH = 12


def params(model: Any = None, **arguments: Any) -> dict[str, Any]:
    """Describe a call: its arguments, the software, and which model with which weights.

    Parameters
    ----------
    model
        A model of the scvi-tools kind, or ``None`` where none took part.
    **arguments
        What the caller was given: text, numbers, booleans, sequences of one kind of these, and dicts thereof. ``None``
        is left out, so ``params.get(name)`` gives back what was passed.

    Returns
    -------
    The arguments, then ``scwhatif_version``, ``scvi_tools_version`` and ``torch_version``, and with a model
    ``model_class`` and ``model_hash`` (the first 12 hexadecimal digits of a SHA-256 of its weights). Sequences are
    arrays, because that is what reading a file gives back.

    Raises
    ------
    TypeError
        An argument is of a kind that a file cannot hold.

    Examples
    --------
    >>> from scwhatif._provenance import params
    >>> recorded = params(op="ko", groupby=None, n_null=100)
    >>> {key: recorded[key] for key in ("op", "n_null")}, "groupby" in recorded
    ({'op': 'ko', 'n_null': 100}, False)
    """
    recorded = {name: _storable(name, value) for name, value in arguments.items() if value is not None}
    for package in ("scwhatif", "scvi-tools", "torch"):
        recorded[f"{package.replace('-', '_')}_version"] = version(package)
    if model is not None:
        recorded["model_class"] = type(model).__name__
        recorded["model_hash"] = weights_hash(model.module)
    return recorded


def weights_hash(module: nn.Module) -> str:
    """Fingerprint the weights and buffers of a module, whatever device it is on.

    Parameters
    ----------
    module
        The module.

    Returns
    -------
    12 hexadecimal digits of a SHA-256 over names, types, shapes and values.
    """
    import torch

    digest = sha256()
    for name, tensor in sorted(module.state_dict().items()):
        if isinstance(tensor, torch.Tensor):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            # as bytes, because numpy has no bfloat16
            digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:_HASH_LENGTH]


def _storable(name: str, value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, dict):
        return {str(key): _storable(f"{name}[{key!r}]", each) for key, each in value.items() if each is not None}
    if isinstance(value, list | tuple | np.ndarray):
        array = np.asarray(value)
        if array.dtype.kind in "biuf":
            return array
        if array.ndim == 1 and all(isinstance(each, str) for each in value):
            return array.astype(object)
    msg = f"{name}={value!r} is of type {type(value).__name__}, which an h5ad file cannot hold."
    raise TypeError(msg)
