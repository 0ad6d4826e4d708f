"""What a model says of cells before it has learned anything."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scwhatif._compat import seeded

if TYPE_CHECKING:
    from collections.abc import Iterator

    from anndata import AnnData
    from numpy.typing import NDArray
    from scvi.model.base import BaseModelClass


def untrained_codes(model: BaseModelClass, adata: AnnData, seeds: range) -> Iterator[NDArray]:
    """Codes from models with the settings of this one and freshly drawn weights.

    Parameters
    ----------
    model
        A model of the scvi-tools kind with its data.
    adata
        Cells to encode.
    seeds
        Seeds of the weights.

    Yields
    ------
    Posterior means, one array per seed.
    """
    saved = model.init_params_
    arguments = {**saved["non_kwargs"], **{k: v for each in saved["kwargs"].values() for k, v in each.items()}}
    takes_seed = arguments.pop("seed", ...) is not ...
    for seed in seeds:
        with seeded(seed):
            fresh = type(model)(model.adata, **arguments, **({"seed": seed} if takes_seed else {}))
        # codes of such a model are the point, and scvi-tools would warn of every one
        fresh.is_trained_ = True
        # a new module is in training mode, in which dropout would blur its codes
        fresh.module.eval()
        yield np.asarray(fresh.get_latent_representation(adata))
