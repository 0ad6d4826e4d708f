"""What :class:`scwhatif.model.CellLineEnergyModel` demands of its settings and data before anything is written."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import sparse

from scwhatif import _validation
from scwhatif.nn._sequence_encoder import N_CODES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anndata import AnnData

    from scwhatif.model._cell_line_energy_rows import PairTable

_NEEDED = {"cnn": "sequence_key", "precomputed": "embedding_key"}
_MIN_REPORTABLE = 3


def check_energy_settings(settings: Mapping[str, Any], setup: Mapping[str, Any]) -> None:
    """Raise ``ValueError`` naming the setting and what is allowed, unless the settings go together."""
    for name, allowed in [
        ("interaction", ("scalar", "channels", "linear", "none")),
        ("backbone", ("mlp", "cnn", "precomputed")),
        ("loss", ("bce", "theory", "adaptive", "fixed")),
        ("input_norm", ("rank", "zscore", None)),
        ("embedding", ("piecewise", "periodic", "none")),
        ("temperature", ("scalar", "line")),
        ("sparsity", ("l1", "l2")),
        ("decouple", ("correlation", "hsic")),
    ]:
        if settings[name] not in allowed:
            msg = f"{name}={settings[name]!r} is not one of {allowed}."
            raise ValueError(msg)
    needed = _NEEDED.get(settings["backbone"])
    if needed and setup[needed] is None:
        msg = f"backbone={settings['backbone']!r} reads obsm; name it in setup_anndata({needed}=…)."
        raise ValueError(msg)
    for name, value in settings.items():
        if name.endswith("_weight") and not (np.isfinite(value) and value >= 0):
            msg = f"{name}={value} must be finite and not negative."
            raise ValueError(msg)
    for name in ("enhancer_length", "promoter_length"):
        if settings[name] is not None and settings["backbone"] != "cnn":
            msg = f"{name}={settings[name]} is of sequences, which backbone={settings['backbone']!r} does not read."
            raise ValueError(msg)
    bounds = settings["temperature_range"]
    if bounds is not None and not 0 < bounds[0] < bounds[1]:
        msg = f"temperature_range={bounds} must be two increasing positive numbers."
        raise ValueError(msg)


def check_pairs(adata: AnnData, setup: Mapping[str, Any], *, needs_label: bool) -> None:
    """Raise ``KeyError``, ``TypeError`` or ``ValueError`` unless all that a set-up names is there and can be used."""
    _validation.check_layer(adata, setup["layer"])
    _validation.check_obs_key(adata, setup["cell_line_key"], "cell_line_key")
    column = adata.obs[setup["cell_line_key"]]
    if column.isna().any():
        msg = f"obs[{setup['cell_line_key']!r}] (cell_line_key) is missing for {int(column.isna().sum())} pair(s)."
        raise ValueError(msg)
    if needs_label or setup["label_key"] in adata.obs:
        check_labels(adata, setup["label_key"])
    if needs_label and setup["chrom_key"] is not None:
        check_chroms(adata, setup["chrom_key"])
    x = adata.X if setup["layer"] is None else adata.layers[setup["layer"]]
    _check_gaps(x, "X" if setup["layer"] is None else f"layers[{setup['layer']!r}]", needs_label=needs_label)
    for name in ("environment_key", "sequence_key", "embedding_key"):
        key = setup[name]
        if key is None:
            continue
        if key not in adata.obsm:
            msg = f"{name}={key!r} is not in adata.obsm. It holds: {list(adata.obsm.keys()) or 'nothing'}."
            raise KeyError(msg)
        if name == "sequence_key":
            check_sequence(np.asarray(adata.obsm[key]), key)
        elif name == "embedding_key":
            _validation.check_finite(adata.obsm[key], name=f"obsm[{key!r}]")
        else:
            _check_gaps(adata.obsm[key], f"obsm[{key!r}]", needs_label=needs_label)


def check_labels(adata: AnnData, label_key: str) -> None:
    """Raise unless labels are 0, 1 or missing, with both classes among them."""
    _validation.check_obs_key(adata, label_key, "label_key")
    column = adata.obs[label_key]
    values = pd.to_numeric(pd.Series(column.to_numpy()), errors="coerce")
    if (values.isna() & column.isna().to_numpy().__invert__()).any() or not values.dropna().isin([0, 1]).all():
        found = sorted({str(value) for value in column.dropna().unique()})[:5]
        msg = f"obs[{label_key!r}] (label_key) must hold 0, 1, or NaN where the label is not known; it holds {found}."
        raise ValueError(msg)


def check_chroms(adata: AnnData, chrom_key: str) -> None:
    """Raise unless every pair has a chromosome and all are named in one way."""
    _validation.check_obs_key(adata, chrom_key, "chrom_key")
    column = adata.obs[chrom_key]
    if column.isna().any():
        msg = f"obs[{chrom_key!r}] (chrom_key) is missing for {int(column.isna().sum())} pair(s)."
        raise ValueError(msg)
    names = {str(name) for name in column.unique()}
    prefixed = {name for name in names if name.lower().startswith("chr")}
    if prefixed and prefixed != names:
        clash = sorted(names - prefixed)[:3]
        msg = (
            f"obs[{chrom_key!r}] (chrom_key) mixes names with and without 'chr' ({sorted(prefixed)[:3]} and {clash}), "
            "so one chromosome would be on both sides of a split. Name all in one way."
        )
        raise ValueError(msg)


def check_sequence(codes: np.ndarray, key: str) -> None:
    """Raise unless sequences are codes 0 to 4."""
    if codes.ndim != 2 or not (np.issubdtype(codes.dtype, np.integer) or (codes == np.rint(codes)).all()):
        msg = f"obsm[{key!r}] (sequence_key) must hold one row of integer codes per pair, all of one length."
        raise ValueError(msg)
    if codes.min() < 0 or codes.max() >= N_CODES:
        msg = (
            f"obsm[{key!r}] (sequence_key) holds codes from {codes.min()} to {codes.max()}; use 0 to 3 for A, C, G, T "
            "and 4 for any other letter."
        )
        raise ValueError(msg)


def check_lengths(n_positions: int, key: str, enhancer_length: int, promoter_length: int) -> None:
    """Raise unless sequences have the lengths that a model is for."""
    if min(enhancer_length, promoter_length) < 1 or enhancer_length + promoter_length != n_positions:
        msg = (
            f"obsm[{key!r}] (sequence_key) holds {n_positions} positions, and the model is for "
            f"enhancer_length={enhancer_length} and promoter_length={promoter_length}, "
            f"{enhancer_length + promoter_length} together. Read the sequences with these lengths "
            "(pp.add_pair_sequences), or make a model with those of the sequences."
        )
        raise ValueError(msg)


def _check_gaps(x: Any, name: str, *, needs_label: bool) -> None:
    values = x.data if sparse.issparse(x) else np.asarray(x)
    if values.dtype.kind not in "iufb":
        msg = f"{name} has dtype {values.dtype}; convert it to numbers."
        raise TypeError(msg)
    if values.dtype.kind == "f" and np.isinf(values).any():
        msg = f"{name} holds infinite values; a mark that was not measured is NaN."
        raise ValueError(msg)
    if needs_label and not sparse.issparse(x) and values.dtype.kind == "f":
        empty = np.isnan(values).all(0)
        if empty.any():
            msg = f"{name} has {int(empty.sum())} feature(s) that no pair has measured; drop them."
            raise ValueError(msg)


def check_training(table: PairTable, training: np.ndarray, *, n_support: int, needs_lines: list[str]) -> None:
    """Raise unless the training pairs can teach what the settings ask for; warn where an energy cannot be reported."""
    label, lines = table.label[training], table.lines[training]
    labelled = ~np.isnan(label)
    if not labelled.any():
        msg = "No training pair has a label."
        raise ValueError(msg)
    known = np.unique(lines[labelled])
    for name, value in [("positive", 1), ("negative", 0)]:
        if not (label == value).any():
            msg = f"The training pairs of {known.tolist()} hold no {name} label; a classifier needs both."
            raise ValueError(msg)
    small = {str(c): int((lines == c).sum()) for c in known if (lines == c).sum() <= n_support}
    if small:
        msg = (
            f"Training pairs by cell line {small} are not more than the support set (n_support={n_support}), so none "
            "is left to query. Lower n_support, or drop these lines."
        )
        raise ValueError(msg)
    if len(known) < 2 and needs_lines:
        msg = (
            f"{needs_lines} compare cell lines, and the training pairs are all of {str(known[0])!r}. Add lines, or set "
            "these weights to 0."
        )
        raise ValueError(msg)


def warn_unreportable(n_lines: int, interaction: str) -> None:
    """Warn where energies of so few lines are one of many equally good sets."""
    if interaction in ("scalar", "channels") and n_lines < _MIN_REPORTABLE:
        msg = (
            f"Trained on {n_lines} cell line(s): energies, lambda and temperature are not identified by fewer than "
            f"{_MIN_REPORTABLE} lines, so do not report them. Predictions are not affected."
        )
        warnings.warn(msg, UserWarning, stacklevel=4)
