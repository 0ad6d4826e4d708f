from __future__ import annotations

import numpy as np
import pytest

import scwhatif as wi
from scwhatif.engine import Screen
from scwhatif.tl._cell_groups import cell_groups
from scwhatif.tl._encoder_source import encoder_source
from scwhatif.tl._screen_axis import axis_columns, plan_direction
from scwhatif.tl._screen_table import stratify

KNOCKOUT = wi.Perturbation.knockout("gene").edits[0]


@pytest.fixture(scope="module")
def fitted():
    adata = wi.datasets.simulate_factors(90, 40, 3, n_cell_types=2, library_size=150, seed=0)
    wi.model.BetaLinearSCVI.setup_anndata(adata)
    model = wi.model.BetaLinearSCVI(adata, n_latent=3, n_hidden=8, seed=0)
    model.train(max_epochs=2, seed=0, accelerator="cpu", enable_progress_bar=False)
    return adata, model


def test_a_direction_reads_shifts_of_the_plan_as_the_axis_reads_codes(fitted):
    adata, model = fitted
    plan = encoder_source(adata, model).plan
    adata.obsm["X_wi"] = model.get_latent_representation()
    wi.tl.axis(adata, "cell_type", ("type_0", "type_1"), use_rep="X_wi")
    (name,) = adata.uns["axis"]
    direction = plan_direction(adata, model, plan, name, "axis")
    shift = np.random.default_rng(0).normal(size=(5, 3))
    found = adata.uns["axis"][name]
    wanted = plan.to_reported_axes(shift) @ np.asarray(found["unit"]) / found["length"]
    np.testing.assert_allclose(shift @ direction, wanted, rtol=1e-6)


@pytest.mark.parametrize("columns", [np.arange(40), np.array([3, 17])])
def test_columns_are_mean_shifts_along_the_direction(fitted, columns: np.ndarray):
    adata, model = fitted
    source, groups = encoder_source(adata, model), cell_groups(adata, "cell_type", None)
    items = [((gene, KNOCKOUT),) for gene in range(40)]
    sums = Screen(source.plan, source.x, source.fields, groups.codes, groups.n_parts, items).run()
    strata = stratify(sums.counts, groups, None, ("mean",), min_cells=20)
    direction = np.array([1.0, -2.0, 0.5])
    found = axis_columns(sums, direction, groups, strata, columns, 25)
    wanted = [np.where(each.tested, each.mean_shift(sums) @ direction, np.nan)[columns] for each in strata]
    np.testing.assert_allclose(found["axis_shift"], np.concatenate(wanted), rtol=1e-9)
    assert list(found) == [f"axis_{name}" for name in ("shift", "null_sd", "pval_rank", "pval", "padj")]
    known = found["axis_pval"][np.isfinite(found["axis_pval"])]
    assert len(known)
    assert ((known > 0) & (known <= 1)).all()
