import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from scwhatif.datasets import simulate_pairs
from scwhatif.model import CellLineEnergyModel

SILENT = {"enable_progress_bar": False, "accelerator": "cpu"}
SMALL = {"n_latent": 16, "n_hidden": 16, "n_environment": 4, "embedding": "none", "dropout_rate": 0.0}


def fit(interaction, trees_weight=0.0):
    adata = simulate_pairs(4, 4, 10)
    CellLineEnergyModel.setup_anndata(adata, label_key="label", cell_line_key="cell_line", chrom_key="chrom")
    model = CellLineEnergyModel(adata, interaction=interaction, n_channels=3, trees_weight=trees_weight, **SMALL)
    model.train(8, train_size=0.7, plan_kwargs={"lr": 1e-2, "restore_best": False}, early_stopping=False, **SILENT)
    return model


@pytest.fixture(scope="module")
def scalar():
    return fit("scalar")


@pytest.fixture(scope="module")
def channels():
    return fit("channels")


def test_energies_are_of_the_fixed_gauge_and_give_the_prediction(scalar):
    table = scalar.get_energies()
    training = table.iloc[np.sort(scalar.train_indices)]
    assert training["U"].mean() == pytest.approx(0.0, abs=1e-3)
    assert training["U"].std(ddof=0) == pytest.approx(1.0, abs=1e-3)
    u, r, coupling, t = (table[name] for name in ("U", "R", "lambda", "T"))
    np.testing.assert_allclose((u - r + coupling * u * r) / t, table["logit"], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(u * table["slope"] + table["intercept"], table["logit"], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(1 / (1 + np.exp(-table["logit"])), scalar.predict_proba(), atol=1e-6)
    assert (table.groupby("cell_line")["R"].nunique() == 1).all()


def test_gauge_changes_nothing_that_is_reported(scalar):
    """The same model in another gauge reports the same energies."""
    import torch

    expected = scalar.get_energies()
    head, interaction = scalar.module.score_head, scalar.module.interaction
    kept = {key: value.clone() for key, value in scalar.module.state_dict().items()}
    with torch.no_grad():
        scale = 1.7
        head.weight.mul_(scale)
        head.bias.mul_(scale)
        interaction.coupling.div_(scale)
        temperature = scale * interaction.temperature()
        interaction.t.copy_(torch.log(torch.expm1(temperature)))
        # softplus is not homogeneous, so the energy is scaled through a wrapper
        original = interaction.energy
        interaction.energy = lambda z: scale * original(z)
        scalar._fix_gauge(np.asarray(scalar.train_indices))
        found = scalar.get_energies()
        del interaction.energy
    scalar.module.load_state_dict(kept)
    for name in ("U", "R", "lambda", "T", "slope", "intercept", "logit"):
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-3, atol=1e-4, err_msg=name)


def test_scalar_energy_keeps_the_ranking_of_a_line_and_channels_need_not(scalar, channels):
    for model, same in ((scalar, True), (channels, False)):
        table = model.get_energies()
        labels = model.adata.obs["label"].to_numpy()
        score = table["U"] if same else table.filter(like="U_").sum(axis=1)
        equal = []
        for line in table["cell_line"].unique():
            own = (table["cell_line"] == line).to_numpy()
            by_model = average_precision_score(labels[own], table["logit"][own])
            equal.append(abs(by_model - average_precision_score(labels[own], score[own])) < 1e-9)
        assert all(equal) == same


def test_channels_report_slopes_and_one_intercept(channels):
    table = channels.get_energies()
    assert list(table.columns) == [
        "cell_line", "U_0", "U_1", "U_2", "slope_0", "slope_1", "slope_2", "intercept", "logit", "probability",
    ]  # fmt: skip
    total = (table.filter(like="U_").to_numpy() * table.filter(like="slope_").to_numpy()).sum(1) + table["intercept"]
    np.testing.assert_allclose(total, table["logit"], rtol=1e-5, atol=1e-5)


def test_support_is_drawn_by_seed_and_may_be_given(scalar):
    first = scalar.predict_proba(n_support=8, seed=1)
    np.testing.assert_array_equal(scalar.predict_proba(n_support=8, seed=1), first)
    assert not np.array_equal(scalar.predict_proba(n_support=8, seed=2), first)
    lines = scalar.adata.obs["cell_line"].to_numpy()
    support = np.flatnonzero(lines == "line_0")[:5]
    own = np.flatnonzero(lines == "line_0")
    given = scalar.predict_proba(indices=own, support_indices=support)
    np.testing.assert_array_equal(scalar.predict_proba(indices=own, support_indices=support[::-1]), given)
    one = scalar.predict_proba(indices=own, support_indices=support[:1])
    assert one.shape == own.shape
    with pytest.raises(ValueError, match="no pair of cell line 'line_1'"):
        scalar.predict_proba(indices=np.flatnonzero(lines == "line_1"), support_indices=support)
    with pytest.raises(ValueError, match="n_support=9999"):
        scalar.predict_proba(n_support=9999)


def test_prediction_of_some_pairs_is_that_of_all(scalar):
    rows = np.array([5, 3, 700, 201])
    np.testing.assert_allclose(scalar.predict_proba(indices=rows), scalar.predict_proba()[rows], atol=1e-7)
    np.testing.assert_array_equal(scalar.get_energies(indices=rows).index, scalar.adata.obs_names[rows])
    mask = np.zeros(scalar.adata.n_obs, dtype=bool)
    mask[[3, 5]] = True
    np.testing.assert_allclose(scalar.predict_proba(indices=mask), scalar.predict_proba()[[3, 5]], atol=1e-7)


def test_draws_average_logits_and_the_energy_is_stable(scalar):
    lines = scalar.adata.obs["cell_line"].to_numpy()
    rows = np.flatnonzero(lines == "line_3")
    draws = [scalar.get_energies(indices=rows, n_support=128, seed=s)["R"].iloc[0] for s in range(20)]
    assert np.std(draws) <= 0.1 * np.mean(draws)
    averaged = scalar.get_energies(indices=rows, n_support=16, n_draws=10)["R"].iloc[0]
    assert averaged == pytest.approx(np.mean(draws), rel=0.1)


def drawn(lines, line, n_support, seed, draw):
    """Support of a draw, drawn from the line's own stream."""
    rng = np.random.default_rng([seed, draw, *line.encode()])
    return np.sort(rng.choice(np.flatnonzero(lines == line), n_support, replace=False))


@pytest.mark.parametrize("kind", ["scalar", "channels"])
def test_each_draw_is_that_of_its_support(kind, request):
    model = request.getfixturevalue(kind)
    lines = model.adata.obs["cell_line"].to_numpy()
    rows = np.flatnonzero(lines == "line_1")[:7]
    each = model.predict_proba(indices=rows, n_support=16, n_draws=3, seed=5, each_draw=True)
    table = model.get_energies(indices=rows, n_support=16, n_draws=3, seed=5, each_draw=True)
    assert each.shape == (3, 7)
    assert table["draw"].tolist() == [0] * 7 + [1] * 7 + [2] * 7
    assert list(table.index) == list(model.adata.obs_names[rows]) * 3
    for draw in range(3):
        support = drawn(lines, "line_1", 16, 5, draw)
        np.testing.assert_array_equal(each[draw], model.predict_proba(indices=rows, support_indices=support))
        expected = model.get_energies(indices=rows, support_indices=support)
        found = table[table["draw"] == draw].drop(columns="draw")
        assert found.equals(expected)
    averaged = model.get_energies(indices=rows, n_support=16, n_draws=3, seed=5)
    by_pair = table.groupby(level=0, sort=False)
    for name in ("intercept", "logit"):
        np.testing.assert_allclose(averaged[name], by_pair[name].mean(), rtol=1e-10)


@pytest.mark.parametrize("kind", ["scalar", "channels"])
def test_pairs_in_the_environment_of_another_line(kind, request):
    model = request.getfixturevalue(kind)
    lines = model.adata.obs["cell_line"].to_numpy()
    rows = np.flatnonzero(lines == "line_0")
    settings = {"n_support": 16, "n_draws": 2, "seed": 3}
    own = model.get_energies(indices=rows, **settings)
    there = model.get_energies(indices=np.flatnonzero(lines == "line_2"), **settings).iloc[0]
    swapped = model.get_energies(indices=rows, environment_of="line_2", **settings)
    # what is of the pair stays, what is of the environment is that of the other line
    assert (swapped["cell_line"] == "line_0").all()
    for name in swapped.columns:
        if name.startswith("U"):
            np.testing.assert_array_equal(swapped[name], own[name])
        elif name.startswith(("R", "T", "lambda", "slope", "intercept")):
            np.testing.assert_array_equal(swapped[name], there[name])
    scores, slopes = (swapped.filter(regex=f"^{name}").to_numpy() for name in ("U", "slope"))
    np.testing.assert_allclose(swapped["logit"], (scores * slopes).sum(1) + swapped["intercept"], rtol=1e-9)
    np.testing.assert_array_equal(
        swapped["probability"], model.predict_proba(indices=rows, environment_of="line_2", **settings)
    )
    stays = model.predict_proba(indices=rows, environment_of="line_0", **settings)
    np.testing.assert_array_equal(stays, own["probability"])


def test_environments_that_are_not_there(scalar):
    with pytest.raises(ValueError, match="environment_of='HeLa' is not among the cell lines of the data"):
        scalar.predict_proba(environment_of="HeLa")
    scalar.module.energy_on.fill_(value=False)
    with pytest.raises(ValueError, match="of a warm-up epoch"):
        scalar.predict_proba(environment_of="line_0")
    scalar.module.energy_on.fill_(value=True)
    with pytest.raises(ValueError, match="n_draws=0"):
        scalar.get_energies(n_draws=0)


def test_labels_are_not_read(scalar):
    other = scalar.adata.copy()
    other.obs["label"] = 1 - other.obs["label"]
    np.testing.assert_array_equal(scalar.predict_proba(other), scalar.predict_proba())


def test_codes(scalar):
    invariant = scalar.get_latent_representation()
    assert invariant.shape == (800, 16)
    assert invariant.min() >= 0
    assert scalar.get_latent_representation(which="environment", indices=[0, 1]).shape == (2, 4)
    with pytest.raises(ValueError, match="which='both'"):
        scalar.get_latent_representation(which="both")


def test_environment_tells_the_line_and_ranks_do_not(scalar):
    """What justifies two inputs: means of 32 raw rows tell the line, means of normalised rows do not."""
    codes = scalar.get_latent_representation(which="environment")
    lines = scalar.adata.obs["cell_line"].cat.codes.to_numpy()
    rng = np.random.default_rng(0)

    def nearest(values):
        hits = []
        for _ in range(20):
            halves = [rng.permutation(np.flatnonzero(lines == c))[:64].reshape(2, 32) for c in range(4)]
            first, second = (np.array([values[half[i]].mean(0) for half in halves]) for i in (0, 1))
            distance = ((first[:, None] - second[None]) ** 2).sum(-1)
            hits.append((distance.argmin(1) == np.arange(4)).mean())
        return np.mean(hits)

    assert nearest(codes) >= 0.95
    ranks = scalar.normalizer_.transform(scalar.adata.X, scalar.adata.obs["cell_line"].to_numpy().astype(str))
    assert nearest(ranks[:, :-1]) < 0.6


def test_logits_of_trees_and_network_are_averaged():
    from scwhatif.model._cell_line_energy_trees import tree_logit

    model = fit("scalar", trees_weight=0.3)
    table = model.get_energies()
    raw = model.adata.X
    ranks = model.normalizer_.transform(raw, table["cell_line"].to_numpy().astype(str))
    trees = (tree_logit(model.trees_[0], raw) + tree_logit(model.trees_[1], ranks)) / 2
    mean = 0.7 * table["logit"] + 0.3 * trees
    np.testing.assert_allclose(table["probability"], 1 / (1 + np.exp(-mean)), atol=1e-5)
    np.testing.assert_array_equal(table["probability"], model.predict_proba())


def test_untrained_and_foreign_data(scalar):
    adata = simulate_pairs(3, 2, 10)
    CellLineEnergyModel.setup_anndata(adata, label_key="label", cell_line_key="cell_line")
    with pytest.raises(RuntimeError, match="call train"):
        CellLineEnergyModel(adata, **SMALL).predict_proba()
    with pytest.raises(ValueError, match="lacks 1 of the 13 features"):
        scalar.predict_proba(scalar.adata[:, :12].copy())
    renamed = scalar.adata.copy()
    del renamed.obs["cell_line"]
    with pytest.raises(KeyError, match="cell_line"):
        scalar.predict_proba(renamed)


def test_no_environment_to_speak_of():
    model = fit("none")
    with pytest.raises(ValueError, match="reads no environment"):
        model.get_latent_representation(which="environment")
    with pytest.raises(ValueError, match="none to put pairs into"):
        model.predict_proba(environment_of="line_0")
    assert {"U", "slope", "intercept"} <= set(model.get_energies().columns)
    assert "R" not in model.get_energies()
