"""Which layer a fusion acts on: the planted one, whatever its size."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import mudata as md
import numpy as np
import pandas as pd
import pytest

import scwhatif as wi

if TYPE_CHECKING:
    from pathlib import Path

SMALL = {"n_drivers": 5, "n_active": 2, "n_rna": 30, "n_protein": 20, "n_metabolites": 4}


def fit(mdata: md.MuData, n_ptm: int, epochs: int = 2) -> list:
    layers = [f"ptm_{k}" for k in range(n_ptm)]
    wi.model.MultiOmicLPM.setup_mudata(mdata, protein="protein", ptm=layers, categorical_covariate_keys=["lineage"])
    models = []
    for test in np.array_split(np.random.default_rng(0).permutation(mdata.n_obs), 2):
        train = np.setdiff1d(np.arange(mdata.n_obs), test)
        model = wi.model.MultiOmicLPM(mdata, n_latent=3, n_hidden=8)
        model.train(epochs, external_indexing=[train[8:], train[:8], np.sort(test)], enable_progress_bar=False)
        models.append(model)
    return models


@pytest.fixture(scope="module")
def fitted() -> tuple[md.MuData, list]:
    mdata = wi.datasets.simulate_flow(160, **SMALL, n_ptm=(30, 6, 12), fusion_layer=1, seed=2)
    return mdata, fit(mdata, 3)


def plain(table: pd.DataFrame) -> pd.DataFrame:
    return table.astype({name: str for name in ("layer", "layer_a", "layer_b") if name in table})


def test_the_planted_layer_is_on_top(fitted):
    mdata, models = fitted
    wi.tl.fusion_deletion(mdata, models, "fusion", n_null=2000)
    result = mdata.uns["fusion_deletion"]
    table = plain(result["table"]).set_index("layer")
    assert table.index[0] == "ptm_1"
    assert table["n_features"].to_dict() == {"ptm_0": 30, "ptm_1": 6, "ptm_2": 12}
    assert table.loc["ptm_1", "pval"] == 1 / 2001
    assert (table.drop(index="ptm_1")["padj"] > 0.05).all()
    assert table.loc["ptm_1", "observed"] > 3 * table.drop(index="ptm_1")["observed"].max()
    contrasts = plain(result["contrasts"]).set_index(["layer_a", "layer_b"])
    assert len(contrasts) == 3
    for (a, b), row in contrasts.iterrows():
        assert np.isclose(row["difference"], table.loc[a, "statistic"] - table.loc[b, "statistic"])
        assert (row["padj"] < 0.01) == ("ptm_1" in (a, b))
    features = plain(result["features"])
    truth = mdata["ptm_1"].varm["true_driver_effect"][:, -1]
    here = features[features["layer"] == "ptm_1"]
    assert np.corrcoef(here["effect"], -truth)[0, 1] > 0.9
    assert result["params"]["held_out"] is True
    assert list(result["params"]["layers"]) == ["ptm_0", "ptm_1", "ptm_2"]


def test_agrees_with_gene_knockout(fitted):
    mdata, models = fitted
    settings: dict[str, Any] = {"n_null": 500, "copy": True}
    one = wi.tl.fusion_deletion(mdata, models, "mut_0", layers=["ptm_2", "protein"], **settings)
    two = wi.tl.gene_knockout(
        mdata, models, drivers="mut_0", layers=["ptm_2", "protein"], n_pairs=0, progress=False, **settings
    )
    here = plain(one.uns["fusion_deletion"]["table"]).set_index("layer")
    there = plain(two.uns["gene_knockout"]["table"]).set_index("layer").loc[here.index]
    for name in ("effect", "se", "observed", "statistic", "pval", "padj"):
        assert np.allclose(here[name], there[name])


def test_too_few_carriers(fitted):
    mdata, models = fitted
    with pytest.warns(UserWarning, match="min_carriers=150.*without a verdict"):
        found = wi.tl.fusion_deletion(mdata, models, "fusion", min_carriers=150, n_null=100, copy=True)
    table = found.uns["fusion_deletion"]["table"]
    assert table[["statistic", "pval", "padj"]].isna().all(axis=None)
    assert table[["effect", "low", "high"]].notna().all(axis=None)
    assert found.uns["fusion_deletion"]["contrasts"]["pval"].isna().all()


def test_copy_and_round_trip(fitted, tmp_path: Path):
    mdata, models = fitted
    keys = set(mdata.uns)
    found = wi.tl.fusion_deletion(mdata, models, "fusion", n_null=200, key_added="deleted", copy=True)
    assert set(mdata.uns) == keys
    found.write_h5mu(tmp_path / "found.h5mu")
    back = md.read_h5mu(tmp_path / "found.h5mu").uns["deleted"]
    for name in ("table", "contrasts", "features"):
        pd.testing.assert_frame_equal(plain(back[name]), plain(found.uns["deleted"][name]), check_dtype=False)


def test_bad_input(fitted):
    mdata, models = fitted
    with pytest.raises(KeyError, match="fusion='ALK_fusion' is not a driver"):
        wi.tl.fusion_deletion(mdata, models, "ALK_fusion")
    with pytest.raises(KeyError, match="layers names"):
        wi.tl.fusion_deletion(mdata, models, "fusion", layers=["ptm_9"])
    with pytest.raises(ValueError, match="n_null=50"):
        wi.tl.fusion_deletion(mdata, models, "fusion", n_null=50)
    wi.model.MultiOmicLPM.setup_mudata(mdata, rna="rna", protein="protein", metabolome="metabolome")
    model = wi.model.MultiOmicLPM(mdata, n_latent=2, n_hidden=4)
    model.train(1, enable_progress_bar=False)
    with pytest.raises(ValueError, match="without PTM layers"):
        wi.tl.fusion_deletion(mdata, model, "fusion")


@pytest.mark.slow
def test_the_planted_layer_is_on_top_whatever_its_size():
    """Research table 1.2, Q2: at least 95 % of draws, with 10 to 400 sites."""
    sizes = (10, 400, 40, 150)
    right = []
    for seed in range(20):
        planted = seed % len(sizes)
        mdata = wi.datasets.simulate_flow(
            150, **SMALL, n_ptm=sizes, fusion_layer=planted, leading_layer=0, fusion_effect=1.0, seed=seed
        )
        wi.tl.fusion_deletion(mdata, fit(mdata, len(sizes), epochs=1), "fusion", n_null=500, seed=seed)
        right.append(str(mdata.uns["fusion_deletion"]["table"]["layer"].iloc[0]) == f"ptm_{planted}")
    assert np.mean(right) >= 0.95
