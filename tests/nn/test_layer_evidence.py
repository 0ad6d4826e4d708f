import numpy as np
import pytest

from scwhatif.nn import fit_layer_evidence


def draw(n_rows=240, seed=0):
    """Layer c is half of layer a and half of layer b; d is noise."""
    rng = np.random.default_rng(seed)
    values = {"a": rng.normal(size=(n_rows, 6)), "b": rng.normal(size=(n_rows, 4)), "d": rng.normal(size=(n_rows, 30))}
    signal = values["a"] @ rng.normal(size=(6, 5)) / np.sqrt(6) + values["b"] @ rng.normal(size=(4, 5)) / 2
    values["c"] = (signal + rng.normal(size=signal.shape) * 0.3) / np.sqrt(2.09)
    return values, {name: np.ones(v.shape, dtype=bool) for name, v in values.items()}


def part(values, observed, rows):
    return {k: v[rows] for k, v in values.items()}, {k: v[rows] for k, v in observed.items()}


def r2(values, mean, rows):
    y = values["c"][rows]
    return 1 - np.square(y - mean).sum() / np.square(y).sum()


def everywhere(values, names, rows):
    return {n: values[n][rows] for n in names}, {n: np.ones(len(rows), dtype=bool) for n in names}


@pytest.fixture(scope="module")
def fitted():
    values, observed = draw()
    return values, observed, fit_layer_evidence("c", *part(values, observed, np.arange(160)))


def test_every_layer_helps_as_much_as_it_should(fitted):
    values, _, evidence = fitted
    test = np.arange(160, 240)
    both = r2(values, evidence.predict(*everywhere(values, ["a", "b"], test))[0], test)
    all_ = r2(values, evidence.predict(*everywhere(values, ["a", "b", "d"], test))[0], test)
    one = r2(values, evidence.predict(*everywhere(values, ["a"], test))[0], test)
    noise = r2(values, evidence.predict(*everywhere(values, ["d"], test))[0], test)
    assert both > 0.85
    assert all_ > 0.85
    assert 0.3 < one < 0.6
    assert -0.05 < noise < 0.05


def test_variance_is_that_of_new_rows(fitted):
    values, _, evidence = fitted
    test = np.arange(160, 240)
    for names in (["a", "b", "d"], ["a"]):
        mean, variance, informed = evidence.predict(*everywhere(values, names, test))
        assert informed.all()
        ratio = np.square(values["c"][test] - mean) / variance
        assert 0.8 < ratio.mean() < 1.25


def test_rows_are_predicted_from_what_they_have(fitted):
    values, _, evidence = fitted
    test = np.arange(160, 240)
    given, present = everywhere(values, ["a", "b", "d"], test)
    present["b"][:40] = False
    present["a"][:20] = present["d"][:20] = False
    mean, variance, informed = evidence.predict(given, present)
    assert not informed[:20].any()
    assert not mean[:20].any()
    np.testing.assert_allclose(variance[:20], np.tile(evidence.moments.target, (20, 1)))
    alone = evidence.predict(*everywhere(values, ["a", "d"], test))[0]
    np.testing.assert_allclose(mean[20:40], alone[20:40])
    whole = evidence.predict(*everywhere(values, ["a", "b", "d"], test))[0]
    np.testing.assert_allclose(mean[40:], whole[40:])


def test_left_out_predictions_are_as_good_as_those_of_new_rows_and_not_better():
    values, observed = draw()
    train, test = np.arange(160), np.arange(160, 240)
    evidence = fit_layer_evidence("c", *part(values, observed, train))
    left_out = evidence.predict_left_out(train, ["a", "d"])[0]
    new = evidence.predict(*everywhere(values, ["a", "d"], test))[0]
    in_sample = evidence.predict(*everywhere(values, ["a", "d"], train))[0]
    assert abs(r2(values, left_out, train) - r2(values, new, test)) < 0.1
    assert r2(values, in_sample, train) >= r2(values, left_out, train)
    evidence.forget_rows()
    with pytest.raises(RuntimeError, match="forget_rows"):
        evidence.predict_left_out(train, ["a"])


def test_rows_without_a_layer_are_left_out_of_its_regression():
    values, observed = draw()
    observed["a"][:50] = False
    values["a"][:50] = 1e3
    evidence = fit_layer_evidence("c", *part(values, observed, np.arange(160)))
    assert evidence.rows["a"].tolist() == list(range(50, 160))
    assert evidence.rows["joint"].tolist() == list(range(50, 160))
    test = np.arange(160, 240)
    assert r2(values, evidence.predict(*everywhere(values, ["a", "b"], test))[0], test) > 0.8
    assert not evidence.predict_left_out(np.arange(10), ["a"])[2].any()


def test_same_gene_regressions_alone():
    values, observed = draw()
    rng = np.random.default_rng(1)
    values["c"] = (values["d"][:, :5] + rng.normal(size=(240, 5)) * 0.2).copy()
    links = {"d": np.arange(5)[:, None]}
    evidence = fit_layer_evidence("c", values, observed, links=links, direct=False)
    assert list(evidence.experts) == ["cis:d"]
    assert r2(values, evidence.predict(*everywhere(values, ["d"], np.arange(240)))[0], np.arange(240)) > 0.9


def test_covariates_are_always_there():
    values, observed = draw()
    group = np.arange(240) % 2
    values["c"] = values["c"] * 0.1 + np.where(group, 1.0, -1.0)[:, None]
    values["covariates"] = np.eye(2)[group] - 0.5
    evidence = fit_layer_evidence("c", values, observed)
    mean, _, informed = evidence.predict(*everywhere(values, ["covariates"], np.arange(240)))
    assert informed.all()
    assert r2(values, mean, np.arange(240)) > 0.95


def test_too_few_rows_give_no_evidence():
    values, observed = draw(n_rows=8)
    evidence = fit_layer_evidence("c", values, observed)
    assert not evidence.experts
    assert evidence.predict(*everywhere(values, ["a"], np.arange(8))) is None
