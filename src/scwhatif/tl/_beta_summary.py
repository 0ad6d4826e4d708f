"""What the fits of a sweep over β amount to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from scwhatif.metrics import factor_stability

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from scwhatif.tl._beta_fit import BetaFitResult

    Results = Mapping[tuple[float, int], BetaFitResult]

# Stands for β of the fits without a latent code.
FLOOR: Final = np.inf
DIVERGED: Final = "diverged"
_VERDICTS = ("healthy", "partial_collapse", "total_collapse", DIVERGED)


def tabulate(results: Results, betas: Sequence[float], seeds: Sequence[int]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Lay out results as tables.

    Parameters
    ----------
    results
        By β (:data:`FLOOR` for fits without a latent code) and seed.
    betas, seeds
        What was swept.

    Returns
    -------
    One row per β and seed, and one row per seed for the floor.
    """
    floor = pd.DataFrame(
        {
            "seed": np.array(seeds, dtype=np.int64),
            "elbo": [results[FLOOR, seed].scores.get("elbo", np.nan) for seed in seeds],
        }
    )
    rows = [
        {"beta": beta, "seed": seed, "verdict": results[beta, seed].verdict, **results[beta, seed].scores}
        for beta in betas
        for seed in seeds
    ]
    scored = ("elbo", "reconstruction", "kl", "n_active", "max_correlation", "total_correlation")
    table = pd.DataFrame(rows)
    # if every fit diverged
    table = table.reindex(columns=[*table.columns, *(name for name in scored if name not in table)])
    table["verdict"] = pd.Categorical(table["verdict"], categories=_VERDICTS)
    table.insert(4, "elbo_gain", table["elbo"] - table["seed"].map(floor.set_index("seed")["elbo"]))
    for each in (table, floor):
        each.index = each.index.astype(str)
    return table, floor


def stability(results: Results, betas: Sequence[float], seeds: Sequence[int]) -> list[float]:
    """Agreement over seeds of the factors of each β.

    Parameters
    ----------
    results, betas, seeds
        As in :func:`tabulate`.

    Returns
    -------
    One value in [0, 1] per β; NaN where fewer than two fits have a result, or none an active dimension.
    """
    found = []
    for beta in betas:
        runs = [results[beta, seed].factors for seed in seeds if results[beta, seed].verdict != DIVERGED]
        if len(runs) < 2 or not any(run.shape[1] for run in runs):
            found.append(np.nan)
            continue
        # a run without a factor agrees with none that has some
        padded = [run if run.shape[1] else np.zeros((len(run), 1)) for run in runs]
        found.append(factor_stability(padded).mean)
    return found


def summarise(table: pd.DataFrame, stable: Sequence[float]) -> pd.DataFrame:
    """Mean and standard deviation over seeds.

    Parameters
    ----------
    table
        From :func:`tabulate`.
    stable
        From :func:`stability`.

    Returns
    -------
    One row per β, ascending.
    """
    by_beta = table.drop(columns=["seed", "verdict"]).groupby("beta", sort=True)
    means, spreads = by_beta.mean(), by_beta.std(ddof=1)
    columns = {}
    for name in means:
        columns[name], columns[f"{name}_sd"] = means[name], spreads[name]
    summary = pd.DataFrame(columns)
    summary["stability"] = np.asarray(stable)
    for name, verdict in (("n_collapsed", "total_collapse"), ("n_diverged", DIVERGED)):
        summary[name] = (table["verdict"] == verdict).groupby(table["beta"]).sum().astype(np.int64)
    summary = summary.reset_index()
    summary.index = summary.index.astype(str)
    return summary


def recommend(table: pd.DataFrame, tolerance: float) -> tuple[float, str]:
    """Apply the rule of :func:`scwhatif.tl.sweep_beta`.

    Parameters
    ----------
    table
        From :func:`tabulate`.
    tolerance
        Share of the best mean gain that may be given up.

    Returns
    -------
    β, NaN if none can be recommended, and a sentence.
    """
    failed = table["verdict"].isin(["total_collapse", DIVERGED]).groupby(table["beta"]).any()
    gains = table.pivot(index="beta", columns="seed", values="elbo_gain").loc[~failed]
    if gains.empty:
        return (
            np.nan,
            "No beta can be recommended: each collapsed totally or diverged with some seed. Add smaller ones.",
        )
    mean = gains.mean(axis=1)
    best = float(mean.idxmax())
    most = float(mean[best])
    if not most > 0:
        return np.nan, (
            "No beta can be recommended: on held-out cells none does better than a model without a latent code. Train "
            "for more epochs, or with more cells."
        )
    lost = gains.loc[best] - gains
    error = lost.std(axis=1, ddof=1).fillna(0.0) / np.sqrt(gains.shape[1])
    admitted = mean.index[lost.mean(axis=1) <= np.maximum(tolerance * most, error)]
    chosen = float(admitted.max())
    if chosen == best:
        how = f"it has the best held-out bound, {most:.3g} nats per cell above a model without a latent code"
    else:
        how = (
            f"of the best gain in held-out bound over a model without a latent code ({most:.3g} nats per cell, at beta "
            f"{best:g}) it keeps {mean[chosen] / most:.1%}"
        )
    advice = f"beta {chosen:g} is recommended: {how}, and no larger one is as close to the best without collapse."
    for end, side, where in ((max(table["beta"]), "larger", chosen), (min(table["beta"]), "smaller", best)):
        if where == end and (side == "larger" or chosen == best):
            advice += f" It is the {'largest' if side == 'larger' else 'smallest'} tried; add {side} ones."
    return chosen, advice
