"""The only place that touches private symbols of scvi-tools."""

from __future__ import annotations

import random
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import scvi
import torch
from anndata import AnnData
from scvi import REGISTRY_KEYS
from scvi.data._constants import _SCVI_UUID_KEY
from scvi.data._utils import _get_adata_minify_type
from scvi.model._utils import get_max_epochs_heuristic

from scwhatif._validation import check_var_names

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "RegisteredData",
    "StrictVarNamesMixin",
    "get_max_epochs_heuristic",
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
def registered(model_class: Any, adata: AnnData, **setup: Any) -> Iterator[None]:
    """Register ``adata`` with a model class inside the block, and leave no trace of it in the class after it.

    Parameters
    ----------
    model_class
        Class of the scvi-tools kind.
    adata
        Given to ``setup_anndata``, which writes its bookkeeping into it.
    **setup
        Further arguments of ``setup_anndata``.
    """
    try:
        model_class.setup_anndata(adata, **setup)
        yield
    finally:
        # the public deregister_manager needs a model, which there is none of where its construction failed
        uuid = adata.uns.get(_SCVI_UUID_KEY)
        for store in (model_class._setup_adata_manager_store, *model_class._per_instance_manager_store.values()):
            store.pop(uuid, None)


class RegisteredData(NamedTuple):
    """What an encoder reads, as registered: the matrix as it is stored, covariates as codes and numbers."""

    x: Any
    batch: np.ndarray
    cat_covs: np.ndarray | None
    cont_covs: np.ndarray | None


def registered_data(model: Any, adata: AnnData) -> RegisteredData:
    """Read the fields of ``adata`` that ``model`` was set up with.

    Parameters
    ----------
    model
        A model of the scvi-tools kind.
    adata
        The model's own data or data like it, which are then registered with the model.

    Returns
    -------
    Matrix (cells × features, neither copied nor converted), batch codes ``(n_cells, 1)``, and codes of further
    categorical and values of continuous covariates, ``None`` where there are none.

    Raises
    ------
    ValueError
        The features of ``adata`` are not the model's.
    """
    model._validate_anndata(adata)
    manager = model.get_anndata_manager(adata, required=True)

    def values(key: str) -> np.ndarray | None:
        return np.asarray(manager.get_from_registry(key)) if key in manager.data_registry else None

    batch = values(REGISTRY_KEYS.BATCH_KEY)
    return RegisteredData(
        x=manager.get_from_registry(REGISTRY_KEYS.X_KEY),
        batch=np.zeros((adata.n_obs, 1), dtype=np.int64) if batch is None else batch,
        cat_covs=values(REGISTRY_KEYS.CAT_COVS_KEY),
        cont_covs=values(REGISTRY_KEYS.CONT_COVS_KEY),
    )


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
