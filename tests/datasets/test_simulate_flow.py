"""The simulated flow follows the model it states, and its truth can be read back."""

from __future__ import annotations

import mudata as md
import numpy as np
import pandas as pd
import pytest

import scwhatif as wi

SMALL = {"n_rna": 40, "n_protein": 30, "n_ptm": (5, 8, 20), "n_metabolites": 12}


def complete(**kwargs: object) -> md.MuData:
    """Nothing missing."""
    settings = {**SMALL, "missing_values": 0.0, "missing_samples": 0.0, "not_called": 0.0, **kwargs}
    return wi.datasets.simulate_flow(**settings)


def frame(mdata: md.MuData, name: str) -> pd.DataFrame:
    return mdata[name].to_df().loc[mdata.obs_names]


def test_means_are_the_stated_formula():
    mdata = complete(n_obs=80)
    z, truth = mdata.obsm["true_factors"], mdata.uns["simulate_flow"]
    parents = {"protein": frame(mdata, "rna"), "ptm_1": frame(mdata, "protein")}
    for name, parent in parents.items():
        var = mdata[name].var
        expected = z @ mdata[name].varm["true_loadings"].T + var["cis_weight"].to_numpy() * parent[var["parent"]]
        mean = pd.DataFrame(mdata[name].layers["true_mean"], mdata[name].obs_names).loc[mdata.obs_names]
        np.testing.assert_allclose(mean, expected, atol=1e-4)
    leader = frame(mdata, truth["leading_layer"])
    mean = pd.DataFrame(mdata["metabolome"].layers["true_mean"], mdata["metabolome"].obs_names).loc[mdata.obs_names]
    fitted = leader @ np.linalg.lstsq(leader, mean, rcond=None)[0]
    np.testing.assert_allclose(fitted, mean, atol=1e-4)


def test_noise_has_the_stated_size():
    mdata = complete(n_obs=400, noise_sd=0.5)
    for name in ("rna", "protein", "ptm_2", "metabolome"):
        residual = mdata[name].X - mdata[name].layers["true_mean"]
        assert abs(residual.std() - 0.5) < 0.02
        assert abs(residual.mean()) < 0.02


def test_regression_recovers_the_total_effect_of_every_driver():
    mdata = complete(n_obs=4000, n_drivers=7, noise_sd=0.3, driver_effect=1.0)
    drivers = frame(mdata, "drivers").to_numpy()
    lineage = pd.get_dummies(mdata.obs["lineage"]).to_numpy(dtype=float)
    for name in ("rna", "protein", "ptm_2", "metabolome"):
        slope = np.linalg.lstsq(np.hstack([drivers, lineage]), frame(mdata, name), rcond=None)[0][:7].T
        effect = mdata[name].varm["true_driver_effect"]
        assert np.corrcoef(slope.ravel(), effect.ravel())[0, 1] > 0.97
        assert np.abs(slope - effect).mean() < 0.06


def test_fusion_acts_on_one_layer_only_and_the_gain_on_its_gene():
    mdata = complete()
    truth = mdata.uns["simulate_flow"]
    fusion = mdata["drivers"].var_names.get_loc(truth["fusion"])
    hit = [name for name in mdata.mod if name != "drivers" and mdata[name].varm["true_driver_effect"][:, fusion].any()]
    assert hit == [truth["fusion_layer"]] == ["ptm_2"]
    cna = mdata["drivers"].var_names.get_loc(truth["cna"])
    gene = mdata["drivers"].var["gene_symbol"].iloc[cna]
    moved = mdata["rna"].var_names[mdata["rna"].varm["true_driver_effect"][:, cna] != 0]
    assert list(moved) == [gene]
    bystanders = (mdata["drivers"].var["kind"] == "mutation").to_numpy().nonzero()[0][3:]
    assert not mdata["rna"].varm["true_driver_effect"][:, bystanders].any()


def test_lineage_confounds_only_when_asked_to():
    def dependence(confounding: float) -> float:
        mdata = complete(n_obs=3000, confounding=confounding)
        z = pd.DataFrame(mdata.obsm["true_factors"]).groupby(mdata.obs["lineage"].to_numpy(), observed=True).mean()
        return float(z.std().mean())

    assert dependence(0.0) < 0.12
    assert dependence(1.0) > 0.4


def test_modalities_keep_their_own_rows_in_their_own_order():
    mdata = wi.datasets.simulate_flow(100, **SMALL, missing_samples=0.2)
    for name in mdata.mod:
        assert mdata[name].n_obs == 80
    orders = [tuple(name for name in mdata[key].obs_names if name in mdata["rna"].obs_names) for key in mdata.mod]
    assert len(set(orders)) == len(mdata.mod)
    assert len({frozenset(mdata[name].obs_names) for name in mdata.mod}) == len(mdata.mod)


def test_low_values_are_missing_more_often():
    mdata = complete(n_obs=500, missing_values=0.2)
    assert not np.isnan(mdata["rna"].X).any()
    for name in ("protein", "ptm_2", "metabolome"):
        missing, mean = np.isnan(mdata[name].X), mdata[name].layers["true_mean"]
        assert abs(missing.mean() - 0.2) < 0.02
        low = mean < np.median(mean, axis=0)
        assert missing[low].mean() > 2 * missing[~low].mean()
    called = wi.datasets.simulate_flow(500, **SMALL, not_called=0.1)["drivers"].X
    assert abs(np.isnan(called).mean() - 0.1) < 0.02
    assert set(np.unique(called[~np.isnan(called)])) == {0.0, 1.0}


def test_counts():
    mdata = complete(n_obs=300, rna_likelihood="nb")
    counts, mean = mdata["rna"].X.astype(float), mdata["rna"].layers["true_mean"].astype(float)
    assert (counts == counts.round()).all()
    z = (counts - mean).sum(0) / np.sqrt((mean + mean**2 / 5).sum(0))
    assert np.abs(z).max() < 4


def test_seed_reproduces():
    first, again, other = (wi.datasets.simulate_flow(30, **SMALL, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first["ptm_1"].X, again["ptm_1"].X)
    assert not np.array_equal(first["rna"].X, other["rna"].X)
    assert wi.datasets.simulate_flow(30, **SMALL, seed=np.random.default_rng(0)).uns["simulate_flow"]["params"]["seed"]


def test_survives_writing(tmp_path):
    mdata = wi.datasets.simulate_flow(30, **SMALL)
    mdata.write_h5mu(tmp_path / "flow.h5mu")
    again = md.read_h5mu(tmp_path / "flow.h5mu")
    assert list(again.obs_names) == list(mdata.obs_names)
    for name in mdata.mod:
        np.testing.assert_array_equal(again[name].X, mdata[name].X)
        pd.testing.assert_frame_equal(again[name].var, mdata[name].var, check_dtype=False, check_index_type=False)
    truth = again.uns["simulate_flow"]
    np.testing.assert_array_equal(truth["driver_to_latent"], mdata.uns["simulate_flow"]["driver_to_latent"])
    assert truth["params"]["n_ptm"].tolist() == [5, 8, 20]
    assert list(truth["active_drivers"]) == ["mut_0", "mut_1", "mut_2"]


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"n_obs": 2}, "n_obs=2 must be at least 4"),
        ({"n_drivers": 4}, "n_drivers=4 must be at least n_active"),
        ({"n_protein": 41}, "n_protein=41 exceeds n_rna=40"),
        ({"n_ptm": ()}, "at least one layer"),
        ({"fusion_layer": 3}, "fusion_layer=3 must be an index into n_ptm, which has 3 layers"),
        ({"leading_layer": -1}, "leading_layer=-1"),
        ({"n_lineages": 0}, "n_lineages=0"),
        ({"noise_sd": -1.0}, "noise_sd=-1.0 must not be negative"),
        ({"missing_values": 0.5}, "missing_values=0.5 must be at least 0 and below 0.5"),
        ({"rna_likelihood": "zinb"}, "rna_likelihood='zinb'"),
    ],
)
def test_out_of_range(kwargs: dict, message: str):
    with pytest.raises(ValueError, match=message.replace("(", r"\(")):
        wi.datasets.simulate_flow(**{**SMALL, **kwargs})
