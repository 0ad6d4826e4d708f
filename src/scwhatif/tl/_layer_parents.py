"""What the parent protein of a site says about it, by a regression of the same training samples."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scwhatif.tl._layer_values import layer_values, scale_of, training_rows

if TYPE_CHECKING:
    from mudata import MuData
    from numpy.typing import NDArray

    from scwhatif.model import MultiOmicLPM
    from scwhatif.tl._fold_models import FoldModel

_MIN_ROWS = 10


def parent_prediction(
    fold: FoldModel, mdata: MuData, target: str, *, parent: str
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Predict every site from the proteins of its own gene and nothing else.

    Parameters
    ----------
    fold
        A model, whose training samples the regression is fitted to, and the samples to predict.
    mdata
        The samples.
    target
        Layer of the sites.
    parent
        Layer of their parents.

    Returns
    -------
    Predicted values less the mean of the training samples, ``(n_rows, n_features)``, and in which entries all parents
    of the site were measured; nowhere for sites without a parent.
    """
    from scwhatif.nn import cis_ridge_loo

    model = fold.model
    training = layer_values(model, None, training_rows(model))
    links = _links(model, target, parent)
    usable = training.observed[target] & _all_measured(training.observed[parent], links)
    fit = cis_ridge_loo(training.values[parent], training.values[target], usable, links)
    asked = layer_values(model, mdata, fold.rows)
    known = _all_measured(asked.observed[parent], links) & (usable.sum(axis=0) >= _MIN_ROWS)
    return fit.predict(asked.values[parent]) * scale_of(model, target), known


def parent_names(model: MultiOmicLPM, target: str, parent: str | None) -> list[str]:
    """Parents of every feature.

    Parameters
    ----------
    model
        A trained model.
    target, parent
        Names of the layers; without a layer of parents there are none.

    Returns
    -------
    Names of their features, joined by ``";"``, ``""`` for none.
    """
    names = model.get_state_registry(target)["column_names"]
    if parent is None:
        return [""] * len(names)
    sources = model.get_state_registry(parent)["column_names"]
    return [";".join(str(sources[i]) for i in positions if i >= 0) for positions in _links(model, target, parent)]


def _links(model: MultiOmicLPM, target: str, parent: str) -> NDArray[np.int64]:
    from scwhatif.model._multi_omic_flow import gene_symbols
    from scwhatif.nn import cis_links

    column = model.registry["setup_args"]["cis"]
    return cis_links(*(gene_symbols(model.adata, name, column) for name in (target, parent))).numpy()


def _all_measured(observed: NDArray[np.bool_], links: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Entries whose feature has parents, all of them measured."""
    there = links >= 0
    measured = observed[:, links.clip(min=0)] | ~there
    return np.asarray(measured.all(axis=2) & there.any(axis=1))
