"""How far a layer of modified sites can be told from the other layers."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from scwhatif._keys import Key
from scwhatif._mudata import without_pulling
from scwhatif._provenance import params
from scwhatif.tl._driver_effects import driver_strata
from scwhatif.tl._driver_settings import warn_in_sample
from scwhatif.tl._fold_models import fold_models
from scwhatif.tl._layer_parents import parent_names, parent_prediction
from scwhatif.tl._layer_predictions import layers_of, predict_held_out
from scwhatif.tl._layer_tables import join_rows, score_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from mudata import MuData
    from numpy.typing import NDArray

    from scwhatif.model import MultiOmicLPM
    from scwhatif.tl._fold_models import FoldModels
    from scwhatif.tl._layer_predictions import LayerPredictions

_MEASURES = ("all", "covariates", "beyond_covariates", "parent", "beyond_parent")
_SOURCE_MEASURES = ("alone", "unique")


def ptm_dependency(
    mdata: MuData,
    model: MultiOmicLPM | Sequence[MultiOmicLPM],
    *,
    layers: str | Sequence[str] | None = None,
    parent: str | None = None,
    strata: str | Sequence[str] | None = None,
    n_permutations: int = 200,
    seed: int = 0,
    key_added: str = Key.uns.PTM_DEPENDENCY,
    copy: bool = False,
) -> MuData | None:
    r"""Hide a layer of sites, predict it from the others, and see what each of them and the parent protein is worth.

    With :math:`R^2(x_k \mid S)` the share of variance around the training mean that a prediction from the layers
    :math:`S` explains in samples no model was fitted to,

    .. math::
        \mathrm{Dep}(k) = R^2(x_k \mid \text{all but } k), \qquad
        \mathrm{Dep}(k \leftarrow l) = R^2(x_k \mid l), \qquad
        \mathrm{Unique}(l \to k) = R^2(x_k \mid \text{all but } k) - R^2(x_k \mid \text{all but } k, l)

    and :math:`\mathrm{Dep}(k \mid \text{parent})` is the R² of what is left of every site after a regression on the
    proteins of its own gene, fitted to the training samples of each model alone: a site often follows little but the
    amount of its protein. The same is done for the covariates, which all predictions know: what a batch explains is
    no dependency on other layers.

    **A high dependency is redundancy**: the layer can be told from the others, whichever causes which, and it may be
    that both follow a common cause, or were measured on the same array. It is no biological dependence.

    Parameters
    ----------
    mdata
        The samples.
    model
        The models of the folds of a cross-validation, each asked about its test samples, or one model, asked about all
        samples. Shares of samples that it was fitted to are too high, which a warning says.
    layers
        Layers to hide; ``None`` takes the PTM layers of the set-up.
    parent
        Layer of the parents, matched by gene; ``None`` takes the protein layer of the set-up, if there is one.
    strata
        Columns of ``mdata.obs`` within whose groups samples change places under the null hypothesis; ``None`` takes
        the covariates of the model, an empty sequence none.
    n_permutations
        Number of permutations; 0 for no p-values.
    seed
        Seeds the permutations.
    key_added
        Key of ``mdata.uns``.
    copy
        Whether to return a copy instead of writing into ``mdata``.

    Returns
    -------
    ``None``, or the copy, with tables that share the columns ``effect`` (R², or a difference of two), ``se``, ``low``,
    ``high`` (95 % interval: over folds :cite:p:`Nadeau2003` where there are several models, else over samples),
    ``pval`` (rows of the layer permuted within strata and fold, against predictions that stay: no model has seen these
    samples, so none has to be fitted again), ``padj`` (over the table :cite:p:`Benjamini1995`) and ``n_models``;
    p-values are NaN where there is no such test.

    ``uns["ptm_dependency"]["layers"]`` : DataFrame
        One row per ``layer`` (category) and ``measure`` (category), the mean over the ``n_features`` features:
        ``"all"`` (Dep), ``"covariates"`` (R² of the covariates alone, the floor besides the training mean, which is
        0), ``"beyond_covariates"`` (R² of what they leave), ``"parent"`` (R² of the parents alone) and
        ``"beyond_parent"`` (Dep given the parent), the last two over sites with a parent and entries whose parents
        were measured, so compare them with ``"all"`` site by site.
    ``uns["ptm_dependency"]["sources"]`` : DataFrame
        One row per ``layer``, ``source`` (category) and ``measure``: ``"alone"``, Dep(layer ← source), and
        ``"unique"``, Unique(source → layer), in the ``n_samples`` samples that have both. Covariates are always known.
    ``uns["ptm_dependency"]["sites"]`` : DataFrame
        One row per ``layer``, ``feature`` and ``measure`` as in ``"layers"``; ``parents`` (names, joined by ``";"``).
    ``uns["ptm_dependency"]["params"]`` : dict
        Arguments, ``held_out``, versions, model class and hash of the weights of the first model.

    Raises
    ------
    KeyError
        A layer or column does not exist.
    TypeError
        Something is no :class:`scwhatif.model.MultiOmicLPM`.
    ValueError
        A model is not trained; there is no layer to hide, or too few samples have it; a column has missing
        entries; a setting is out of range.

    Examples
    --------
    >>> import scwhatif as wi
    >>> mdata = wi.datasets.simulate_flow(60, n_rna=30, n_protein=20, n_ptm=(5, 8, 10), n_metabolites=6)
    >>> wi.model.MultiOmicLPM.setup_mudata(mdata, rna="rna", protein="protein", ptm=["ptm_0", "ptm_1"])
    >>> model = wi.model.MultiOmicLPM(mdata, n_latent=4)
    >>> model.train(2, external_indexing=[range(40), [], range(40, 60)], enable_progress_bar=False)
    >>> wi.tl.ptm_dependency(mdata, [model], n_permutations=20)
    >>> mdata.uns["ptm_dependency"]["layers"]["measure"].tolist()
    ['all', 'parent', 'beyond_parent', 'all', 'parent', 'beyond_parent']
    """
    found = fold_models(mdata, model)
    setup = found.first.registry["setup_args"]
    targets = layers_of(found.first, layers, setup["ptm"], "layers")
    parents = setup["protein"] if parent is None else layers_of(found.first, parent, [], "parent")[0]
    if n_permutations < 0:
        msg = f"n_permutations={n_permutations} must not be negative."
        raise ValueError(msg)
    keys, groups = driver_strata(mdata, found.first, strata)
    warn_in_sample(found)

    rng = np.random.default_rng(seed)
    tables: dict[str, list[pd.DataFrame]] = {"layers": [], "sources": [], "sites": []}
    for target in targets:
        _add_layer(tables, found, mdata, target, parents if parents != target else None, groups, n_permutations, rng)

    with without_pulling():
        written = mdata.copy() if copy else mdata
    names = found.first.layer_names
    written.uns[key_added] = {
        Key.uns.PARAMS: params(
            found.first,
            layers=targets,
            parent=parents,
            strata=keys,
            n_permutations=n_permutations,
            seed=seed,
            n_models=len(found.folds),
            held_out=found.held_out,
        ),
        "layers": join_rows(tables["layers"], layer=targets, measure=_MEASURES),
        "sources": join_rows(tables["sources"], layer=targets, source=names, measure=_SOURCE_MEASURES),
        "sites": join_rows(tables["sites"], layer=targets, measure=_MEASURES),
    }
    return written if copy else None


class _Measure(NamedTuple):
    """What is predicted, what errors are compared with, and in which entries."""

    predicted: NDArray[np.float64]
    reference: NDArray[np.float64] | float = 0.0
    used: NDArray[np.bool_] | None = None
    tested: bool = True


def _add_layer(
    tables: dict[str, list[pd.DataFrame]],
    found: FoldModels,
    mdata: MuData,
    target: str,
    parent: str | None,
    strata: NDArray[np.int64],
    n_permutations: int,
    rng: np.random.Generator,
) -> None:
    """All rows of one hidden layer."""
    sources = [name for name in found.first.layer_names if name != target]
    without = {source: tuple(name for name in sources if name != source) for source in sources}
    given = [tuple(sources), (), *((source,) for source in sources), *without.values()]
    predictions = predict_held_out(found, mdata, target, given=given, strata=strata)
    held_out, predicted, sizes = predictions.held_out, predictions.predicted, predictions.sizes
    n_models = len(predictions.folds)
    measures = _measures(predictions, tuple(sources), mdata, target, parent)
    names = mdata[target].var_names.astype(str)
    of_gene = np.array(parent_names(found.first, target, parent), dtype=object)
    for measure, how in measures.items():
        score = held_out.score(how.predicted, reference=how.reference, used=how.used)
        each, mean = held_out.pvalues(
            how.predicted,
            reference=how.reference,
            used=how.used,
            n_permutations=n_permutations if how.tested else 0,
            rng=rng,
        )
        n_features = int(np.isfinite(score.value).sum())
        labels = {"layer": target, "measure": measure}
        overall = score_rows(score.mean, sizes, mean, **labels)
        tables["layers"].append(overall.assign(n_features=n_features, n_models=n_models))
        site = score_rows(score, sizes, each, layer=target, feature=names, measure=measure)
        site = site.assign(parents=of_gene, n_models=n_models)
        tables["sites"].append(site[np.isfinite(score.value)])
    for source in sources:
        used = predictions.present[source][:, None]
        alone = held_out.score(predicted[source,], used=used)
        unique = held_out.score(predicted[tuple(sources)], used=used) - held_out.score(
            predicted[without[source]], used=used
        )
        _, pval = held_out.pvalues(predicted[source,], used=used, n_permutations=n_permutations, rng=rng)
        n_samples = int((used & held_out.observed).any(axis=1).sum())
        for measure, score, p in (("alone", alone, pval), ("unique", unique, np.nan)):
            rows = score_rows(score.mean, sizes, p, layer=target, source=source, measure=measure)
            tables["sources"].append(rows.assign(n_samples=n_samples, n_models=n_models))


def _measures(
    predictions: LayerPredictions, sources: tuple[str, ...], mdata: MuData, target: str, parent: str | None
) -> dict[str, _Measure]:
    everything, floor = predictions.predicted[sources], predictions.predicted[()]
    measures = {"all": _Measure(everything)}
    if predictions.folds[0].model.registry["setup_args"]["categorical_covariate_keys"]:
        measures["covariates"] = _Measure(floor, tested=False)
        measures["beyond_covariates"] = _Measure(everything, reference=floor)
    if parent is not None:
        fitted = [parent_prediction(fold, mdata, target, parent=parent) for fold in predictions.folds]
        of_parent, known = (np.concatenate([each[i] for each in fitted]) for i in (0, 1))
        if known.any():
            measures["parent"] = _Measure(of_parent, used=known)
            measures["beyond_parent"] = _Measure(everything, reference=of_parent, used=known)
    return measures
