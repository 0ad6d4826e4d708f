"""Tests of reading sets of features by one regression."""

from __future__ import annotations

import numpy as np
import pytest

import scwhatif as wi
from scwhatif.nn import ridge_loo
from scwhatif.tl._fold_models import fold_models
from scwhatif.tl._layer_predictions import predict_held_out
from scwhatif.tl._layer_reader import MatchedSets, SetReader, matched_sets
from scwhatif.tl._layer_values import layer_values

SETUP = {"rna": "rna", "protein": "protein", "ptm": ["ptm_0", "ptm_1"], "metabolome": "metabolome"}


@pytest.fixture(scope="module")
def mdata():
    return wi.datasets.simulate_flow(
        90, n_rna=12, n_protein=8, n_ptm=(6, 20), n_metabolites=4, fusion_layer=0, missing_samples=0.05
    )


@pytest.fixture(scope="module")
def predictions(mdata):
    models = []
    for test in (range(45), range(45, 90)):
        wi.model.MultiOmicLPM.setup_mudata(mdata, **SETUP)
        model = wi.model.MultiOmicLPM(mdata, n_latent=2, n_hidden=4)
        others = np.setdiff1d(np.arange(90), test)
        model.train(1, external_indexing=[others[5:], others[:5], np.asarray(test)], enable_progress_bar=False)
        models.append(model)
    strata = np.zeros(90, dtype=np.int64)
    return predict_held_out(fold_models(mdata, models), mdata, "metabolome", given=[()], strata=strata)


def test_reads_as_a_loop_does(mdata, predictions):
    layers = ["ptm_1", "rna"]
    reader = SetReader(predictions, mdata, "metabolome", layers)
    assert {name: len(columns) for name, columns in reader.columns.items()} == {"ptm_1": 20, "rna": 12}
    features = np.array([0, 5, 21, 31])
    error = total = 0.0
    n = 0
    for fold in predictions.folds:
        training = np.setdiff1d(np.arange(90), fold.model.test_indices)
        train, test = (layer_values(fold.model, mdata, rows) for rows in (training, fold.rows))
        x, asked = (
            np.hstack([each.values["ptm_1"][:, [0, 5]], each.values["rna"][:, [1, 11]]]) for each in (train, test)
        )
        rows = train.present(["metabolome", *layers])
        used = test.present(layers)
        y, seen = train.values["metabolome"][rows], train.observed["metabolome"][rows]
        scale = fold.model.module.scale[fold.model.module.columns["metabolome"]].numpy()
        predicted = ridge_loo(x[rows], y * scale, seen).predict(asked)
        there = test.observed["metabolome"] & used[:, None]
        truth = test.values["metabolome"] * scale
        error += (np.where(there, truth - predicted, 0) ** 2).sum(axis=0)
        total += (np.where(there, truth, 0) ** 2).sum(axis=0)
        n += int(there.any(axis=1).sum())
    assert reader.r2(features) == pytest.approx(float(np.mean(1 - error / total)), abs=1e-6)
    assert reader.n_samples == n


def test_sets_have_the_size_of_the_layer_or_half_of_the_pool(mdata, predictions):
    reader = SetReader(predictions, mdata, "metabolome", ["ptm_0", "ptm_1", "rna"])
    sizes: list[int] = []

    class Counting(SetReader):
        def __init__(self) -> None:
            self.columns = reader.columns

        def r2(self, features):
            assert len(set(features)) == len(features)
            sizes.append(len(features))
            return float(features.sum())

    small = matched_sets(Counting(), "ptm_0", ["ptm_1", "rna"], n_sets=7, rng=np.random.default_rng(0))
    assert small.size == 6
    assert sizes == [6] * 8
    assert len(set(small.own)) == 1
    sizes.clear()
    large = matched_sets(Counting(), "ptm_1", ["ptm_0", "rna"], n_sets=7, rng=np.random.default_rng(0))
    assert large.size == 9
    assert sizes == [9] * 14
    assert len(set(large.own)) > 1
    assert (large.own > reader.columns["ptm_1"].min()).all()


def test_percentile_counts_ties_half():
    assert MatchedSets(3, np.full(4, 0.3), np.array([0.1, 0.3, 0.3, 0.5])).percentile == 50.0
    best = MatchedSets(3, np.array([0.4, 0.2]), np.array([0.3, 0.1]))
    assert best.percentile == 100.0
    assert best.pvalue == pytest.approx(1 / 3)
    assert MatchedSets(3, np.full(4, 0.3), np.array([0.1, 0.3, 0.3, 0.5])).pvalue == pytest.approx(4 / 5)


def test_the_leading_layer_reads_better_than_random_sets(mdata, predictions):
    reader = SetReader(predictions, mdata, "metabolome", ["ptm_0", "ptm_1", "rna"])
    found = matched_sets(reader, "ptm_0", ["ptm_1", "rna"], n_sets=20, rng=np.random.default_rng(0))
    assert found.percentile > 90


def test_too_few_samples(mdata, predictions):
    folds = [fold._replace(rows=fold.rows[:3]) for fold in predictions.folds]
    part = np.concatenate([np.arange(3), len(predictions.folds[0].rows) + np.arange(3)])
    held_out = predictions.held_out
    few = type(predictions)(
        type(held_out)(*(getattr(held_out, name)[part] for name in ("truth", "observed", "unit", "stratum"))),
        {},
        {},
        folds,
        (1.0, 1.0),
    )
    with pytest.raises(ValueError, match=r"Only \d sample\(s\) asked about have all of .'metabolome', 'rna'."):
        SetReader(few, mdata, "metabolome", ["rna"])
