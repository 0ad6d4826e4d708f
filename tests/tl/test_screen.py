"""Tests of screens of any perturbation: exact, with a null that holds, and safe to write to a file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse
from scvi.model import SCVI

import scwhatif as wi
from scwhatif.perturbation import Perturbation

if TYPE_CHECKING:
    from pathlib import Path

    from anndata import AnnData

EFFECTS = ["n_cells", "score", "kl", "shift_norm"]


def fit(adata: AnnData, **kwargs: Any) -> SCVI:
    SCVI.setup_anndata(adata, batch_key="batch")
    model = SCVI(adata, **{"n_latent": 4, "n_hidden": 16, **kwargs})
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model.train(max_epochs=1, accelerator="cpu", enable_progress_bar=False)
    return model


@pytest.fixture(scope="module")
def fitted() -> tuple[AnnData, SCVI]:
    adata = wi.datasets.simulate_factors(120, 90, 3, n_cell_types=3, library_size=150, seed=0)
    return adata, fit(adata)


@pytest.fixture
def adata(fitted: tuple[AnnData, SCVI]) -> AnnData:
    return fitted[0].copy()


@pytest.fixture
def model(fitted: tuple[AnnData, SCVI]) -> SCVI:
    return fitted[1]


def run(adata: AnnData, model: Any, perturbations: Any, **kwargs: Any) -> pd.DataFrame:
    """The table, indexed by group and perturbation."""
    wi.tl.screen(adata, model, perturbations, progress=False, **kwargs)
    table = adata.uns[kwargs.get("key_added", "screen")]["by_group"]
    return table.astype({"group": str, "perturbation": str}).set_index(["group", "perturbation"])


TEXTS = ["gene_3:ko", "gene_3:x0.5", "gene_3:x4", "{gene_5,gene_8,gene_40}:ko", "gene_7:x3 + gene_9:ko", "gene_2:+1"]


@pytest.mark.parametrize("library", ["original", "renorm"])
def test_equals_encoding_the_cells_anew(adata: AnnData, model: SCVI, library: Any):
    found = run(adata, model, TEXTS, n_null=0, min_cells=1, library=library)
    mean, var = (each.astype(np.float64) for each in model.get_latent_representation(return_dist=True))
    x = adata.X.toarray()
    for i, text in enumerate(TEXTS):
        edited = Perturbation.parse(text).apply_features(x, adata.var_names)
        changed = (edited != x).any(axis=1)
        if library == "renorm":
            edited = edited * (x.sum(axis=1) / edited.sum(axis=1))[:, None]
        other = adata.copy()
        other.X = sparse.csr_matrix(edited, dtype=np.float32)
        new_mean, new_var = model.get_latent_representation(other, return_dist=True)
        shift, ratio = new_mean - mean, new_var / var
        shift[~changed] = 0
        row = found.loc[("all", text)]
        assert row["n_cells"] == changed.sum()
        assert row["score"] == pytest.approx(np.sqrt((shift**2 / var).sum(axis=1))[changed].mean(), abs=1e-5)
        kl = 0.5 * (ratio - 1 - np.log(ratio) + shift**2 / var).sum(axis=1)[changed].mean()
        assert row["kl"] == pytest.approx(kl, abs=1e-5)
        np.testing.assert_allclose(adata.uns["screen"]["shift"][i], shift.mean(axis=0), atol=1e-6)
        assert row["shift_norm"] == pytest.approx(np.linalg.norm(shift.mean(axis=0)), abs=1e-6)


def test_single_knockouts_are_those_of_the_knockout_tool(adata: AnnData, model: SCVI):
    genes = ["gene_3", "gene_8", "gene_50"]
    found = run(adata, model, [f"{gene}:ko" for gene in genes], groupby="cell_type", min_cells=5)
    wi.tl.knockout(adata, model, genes, groupby="cell_type", min_cells=5, progress=False)
    wanted = adata.uns["knockout"]["by_group"]
    for column in EFFECTS:
        np.testing.assert_allclose(found[column], wanted[column], rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(adata.uns["screen"]["shift"], adata.varm["knockout_shift"][[3, 8, 50]], atol=1e-7)


def test_a_single_gene_is_compared_with_its_matches(adata: AnnData, model: SCVI):
    found = run(adata, model, ["gene_3:ko"], n_null=40, min_cells=1)
    everything = run(adata, model, [f"{gene}:ko" for gene in adata.var_names], n_null=0, min_cells=1)["score"]
    x = adata.X.toarray()
    known = np.column_stack([np.log((x.sum(axis=0) + 0.5) / len(x)), (x > 0).mean(axis=0)])
    near = wi.metrics.matched_neighbours(known, (x > 0).any(axis=0), [3], 40)[0]
    null = everything.fillna(0).to_numpy()[near]
    row = found.iloc[0]
    assert row["n_null"] == 40
    assert row["pval"] == pytest.approx((1 + (null >= row["score"] * (1 - 1e-6)).sum()) / 41)
    assert row["score_expected"] == pytest.approx(np.median(null), rel=1e-5)


def test_a_group_equals_the_group_alone(adata: AnnData, model: SCVI):
    texts = ["gene_3:ko", "{gene_5,gene_8}:ko"]
    together = run(adata, model, texts, groupby="cell_type", min_cells=5, n_null=30)
    alone = run(adata[adata.obs["cell_type"] == "type_1"].copy(), model, texts, min_cells=5, n_null=30)
    for column in [*EFFECTS, "score_expected", "pval", "n_null"]:
        np.testing.assert_allclose(together.loc["type_1", column], alone.loc["all", column], rtol=1e-4, atol=1e-6)


def exchangeable(seed: int, n_obs: int = 80) -> tuple[AnnData, SCVI]:
    """Genes whose weights were all drawn from one distribution."""
    adata = wi.datasets.simulate_factors(n_obs, 300, 3, n_batches=1, library_size=900, seed=seed)
    model = fit(adata, n_hidden=32)
    torch.manual_seed(seed)
    with torch.no_grad():
        model.module.z_encoder.encoder.fc_layers[0][0].weight.normal_(std=0.05)
    return adata, model


def test_p_values_are_uniform_where_nothing_is_special():
    rng = np.random.default_rng(0)
    pval = []
    for seed in range(3):
        adata, model = exchangeable(seed)
        sets = ["{" + ",".join(rng.choice(adata.var_names, 5, replace=False)) + "}:ko" for _ in range(100)]
        pval.append(run(adata, model, sets, n_null=49, min_cells=1)["pval"])
    counts = np.histogram(np.concatenate(pval), bins=5, range=(0, 1))[0]
    assert counts.sum() == 300
    # four standard errors of independent p-values, and a little for those that share stand-ins
    assert np.abs(counts / 300 - 0.2).max() < 0.11


def test_a_planted_set_is_found_and_doses_are_ordered():
    adata, model = exchangeable(0)
    planted = list(adata.var_names[[10, 60, 200]])
    with torch.no_grad():
        model.module.z_encoder.encoder.fc_layers[0][0].weight[:, [10, 60, 200]] *= 5
    doses = [f"planted:x{dose}" for dose in (0, 0.5, 0.9, 1, 1.5, 4)]
    given = [*doses, "{gene_3,gene_4,gene_5}:ko"]
    with pytest.warns(UserWarning, match=r"1 perturbation\(s\) change no cell.*x1"):
        found = run(adata, model, given, sets={"planted": planted}, min_cells=1)
    by_dose = found.loc["all"].iloc[:6]
    assert (by_dose["pval"].drop(by_dose.index[3]) <= 0.02).all()
    assert (by_dose["padj"].drop(by_dose.index[3]) < 0.05).all()
    score = by_dose["score"].to_numpy()
    assert score[0] > score[1] > score[2] > 0
    assert score[5] > score[4] > 0
    assert np.isnan(score[3])
    assert by_dose["n_cells"].iloc[3] == 0
    assert found["pval"].iloc[6] > 0.05
    np.testing.assert_array_equal(found["value"].iloc[:6], [0, 0.5, 0.9, 1, 1.5, 4])
    assert (found["n_genes"] == 3).all()


def test_donors(adata: AnnData, model: SCVI):
    adata.obs["donor"] = [f"d{i % 4}" for i in range(adata.n_obs)]
    found = run(adata, model, TEXTS[:4], donor="donor", min_cells=3, n_null=30)
    plain = run(adata.copy(), model, TEXTS[:4], min_cells=3, n_null=30)
    for column in [*EFFECTS, "pval"]:
        np.testing.assert_allclose(found[column], plain[column], rtol=1e-5, atol=1e-7)
    assert (found["n_donors"] == 4).all()
    assert found["pval_donor"].between(0, 1).all()


def test_survives_a_file(adata: AnnData, model: SCVI, tmp_path: Path):
    import anndata as ad

    given = {"one/two": "gene_3:x0.5", "set": "mine:ko"}
    run(adata, model, given, sets={"mine": ["gene_1", "gene_5"]}, groupby="cell_type", key_added="own", n_null=20)
    adata.write_h5ad(tmp_path / "x.h5ad")
    back = ad.read_h5ad(tmp_path / "x.h5ad")
    pd.testing.assert_frame_equal(back.uns["own"]["by_group"], adata.uns["own"]["by_group"])
    np.testing.assert_array_equal(back.uns["own"]["shift"], adata.uns["own"]["shift"])
    params = back.uns["own"]["params"]
    assert list(params["names"]) == ["one/two", "set"]
    assert list(params["perturbations"]) == ["gene_3:x0.5", "mine{gene_1,gene_5}:ko"]
    assert params["model_class"] == "SCVI"
    assert params["plan"] == "row-update"
    assert np.isnan(params["r2_identity"])


def test_many_perturbations_say_what_was_known_beforehand(adata: AnnData, model: SCVI):
    run(adata, model, [f"{gene}:ko" for gene in adata.var_names], n_null=0)
    assert 0 < adata.uns["screen"]["params"]["r2_identity"] < 1


def test_a_store_goes_on_and_is_of_one_screen(adata: AnnData, model: SCVI, tmp_path: Path):
    pytest.importorskip("zarr", minversion="3")
    wanted = run(adata.copy(), model, TEXTS, n_null=20)
    for _ in range(2):
        pd.testing.assert_frame_equal(run(adata, model, TEXTS, n_null=20, store=tmp_path / "s"), wanted)
    with pytest.raises(ValueError, match="another screen, which differs in perturbations"):
        run(adata, model, TEXTS, n_null=21, store=tmp_path / "s")


@pytest.mark.slow
def test_workers_do_not_matter(adata: AnnData, model: SCVI):
    texts = [*TEXTS, "gene_6:thin0.5"]
    pd.testing.assert_frame_equal(run(adata, model, texts, n_jobs=2), run(adata.copy(), model, texts))


def test_copy_leaves_the_original_alone(adata: AnnData, model: SCVI):
    out = wi.tl.screen(adata, model, "gene_3:ko", progress=False, n_null=0, copy=True)
    assert "screen" in out.uns
    assert "screen" not in adata.uns
    assert (out.X != adata.X).nnz == 0


def test_bad_input(adata: AnnData, model: SCVI):
    with pytest.raises(KeyError, match=r"gene_99999.*gene_9"):
        run(adata, model, ["gene_99999:ko"])
    with pytest.raises(ValueError, match="changes nothing"):
        run(adata, model, [""])
    with pytest.raises(ValueError, match="n_null=-1"):
        run(adata, model, TEXTS, n_null=-1)
    for name in ("min_cells", "batch_size"):
        with pytest.raises(ValueError, match=f"{name}=0"):
            run(adata, model, TEXTS, **{name: 0})
    with pytest.raises(ValueError, match="match_on"):
        run(adata, model, TEXTS, match_on="mean")
    with pytest.raises(ValueError, match=r"'batch'\] has 2 donor"):
        run(adata, model, TEXTS, donor="batch")
    with pytest.raises(ValueError, match="another order"):
        run(adata[:, ::-1].copy(), model, TEXTS)
    assert "screen" not in adata.uns
    adata.X[:, 3] = 0
    adata.X.eliminate_zeros()
    with pytest.warns(UserWarning, match=r"change no cell, because none has a value they would change: 'gene_3:ko'"):
        found = run(adata, model, ["gene_3:ko"])
    assert found["score"].isna().all()
    assert found["n_cells"].iloc[0] == 0
