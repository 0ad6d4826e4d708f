"""Which layer of modified sites a fusion acts on most."""

from __future__ import annotations

import warnings
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scwhatif._keys import Key
from scwhatif._mudata import without_pulling
from scwhatif._provenance import params
from scwhatif.tl._driver_effects import DriverEffects, driver_strata
from scwhatif.tl._driver_settings import check_driver_test, warn_in_sample
from scwhatif.tl._driver_tables import adjusted, driver_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mudata import MuData
    from numpy.typing import NDArray

    from scwhatif.model import MultiOmicLPM
    from scwhatif.tl._driver_settings import DriverNull


def fusion_deletion(
    mdata: MuData,
    model: MultiOmicLPM | Sequence[MultiOmicLPM],
    fusion: str,
    *,
    layers: str | Sequence[str] | None = None,
    strata: str | Sequence[str] | None = None,
    min_carriers: int = 5,
    null: DriverNull = "permutation",
    n_null: int = 10_000,
    seed: int = 0,
    key_added: str = Key.uns.FUSION_DELETION,
    copy: bool = False,
) -> MuData | None:
    r"""Take a fusion away from its carriers, and compare what that does to the layers of modified sites.

    Raw sizes of effects rank layers by their number of sites and their noise. Here each layer :math:`k` is compared
    with its own null, in which carriers are drawn anew while the models stay as they are:

    .. math::

        E_k = \operatorname{mean}_{j \in k} \left( \frac{d_j}{s_j} \right)^2, \qquad
        Z_k = \frac{E_k - \operatorname{mean}_\text{null}}{\operatorname{sd}_\text{null}}

    with the observed difference :math:`d_j` between carriers and others within strata, once other drivers and
    covariates are taken off, and its standard deviation :math:`s_j` (:func:`scwhatif.metrics.holdout_energy`). Draws
    are the same for all layers, so that the difference of two layers has a null of its own: what it would be if the
    fusion did nothing to either.

    ``effect`` is what the models expect when the fusion is **removed**, each sample asked of the model that has not
    seen it, as in :func:`scwhatif.tl.gene_knockout`. It is the sensitivity of a model, not the effect of an
    intervention. With few carriers, as fusions have, intervals are wide; with fewer than ``min_carriers`` there is a
    warning and neither :math:`Z` nor p-value.

    Parameters
    ----------
    mdata
        The model's data, or data like it.
    model
        Models of the folds of a cross-validation, or a single model, which is asked about all samples.
    fusion
        Name of a driver.
    layers
        Layers to compare; ``None`` takes the PTM layers of the model.
    strata, min_carriers, null
        As in :func:`scwhatif.tl.gene_knockout`.
    n_null
        Number of draws.
    seed
        Seed of the draws.
    key_added
        Key of ``uns``.
    copy
        Whether to return a copy instead of writing into ``mdata``.

    Returns
    -------
    ``None``, or the copy, with

    ``uns["fusion_deletion"]["table"]`` : DataFrame
        One row per layer (category), largest ``statistic`` first: ``driver``, ``layer``; ``effect`` (root mean square
        over features, in standard deviations of each; above 0 by chance alone), ``se``, ``low``, ``high`` (95 %
        interval), ``mean_effect`` (signed), ``observed`` (as ``effect``, without its sampling error);
        ``n_carriers``, ``n_models``, ``n_features``; ``energy`` (:math:`E`), ``statistic`` (:math:`Z`), ``pval``,
        ``padj`` (over layers :cite:p:`Benjamini1995`).
    ``uns["fusion_deletion"]["contrasts"]`` : DataFrame
        One row per pair of layers: ``layer_a``, ``layer_b``, ``difference`` of :math:`Z`, two-sided ``pval``, ``padj``.
    ``uns["fusion_deletion"]["features"]`` : DataFrame
        One row per layer and feature, as in :func:`scwhatif.tl.gene_knockout`, without selection probability.
    ``uns["fusion_deletion"]["params"]`` : dict
        Arguments, ``held_out`` (whether no model was asked about samples it was fitted to), number of models, versions,
        model class and hash of the weights of the first.

    Raises
    ------
    KeyError
        There is no such driver, layer or column.
    TypeError
        Something is no :class:`scwhatif.model.MultiOmicLPM`.
    ValueError
        A model is not trained or has no drivers or no PTM layers, models disagree, or a setting is out of range.

    Examples
    --------
    >>> import scwhatif as wi
    >>> mdata = wi.datasets.simulate_flow(80, n_drivers=5, n_rna=20, n_protein=10, n_ptm=(5, 5, 5), n_metabolites=5)
    >>> wi.model.MultiOmicLPM.setup_mudata(mdata, protein="protein", ptm=["ptm_0", "ptm_1", "ptm_2"])
    >>> models = []
    >>> for test in (range(40), range(40, 80)):
    ...     train = np.setdiff1d(np.arange(80), test)
    ...     model = wi.model.MultiOmicLPM(mdata, n_latent=2)
    ...     model.train(2, external_indexing=[train[5:], train[:5], test], enable_progress_bar=False)
    ...     models.append(model)
    >>> wi.tl.fusion_deletion(mdata, models, "fusion", n_null=500)
    >>> mdata.uns["fusion_deletion"]["table"]["layer"].iloc[0]
    'ptm_2'
    """
    check_driver_test(null=null, min_carriers=min_carriers, n_null=n_null)
    question = DriverEffects(mdata, model, layers=layers if layers is not None else _ptm_layers(mdata, model))
    if fusion not in question.names:
        msg = f"fusion={fusion!r} is not a driver of the model, which has {question.names}."
        raise KeyError(msg)
    keys, codes = driver_strata(mdata, question.models.first, strata)
    warn_in_sample(question.models)
    settings: dict[str, Any] = {"null": null, "min_carriers": min_carriers, "n_null": n_null, "seed": seed}
    rows = driver_rows(question, fusion, question.answer(fusion), codes, n_pairs=0, **settings)
    table = pd.DataFrame(rows.layers)
    table.insert(
        table.columns.get_loc("statistic"), "n_features", [c.stop - c.start for c in question.columns.values()]
    )
    table.insert(table.columns.get_loc("statistic"), "energy", rows.energy)
    if table["pval"].isna().all():
        warnings.warn(
            f"{fusion!r} has {rows.driver['n_carriers']} carrier(s) among the samples asked about, and fewer than "
            f"min_carriers={min_carriers} in which any layer was measured: effects are given without a verdict.",
            UserWarning,
            stacklevel=2,
        )
    contrasts = adjusted(_contrasts(question.layers, table["statistic"].to_numpy(), rows.null))
    table = adjusted(table.sort_values("statistic", ascending=False, kind="stable", ignore_index=True))
    features = adjusted(pd.DataFrame(rows.features).drop(columns="selection_probability"))
    for each, columns in ((table, ["layer"]), (features, ["layer"]), (contrasts, ["layer_a", "layer_b"])):
        for column in columns:
            each[column] = pd.Categorical(each[column], categories=question.layers)
    with without_pulling():
        result = mdata.copy() if copy else mdata
    result.uns[key_added] = {
        "table": table,
        "contrasts": contrasts,
        "features": features,
        Key.uns.PARAMS: params(
            question.models.first,
            fusion=fusion,
            layers=question.layers,
            strata=keys,
            **settings,
            held_out=question.models.held_out,
            n_models=len(question.models.folds),
        ),
    }
    return result if copy else None


def _ptm_layers(mdata: MuData, model: MultiOmicLPM | Sequence[MultiOmicLPM]) -> list[str]:
    from scwhatif.tl._fold_models import fold_models

    layers = [str(name) for name in fold_models(mdata, model).first.registry["setup_args"]["ptm"]]
    if not layers:
        msg = "The model was set up without PTM layers (ptm=); name the layers to compare."
        raise ValueError(msg)
    return layers


def _contrasts(layers: Sequence[str], statistic: NDArray[np.float64], null: NDArray[np.float64]) -> pd.DataFrame:
    """Difference of every pair of layers, against that of the same draws."""
    rows = []
    for a, b in combinations(range(len(layers)), 2):
        difference = statistic[a] - statistic[b]
        pval = np.nan
        if np.isfinite(difference):
            reached = np.abs(null[:, a] - null[:, b]) >= abs(difference)
            pval = (1 + np.count_nonzero(reached)) / (1 + len(null))
        rows.append((layers[a], layers[b], difference, pval))
    return pd.DataFrame(rows, columns=["layer_a", "layer_b", "difference", "pval"])
