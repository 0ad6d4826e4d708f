"""Drivers ranked by what they do to the PTM storm."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

import numpy as np
import pandas as pd

from scwhatif._keys import Key
from scwhatif._provenance import params
from scwhatif.tl._driver_effects import driver_strata
from scwhatif.tl._driver_settings import warn_in_sample
from scwhatif.tl._driver_tables import adjusted
from scwhatif.tl._fold_models import fold_models
from scwhatif.tl._regulator_table import agreement, stack
from scwhatif.tl._storm_fold import FoldStorm, mean_of_layers, ptm_layers
from scwhatif.tl._storm_interval import FoldEffects, table_of
from scwhatif.tl._storm_null import driver_tests, observed_differences
from scwhatif.tl._storm_settings import (
    STORM,
    check_counts,
    check_reference,
    driver_columns,
    driver_names,
    sides_of,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mudata import MuData
    from numpy.typing import NDArray

    from scwhatif.model import MultiOmicLPM
    from scwhatif.tl._fold_models import FoldModels

StormMethod = Literal["difference", "integrated_gradients"]
MIN_SELECTED = 0.8
_N_SHUFFLED = 5
_FDR = 0.05


class StormRegulators(NamedTuple):
    """Result of :func:`storm_regulators`.

    Parameters
    ----------
    stored
        What belongs into ``uns``.
    storm
        Measured storm of every sample; NaN where there is none.
    """

    stored: dict[str, Any]
    storm: NDArray[np.float64]


class _Answers(NamedTuple):
    """What models say of their samples, and what was measured there."""

    effects: dict[str, FoldEffects]
    layers: dict[str, FoldEffects]
    shuffled: list[FoldEffects]
    residuals: FoldEffects
    carriers: FoldEffects
    storm: FoldEffects
    completeness: dict[str, float]


def storm_regulators(
    mdata: MuData,
    model: MultiOmicLPM | Sequence[MultiOmicLPM],
    *,
    candidates: str | Sequence[str] | None,
    method: str | Sequence[str],
    reference: tuple[str, str] | str,
    strata: str | Sequence[str] | None,
    n_null: int,
    min_carriers: int,
    n_steps: int,
    seed: int,
    progress: bool,
) -> StormRegulators:
    """Rank drivers by what they do to the PTM storm.

    Parameters
    ----------
    mdata, model, candidates, method, reference, strata, n_null, n_steps, seed, progress
        As for :func:`scwhatif.tl.master_regulators`.
    min_carriers
        Its ``min_cells``.

    Returns
    -------
    The ranking.
    """
    methods = tuple(dict.fromkeys([method] if isinstance(method, str) else method))
    if not methods or not set(methods) <= set(get_args(StormMethod)):
        msg = f"method={method!r} must be one or more of {get_args(StormMethod)} with MuData."
        raise ValueError(msg)
    check_counts(n_null, min_cells=min_carriers, n_steps=n_steps)
    found = fold_models(mdata, model)
    columns = driver_columns(found.first, candidates)
    layers = ptm_layers(found.first)
    keys, strata_of = driver_strata(mdata, found.first, strata)
    check_reference(mdata, reference)
    # called by the tool, not by the user
    warn_in_sample(found, stacklevel=4)
    names = driver_names(found.first, columns)
    answers = _ask(mdata, found, columns, methods, reference, n_steps=n_steps, seed=seed, progress=progress)
    carriers, residuals = answers.carriers.by_sample(), answers.residuals.by_sample()
    seen = observed_differences(residuals, carriers, strata_of)
    tables, per_layer, ranked = [], [], {}
    for name in methods:
        interval = answers.effects[name].interval().widened(seen.observed_se, seen.df)
        ranked[name] = interval.effect
        tests = driver_tests(
            answers.effects[name].by_sample(),
            residuals,
            carriers,
            strata_of,
            n_null=n_null,
            sides=sides_of(found),
            min_carriers=min_carriers,
            seed=seed,
        )
        tables.append(
            table_of(
                names,
                {
                    "method": name,
                    **interval.columns(),
                    "observed": seen.observed,
                    "observed_se": seen.observed_se,
                    "n_carriers": (carriers == 1).sum(axis=0),
                    "n_models": interval.n_models,
                    **tests._asdict(),
                    "master": (tests.selection_probability >= MIN_SELECTED) & (interval.effect > 0),
                },
            )
        )
        mean = answers.layers[name].interval().effect.reshape(len(columns), len(layers))
        per_layer += [
            pd.DataFrame({"method": name, "driver": names, "layer": layer, "effect": mean[:, k]})
            for k, layer in enumerate(layers)
        ]
    table = adjusted(stack(tables, method=methods, driver=names))
    stored = {
        Key.uns.PARAMS: params(
            found.first,
            target=STORM,
            target_name="PTM storm",
            candidates=None if candidates is None else names,
            method=list(methods),
            reference=reference if isinstance(reference, str) else list(reference),
            strata=keys,
            n_null=n_null,
            min_cells=min_carriers,
            n_steps=n_steps,
            seed=seed,
            n_models=len(found.folds),
            held_out=found.held_out,
        ),
        "table": table,
        "layers": stack(per_layer, method=methods, driver=names, layer=layers),
        "methods": _summary(table, ranked, answers),
        "agreement": agreement(ranked),
    }
    return StormRegulators(stored, answers.storm.by_sample()[:, 0])


def _ask(
    mdata: MuData,
    found: FoldModels,
    columns: NDArray[np.int64],
    methods: Sequence[str],
    reference: tuple[str, str] | str,
    *,
    n_steps: int,
    seed: int,
    progress: bool,
) -> _Answers:
    from scvi.utils import track

    def collect() -> FoldEffects:
        return FoldEffects(found.folds, mdata.n_obs)

    answers = _Answers(
        {name: collect() for name in methods},
        {name: collect() for name in methods},
        [collect() for _ in range(_N_SHUFFLED)],
        collect(),
        collect(),
        collect(),
        dict.fromkeys(methods, np.nan),
    )
    rng = np.random.default_rng(seed)
    lacking = whole = 0.0
    for fold in track(found.folds, description="Storms of each model's samples", disable=not progress):
        storm = FoldStorm(mdata, fold, reference)
        answers.storm.add(mean_of_layers(storm.measured)[:, None])
        answers.residuals.add(storm.residuals(columns))
        carried = storm.path.x.cpu().numpy().astype(np.float64)
        answers.carriers.add(np.where(storm.asked(), carried, np.nan)[:, columns])
        for each in answers.shuffled:
            each.add(storm.shuffled_change(columns, rng))
        for name in methods:
            if name == "difference":
                values = storm.change(columns)
            else:
                shares, total = storm.shares(n_steps)
                gap = np.where(np.isnan(shares), 0.0, shares).sum(axis=1) - total
                lacking += float(np.nansum(gap.mean(axis=1) ** 2))
                whole += float(np.nansum(total.mean(axis=1) ** 2))
                values = shares[:, columns]
            answers.effects[name].add(values.mean(axis=2))
            answers.layers[name].add(values.reshape(len(values), -1))
    if whole > 0:
        answers.completeness["integrated_gradients"] = float(np.sqrt(lacking / whole))
    return answers


def _summary(table: pd.DataFrame, ranked: dict[str, NDArray[np.float64]], answers: _Answers) -> pd.DataFrame:
    shuffled = [pd.Series(each.interval().effect) for each in answers.shuffled]
    n_carriers = pd.Series((answers.carriers.by_sample() == 1).sum(axis=0))
    rows = []
    for name, effect in ranked.items():
        tested = table[table["method"] == name]
        rows.append(
            {
                "method": name,
                "n_tested": int(tested["pval"].notna().sum()),
                "n_significant": int((tested["padj"] < _FDR).sum()),
                "spearman_carriers": pd.Series(np.abs(effect)).corr(n_carriers, method="spearman"),
                "spearman_random": float(np.mean([pd.Series(effect).corr(e, method="spearman") for e in shuffled])),
                "completeness": answers.completeness[name],
            }
        )
    summary = pd.DataFrame(rows)
    summary.index = summary.index.astype(str)
    return summary
