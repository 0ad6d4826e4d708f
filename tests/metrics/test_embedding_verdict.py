"""The verdict on clouds whose trouble is known; each fools at least one indicator."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

import scwhatif as wi
from scwhatif._compat import seeded
from scwhatif.metrics._embedding_verdict import indicator_status

N, D = 636, 32
RNG = np.random.default_rng(0)
ROUND = RNG.normal(size=(N, D))
PLACE = RNG.normal(size=D)
PLACE *= 6 / np.linalg.norm(PLACE)
LABELS = np.arange(N) % 7


def judge(z, groups=None, **kwargs):
    directions = wi.metrics.embedding_indicators(z / np.linalg.norm(z, axis=1, keepdims=True))
    return wi.metrics.embedding_verdict(
        wi.metrics.embedding_indicators(z, groups=groups) | kwargs, directions=directions
    )


def network(x, depth, seed=0):
    """A freshly initialised network with ReLU between its layers, as torch would start it."""
    rng = np.random.default_rng(seed)
    widths = [x.shape[1], *[128] * (depth - 1), 32]
    for i, (n_in, n_out) in enumerate(pairwise(widths)):
        bound = n_in**-0.5
        x = x @ rng.uniform(-bound, bound, size=(n_in, n_out)) + rng.uniform(-bound, bound, size=n_out)
        x = np.maximum(x, 0) if i < depth - 1 else x
    return x


CLOUDS = {
    "round": (ROUND, "ok"),
    "point with noise of 1e-3": (PLACE + 1e-3 * ROUND, "point"),
    "point with noise of 0.1": (PLACE + 0.1 * ROUND, "point"),
    "line through the origin": (ROUND[:, :1] * PLACE + 1e-3 * ROUND, "dimensional"),
    "three live dimensions": (np.hstack([ROUND[:, :3], 1e-2 * ROUND[:, 3:]]), "dimensional"),
    "two points opposite each other": (np.sign(ROUND[:, :1]) * PLACE + 0.05 * ROUND, "dimensional"),
    "one row a thousand times too long": (np.vstack([1000 * ROUND[:1], ROUND[1:]]), "outlier"),
}


@pytest.mark.parametrize("name", CLOUDS)
def test_planted_trouble_is_named(name):
    z, expected = CLOUDS[name]
    assert judge(z).verdict == expected


@pytest.mark.parametrize(
    ("name", "blind"),
    [
        ("point with noise of 1e-3", "erank_ratio"),
        ("point with noise of 0.1", "top1"),
        ("line through the origin", "mean_cosine"),
        ("three live dimensions", "resultant_length"),
        ("two points opposite each other", "mean_cosine"),
    ],
)
def test_no_single_indicator_would_do(name, blind):
    found = wi.metrics.embedding_indicators(CLOUDS[name][0])
    assert indicator_status(blind, found[blind]) == "ok"


def test_nothing_but_labels():
    z = np.random.default_rng(1).normal(size=(7, D))[LABELS] + 0.1 * ROUND
    assert judge(z, LABELS).verdict == "label_only"
    assert judge(z, LABELS).status == "warn"
    assert judge(z + 2 * ROUND, LABELS).verdict == "ok"


def test_posterior_collapse_is_seen_only_by_active_units():
    z = 0.01 * ROUND
    assert judge(z).verdict == "ok"
    assert judge(z, active_share=0.0).verdict == "posterior"


def test_one_side_is_a_cone():
    z = ROUND * 0.4 + PLACE
    found = judge(z)
    assert found.verdict == "cone"
    assert found.status == "warn"
    assert "centre" in found.reasons[0]
    assert judge(z - z.mean(axis=0)).verdict == "ok"


def test_real_cells():
    import scanpy as sc

    adata = sc.datasets.pbmc68k_reduced()
    x = adata.raw.X.toarray()
    assert judge(adata.obsm["X_pca"][:, :30]).verdict == "ok"
    assert judge(x).status != "error"
    # an untrained network maps everything to one side, which is no collapse
    assert judge(network(x, 4)).verdict == "cone"
    assert judge(network(x, 2)).status != "error"


def test_own_thresholds():
    found = wi.metrics.embedding_indicators(ROUND)
    assert wi.metrics.embedding_verdict(found, thresholds={"top1": (0.01, 0.02)}).verdict == "dimensional"
    assert indicator_status("top1", 0.6) == "warn"
    assert indicator_status("top1", 0.95) == "error"
    assert indicator_status("erank_ratio", 0.2) == "warn"
    assert indicator_status("active_share", 0.0) == "error"
    assert indicator_status("n", 1e9) == "ok"
    assert indicator_status("mean_cosine", float("nan")) == "ok"


@pytest.mark.slow
def test_models_untrained_trained_and_collapsed():
    import scvi

    adata = wi.datasets.pbmc68k()
    scvi.model.SCVI.setup_anndata(adata, layer="counts" if "counts" in adata.layers else None)
    for kl_weight, epochs, expected in ((1.0, 0, "ok"), (1.0, 60, "ok"), (200.0, 60, "posterior")):
        with seeded(0):
            model = scvi.model.SCVI(adata, n_latent=10)
            if epochs:
                plan = {"max_kl_weight": kl_weight, "n_epochs_kl_warmup": 1}
                model.train(epochs, plan_kwargs=plan, enable_progress_bar=False)
        model.is_trained_ = True
        z = model.get_latent_representation()
        share = wi.metrics.embedding_indicators(z)["n_active"] / 10
        assert judge(z, active_share=share).verdict == expected
