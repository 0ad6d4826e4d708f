"""What :class:`scwhatif.model.MultiOmicLPM` demands of a MuData before anything is written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import pandas as pd
from scipy import sparse

from scwhatif import _validation
from scwhatif.nn._masked_likelihood import LayerLikelihood

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mudata import MuData


def check_lpm_settings(
    *, n_latent: int, beta: float, align_weight: float, reduction: str, decoder: str, evidence: str | None
) -> None:
    """Raise ``ValueError`` naming the setting and what is allowed."""
    for name, value, allowed in [
        ("reduction", reduction, ("mean", "sum")),
        ("decoder", decoder, ("linear", "mlp")),
        ("evidence", evidence, ("full", "cis", None)),
    ]:
        if value not in allowed:
            msg = f"{name}={value!r} is not one of {allowed}."
            raise ValueError(msg)
    if n_latent < 1:
        msg = f"n_latent={n_latent} must be at least 1."
        raise ValueError(msg)
    for name, number in [("beta", beta), ("align_weight", align_weight)]:
        if not (np.isfinite(number) and number >= 0):
            msg = f"{name}={number} must be finite and not negative."
            raise ValueError(msg)


def check_mudata(
    mdata: MuData,
    names: Sequence[str],
    *,
    drivers: str | None,
    likelihoods: Mapping[str, str],
    layers: Mapping[str, str],
    categorical_covariate_keys: Sequence[str],
    cis: str | None,
    first_use: bool,
) -> None:
    """Raise unless the modalities can be aligned by name and their values fit their likelihood.

    ``first_use`` is false where scvi-tools replays the set-up on data that a trained model merely reads: those may
    lack carriers or variation.
    """
    if not hasattr(mdata, "mod"):
        msg = f"setup_mudata needs a MuData with one modality per layer, not {type(mdata).__name__}."
        raise TypeError(msg)
    if len(set(names)) < len(names):
        twice = sorted({name for name in names if list(names).count(name) > 1})
        msg = f"Each modality has one place in the flow; named twice: {twice}."
        raise ValueError(msg)
    unknown = [name for name in names if name not in mdata.mod]
    if unknown:
        msg = f"{unknown} are not modalities of mdata, which holds {list(mdata.mod)}."
        raise KeyError(msg)
    if not [name for name in names if name != drivers]:
        msg = "Name at least one layer besides the drivers: rna=, protein=, ptm=, metabolome= or others=."
        raise ValueError(msg)
    for argument, mapping in [("likelihoods", likelihoods), ("layers", layers)]:
        extra = sorted(set(mapping) - set(names))
        if extra:
            msg = f"{argument} names {extra}, which have no place in the flow ({list(names)})."
            raise KeyError(msg)
    for name, likelihood in likelihoods.items():
        if likelihood not in get_args(LayerLikelihood):
            msg = f"likelihoods[{name!r}]={likelihood!r} is not one of {get_args(LayerLikelihood)}."
            raise ValueError(msg)
    if drivers is not None and likelihoods.get(drivers, "bernoulli") != "bernoulli":
        msg = f"likelihoods[{drivers!r}]={likelihoods[drivers]!r}: drivers are 0, 1 or NaN, so 'bernoulli'."
        raise ValueError(msg)
    _check_names(mdata, names)
    _check_covariates(mdata, categorical_covariate_keys)
    if cis is not None and not any(cis in mdata[name].var for name in names):
        msg = (
            f"No modality has the column var[{cis!r}] (cis) that says which gene a feature belongs to. Add it, several "
            "genes separated by ';', or pass cis=None to leave same-gene links out."
        )
        raise KeyError(msg)
    seen = np.zeros(mdata.n_obs, dtype=bool)
    for name in names:
        values = _values(mdata, name, layers)
        observed = ~np.isnan(values)
        seen[mdata.obs_names.get_indexer(mdata[name].obs_names)[observed.any(axis=1)]] = True
        likelihood = "bernoulli" if name == drivers else likelihoods.get(name, "normal")
        _check_values(mdata, name, values, observed, likelihood)
        if first_use:
            _check_variation(mdata, name, values, observed, is_driver=name == drivers)
    if not seen.all():
        msg = (
            f"Nothing was measured in {int((~seen).sum())} sample(s): {_validation._listed(mdata.obs_names[~seen])}. "
            "Leave them out."
        )
        raise ValueError(msg)


def check_new_samples(
    mdata: MuData,
    names: Sequence[str],
    *,
    drivers: str | None,
    likelihoods: Mapping[str, str],
    layers: Mapping[str, str],
) -> None:
    """Raise unless samples that a trained model is asked about are what it was set up for.

    They may lack carriers, variation or all layers, and are not otherwise less demanding.
    """
    _check_names(mdata, names)
    for name in names:
        values = _values(mdata, name, layers)
        likelihood = "bernoulli" if name == drivers else likelihoods.get(name, "normal")
        _check_values(mdata, name, values, ~np.isnan(values), likelihood)


def _check_names(mdata: MuData, names: Sequence[str]) -> None:
    for name in names:
        adata = mdata[name]
        for what, index in [("obs_names", adata.obs_names), ("var_names", adata.var_names)]:
            if not index.is_unique:
                twice = index[index.duplicated()].unique()
                msg = (
                    f"mdata[{name!r}] has {len(twice)} duplicated {what}: {_validation._listed(twice)}. Rows are "
                    "aligned by name, so names must be unique."
                )
                raise ValueError(msg)
        unknown = adata.obs_names[mdata.obs_names.get_indexer(adata.obs_names) < 0]
        if len(unknown):
            msg = f"mdata.obs_names lack {_validation._listed(unknown)} of mdata[{name!r}]; run mdata.update()."
            raise ValueError(msg)


def _check_covariates(mdata: MuData, keys: Sequence[str]) -> None:
    for key in keys:
        if key not in mdata.obs:
            msg = f"categorical_covariate_keys names {key!r}, which is not in mdata.obs: {list(mdata.obs.columns)}."
            raise KeyError(msg)
        column = mdata.obs[key]
        if column.isna().any():
            rows = mdata.obs_names[column.isna().to_numpy()]
            msg = (
                f"mdata.obs[{key!r}] (categorical_covariate_keys) is missing for {len(rows)} sample(s): "
                f"{_validation._listed(rows)}. Name their group, for instance 'unknown', or leave them out."
            )
            raise ValueError(msg)
        if pd.api.types.is_float_dtype(column) and (column % 1 != 0).any():
            msg = f"mdata.obs[{key!r}] is continuous; cut it into groups first, for instance with pd.qcut."
            raise ValueError(msg)


def _values(mdata: MuData, name: str, layers: Mapping[str, str]) -> np.ndarray:
    adata = mdata[name]
    _validation.check_layer(adata, layers.get(name))
    values: Any = adata.layers[layers[name]] if name in layers else adata.X
    dense = values.toarray() if sparse.issparse(values) else np.asarray(values)
    if dense.dtype.kind not in "iufb":
        msg = f"mdata[{name!r}] has dtype {dense.dtype}; convert it to numbers, for instance with .astype('float32')."
        raise TypeError(msg)
    return dense.astype(np.float64, copy=False)


def _check_values(mdata: MuData, name: str, values: np.ndarray, observed: np.ndarray, likelihood: str) -> None:
    adata, measured = mdata[name], values[observed]
    if np.isinf(measured).any():
        msg = f"mdata[{name!r}] holds {int(np.isinf(values).sum())} infinite value(s); make them NaN if not measured."
        raise ValueError(msg)
    binary = np.isin(measured, (0.0, 1.0))
    if likelihood == "bernoulli" and not binary.all():
        wrong = adata.var_names[(observed & ~np.isin(values, (0.0, 1.0))).any(axis=0)]
        msg = f"mdata[{name!r}] must hold 0, 1 or NaN (not called); it does not in {_validation._listed(wrong)}."
        raise ValueError(msg)
    whole = measured.size > 0 and bool((measured >= 0).all() and (measured == np.rint(measured)).all())
    if likelihood == "nb" and not whole:
        msg = (
            f"mdata[{name!r}] is not counts, which likelihoods[{name!r}]='nb' needs: it holds negative or fractional "
            "values. Pass the raw counts (layers=), or 'normal' for log-transformed values."
        )
        raise ValueError(msg)
    if likelihood in ("normal", "student") and whole:
        remedy = "'bernoulli'" if binary.all() else "'nb', or log-transform them first"
        msg = (
            f"mdata[{name!r}] holds nothing but whole numbers from 0 to {measured.max():g}, which is not "
            f"{likelihood}. Use likelihoods={{{name!r}: {remedy}}}."
        )
        raise ValueError(msg)


def _check_variation(mdata: MuData, name: str, values: np.ndarray, observed: np.ndarray, *, is_driver: bool) -> None:
    adata = mdata[name]
    empty = adata.var_names[~observed.any(axis=0)]
    if len(empty):
        msg = (
            f"mdata[{name!r}] has {len(empty)} feature(s) without a single value: {_validation._listed(empty)}. "
            "Leave them out."
        )
        raise ValueError(msg)
    low, high = np.where(observed, values, np.inf).min(axis=0), np.where(observed, values, -np.inf).max(axis=0)
    constant = low == high
    if not constant.any():
        return
    if is_driver:
        nobody, everybody = adata.var_names[constant & (low == 0)], adata.var_names[constant & (low == 1)]
        parts = [(nobody, "no carrier"), (everybody, "nothing but carriers")]
        told = " and ".join(f"{what}: {_validation._listed(which)}" for which, what in parts if len(which))
        msg = f"mdata[{name!r}] has driver(s) with {told}. Nothing can be learned about them; leave them out."
    else:
        features = adata.var_names[constant]
        msg = (
            f"mdata[{name!r}] has {len(features)} constant feature(s): {_validation._listed(features)}. Leave them out."
        )
    raise ValueError(msg)
