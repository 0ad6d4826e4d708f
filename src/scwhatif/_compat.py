"""The only place that touches private symbols of scvi-tools."""

from __future__ import annotations

import random
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import scvi
import torch
from anndata import AnnData
from scipy import sparse
from scvi import REGISTRY_KEYS
from scvi.data._constants import _SCVI_UUID_KEY
from scvi.data._utils import _get_adata_minify_type
from scvi.model._utils import get_max_epochs_heuristic
from scvi.train._logger import SimpleLogger

from scwhatif._validation import check_var_names

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from mudata import MuData

__all__ = [
    "RegisteredData",
    "SimpleLogger",
    "StrictVarNamesMixin",
    "forgetting",
    "generate",
    "get_max_epochs_heuristic",
    "infer",
    "minified_type",
    "registered",
    "registered_data",
    "seeded",
]


@contextmanager
def seeded(seed: int | None) -> Iterator[None]:
    """Seed Python, NumPy, torch and scvi-tools' data split inside the block, and restore all of them after it.

    Parameters
    ----------
    seed
        ``None`` leaves every generator as it is.
    """
    if seed is None:
        yield
        return
    python_state, numpy_state = random.getstate(), np.random.get_state()  # noqa: NPY002
    # the public setter would also change cuDNN flags and an environment variable for the rest of the session
    scvi_seed = scvi.settings._seed
    with torch.random.fork_rng():
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002  (scvi-tools draws from the legacy generator)
        torch.manual_seed(seed)
        scvi.settings._seed = seed
        try:
            yield
        finally:
            scvi.settings._seed = scvi_seed
            random.setstate(python_state)
            np.random.set_state(numpy_state)  # noqa: NPY002


def minified_type(adata: AnnData) -> str | None:
    """How scvi-tools has minified ``adata``, ``None`` if it has not."""
    return _get_adata_minify_type(adata)


@contextmanager
def registered(model_class: Any, adata: AnnData | MuData, **setup: Any) -> Iterator[None]:
    """Register ``adata`` with a model class inside the block, and leave no trace of it in the class after it.

    Parameters
    ----------
    model_class
        Class of the scvi-tools kind.
    adata
        AnnData or MuData, given to ``setup_anndata`` or ``setup_mudata``, which writes its bookkeeping into it.
    **setup
        Further arguments of the set-up.
    """
    try:
        set_up = model_class.setup_mudata if hasattr(adata, "mod") else model_class.setup_anndata
        set_up(adata, **setup)
        yield
    finally:
        # the public deregister_manager needs a model, which there is none of where its construction failed
        uuid = adata.uns.get(_SCVI_UUID_KEY)
        for store in (model_class._setup_adata_manager_store, *model_class._per_instance_manager_store.values()):
            store.pop(uuid, None)


@contextmanager
def forgetting(model: Any) -> Iterator[None]:
    """Have a model forget the data it meets inside the block; it would keep them alive as long as itself.

    Parameters
    ----------
    model
        A model of the scvi-tools kind. Data it knew before it goes on knowing. One that registers nothing has nothing
        to forget.
    """
    if not hasattr(model, "_per_instance_manager_store"):
        yield
        return
    managers = model._per_instance_manager_store.setdefault(model.id, {})
    known = set(managers)
    try:
        yield
    finally:
        for uuid in set(managers) - known:
            # a model loaded without data takes the first it is given for its own
            if managers[uuid] is not model.adata_manager:
                del managers[uuid]


def generate(module: Any, tensors: dict[str, Any], inferred: dict[str, Any]) -> dict[str, Any]:
    """Run a module's decoder on what its encoder returned, or might have; differentiable.

    Parameters
    ----------
    module
        A module of the scvi-tools kind.
    tensors
        Registered fields by registry key.
    inferred
        Outputs of ``inference`` that the decoder reads.

    Returns
    -------
    Outputs of ``generative``.
    """
    return module.generative(**module._get_generative_input(tensors, inferred))


class RegisteredData(NamedTuple):
    """What a model reads, as registered: the matrix as it is stored, and every other field by its registry key."""

    x: Any
    fields: dict[str, np.ndarray]


def registered_data(model: Any, adata: AnnData) -> RegisteredData:
    """Read the fields of ``adata`` that ``model`` was set up with.

    Parameters
    ----------
    model
        A model of the scvi-tools kind.
    adata
        The model's own data or data like it, which the model does not keep.

    Returns
    -------
    Matrix (cells × features, neither copied nor converted), and all other fields with one row per cell, in the types
    that the model's own data loader gives them: codes int64, the rest float32.

    Raises
    ------
    ValueError
        The features of ``adata`` are not the model's.
    """
    with forgetting(model):
        model._validate_anndata(adata)
        manager = model.get_anndata_manager(adata, required=True)
    values = {key: manager.get_from_registry(key) for key in manager.data_registry}
    x = values.pop(REGISTRY_KEYS.X_KEY)
    # minified data register the name of their kind too, which is not a field of cells
    return RegisteredData(x, {key: _field(key, v) for key, v in values.items() if not isinstance(v, str)})


def infer(
    module: Any, tensors: Mapping[str, Any], *, differentiable: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    """Posterior of cells by a module's own inference, in evaluation mode.

    The module's mode and the global random state are left as they were: inference draws a sample, wanted or not.

    Parameters
    ----------
    module
        A module of the scvi-tools kind.
    tensors
        Fields of the cells by their registry key, as arrays or tensors with one row per cell.
    differentiable
        Whether gradients may flow back to tensors that ask for them.

    Returns
    -------
    Mean and variance of the Gaussian posterior, before a softmax if the module has one, ``(n_cells, n_latent)`` each,
    on the module's device.

    Raises
    ------
    TypeError
        What the module infers is not a Gaussian posterior.
    """
    if not (hasattr(module, "_get_inference_input") and hasattr(module, "inference")):
        msg = f"{type(module).__name__} is not a module of the scvi-tools kind: it has no inference."
        raise TypeError(msg)
    device = next((parameter.device for parameter in module.parameters()), torch.device("cpu"))
    given = {key: torch.as_tensor(_field(key, values), device=device) for key, values in tensors.items()}
    modes = {part: part.training for part in module.modules()}
    module.eval()
    try:
        with torch.inference_mode(not differentiable), torch.random.fork_rng([device] if device.type == "cuda" else []):
            outputs = module.inference(**module._get_inference_input(given))
    finally:
        for part, mode in modes.items():
            part.training = mode
    posterior = outputs.get("qz")
    if isinstance(posterior, torch.distributions.Normal):
        return posterior.mean, posterior.variance
    if outputs.get("qzm") is not None and outputs.get("qzv") is not None:
        return outputs["qzm"], outputs["qzv"]
    msg = (
        f"{type(module).__name__} has no Gaussian posterior: its inference returns {', '.join(outputs)}, where a "
        "Normal 'qz', or 'qzm' and 'qzv', is needed."
    )
    raise TypeError(msg)


def _field(key: str, values: Any) -> Any:
    """Values of a field in the type that scvi-tools' data loader gives it."""
    codes = key in (
        REGISTRY_KEYS.BATCH_KEY,
        REGISTRY_KEYS.LABELS_KEY,
        REGISTRY_KEYS.CAT_COVS_KEY,
        REGISTRY_KEYS.INDICES_KEY,
    )
    if isinstance(values, torch.Tensor):
        return values.to(torch.int64 if codes else torch.float32)
    values = values.toarray() if sparse.issparse(values) else np.asarray(values)
    # torch wants to be able to write, which arrays shared between processes do not allow
    return np.require(values, np.int64 if codes else np.float32, "W")


class StrictVarNamesMixin:
    """Refuses data whose features are not the model's, where scvi-tools warns or fails later.

    Raises ``ValueError`` naming the missing features, before anything is registered or computed.
    """

    def _validate_anndata(self, adata: AnnData | None = None, copy_if_view: bool = True) -> AnnData:  # noqa: FBT001, FBT002
        if adata is not None and adata is not self.adata:  # type: ignore[attr-defined]
            check_var_names(adata, self.get_var_names(), "the AnnData given to this model")  # type: ignore[attr-defined]
        return super()._validate_anndata(adata, copy_if_view=copy_if_view)  # type: ignore[misc]

    @classmethod
    def load(cls, dir_path: str, adata: AnnData | bool | None = None, **kwargs: Any) -> Any:  # noqa: FBT001
        """Load a saved model.

        Parameters
        ----------
        dir_path
            Folder written by ``save``.
        adata
            Data with the model's features in the same order; ``None`` reads the AnnData saved with the model,
            ``False`` loads the model without data.
        **kwargs
            Further arguments of scvi-tools' ``load``.

        Returns
        -------
        The model.

        Raises
        ------
        ValueError
            ``adata`` lacks features of the model or has them in another order.
        """
        if isinstance(adata, AnnData):
            registry = cls.load_registry(dir_path, kwargs.get("prefix"))  # type: ignore[attr-defined]
            expected = registry["field_registries"]["X"]["state_registry"]["column_names"]
            check_var_names(adata, expected, f"the AnnData given for the model in {dir_path!r}")
        return super().load(dir_path, adata=adata, **kwargs)  # type: ignore[misc]
