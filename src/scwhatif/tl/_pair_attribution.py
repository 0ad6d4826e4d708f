"""Which features or bases a prediction of pairs rests on."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import pandas as pd

from scwhatif._keys import Key
from scwhatif._provenance import params
from scwhatif._validation import _unknown_key, check_at_least_one
from scwhatif.tl._attribution_tables import attribution_lines, attribution_table, labelled
from scwhatif.tl._context_model import attributable_pairs, pair_positions
from scwhatif.tl._pair_network import PairNetwork, Target

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from numpy.typing import NDArray

    from scwhatif.model import CellLineEnergyModel

Method = Literal["occlusion", "integrated_gradients", "expected_gradients", "mutagenesis", "gradient_input"]
_OF_SEQUENCES = ("mutagenesis", "gradient_input")
# Share of what is to be explained that attributions may lack without a warning.
_COMPLETE = 0.05


def pair_attribution(
    adata: AnnData,
    model: CellLineEnergyModel,
    *,
    target: Target = "probability",
    method: Method | None = None,
    indices: Sequence[int] | NDArray[Any] | None = None,
    groupby: str | None = None,
    n_support: int | None = None,
    n_draws: int = 5,
    n_baselines: int = 5,
    n_steps: int = 50,
    window: int = 12,
    n_windows: int = 5,
    seed: int = 0,
    key_added: str = Key.uns.PAIR_ATTRIBUTION,
    copy: bool = False,
) -> AnnData | None:
    r"""Attribute the prediction of pairs, or the energy of lines, to features or to single bases.

    ======================== =================================================================== ====================
    method                   what is attributed to a feature, or a base                          asks
    ======================== =================================================================== ====================
    ``occlusion``            what is lost when it is that of another pair of the line, mean over network and trees
                             ``n_baselines`` of these
    ``integrated_gradients`` its share of the way from the mean pair of the line                 network
    ``expected_gradients``   the same from ``n_baselines`` other pairs of the line, mean         network
    ``mutagenesis``          what is lost with another base in its place, mean over the three    network
    ``gradient_input``       the same to first order, from the gradient: fast                    network
    ======================== =================================================================== ====================

    **Trees have no gradient.** With ``trees_weight`` above 0 only occlusion explains what the model predicts; the
    gradients are of the network's part alone, and a warning says so. Gradients add up to what they explain, and
    ``completeness`` says how far they do; occlusion and mutagenesis need not. The mean pair of a line may be like none
    of its pairs, and what is attributed from it has an offset; other pairs as baselines have none.

    Attributions of the ``"probability"`` are on the scale of log-odds, on which network and trees are averaged. The
    environment is that of the line and stays; what the pair's own features change is the score. The ``"energy"`` is
    attributed to the raw features of the support set instead, as their difference from the mean of the training pairs:
    :math:`R` as in ``get_energies`` with the scalar interaction, otherwise minus the intercept of the line, as no
    :math:`R` is identified.

    This is what a model rests on, not what regulates: of two features that say the same it may use either.

    Parameters
    ----------
    adata
        Pairs with the features of the model. Labels are not read.
    model
        A trained model.
    target
        ``"probability"``, ``"score"`` (:math:`U`, mean 0 and sd 1 over the training pairs; of several channels the sum)
        or ``"energy"``.
    method
        One of those above; ``None`` is ``"occlusion"``, and ``"mutagenesis"`` where the model reads sequences.
    indices
        Positions of the pairs, or a mask; ``None`` takes all. Mutagenesis takes three predictions per base.
    groupby
        Column of ``var`` whose groups of features are taken as one; features without a group are on their own.
    n_support, n_draws
        Pairs of the support set from which the environment is read, and draws over which log-odds, or attributions of
        the energy, are averaged.
    n_baselines
        Pairs that stand for what a feature might be otherwise.
    n_steps
        Gradients taken along a path; what shares lack to add up falls as their number grows.
    window, n_windows
        Bases of a window, and windows reported per pair, with sequences.
    seed
        Seeds the draws.
    key_added
        Key of ``uns`` and ``obsm``.
    copy
        Whether to return a copy instead of writing into ``adata``.

    Returns
    -------
    ``None``, or the copy, with

    ``uns["pair_attribution"]["table"]`` : DataFrame
        A row per cell line (category; ``"all"`` first, not with the energy) and feature or group, or end of the
        sequences, the largest first: ``cell_line``, ``feature``, ``attribution`` (mean over pairs), ``size`` (mean of
        the absolute value: what to rank by, as signs cancel), ``direction`` (correlation of attribution and value over
        pairs: 1 where more of it raises the target; NaN for groups, energies and sequences), ``n_pairs`` (with the
        energy, support pairs per draw).
    ``uns["pair_attribution"]["lines"]`` : DataFrame
        A row per cell line: ``cell_line``, ``n_pairs``, ``explained`` (mean of what attributions should add up to) and
        ``completeness`` (what they lack, relative to it, mean of absolute values); NaN where they need not add up.
    ``obsm["pair_attribution"]`` : DataFrame (pairs × features or groups), float64
        Attributions of each pair, NaN for those not asked about and for what was not measured. Features only, and not
        with the energy, which is of lines.
    ``uns["pair_attribution"]["contributions"]`` : array (pairs asked about × positions), float32
        Sequences only; their ``["pairs"]`` are beside it. 0 where the base is not known.
    ``uns["pair_attribution"]["windows"]`` : DataFrame
        Sequences only. A row per window in which contributions gather, largest first: ``pair``, ``cell_line``, ``end``
        (categories), ``start`` and ``stop`` within the sequence of that end, ``contribution``, ``sequence``.
    ``uns["pair_attribution"]["params"]`` : dict
        Arguments, ``trees_weight``, ``explains`` (``"network"`` or ``"network and trees"``), versions, model class and
        hash of its weights.

    Raises
    ------
    KeyError
        There is no such column.
    RuntimeError
        The model is not trained.
    TypeError
        It is no :class:`scwhatif.model.CellLineEnergyModel`.
    ValueError
        The method is not for the target or for what the model reads; the model has no energy, or reads none from
        features; a setting is out of range.

    Warns
    -----
    UserWarning
        Trees take part in the prediction and not in the attribution, or attributions do not add up.

    Examples
    --------
    >>> import scwhatif as wi
    >>> adata = wi.datasets.simulate_pairs(3, 4, 10)
    >>> wi.model.CellLineEnergyModel.setup_anndata(adata, label_key="label", cell_line_key="cell_line")
    >>> model = wi.model.CellLineEnergyModel(adata, trees_weight=0.0, n_hidden=16)
    >>> model.train(max_epochs=3, enable_progress_bar=False)
    >>> wi.tl.pair_attribution(adata, model, method="integrated_gradients")
    >>> adata.obsm["pair_attribution"].shape
    (600, 13)
    >>> bool((adata.uns["pair_attribution"]["lines"]["completeness"] < 0.05).all())
    True
    """
    method = _checked_method(attributable_pairs(adata, model), target, method)
    check_at_least_one(n_draws=n_draws, n_baselines=n_baselines, n_steps=n_steps, window=window, n_windows=n_windows)
    rows = pair_positions(indices, adata.n_obs)
    of_sequences = method in _OF_SEQUENCES
    names = _feature_names(adata, model, target)
    groups = _groups(adata, names, groupby) if not of_sequences else {}
    with_trees = model.trees_ is not None and target == "probability"
    if with_trees and method != "occlusion":
        warnings.warn(
            f"Trees make up {model.trees_weight:.0%} of the log-odds and have no gradient, so {method!r} explains the "
            "network's part alone; method='occlusion' explains both.",
            UserWarning,
            stacklevel=2,
        )
    network = PairNetwork(adata, model, rows, target, n_support=n_support, n_draws=n_draws, seed=seed)
    result: dict[str, Any]
    if of_sequences:
        result, per_pair = _of_sequences(network, adata, method, window, n_windows), None
    elif target == "energy":
        result, per_pair = _of_energies(network, method, groups, n_steps), None
    else:
        result, per_pair = _of_features(network, method, groups, n_baselines, n_steps, seed)
    _warn_incomplete(result["lines"])

    result[Key.uns.PARAMS] = params(
        model,
        target=target,
        method=method,
        n_pairs=len(rows),
        groupby=groupby,
        n_support=n_support,
        n_draws=n_draws,
        n_baselines=n_baselines,
        n_steps=n_steps,
        window=window if of_sequences else None,
        n_windows=n_windows if of_sequences else None,
        enhancer_length=model.module.encoder.enhancer_length if of_sequences else None,
        seed=seed,
        trees_weight=model.trees_weight,
        explains="network and trees" if with_trees and method == "occlusion" else "network",
    )
    output = adata.copy() if copy else adata
    if per_pair is not None:
        table = pd.DataFrame(np.nan, index=output.obs_names, columns=list(groups))
        table.iloc[rows] = per_pair
        output.obsm[key_added] = table
    output.uns[key_added] = result
    return output if copy else None


def _checked_method(model: CellLineEnergyModel, target: str, method: str | None) -> Any:
    reads_sequences = model.backbone == "cnn"
    for_target: tuple[str, ...] = tuple(name for name in get_args(Method) if (name in _OF_SEQUENCES) == reads_sequences)
    if target not in get_args(Target):
        msg = f"target={target!r} is not one of {get_args(Target)}."
        raise ValueError(msg)
    if target == "energy":
        if model.module.interaction.kind == "none" or not bool(model.module.energy_on):
            msg = "the model has no energy (interaction='none', or weights of a warm-up epoch), so target is another."
            raise ValueError(msg)
        if model.module.reads_hidden:
            msg = "the environment is read from the code of pairs and from no feature; name some in environment_key."
            raise ValueError(msg)
        for_target = ("occlusion", "integrated_gradients")
    if method is None:
        return for_target[0] if reads_sequences else "occlusion"
    if method not in for_target:
        what = f"target={target!r}" if target == "energy" else f"a model with backbone={model.backbone!r}"
        msg = f"method={method!r} is not for {what}; use one of {for_target}."
        raise ValueError(msg)
    return method


def _feature_names(adata: AnnData, model: CellLineEnergyModel, target: str) -> list[str]:
    setup = model.registry["setup_args"]
    key = None
    if target == "energy":
        key = setup["environment_key"]
    elif model.backbone == "precomputed":
        key = setup["embedding_key"]
    if key is None:
        return [str(name) for name in adata.var_names]
    values = adata.obsm[key]
    return (
        [str(c) for c in values] if isinstance(values, pd.DataFrame) else [f"{key}_{i}" for i in range(values.shape[1])]
    )


def _groups(adata: AnnData, names: list[str], groupby: str | None) -> dict[str, NDArray[np.int64]]:
    """Columns of each group of features."""
    if groupby is None:
        return {name: np.array([i]) for i, name in enumerate(names)}
    if groupby not in adata.var:
        raise _unknown_key(groupby, adata.var.columns, "adata.var", "groupby")
    if names != [str(name) for name in adata.var_names]:
        msg = f"groupby={groupby!r} groups features of var, and what is attributed to lies in obsm."
        raise ValueError(msg)
    column = adata.var[groupby]
    labels = np.where(column.isna(), names, column.astype(str))
    return {str(label): np.flatnonzero(labels == label) for label in dict.fromkeys(labels)}


def _of_features(
    network: PairNetwork,
    method: str,
    groups: dict[str, NDArray[np.int64]],
    n_baselines: int,
    n_steps: int,
    seed: int,
) -> tuple[dict[str, Any], NDArray[np.float64]]:
    from scwhatif.tl._pair_occlusion import occlude
    from scwhatif.tl._pair_paths import pair_paths

    columns = list(groups.values())
    observed = ~np.isnan(network.table.features[network.rows])
    if method == "occlusion":
        found, difference = occlude(network, columns, n_baselines=n_baselines, seed=seed), None
    else:
        expected = n_baselines if method == "expected_gradients" else None
        shares, difference = pair_paths(network, n_baselines=expected, n_steps=n_steps, seed=seed)
        found = np.column_stack([shares[:, each].sum(1) for each in columns])
    lines = attribution_lines(network.of_line, found.sum(1), difference)
    seen = np.column_stack([observed[:, each].any(1) for each in columns])
    found = np.where(seen, found, np.nan)
    values = np.full(found.shape, np.nan)
    features = network.model._normalized(network.table)[network.rows]
    for g, each in enumerate(columns):
        if len(each) == 1:
            values[:, g] = features[:, each[0]]
    return {"table": attribution_table(found, list(groups), network.of_line, values), "lines": lines}, found


def _of_energies(
    network: PairNetwork, method: str, groups: dict[str, NDArray[np.int64]], n_steps: int
) -> dict[str, Any]:
    from scwhatif.tl._pair_occlusion import occlude_support
    from scwhatif.tl._pair_paths import support_paths

    columns = list(groups.values())
    rows, lines = [], []
    for line in network.names:
        if method == "occlusion":
            found, n_support = occlude_support(network, str(line), columns)
            explained = completeness = float("nan")
        else:
            shares, explained, n_support = support_paths(network, str(line), n_steps=n_steps)
            found = np.array([shares[each].sum() for each in columns])
            completeness = abs(found.sum() - explained) / max(abs(explained), 1e-12)
        rows.append(
            pd.DataFrame(
                {
                    "cell_line": str(line),
                    "feature": list(groups),
                    "attribution": found,
                    "size": np.abs(found),
                    "direction": np.nan,
                    "n_pairs": n_support,
                }
            ).sort_values("size", ascending=False, kind="stable")
        )
        lines.append((str(line), n_support, explained, completeness))
    return {
        "table": labelled(pd.concat(rows, ignore_index=True), network.names.tolist()),
        "lines": labelled(
            pd.DataFrame(lines, columns=["cell_line", "n_pairs", "explained", "completeness"]), network.names.tolist()
        ),
    }


def _of_sequences(network: PairNetwork, adata: AnnData, method: Any, window: int, n_windows: int) -> dict[str, Any]:
    from scwhatif.tl._base_contributions import base_contributions, top_windows

    codes = np.asarray(network.table.sequence, dtype=np.uint8)[network.rows]
    length = network.module.encoder.lengths(codes.shape[1])[0]
    contributions = base_contributions(network, codes, method)
    names = adata.obs_names[network.rows].to_numpy(dtype=object).astype(str)
    by_end = np.column_stack([part.sum(1) for part in np.split(contributions.astype(np.float64), [length], axis=1)])
    return {
        "table": attribution_table(by_end, ["enhancer", "promoter"], network.of_line),
        "lines": attribution_lines(network.of_line, by_end.sum(1), None),
        "contributions": contributions,
        "pairs": names,
        "windows": top_windows(
            contributions, codes, names, network.of_line, enhancer_length=length, window=window, n_windows=n_windows
        ),
    }


def _warn_incomplete(lines: pd.DataFrame) -> None:
    short = lines[lines["completeness"] > _COMPLETE]
    if len(short):
        msg = (
            f"Attributions lack {short['completeness'].max():.0%} of what they explain in cell line(s) "
            f"{short['cell_line'].tolist()}; raise n_steps."
        )
        warnings.warn(msg, UserWarning, stacklevel=3)
