"""Fitted models, and the samples that each may be asked about."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, cast

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mudata import MuData
    from numpy.typing import NDArray

    from scwhatif.model import MultiOmicLPM


class FoldModel(NamedTuple):
    """A model, and positions in ``mdata.obs_names`` of the samples to ask it about."""

    model: MultiOmicLPM
    rows: NDArray[np.int64]


class FoldModels(NamedTuple):
    """Models of the folds of a cross-validation, or a single one.

    Attributes
    ----------
    folds
        Models with their samples. Repeats of a cross-validation ask about a sample once each.
    held_out
        Whether no model is asked about samples that it was fitted to.
    """

    folds: list[FoldModel]
    held_out: bool

    @property
    def first(self) -> MultiOmicLPM:
        """One of the models, which agree on layers and drivers."""
        return self.folds[0].model


def fold_models(mdata: MuData, model: MultiOmicLPM | Sequence[MultiOmicLPM]) -> FoldModels:
    """Pair every model with the samples that it may be asked about.

    Parameters
    ----------
    mdata
        The samples.
    model
        One model, asked about all samples, or the models of several folds, each asked about its test samples.

    Returns
    -------
    The pairs.

    Raises
    ------
    KeyError
        A test sample of a model is not in ``mdata``.
    TypeError
        Something is no :class:`scwhatif.model.MultiOmicLPM`.
    ValueError
        There is no model, one is not trained, one of several has no test samples, or they differ in layers or
        features.
    """
    from scwhatif.model import MultiOmicLPM

    several = isinstance(model, list | tuple)
    models = cast("list[MultiOmicLPM]", list(model) if isinstance(model, list | tuple) else [model])
    if not models:
        msg = "model is an empty sequence; pass a trained MultiOmicLPM, or those of the folds of a cross-validation."
        raise ValueError(msg)
    for i, each in enumerate(models):
        if not isinstance(each, MultiOmicLPM):
            msg = f"model {i} is a {type(each).__name__}, not a MultiOmicLPM."
            raise TypeError(msg)
        if not each.is_trained:
            msg = f"Model {i} is not trained; call its train() first."
            raise ValueError(msg)
        if each.layer_names != models[0].layer_names or _features(each) != _features(models[0]):
            msg = (
                f"Model {i} has other layers, features or drivers than model 0; pass the folds of one cross-validation."
            )
            raise ValueError(msg)
    if not several:
        return FoldModels([FoldModel(models[0], np.arange(mdata.n_obs))], held_out=mdata is not models[0].adata)
    folds = []
    for i, each in enumerate(models):
        if not len(each.test_indices):
            msg = (
                f"Model {i} has no test samples, so it cannot be asked about samples it was not fitted to; train it "
                "with external_indexing, use tl.cross_validate, or pass a single model instead of a sequence."
            )
            raise ValueError(msg)
        names = each.adata.obs_names[np.sort(each.test_indices)]
        rows = mdata.obs_names.get_indexer(names)
        if (rows < 0).any():
            msg = f"{list(names[rows < 0][:5])}, test samples of model {i}, are not in mdata."
            raise KeyError(msg)
        folds.append(FoldModel(each, rows.astype(np.int64)))
    return FoldModels(folds, held_out=True)


def _features(model: MultiOmicLPM) -> list[tuple[str, ...]]:
    return [tuple(model.get_state_registry(name)["column_names"]) for name in model.layer_names]
