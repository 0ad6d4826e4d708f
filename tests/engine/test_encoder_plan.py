"""Every model against encoding edited copies of the data through its own public method."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import scvi
import torch
from anndata import AnnData
from scipy import sparse

from scwhatif._compat import registered_data, seeded
from scwhatif.engine import EncoderPlan, PairEdits, encoder_plan
from scwhatif.model import BetaLinearSCVI

if TYPE_CHECKING:
    from collections.abc import Callable

N_CELLS, N_FEATURES, N_SET = 100, 60, 10
COVARIATES = {
    "batch_key": "batch",
    "categorical_covariate_keys": ["chemistry", "sex"],
    "continuous_covariate_keys": ["age", "depth"],
}
SMALL = {"n_hidden": 16, "n_latent": 4}
DEEP = {"encode_covariates": True, "deeply_inject_covariates": True}
NORMS = {"use_batch_norm": "none", "use_layer_norm": "none"}
SILENT = {"enable_progress_bar": False, "accelerator": "cpu", "batch_size": 50}


def simulate(batches: list[str], seed: int = 0) -> AnnData:
    rng = np.random.default_rng(seed)
    rate = rng.gamma(1, 2, (1, N_FEATURES)) * rng.gamma(2, 0.5, (N_CELLS, 1))
    adata = AnnData(sparse.csr_matrix(rng.poisson(rate).astype(np.float32)))
    adata.obs["batch"] = rng.choice(batches, N_CELLS)
    adata.obs["chemistry"], adata.obs["sex"] = rng.choice(["v2", "v3", "v4"], N_CELLS), rng.choice(["f", "m"], N_CELLS)
    adata.obs["age"], adata.obs["depth"] = rng.normal(size=(2, N_CELLS))
    adata.obs["label"] = rng.choice(["T", "B"], N_CELLS)
    adata.obsm["protein"] = rng.poisson(5, (N_CELLS, 7))
    return adata


def trained(model_class: Any, adata: AnnData, setup: dict[str, Any], **kwargs: Any) -> Any:
    model_class.setup_anndata(adata, **setup)
    model = model_class(adata, **kwargs)
    model.train(max_epochs=1, **SILENT)
    return shaken(model)


def shaken(model: Any) -> Any:
    """After one epoch every normalisation is still close to the identity; move what a plan has to get right."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, values in [*model.module.named_parameters(), *model.module.named_buffers()]:
            if "running_var" in name:
                values.mul_(0.5 + torch.rand(values.shape, generator=generator))
            elif "encoder" in name and values.is_floating_point():
                values.add_(0.1 * torch.randn(values.shape, generator=generator))
    return model


def scvi_model(*, covariates: bool = True, **kwargs: Any) -> Any:
    setup = COVARIATES if covariates else {}
    return trained(scvi.model.SCVI, simulate(["a", "b", "c"]), setup, **SMALL | kwargs)


def linear_scvi() -> Any:
    return trained(scvi.model.LinearSCVI, simulate(["a"]), {"batch_key": "batch"}, **SMALL)


def scanvi(**kwargs: Any) -> Any:
    setup = COVARIATES | {"labels_key": "label", "unlabeled_category": "unknown"}
    return trained(scvi.model.SCANVI, simulate(["a", "b"]), setup, **SMALL | kwargs)


def totalvi(**kwargs: Any) -> Any:
    setup = COVARIATES | {"protein_expression_obsm_key": "protein"}
    return trained(scvi.model.TOTALVI, simulate(["a", "b"]), setup, **SMALL | kwargs)


def beta_linear(**kwargs: Any) -> Any:
    model = trained(BetaLinearSCVI, simulate(["a", "b"]), COVARIATES, **SMALL | kwargs)
    model.module.rotate(torch.linalg.qr(torch.randn(4, 4, generator=torch.Generator().manual_seed(1)))[0])
    return model


def continuous() -> Any:
    adata = simulate(["a", "b"])
    counts = adata.X.toarray()
    adata.X = (np.log1p(counts) - 1) * (counts > 0)
    return trained(BetaLinearSCVI, adata, COVARIATES, gene_likelihood="normal", **SMALL)


def drvi(**kwargs: Any) -> Any:
    """Part of scvi-tools from 1.5 on, a package of its own before."""
    sizes: dict[str, Any] = SMALL
    if hasattr(scvi.external, "DRVI"):
        model_class = scvi.external.DRVI
    else:
        model_class = pytest.importorskip("drvi.model").DRVI
        sizes = {"n_latent": 4, "encoder_dims": [16, 16], "decoder_dims": [16]}
    setup = {"batch_key": "batch", "categorical_covariate_keys": ["chemistry", "sex"]}
    return trained(model_class, simulate(["a", "b"]), setup, **sizes | kwargs)


def query(reference: Callable[[], Any]) -> Any:
    """A reference model after surgery for two new batches."""
    old, adata = reference(), simulate(["b", "new", "newer"], seed=1)
    type(old).prepare_query_anndata(adata, old)
    model = type(old).load_query_data(adata, old)
    model.train(max_epochs=1, plan_kwargs={"weight_decay": 0.0}, **SILENT)
    return shaken(model)


SURGERY = {"encode_covariates": True, "use_layer_norm": "both", "use_batch_norm": "none", "n_layers": 2}
MODELS: dict[str, Callable[[], Any]] = {
    "scvi": lambda: scvi_model(covariates=False),
    "scvi, covariates not encoded": lambda: scvi_model(encode_covariates=False),
    "scvi, covariates": lambda: scvi_model(encode_covariates=True),
    "scvi, two layers": lambda: scvi_model(n_layers=2, encode_covariates=True, deeply_inject_covariates=False),
    "scvi, three deep layers": lambda: scvi_model(n_layers=3, **DEEP),
    "scvi, no normalisation": lambda: scvi_model(**NORMS),
    "scvi, layer norm": lambda: scvi_model(**NORMS | {"use_layer_norm": "encoder"}),
    "scvi, both norms": lambda: scvi_model(use_batch_norm="both", use_layer_norm="both"),
    "scvi, both norms, two deep layers": lambda: scvi_model(n_layers=2, use_layer_norm="both", **DEEP),
    "scvi, embedded batch, two deep layers": lambda: scvi_model(batch_representation="embedding", n_layers=2, **DEEP),
    "scvi, raw counts": lambda: scvi_model(log_variational=False),
    "scvi, logistic normal": lambda: scvi_model(latent_distribution="ln"),
    "scvi, no dropout": lambda: scvi_model(dropout_rate=0),
    "scvi, library encoder": lambda: scvi_model(use_observed_lib_size=False, encode_covariates=True),
    "scvi, query": lambda: query(lambda: scvi_model(**SURGERY)),
    "linear scvi": linear_scvi,
    "scanvi": scanvi,
    "scanvi, two deep layers": lambda: scanvi(n_layers=2, **DEEP),
    "totalvi": totalvi,
    "totalvi, logistic normal": lambda: totalvi(latent_distribution="ln", n_layers_encoder=1),
    "beta linear": beta_linear,
    "beta linear, two layers": lambda: beta_linear(n_layers=2),
    "beta linear, covariates not encoded": lambda: beta_linear(encode_covariates=False),
    "beta linear, continuous": continuous,
    "beta linear, query": lambda: query(beta_linear),
    "drvi": drvi,
    "drvi, covariates": lambda: drvi(encode_covariates=True),
    "drvi, deep covariates": lambda: drvi(encode_covariates=True, deeply_inject_covariates=True),
}
# One hidden layer, ReLU, and no division by the size of the cell.
FUSED = {
    name
    for name in MODELS
    if not any(word in name for word in ("two", "three", "totalvi", "drvi")) and name != "scvi, query"
}


@dataclass(frozen=True)
class Fitted:
    model: Any
    plan: EncoderPlan
    x: np.ndarray
    fields: dict[str, np.ndarray]

    def reported(self, mean: torch.Tensor, var: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
        """In the axes that the model reports."""
        axes = self.plan.to_reported_axes(np.eye(self.plan.n_latent))
        return mean.double().numpy() @ axes, var.double().numpy() @ axes**2


@cache
def fitted(name: str) -> Fitted:
    with seeded(0):
        model = MODELS[name]()
    x, fields = registered_data(model, model.adata)
    plan = encoder_plan(model.module, x[:32], {key: values[:32] for key, values in fields.items()})
    dense = x.toarray() if sparse.issparse(x) else x
    # what is sent to other processes must still work there
    return Fitted(model, pickle.loads(pickle.dumps(plan)), dense, fields)


def knockout(x: np.ndarray) -> PairEdits:
    """Five genes, one after another, where they are expressed."""
    return pairs([[(cell, gene, 0)] for gene in range(0, 50, 11) for cell in range(N_CELLS) if x[cell, gene] != 0], x)


def silent(x: np.ndarray) -> PairEdits:
    """Turn on genes that are off."""
    return pairs([[(cell, gene, 6)] for gene in range(0, 50, 11) for cell in range(N_CELLS) if x[cell, gene] == 0], x)


def dose(x: np.ndarray) -> PairEdits:
    """Half and three times as much."""
    factors = ((gene, factor) for gene in range(0, 50, 11) for factor in (0.5, 3.0))
    return pairs([[(cell, gene, factor * x[cell, gene])] for gene, factor in factors for cell in range(N_CELLS)], x)


def gene_set(x: np.ndarray) -> PairEdits:
    """Ten genes at once, some up and some down."""
    genes = np.random.default_rng(0).choice(N_FEATURES, N_SET, replace=False)
    return pairs([[(cell, gene, (gene % 2) * 4) for gene in genes] for cell in range(N_CELLS)], x)


def renorm(x: np.ndarray) -> PairEdits:
    """Ten genes knocked out, the rest scaled up to the same total."""
    genes = np.random.default_rng(0).choice(N_FEATURES, N_SET, replace=False)
    edit = pairs([[(cell, gene, 0) for gene in genes] for cell in range(N_CELLS)], x)
    rest = np.abs(x).sum(1) - np.abs(x[:, genes]).sum(1)
    log_scale = np.log((np.abs(x).sum(1) + 1) / (rest + 1)).astype(np.float32)
    return PairEdits(edit.rows, edit.offsets, edit.features, edit.before, edit.after, log_scale)


def pairs(edits: list[list[tuple[int, int, float]]], x: np.ndarray) -> PairEdits:
    entries = [entry for pair in edits for entry in pair]
    cells, features = np.array([entry[0] for entry in entries]), np.array([entry[1] for entry in entries])
    return PairEdits(
        rows=np.array([pair[0][0] for pair in edits]),
        offsets=np.concatenate([[0], np.cumsum([len(pair) for pair in edits])]),
        features=features,
        before=x[cells, features],
        after=np.array([entry[2] for entry in entries], dtype=np.float32),
    )


def brute_force(model: Any, x: np.ndarray, edit: PairEdits) -> tuple[np.ndarray, np.ndarray]:
    """Posterior of edited copies of the cells, by the model's public method."""
    edited = x[edit.rows]
    edited[edit.pair_of_entry, edit.features] = edit.after
    if edit.log_scale is not None:
        edited *= np.exp(edit.log_scale)[:, None]
    adata = model.adata[edit.rows].copy()
    adata.obs_names_make_unique()
    adata.X = edited
    return model.get_latent_representation(adata, return_dist=True)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("op", [knockout, silent, dose, gene_set, renorm])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_equals_brute_force(name: str, op: Callable[[np.ndarray], PairEdits]):
    known = fitted(name)
    edit = op(known.x)
    scale_range = None
    if edit.log_scale is not None:
        scale_range = np.zeros(N_CELLS), edit.log_scale
    states = known.plan.cells(sparse.csr_matrix(known.x), known.fields, scale_range=scale_range)
    found = known.reported(*known.plan.edited(states, edit))
    wanted = brute_force(known.model, known.x, edit)
    for each, own in zip(found, wanted, strict=True):
        # variances of a model of raw counts are far above 1, where float32 has no five digits after the point
        np.testing.assert_allclose(each, own, atol=1e-5, rtol=1e-5)
    assert np.abs(found[0] - known.reported(states.mean, states.var)[0][edit.rows]).max() > 1e-3


@pytest.mark.parametrize("name", MODELS)
def test_whole_cells_of_every_kind_and_what_is_known_of_the_plan(name: str):
    known = fitted(name)
    wanted = known.model.get_latent_representation(return_dist=True)
    for storage in (np.asarray, sparse.csr_matrix):
        states = known.plan.cells(storage(known.x), known.fields)
        for each, own in zip(known.reported(states.mean, states.var), wanted, strict=True):
            np.testing.assert_allclose(each, own, atol=1e-5, rtol=1e-5)
    plan = known.plan
    assert plan.kind == "row-update"
    assert (plan.n_features, plan.n_latent, plan.device) == (N_FEATURES, 4, torch.device("cpu"))
    assert plan.signed == (name == "beta linear, continuous")
    assert plan.weight_norm.shape == (N_FEATURES,)
    assert (plan.fused is not None) == (name in FUSED)


def test_deep_covariates_are_kept_per_cell():
    known = fitted("scvi, three deep layers")
    states = known.plan.cells(known.x, known.fields)
    assert [each.shape for each in states.injected] == [(N_CELLS, 16)] * 2
    assert fitted("scvi").plan.cells(known.x, fitted("scvi").fields).injected == ()
