"""Which layer of modified sites tells most about what comes after it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scwhatif._keys import Key
from scwhatif._mudata import without_pulling
from scwhatif._provenance import params
from scwhatif.metrics import shapley_values
from scwhatif.tl._driver_effects import driver_strata
from scwhatif.tl._driver_settings import warn_in_sample
from scwhatif.tl._fold_models import fold_models
from scwhatif.tl._layer_predictions import layers_of, predict_held_out
from scwhatif.tl._layer_reader import SetReader, matched_sets
from scwhatif.tl._layer_scores import Score
from scwhatif.tl._layer_tables import join_rows, score_rows

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from mudata import MuData
    from numpy.typing import NDArray

    from scwhatif.model import MultiOmicLPM
    from scwhatif.tl._layer_predictions import Given, LayerPredictions
    from scwhatif.tl._layer_reader import MatchedSets

NO_LEADER = "no leader"

_MEASURES = ("lead", "shapley", "unique", "drivers_add")
# Coalitions double with every layer.
_MOST_LAYERS = 10


def storm_leader(
    mdata: MuData,
    model: MultiOmicLPM | Sequence[MultiOmicLPM],
    *,
    target: str | None = None,
    layers: str | Sequence[str] | None = None,
    pool: str | Sequence[str] | None = None,
    n_sets: int = 200,
    alpha: float = 0.05,
    min_unique: float = 0.01,
    strata: str | Sequence[str] | None = None,
    n_permutations: int = 200,
    seed: int = 0,
    key_added: str = Key.uns.STORM_LEADER,
    copy: bool = False,
) -> MuData | None:
    r"""Ask which PTM layer tells most about the metabolites, whatever its number of sites.

    With :math:`R^2(y \mid S)` the share of variance of the target around the training mean that a prediction from the
    layers :math:`S` explains in samples no model was fitted to, every layer :math:`k` has

    - ``lead`` :math:`= R^2(y \mid x_k)`;
    - ``shapley``, its fair share of the R² of all these layers together, over and above that of the covariates
      :cite:p:`Shapley1953`: layers that say the same divide it;
    - ``unique`` :math:`= R^2(y \mid \text{all layers}) - R^2(y \mid \text{all but } k)`, drivers, RNA and proteins
      included: what nothing else in the data can replace;
    - ``drivers_add`` :math:`= R^2(y \mid x_k, \text{drivers}) - R^2(y \mid x_k)`, at most 0 if all that the drivers
      say passes through the layer, as through a bottleneck;
    - ``percentile``, the share of random sets of as many features of the other layers that say less. Both sides are
      read by the same ridge regression on the training samples of each model, never one by the model.

    The lead alone **ranks panels by their size**: whatever the features, more of them say more, and a layer of 500
    sites leads one of 10 although any 10 of the 500 would say less. Hence a layer is called the leader only if it
    beats random sets of its size (``padj`` up to ``alpha``), and its unique share is at least ``min_unique`` with an
    interval above 0; among several such layers it is the one with the largest Shapley value. Otherwise there is no
    leader, which is a result. To lead is to predict best, not to cause.

    Parameters
    ----------
    mdata
        The samples.
    model
        The models of the folds of a cross-validation, each asked about its test samples, or one model, asked about all
        samples. Shares of samples that it was fitted to are too high, which a warning says.
    target
        Layer that is led; ``None`` takes the metabolome of the set-up.
    layers
        Layers to compare, up to 10; ``None`` takes the PTM layers of the set-up.
    pool
        Layers that random sets are drawn from, less the one compared; ``None`` takes all but drivers and target.
    n_sets
        Number of random sets.
    alpha
        Adjusted p-value against random sets up to which a layer may lead.
    min_unique
        Unique share from which on a layer may lead: with many samples an interval may lie above 0 for a share of no
        consequence.
    strata
        Columns of ``mdata.obs`` within whose groups samples change places under the null hypothesis; ``None`` takes
        the covariates of the model, an empty sequence none.
    n_permutations
        Number of permutations; 0 for no p-values.
    seed
        Seeds sets and permutations.
    key_added
        Key of ``mdata.uns``.
    copy
        Whether to return a copy instead of writing into ``mdata``.

    Returns
    -------
    ``None``, or the copy, with

    ``uns["storm_leader"]["leader"]`` : str
        Name of the layer that leads, or ``"no leader"``.
    ``uns["storm_leader"]["layers"]`` : DataFrame
        One row per ``layer`` (category): ``n_features``; ``lead``, ``shapley``, ``unique``; ``set_size`` (features
        on either side: those of the layer, or half of the pool's if it is larger), ``reader`` and ``set_median``
        (median R² of the layer and of the random sets by the regression), ``percentile``, ``pval`` (share of the sets
        that say as much, the layer counted in), ``padj`` (over layers :cite:p:`Benjamini1995`); ``leader`` (bool).
    ``uns["storm_leader"]["measures"]`` : DataFrame
        One row per ``layer`` and ``measure`` (categories; ``"lead"``, ``"shapley"``, ``"unique"``, ``"drivers_add"``):
        ``effect``, ``se``, ``low``, ``high`` (95 % interval: over folds :cite:p:`Nadeau2003` where there are several
        models, else over samples), ``pval`` of the lead (rows of the target permuted within strata and fold, against
        predictions that stay), ``padj`` :cite:p:`Benjamini1995`; ``n_samples``, ``n_models``. All layers are compared
        in the samples that have all of them and the target.
    ``uns["storm_leader"]["sets"]`` : DataFrame
        R² of every random set: ``layer`` (that it is compared with), ``reader`` (of that layer), ``set``.
    ``uns["storm_leader"]["floors"]`` : DataFrame
        ``measure`` (``"covariates"``: these alone; ``"layers"``: all layers compared; ``"all"``: all layers) and
        ``effect`` with its interval. The training mean is 0.
    ``uns["storm_leader"]["params"]`` : dict
        Arguments, ``held_out``, versions, model class and hash of the weights of the first model.

    Raises
    ------
    KeyError
        A layer or column does not exist.
    TypeError
        Something is no :class:`scwhatif.model.MultiOmicLPM`.
    ValueError
        A model is not trained; there is no target or layer, too many of them, or nothing to draw sets from; too few
        samples have all of them; a column has missing entries; a setting is out of range.

    Examples
    --------
    >>> import scwhatif as wi
    >>> mdata = wi.datasets.simulate_flow(80, n_rna=30, n_protein=20, n_ptm=(5, 8, 10), n_metabolites=6)
    >>> wi.model.MultiOmicLPM.setup_mudata(
    ...     mdata, rna="rna", protein="protein", ptm=["ptm_0", "ptm_1"], metabolome="metabolome"
    ... )
    >>> model = wi.model.MultiOmicLPM(mdata, n_latent=4)
    >>> model.train(2, external_indexing=[range(50), [], range(50, 80)], enable_progress_bar=False)
    >>> wi.tl.storm_leader(mdata, [model], n_sets=40, n_permutations=20)
    >>> mdata.uns["storm_leader"]["layers"]["layer"].tolist()
    ['ptm_0', 'ptm_1']
    """
    found = fold_models(mdata, model)
    setup = found.first.registry["setup_args"]
    default = [] if setup["metabolome"] is None else [setup["metabolome"]]
    y = layers_of(found.first, target, default, "target")[0]
    compared = layers_of(found.first, layers, setup["ptm"], "layers")
    names = [name for name in found.first.layer_names if name not in (y, setup["drivers"])]
    drawn_from = [name for name in layers_of(found.first, pool, names, "pool") if name != y]
    _check_settings(y, compared, drawn_from, n_sets, n_permutations)
    if not (0 < alpha < 1 and min_unique >= 0):
        msg = f"alpha={alpha} must lie within (0, 1), and min_unique={min_unique} not be negative."
        raise ValueError(msg)
    if len(compared) > alpha * (1 + n_sets):
        msg = (
            f"n_sets={n_sets} is too few for {len(compared)} layers: none could be called the leader at alpha={alpha}. "
            f"Use {int(np.ceil(len(compared) / alpha))} or more."
        )
        raise ValueError(msg)
    keys, groups = driver_strata(mdata, found.first, strata)
    warn_in_sample(found)

    asked = _Asked(found.first, y, compared)
    predictions = predict_held_out(found, mdata, y, given=asked.all(), strata=groups, require=compared)
    reader = SetReader(predictions, mdata, y, list(dict.fromkeys([*compared, *drawn_from])))
    rng = np.random.default_rng(seed)
    sets = {
        name: matched_sets(reader, name, [each for each in drawn_from if each != name], n_sets=n_sets, rng=rng)
        for name in compared
    }
    measures = _measure_table(predictions, asked, n_permutations, rng)
    table = _layer_table(measures, reader, sets, alpha, min_unique)
    leading = table.loc[table["leader"], "layer"].astype(str).tolist()

    with without_pulling():
        written = mdata.copy() if copy else mdata
    written.uns[key_added] = {
        Key.uns.PARAMS: params(
            found.first,
            target=y,
            layers=compared,
            pool=drawn_from,
            n_sets=n_sets,
            alpha=alpha,
            min_unique=min_unique,
            strata=keys,
            n_permutations=n_permutations,
            seed=seed,
            n_models=len(found.folds),
            held_out=found.held_out,
        ),
        "leader": leading[0] if leading else NO_LEADER,
        "layers": table,
        "measures": measures,
        "sets": _set_table(sets),
        "floors": _floor_table(predictions, asked),
    }
    return written if copy else None


class _Asked:
    """Names of layers to look at, in the order of the model, by what they are asked for."""

    def __init__(self, model: MultiOmicLPM, target: str, compared: list[str]) -> None:
        self.others = tuple(name for name in model.layer_names if name != target)
        self.compared = compared
        self.drivers = model.registry["setup_args"]["drivers"]

    def of(self, names: Collection[str]) -> Given:
        return tuple(name for name in self.others if name in names)

    def coalitions(self) -> list[Given]:
        n = len(self.compared)
        return [self.of([self.compared[i] for i in range(n) if k >> i & 1]) for k in range(2**n)]

    def without(self, name: str) -> Given:
        return tuple(each for each in self.others if each != name)

    def with_drivers(self, name: str) -> Given | None:
        return None if self.drivers in (None, name) else self.of([name, self.drivers])

    def all(self) -> list[Given]:
        single = [each for name in self.compared for each in (self.without(name), self.with_drivers(name))]
        return [*self.coalitions(), self.others, *(each for each in single if each is not None)]


def _check_settings(target: str, compared: list[str], pool: list[str], n_sets: int, n_permutations: int) -> None:
    if target in compared:
        msg = f"target={target!r} is among the layers compared, {compared}; leave it out there."
        raise ValueError(msg)
    if len(compared) > _MOST_LAYERS:
        msg = f"{len(compared)} layers make {2 ** len(compared)} subsets; compare at most {_MOST_LAYERS}."
        raise ValueError(msg)
    for name in compared:
        if not set(pool) - {name}:
            msg = f"pool={pool} leaves nothing to compare {name!r} with; name other layers."
            raise ValueError(msg)
    if n_sets < 1 or n_permutations < 0:
        msg = f"n_sets={n_sets} must be at least 1, and n_permutations={n_permutations} not negative."
        raise ValueError(msg)


def _measure_table(
    predictions: LayerPredictions, asked: _Asked, n_permutations: int, rng: np.random.Generator
) -> pd.DataFrame:
    held_out, predicted, sizes = predictions.held_out, predictions.predicted, predictions.sizes
    scores = {each: held_out.score(values).mean for each, values in predicted.items()}
    coalitions = [scores[each] for each in asked.coalitions()]
    shares = shapley_values(np.stack([each.value for each in coalitions]))
    parts = shapley_values(np.stack([each.parts for each in coalitions]))
    n_samples, n_models = int(held_out.observed.any(axis=1).sum()), len(predictions.folds)
    blocks = []

    def add(name: str, measure: str, score: Score, pval: float, n: int) -> None:
        rows = score_rows(score, sizes, pval, layer=name, measure=measure)
        blocks.append(rows.assign(n_samples=n, n_models=n_models))

    for i, name in enumerate(asked.compared):
        alone, without = asked.of([name]), asked.without(name)
        _, pval = held_out.pvalues(predicted[alone], n_permutations=n_permutations, rng=rng)
        add(name, "lead", scores[alone], pval, n_samples)
        add(name, "shapley", Score(shares[i], parts[i]), np.nan, n_samples)
        add(name, "unique", scores[asked.others] - scores[without], np.nan, n_samples)
        with_drivers = asked.with_drivers(name)
        if with_drivers is not None:
            called = predictions.present[asked.drivers][:, None]
            gain = held_out.score(predicted[with_drivers], used=called) - held_out.score(predicted[alone], used=called)
            add(name, "drivers_add", gain.mean, np.nan, int((called & held_out.observed).any(axis=1).sum()))
    return join_rows(blocks, layer=asked.compared, measure=_MEASURES)


def _layer_table(
    measures: pd.DataFrame, reader: SetReader, sets: dict[str, MatchedSets], alpha: float, min_unique: float
) -> pd.DataFrame:
    from scipy.stats import false_discovery_control

    def column(measure: str, what: str = "effect") -> NDArray[np.float64]:
        return measures.loc[measures["measure"] == measure, what].to_numpy()

    table = pd.DataFrame(
        {
            "layer": pd.Categorical(list(sets), categories=list(sets)),
            "n_features": [len(reader.columns[name]) for name in sets],
            **{measure: column(measure) for measure in ("lead", "shapley", "unique")},
            "set_size": [each.size for each in sets.values()],
            "reader": [float(np.median(each.own)) for each in sets.values()],
            "set_median": [float(np.median(each.other)) for each in sets.values()],
            "percentile": [each.percentile for each in sets.values()],
            "pval": [each.pvalue for each in sets.values()],
        }
    )
    table["padj"] = false_discovery_control(table["pval"])
    has_unique = (column("unique") >= min_unique) & (column("unique", "low") > 0)
    may_lead = (table["padj"].to_numpy() <= alpha) & has_unique
    most = np.where(may_lead, table["shapley"], -np.inf)
    table["leader"] = may_lead & (most == most.max())
    table.index = table.index.astype(str)
    return table


def _set_table(sets: dict[str, MatchedSets]) -> pd.DataFrame:
    names = [name for name, each in sets.items() for _ in each.other]
    table = pd.DataFrame(
        {
            "layer": pd.Categorical(names, categories=list(sets)),
            "reader": np.concatenate([each.own for each in sets.values()]),
            "set": np.concatenate([each.other for each in sets.values()]),
        }
    )
    table.index = table.index.astype(str)
    return table


def _floor_table(predictions: LayerPredictions, asked: _Asked) -> pd.DataFrame:
    given = {"covariates": (), "layers": asked.of(asked.compared), "all": asked.others}
    blocks = [
        score_rows(predictions.held_out.score(predictions.predicted[each]).mean, predictions.sizes, measure=measure)
        for measure, each in given.items()
    ]
    table = pd.concat(blocks, ignore_index=True).drop(columns="pval")
    table["measure"] = pd.Categorical(table["measure"], categories=list(given))
    table.index = table.index.astype(str)
    return table
