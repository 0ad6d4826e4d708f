"""What follows, in every layer, when a driver is taken away from its carriers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scwhatif._keys import Key
from scwhatif._mudata import without_pulling
from scwhatif._provenance import params
from scwhatif.tl._driver_effects import DriverEffects, driver_strata
from scwhatif.tl._driver_settings import check_driver_test, check_drivers, warn_in_sample
from scwhatif.tl._driver_tables import adjusted, driver_rows, layer_stability

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mudata import MuData

    from scwhatif.model import MultiOmicLPM
    from scwhatif.tl._driver_settings import DriverNull


def gene_knockout(
    mdata: MuData,
    model: MultiOmicLPM | Sequence[MultiOmicLPM],
    *,
    drivers: str | Sequence[str] | None = None,
    set_to: int = 0,
    layers: str | Sequence[str] | None = None,
    strata: str | Sequence[str] | None = None,
    min_carriers: int = 5,
    null: DriverNull = "permutation",
    n_null: int = 100_000,
    n_pairs: int = 50,
    seed: int = 0,
    progress: bool = True,
    key_added: str = Key.uns.GENE_KNOCKOUT,
    copy: bool = False,
) -> MuData | None:
    r"""Set each driver to 0 in its carriers, and see what the model expects and whether held-out data agree.

    ``effect`` is the decoded change when the driver is **removed**: where a mutation raises a protein, removing it
    lowers the protein and the effect is negative. Taking away a gain-of-function mutation is a reversion rather than a
    knockout. With ``set_to=1`` the driver is **added** to samples without it, and every sign turns round. Averages are
    over the samples that are edited; in all others nothing happens.

    Given the models of a cross-validation, each sample is asked of the model that has not seen it. Beside the effect
    stands what was ``observed``: the difference between those samples and the others within strata, of what is left of
    the data when the other drivers and covariates are taken off (as the model predicts them with the driver at 0 in
    every sample). Intervals allow for the spread between models and for how few carriers there are to tell
    by, so that those of rare drivers are wide; with fewer than ``min_carriers`` there is no p-value.

    p-values ask whether carriers differ from samples whose driver status was drawn anew, the models left as they are
    (:func:`scwhatif.metrics.holdout_randomization`). For a feature the observed difference must have the sign that the
    models give it; as models of a cross-validation have learned from each other's test samples, these p-values are
    doubled, while those of a single model that has seen none of the samples are not. For a layer it is the mean square
    of all standardised differences, whatever their sign (:func:`scwhatif.metrics.holdout_energy`), and for a driver the
    mean of its layers.

    This is the sensitivity of a model to its input, backed by differences between samples that were not randomised:
    not the effect of an intervention.

    Parameters
    ----------
    mdata
        The model's data, or data like it.
    model
        Models of the folds of a cross-validation. A single model is asked about all samples; if it was fitted to them,
        p-values are too small and there is a warning.
    drivers
        Drivers to edit; ``None`` takes all.
    set_to
        0 removes drivers from their carriers, 1 adds them to the others.
    layers
        Layers to look at; ``None`` takes all but the drivers.
    strata
        Columns of ``mdata.obs`` within which carriers are compared with others; ``None`` takes the model's categorical
        covariates, and an empty list compares all with all.
    min_carriers
        Fewest carriers, and fewest others, for a p-value.
    null
        ``"permutation"`` shuffles carriers within strata. ``"conditional"`` draws them with a probability that a
        penalised logistic regression on strata and all other drivers gives, for drivers that tend to occur together.
    n_null
        Most draws for a feature (rare ones get all, see :func:`scwhatif.metrics.holdout_randomization`); layers and
        drivers get 10 000 at most.
    n_pairs
        Pairs of complementary halves for the selection probability; 0 leaves it out.
    seed
        Seed of draws and halves.
    progress
        Whether to show a progress bar, in the style of ``scvi.settings.progress_bar_style``.
    key_added
        Key of ``uns``.
    copy
        Whether to return a copy instead of writing into ``mdata``.

    Returns
    -------
    ``None``, or the copy, with

    ``uns["gene_knockout"]["features"]`` : DataFrame
        One row per driver (category), layer (category) and feature: ``driver``, ``layer``, ``feature``; ``effect`` in
        the units of the data; ``se``, ``low``, ``high`` (95 % interval); ``observed``, ``observed_se``;
        ``n_carriers`` in which it was measured, ``n_models`` that were asked; ``statistic`` (observed difference in
        the direction of the model, in standard deviations of the null), ``pval``, ``padj`` (over all tested rows of the
        table :cite:p:`Benjamini1995`); ``selection_probability``: how often the feature is among the strongest of its
        driver in half of the samples (as many as pass 5 % FDR within the driver, or one).
    ``uns["gene_knockout"]["table"]`` : DataFrame
        One row per driver and layer: ``driver``, ``layer``; ``effect`` (root mean square over features, in standard
        deviations of each; above 0 by chance alone), ``se``, ``low``, ``high``; ``mean_effect`` (signed); ``observed``
        (as ``effect``, without its sampling error); ``n_carriers``, ``n_models``; ``statistic`` (:math:`Z` of the
        energy), ``pval``, ``padj``; ``selection_probability``: how often the pair is among those in which held-out
        samples agree most with the direction that the model of the other folds has.
    ``uns["gene_knockout"]["drivers"]`` : DataFrame
        One row per driver: ``driver``, ``n_carriers``, ``n_models``; ``shift``, mean Mahalanobis length of the step in
        the latent state, with ``se``, ``low``, ``high`` over models; ``statistic``, ``pval``, ``padj`` over all layers.
    ``uns["gene_knockout"]["params"]`` : dict
        Arguments, ``held_out`` (whether no model was asked about samples it was fitted to), number of models, versions,
        model class and hash of the weights of the first.

    Raises
    ------
    KeyError
        A driver, layer or column does not exist.
    TypeError
        Something is no :class:`scwhatif.model.MultiOmicLPM`.
    ValueError
        A model is not trained or has no drivers, models disagree, or a setting is out of range.

    Examples
    --------
    >>> import scwhatif as wi
    >>> mdata = wi.datasets.simulate_flow(80, n_drivers=5, n_rna=20, n_protein=10, n_ptm=(5, 5, 5), n_metabolites=5)
    >>> wi.model.MultiOmicLPM.setup_mudata(mdata, rna="rna", protein="protein", categorical_covariate_keys=["lineage"])
    >>> models = []
    >>> for test in (range(40), range(40, 80)):
    ...     train = np.setdiff1d(np.arange(80), test)
    ...     model = wi.model.MultiOmicLPM(mdata, n_latent=2)
    ...     model.train(2, external_indexing=[train[5:], train[:5], test], enable_progress_bar=False)
    ...     models.append(model)
    >>> wi.tl.gene_knockout(mdata, models, n_null=200, n_pairs=5, progress=False)
    >>> result = mdata.uns["gene_knockout"]
    >>> result["features"].shape, result["table"].shape, result["drivers"].shape
    ((150, 15), (10, 14), (5, 10))
    """
    from scvi.utils import track

    check_driver_test(null=null, min_carriers=min_carriers, n_null=n_null)
    if n_pairs < 0:
        msg = f"n_pairs={n_pairs} must not be negative."
        raise ValueError(msg)
    question = DriverEffects(mdata, model, layers=layers, set_to=set_to)
    asked = check_drivers(drivers, question.names, name="drivers")
    keys, codes = driver_strata(mdata, question.models.first, strata)
    warn_in_sample(question.models)
    found = [
        driver_rows(
            question,
            driver,
            question.answer(driver),
            codes,
            null=null,
            min_carriers=min_carriers,
            n_null=n_null,
            n_pairs=n_pairs,
            seed=seed,
        )
        for driver in track(asked, description="Editing drivers", disable=not progress)
    ]
    table = adjusted(pd.concat([pd.DataFrame(rows.layers) for rows in found], ignore_index=True))
    features = adjusted(pd.concat([pd.DataFrame(rows.features) for rows in found], ignore_index=True))
    scores = np.hstack([rows.scores for rows in found])
    table["selection_probability"] = layer_stability(
        scores, table["pval"].to_numpy(), codes, n_pairs=n_pairs, seed=seed
    )
    for each in (table, features):
        each["driver"] = pd.Categorical(each["driver"], categories=asked)
        each["layer"] = pd.Categorical(each["layer"], categories=question.layers)
    with without_pulling():
        result = mdata.copy() if copy else mdata
    result.uns[key_added] = {
        "table": table,
        "features": features,
        "drivers": adjusted(pd.DataFrame([rows.driver for rows in found])),
        Key.uns.PARAMS: params(
            question.models.first,
            drivers=asked,
            set_to=set_to,
            layers=question.layers,
            strata=keys,
            min_carriers=min_carriers,
            null=null,
            n_null=n_null,
            n_pairs=n_pairs,
            seed=seed,
            held_out=question.models.held_out,
            n_models=len(question.models.folds),
        ),
    }
    return result if copy else None
