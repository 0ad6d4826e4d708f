"""The same pair in the environment of another cell line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.special import logit

from scwhatif._keys import Key
from scwhatif._provenance import params
from scwhatif.tl._context_model import INTERVAL, context_pairs, pair_positions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from numpy.typing import NDArray

    from scwhatif.model import CellLineEnergyModel

_SMALLEST = 1e-12


def swap_context(
    adata: AnnData,
    model: CellLineEnergyModel,
    *,
    to: str | Sequence[str] | None = None,
    indices: Sequence[int] | NDArray[Any] | None = None,
    n_support: int | None = None,
    n_draws: int = 20,
    threshold: float | None = None,
    seed: int = 0,
    key_added: str = Key.uns.SWAP_CONTEXT,
    copy: bool = False,
) -> AnnData | None:
    """Put pairs into the environment of another cell line, and see which of them switch.

    **Only the environment is swapped.** The pair keeps its own features: its marks stay as measured in its own line,
    and are compared with those of its own line. What is changed is the support set from which the energy is read. Trees
    (``trees_weight``) do not read the environment, so with the default weight only the network's part of the log-odds
    moves. With the scalar and the linear interaction a line has one slope and one intercept: pairs become more or less
    likely, and the order of the pairs of a line that the network gives stays, as long as slopes are positive
    (``min_slope`` of :func:`scwhatif.tl.energy_map`). Several channels can change the order.

    This is the sensitivity of a model, not an intervention: a line's marks and its environment do not come apart in a
    cell.

    Parameters
    ----------
    adata
        Pairs with the features of the model; environments are read from all pairs of a line. Labels are not read.
    model
        A trained model with an environment: any ``interaction`` but ``"none"``.
    to
        Line or lines into whose environment pairs are put; ``None`` takes all in ``adata``.
    indices
        Positions of the pairs to swap, or a mask; ``None`` takes all.
    n_support
        Pairs per draw; by default 256, or all where a line has fewer.
    n_draws
        Draws of the support sets, at least two. Logits are averaged over them.
    threshold
        Probability from which a pair is on; ``None`` takes the model's ``threshold_``.
    seed
        Seeds the draws.
    key_added
        Key of ``uns`` and ``obsm``, and prefix in ``obs``.
    copy
        Whether to return a copy instead of writing into ``adata``.

    Returns
    -------
    ``None``, or the copy, with

    ``obsm["swap_context"]`` : DataFrame (pairs × lines), float64
        Probability in the environment of each line of ``to``; NaN for pairs that ``indices`` leaves out.
    ``obs["swap_context_own"]`` : float64
        Probability in the environment of the pair's own line; NaN for pairs that ``indices`` leaves out.
    ``uns["swap_context"]["table"]`` : DataFrame
        A row per ``from`` and ``to`` (categories), the line itself among them: ``n_pairs``; mean probability ``own``
        and ``swapped``; ``change``, the mean difference, with its 95 % range over draws (``change_low``,
        ``change_high``); ``n_on`` and ``n_off``, pairs that pass the threshold upwards and downwards; and
        ``log_odds_change``, the mean difference of log-odds.
    ``uns["swap_context"]["pairs"]`` : DataFrame
        A row per switch, the largest change first: ``pair`` (name), ``from``, ``to`` (categories), probability ``own``
        and ``swapped``, ``change``, ``switch`` (category, ``"on"`` or ``"off"``).
    ``uns["swap_context"]["params"]`` : dict
        Arguments, the ``threshold`` that was used, ``trees_weight``, versions, model class and hash of its weights.

    Raises
    ------
    KeyError
        The column of cell lines does not exist.
    RuntimeError
        The model is not trained.
    TypeError
        It is no :class:`scwhatif.model.CellLineEnergyModel`.
    ValueError
        The model has ``interaction="none"``, or the epoch that training kept is one of the warm-up, without an energy;
        features are not the model's, a line of ``to`` is not in ``adata``, a line has fewer pairs than ``n_support``,
        a cell line is missing, ``indices`` are not positions of pairs, each once, the threshold is no probability, or
        draws are fewer than two.

    Examples
    --------
    >>> import scwhatif as wi
    >>> adata = wi.datasets.simulate_pairs(3, 4, 10)
    >>> wi.model.CellLineEnergyModel.setup_anndata(adata, label_key="label", cell_line_key="cell_line")
    >>> model = wi.model.CellLineEnergyModel(adata, trees_weight=0.0, n_hidden=16)
    >>> model.train(max_epochs=3, enable_progress_bar=False)
    >>> wi.tl.swap_context(adata, model, to="line_2")
    >>> adata.uns["swap_context"]["table"][["from", "to", "n_pairs"]].to_numpy().tolist()
    [['line_0', 'line_2', 200], ['line_1', 'line_2', 200], ['line_2', 'line_2', 200]]
    """
    pairs = context_pairs(adata, model, n_draws=n_draws)
    lines = _wanted(to, pairs.names)
    rows = pair_positions(indices, adata.n_obs)
    threshold = float(model.threshold_) if threshold is None else threshold
    if not 0 <= threshold <= 1:
        msg = f"threshold={threshold} must be a probability."
        raise ValueError(msg)

    asked: dict[str, Any] = {"n_support": n_support, "n_draws": n_draws, "seed": seed}
    found = model._probabilities_in(adata, rows, lines, **asked)
    own, of_line = _Probabilities(*found[None]), pairs.lines[rows]
    table, switches = [], []
    predicted = pd.DataFrame(np.nan, index=adata.obs_names, columns=lines)
    for line in lines:
        swapped = _Probabilities(*found[line])
        predicted.iloc[rows, lines.index(line)] = swapped.mean
        for origin in np.unique(of_line):
            table.append({"from": origin, "to": line, **_change(own, swapped, of_line == origin, threshold)})
        switches.append(_switches(adata.obs_names[rows], of_line, line, own.mean, swapped.mean, threshold))
    origins = np.unique(of_line).tolist()

    target = adata.copy() if copy else adata
    target.obsm[key_added] = predicted
    stays = np.full(adata.n_obs, np.nan)
    stays[rows] = own.mean
    target.obs[f"{key_added}_own"] = stays
    target.uns[key_added] = {
        "table": _labelled(pd.DataFrame(table).sort_values("from", kind="stable"), origins, lines),
        "pairs": _labelled(
            pd.concat(switches).sort_values("change", key=np.abs, ascending=False, kind="stable"), origins, lines
        ),
        Key.uns.PARAMS: params(
            model, to=lines, n_pairs=len(rows), threshold=threshold, trees_weight=model.trees_weight, **asked
        ),
    }
    return target if copy else None


class _Probabilities(NamedTuple):
    """Probabilities of pairs in an environment, with logits averaged over draws, and draw by draw."""

    mean: NDArray[np.float64]
    draws: NDArray[np.float64]


def _wanted(to: str | Sequence[str] | None, known: list[str]) -> list[str]:
    wanted = known if to is None else list(dict.fromkeys([to] if isinstance(to, str) else to))
    unknown = [line for line in wanted if line not in known]
    if unknown or not wanted:
        msg = f"to={unknown} must be of the cell lines of adata, {known}; environments are read from their pairs."
        raise ValueError(msg)
    return wanted


def _change(
    own: _Probabilities, swapped: _Probabilities, used: NDArray[np.bool_], threshold: float
) -> dict[str, float]:
    before, after = own.mean[used], swapped.mean[used]
    low, high = np.percentile((swapped.draws[:, used] - own.draws[:, used]).mean(axis=1), INTERVAL)
    return {
        "n_pairs": int(used.sum()),
        "own": before.mean(),
        "swapped": after.mean(),
        "change": (after - before).mean(),
        "change_low": low,
        "change_high": high,
        "n_on": int(((before < threshold) & (after >= threshold)).sum()),
        "n_off": int(((before >= threshold) & (after < threshold)).sum()),
        "log_odds_change": (_log_odds(after) - _log_odds(before)).mean(),
    }


def _log_odds(probability: NDArray[np.float64]) -> NDArray[np.float64]:
    return logit(np.clip(probability, _SMALLEST, 1 - _SMALLEST))


def _switches(
    names: pd.Index,
    of_line: NDArray[Any],
    line: str,
    own: NDArray[np.float64],
    swapped: NDArray[np.float64],
    threshold: float,
) -> pd.DataFrame:
    on, was_on = swapped >= threshold, own >= threshold
    table = pd.DataFrame(
        {
            "pair": names.to_numpy(dtype=object),
            "from": of_line,
            "to": line,
            "own": own,
            "swapped": swapped,
            "change": swapped - own,
            "switch": pd.Categorical(np.where(on, "on", "off"), categories=["on", "off"]),
        }
    )
    return table[on != was_on]


def _labelled(table: pd.DataFrame, origins: list[str], lines: list[str]) -> pd.DataFrame:
    """With lines as categories, and rows numbered as text, as files want them."""
    table = table.reset_index(drop=True)
    table["from"] = pd.Categorical(table["from"], categories=origins)
    table["to"] = pd.Categorical(table["to"], categories=lines)
    table.index = table.index.astype(str)
    return table
