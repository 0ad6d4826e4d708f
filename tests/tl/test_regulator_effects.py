"""What genes do to a readout by each method."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import scwhatif as wi
from scwhatif.engine import LinearReadout
from scwhatif.tl._cell_bins import CellBins
from scwhatif.tl._cell_groups import cell_groups
from scwhatif.tl._encoder_source import encoder_source
from scwhatif.tl._regulator_effects import method_summary, regulator_effects, regulator_table

METHODS = ("jacobian", "ko")


@pytest.fixture(scope="module")
def parts():
    adata = wi.datasets.simulate_factors(60, 25, 3, seed=0)
    wi.model.BetaLinearSCVI.setup_anndata(adata)
    model = wi.model.BetaLinearSCVI(adata, n_latent=3, n_hidden=8, seed=0)
    model.train(1, seed=0, accelerator="cpu", enable_progress_bar=False)
    source, bins = encoder_source(adata, model), CellBins.of(cell_groups(adata, None, None), None)
    settings = {"n_steps": 4, "n_baselines": 2, "seed": 0, "n_jobs": 1, "progress": False}
    effects = regulator_effects(source, model.module, LinearReadout(np.eye(3)[0]), bins, METHODS, **settings)
    return adata, source, bins, effects


def test_counts_are_those_of_the_data(parts):
    adata, _, bins, effects = parts
    np.testing.assert_array_equal(bins.sums(effects.counts.n_nonzero)[:, 0], np.asarray((adata.X > 0).sum(0)).ravel())
    assert list(effects.change) == list(METHODS)
    assert all(np.isnan(value) for value in effects.completeness.values())


def test_tables(parts):
    adata, source, bins, effects = parts
    columns = np.array([3, 7, 8])
    table = regulator_table(effects, source, bins, columns, adata.var_names, 0, ("mean",), 1)
    assert table.groupby("method", observed=True).size().tolist() == [3, 3]
    row = table[(table["gene"] == "gene_7") & (table["method"] == "ko")].iloc[0]
    assert row["effect"] == pytest.approx(effects.change["ko"].mean[7, 0])
    overall = {name: table[table["method"] == name].set_index("gene") for name in METHODS}
    summary = method_summary(overall, effects)
    assert summary["n_tested"].tolist() == [3, 3]
    wanted = pd.Series(overall["ko"]["effect"]).abs().corr(overall["ko"]["mean_expression"], method="spearman")
    assert summary.set_index("method").loc["ko", "spearman_mean_expression"] == pytest.approx(wanted)
