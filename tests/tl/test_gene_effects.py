from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
import pytest
import scvi
from scipy.special import logsumexp

import scwhatif as wi
from scwhatif._compat import seeded

if TYPE_CHECKING:
    from pathlib import Path

KEY = "gene_effects"
GENES = ["gene_7", "gene_0", "gene_12"]
QUIET = {"progress": False}


def fitted(model_class: Any = wi.model.BetaLinearSCVI, epochs: int = 40, **arguments: Any):
    adata = wi.datasets.simulate_factors(200, 40, 3, n_cell_types=3, n_batches=2, seed=0)
    setup = {"batch_key": "batch"}
    if model_class is scvi.model.TOTALVI:
        adata.obsm["protein"] = np.random.default_rng(0).poisson(5.0, size=(200, 4)).astype(np.float32)
        setup["protein_expression_obsm_key"] = "protein"
    model_class.setup_anndata(adata, **setup)
    with seeded(0):
        model = model_class(adata, n_latent=3, n_hidden=16, **arguments)
        model.train(max_epochs=epochs, batch_size=64, accelerator="cpu", enable_progress_bar=False)
    return adata, model


@pytest.fixture(scope="module")
def trained():
    adata, model = fitted(seed=0)
    model.rotate("varimax")
    return adata, model


@pytest.fixture
def adata(trained):
    return trained[0].copy()


@pytest.fixture
def model(trained):
    return trained[1]


def mean_codes(adata, model, gene: str | None, cells: np.ndarray) -> np.ndarray:
    """By brute force: zero a column, encode, average."""
    other = adata.copy()
    if gene is not None:
        raw = other.to_df()
        raw[gene] = 0
        other.X = raw.to_numpy()
    return model.get_latent_representation(other)[cells].astype(float).mean(axis=0)


def decoded_logs(model, z: np.ndarray) -> np.ndarray:
    """Mean over batches of the log2 of what decodes."""
    return np.mean([np.log2(wi.tl.decode(model, z, batch=b).to_numpy()) for b in ("batch_0", "batch_1")], axis=0)


@pytest.mark.parametrize("model_class", [None, scvi.model.SCVI, scvi.model.LinearSCVI, scvi.model.TOTALVI])
def test_equals_brute_force(trained, model_class: Any):
    adata, model = (trained[0].copy(), trained[1]) if model_class is None else fitted(model_class, epochs=3)
    wi.tl.gene_effects(adata, model, GENES, groupby="cell_type", **QUIET)
    by_group = adata.uns[KEY]["by_group"]
    for group in ("all", "type_1"):
        cells = np.ones(200, bool) if group == "all" else (adata.obs["cell_type"] == group).to_numpy()
        start = mean_codes(adata, model, None, cells)
        before = decoded_logs(model, start)[0]
        for i, gene in enumerate(GENES):
            there = mean_codes(adata, model, gene, cells)
            effect = decoded_logs(model, there)[0] - before
            column = adata.var_names.get_loc(gene)
            row = by_group[(by_group["group"] == group) & (by_group["gene"] == gene)].iloc[0]
            assert row["own_effect"] == pytest.approx(effect[column], abs=2e-4)
            assert row["other_effect"] == pytest.approx(
                np.sqrt(np.delete(effect, column) ** 2 @ np.ones(39) / 39), abs=2e-4
            )
            assert row["shift_norm"] == pytest.approx(np.linalg.norm(there - start), abs=1e-5)
            assert row["n_changed"] == (adata.to_df()[gene][cells] > 0).sum()
            if group == "all":
                np.testing.assert_allclose(adata.varm[KEY][:, i], effect, atol=2e-4)


def test_closed_form_of_a_linear_decoder(adata, model):
    """Loadings times mean shift, less the change of the log-sum-exp that normalises over genes."""
    wi.tl.gene_effects(adata, model, **QUIET)
    assert adata.varm[KEY].shape == (40, 40)
    wi.tl.knockout(adata, model, n_null=0, min_cells=1, progress=False)
    change = model.get_loadings().to_numpy() @ adata.varm["knockout_shift"].T
    start = model.get_latent_representation().astype(float).mean(axis=0)
    expected = np.zeros_like(change)
    for batch in ("batch_0", "batch_1"):
        log_share = np.log(wi.tl.decode(model, start, batch=batch).to_numpy()[0].astype(float))
        expected += (change - logsumexp(log_share[:, None] + change, axis=0)) / 2
    np.testing.assert_allclose(adata.varm[KEY], expected / np.log(2), atol=1e-4)


def test_planted_programme_moves_together(adata, model):
    wi.tl.gene_effects(adata, model, **QUIET)
    loadings = adata.varm["true_loadings"]
    programme = loadings.argmax(axis=1)
    strong = np.flatnonzero(loadings.max(axis=1) > np.quantile(loadings.max(axis=1), 0.6))
    effects = adata.varm[KEY][np.ix_(strong, strong)]
    same = programme[strong][:, None] == programme[strong][None]
    np.fill_diagonal(same, val=False)
    other = ~same & ~np.eye(len(strong), dtype=bool)
    # genes fall with a lost member of their own programme
    assert effects[same].mean() < effects[other].mean()


def test_genes_moved_most_are_listed(adata, model):
    wi.tl.gene_effects(adata, model, GENES, n_top=5, **QUIET)
    assert list(adata.uns[KEY]["genes"]) == GENES
    top = adata.uns[KEY]["top"]
    for i, gene in enumerate(GENES):
        listed = top[top["gene"] == gene]
        effects = adata.varm[KEY][:, i].copy()
        effects[adata.var_names.get_loc(gene)] = 0
        order = np.argsort(-np.abs(effects))[:5]
        assert listed["target"].tolist() == adata.var_names[order].tolist()
        np.testing.assert_allclose(listed["log2_fold_change"], effects[order], rtol=1e-5)


def test_other_operations(adata, model):
    half, none = (wi.tl.gene_effects(adata, model, GENES, op=op, copy=True, **QUIET) for op in ("x0.5", "x1"))
    assert not none.varm[KEY].any()
    assert (none.uns[KEY]["by_group"]["n_changed"] == 0).all()
    wi.tl.perturb(adata, model, "gene_7:x0.5", decode=False, **QUIET)
    norm = np.linalg.norm(adata.obsm["perturb_shift"].mean(axis=0, dtype=float))
    assert half.uns[KEY]["by_group"]["shift_norm"].iloc[0] == pytest.approx(norm, rel=1e-3)


@pytest.mark.parametrize("entries", [40, 40 * 3])
def test_blocks_do_not_matter(adata, model, entries: int, monkeypatch: pytest.MonkeyPatch):
    whole = wi.tl.gene_effects(adata, model, copy=True, **QUIET)
    monkeypatch.setattr("scwhatif.tl._gene_effects._BLOCK_ENTRIES", entries)
    parts = wi.tl.gene_effects(adata, model, copy=True, **QUIET)
    np.testing.assert_allclose(parts.varm[KEY], whole.varm[KEY], atol=1e-5)


def test_survives_writing(adata, model, tmp_path: Path):
    wi.tl.gene_effects(adata, model, GENES, groupby="cell_type", **QUIET)
    with warnings.catch_warnings():
        warnings.simplefilter("error", FutureWarning)
        adata.write_h5ad(tmp_path / "x.h5ad")
    back = ad.read_h5ad(tmp_path / "x.h5ad")
    for name in ("by_group", "top"):
        there = adata.uns[KEY][name]
        assert back.uns[KEY][name].astype(there.dtypes).equals(there)
    assert list(back.uns[KEY]["genes"]) == GENES
    np.testing.assert_array_equal(back.varm[KEY], adata.varm[KEY])


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"genes": "gene_99"}, KeyError, "gene_9"),
        ({"genes": []}, ValueError, "genes is empty"),
        ({"op": "ko + z1:+2"}, ValueError, "one operation on a gene"),
        ({"n_top": 0}, ValueError, "n_top=0"),
        ({"groupby": "typ"}, KeyError, "cell_type"),
        ({"batch": "b"}, KeyError, "it knows"),
        ({"covariates": {"age": 3}}, KeyError, "not registered"),
    ],
)
def test_bad_input(adata, model, arguments: dict[str, Any], error: type, message: str):
    with pytest.raises(error, match=message):
        wi.tl.gene_effects(adata, model, **{"genes": GENES, **arguments}, **QUIET)
    assert KEY not in adata.uns
