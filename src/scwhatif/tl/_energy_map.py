"""Energies of cell lines, and how sure they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scwhatif._keys import Key
from scwhatif._provenance import params
from scwhatif.tl._context_model import INTERVAL, context_pairs

if TYPE_CHECKING:
    from anndata import AnnData

    from scwhatif.model import CellLineEnergyModel
    from scwhatif.tl._context_model import ContextPairs


def energy_map(
    adata: AnnData,
    model: CellLineEnergyModel,
    *,
    n_support: int | None = None,
    n_draws: int = 20,
    seed: int = 0,
    key_added: str = Key.uns.ENERGY_MAP,
    copy: bool = False,
) -> AnnData | None:
    r"""Lay out the cell lines by what their environment does to a score, with the spread over support sets.

    In a cell line the logit of the network is its slope times the score :math:`U` of the pair plus its intercept. With
    the scalar interaction these are :math:`(1 + \lambda R) / T` and :math:`-R / T`, in the gauge in which :math:`U`
    has mean 0 and standard deviation 1 over the training pairs (see
    :meth:`scwhatif.model.CellLineEnergyModel.get_energies`). Slope and intercept are identified always, :math:`R`,
    :math:`\lambda` and :math:`T` only by three or more training lines. The energy is read from pairs of the line that
    are drawn at random, so another draw gives another energy; the spread says how far that goes. It says nothing of
    other sources of error, such as another training.

    Parameters
    ----------
    adata
        Pairs with the features of the model, of lines that it has seen or not. Labels are not read.
    model
        A trained model with an environment: any ``interaction`` but ``"none"``.
    n_support
        Pairs per draw; by default 256, or all where a line has fewer. Where a draw takes all, draws are all the same
        and the spread is 0.
    n_draws
        Draws of the support set, at least two.
    seed
        Seeds the draws.
    key_added
        Key of ``uns``, and prefix in ``obs``.
    copy
        Whether to return a copy instead of writing into ``adata``.

    Returns
    -------
    ``None``, or the copy, with

    ``uns["energy_map"]["lines"]`` : DataFrame
        A row per ``cell_line`` (category): ``n_pairs``, ``n_support`` (pairs per draw) and ``seen`` (bool, whether its
        labels were learnt from); ``slope`` and ``intercept``, and with the scalar interaction ``R``, ``T`` and
        ``lambda``: mean over draws. All but ``lambda``, which is one number, have their standard deviation (``_sd``)
        and 95 % range (``_low``, ``_high``) over draws beside them. With several channels ``slope_0``, ``slope_1`` …
        ``min_slope`` is the smallest slope of any draw and channel: where it is not positive the order of pairs turns
        around. With the scalar interaction also ``min_gain``, the smallest :math:`1 + \lambda R`, and
        ``R_relative_sd``, the standard deviation of :math:`R` over the absolute value of its mean. The origin of
        :math:`R` is one of the gauge, so compare ``R_sd`` also with the differences between lines.
    ``uns["energy_map"]["distances"]`` : DataFrame (lines × lines), float64
        Euclidean distance between the mean environment codes of all pairs of two lines.
    ``uns["energy_map"]["params"]`` : dict
        Arguments, versions, model class and hash of its weights.
    ``obs["energy_map_U"]`` : float64
        Score of each pair, whatever its line. With several channels ``obsm["energy_map_U"]``, an array (pairs ×
        channels).
    ``obs["energy_map_probability"]`` : float64
        Probability that the pair interacts, logits averaged over draws; trees take part.

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
        features are not the model's, a line has fewer pairs than ``n_support``, a cell line is missing, or draws are
        fewer than two.

    Examples
    --------
    >>> import scwhatif as wi
    >>> adata = wi.datasets.simulate_pairs(3, 4, 10)
    >>> wi.model.CellLineEnergyModel.setup_anndata(adata, label_key="label", cell_line_key="cell_line")
    >>> model = wi.model.CellLineEnergyModel(adata, trees_weight=0.0, n_hidden=16)
    >>> model.train(max_epochs=3, enable_progress_bar=False)
    >>> wi.tl.energy_map(adata, model, n_support=64)
    >>> lines = adata.uns["energy_map"]["lines"]
    >>> lines["n_pairs"].tolist(), bool((lines["R_sd"] > 0).all())
    ([200, 200, 200], True)
    """
    pairs = context_pairs(adata, model, n_draws=n_draws)
    asked: dict[str, Any] = {"n_support": n_support, "n_draws": n_draws, "seed": seed}
    energies = model.get_energies(adata, **asked)
    # what is drawn is of the line, so one pair tells it
    first = [int(np.flatnonzero(pairs.lines == name)[0]) for name in pairs.names]
    draws = model.get_energies(adata, indices=first, each_draw=True, **asked)

    target = adata.copy() if copy else adata
    target.uns[key_added] = {
        "lines": _lines(pairs, draws, n_support),
        "distances": _distances(pairs, model.get_latent_representation(adata, which="environment")),
        Key.uns.PARAMS: params(model, **asked),
    }
    if "U" in energies:
        target.obs[f"{key_added}_U"] = energies["U"].to_numpy()
    else:
        target.obsm[f"{key_added}_U"] = energies.filter(regex="^U_").to_numpy()
    target.obs[f"{key_added}_probability"] = energies["probability"].to_numpy()
    return target if copy else None


def _lines(pairs: ContextPairs, draws: pd.DataFrame, n_support: int | None) -> pd.DataFrame:
    from scwhatif.model._cell_line_energy_evaluation_mixin import DEFAULT_SUPPORT

    n_pairs = np.array([(pairs.lines == name).sum() for name in pairs.names])
    table = pd.DataFrame(
        {
            "cell_line": pd.Categorical(pairs.names, categories=pairs.names),
            "n_pairs": n_pairs,
            "n_support": np.minimum(DEFAULT_SUPPORT, n_pairs) if n_support is None else n_support,
            "seen": pairs.seen,
        }
    )
    by_line = draws.groupby("cell_line", sort=False)
    slopes = [name for name in draws if name.startswith("slope")]
    for name in [name for name in ("R", "T", *slopes, "intercept") if name in draws]:
        column = by_line[name]
        table[name] = column.mean().to_numpy()
        table[f"{name}_sd"] = column.std().to_numpy()
        for end, percent in zip(("low", "high"), INTERVAL, strict=True):
            table[f"{name}_{end}"] = column.quantile(percent / 100).to_numpy()
    table["min_slope"] = by_line[slopes].min().min(axis=1).to_numpy()
    if "R" in draws:
        table["lambda"] = by_line["lambda"].first().to_numpy()
        table["min_gain"] = (1 + draws["lambda"] * draws["R"]).groupby(draws["cell_line"], sort=False).min().to_numpy()
        table["R_relative_sd"] = table["R_sd"] / table["R"].abs()
    table.index = table.index.astype(str)
    return table


def _distances(pairs: ContextPairs, codes: np.ndarray) -> pd.DataFrame:
    from scipy.spatial.distance import cdist

    means = np.array([codes[pairs.lines == name].mean(axis=0, dtype=np.float64) for name in pairs.names])
    return pd.DataFrame(cdist(means, means), index=pairs.names, columns=pairs.names)
