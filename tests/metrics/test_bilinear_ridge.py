from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.decomposition import PCA

from scwhatif.metrics import predict_bilinear

GENES = [f"G{j}" for j in range(40)]


def data(seed: int = 0, n: int = 15) -> tuple[pd.DataFrame, pd.Series]:
    rng = np.random.default_rng(seed)
    control = pd.Series(rng.gamma(2, size=40), GENES)
    train = pd.DataFrame(rng.normal(size=(n, 40)), GENES[:n], GENES) + control
    return train, control


def naive(train: pd.DataFrame, control: pd.Series, wanted: list[str], k: int, ridge: float) -> np.ndarray:
    """Step by step as in the R code of the paper, genes in rows."""
    profiles = train.T.assign(ctrl=control)
    a = pd.DataFrame(PCA(k, svd_solver="full").fit_transform(profiles), profiles.index)
    known = [p for p in profiles.columns if p in a.index] + ["ctrl"]
    b = a.T.assign(ctrl=0.0)
    y = profiles[known].sub(control, axis=0)
    centre = y.mean(axis=1)
    left = np.linalg.inv(a.T @ a + ridge * np.eye(k))
    right = np.linalg.inv(b[known] @ b[known].T + ridge * np.eye(k))
    core = left @ a.T.to_numpy() @ y.sub(centre, axis=0).to_numpy() @ b[known].T.to_numpy() @ right
    return (a.to_numpy() @ core @ b[wanted].to_numpy() + (centre + control).to_numpy()[:, None]).T


@pytest.mark.parametrize(("k", "ridge"), [(4, 0.1), (10, 0.1), (3, 5.0)])
def test_equals_the_paper_step_by_step(k: int, ridge: float):
    train, control = data()
    # one that acts on no gene measured, which shapes the components only
    train.loc["elsewhere"] = control + np.random.default_rng(1).normal(size=40)
    found = predict_bilinear(train, control, ["G20", "G31"], n_components=k, ridge=ridge)
    assert list(found.index) == ["G20", "G31"]
    assert list(found.columns) == GENES
    np.testing.assert_allclose(found, naive(train, control, ["G20", "G31"], k, ridge), rtol=1e-8)


def test_planted_bilinear_effects_are_recovered():
    rng = np.random.default_rng(0)
    # means are taken out of profiles and of effects, so they must not be in the embeddings
    of_genes = rng.normal(size=(40, 3))
    of_genes -= of_genes.mean(axis=0)
    embedding = pd.DataFrame(rng.normal(size=(60, 3)), [f"P{i}" for i in range(60)])
    embedding -= embedding.iloc[:50].mean()
    effects = embedding @ rng.normal(size=(3, 3)) @ of_genes.T
    control = rng.normal(size=40)
    profiles = (effects + control).set_axis(GENES, axis=1)
    train, wanted = profiles.iloc[:50], ["P50", "P51", "P52", "P50+P51"]
    found = predict_bilinear(train, control, wanted, embedding=embedding, n_components=4, ridge=1e-6)
    np.testing.assert_allclose(found.iloc[:3], profiles.loc[wanted[:3]], atol=1e-4)
    # combinations add up
    pair = effects.loc["P50"] + effects.loc["P51"] + control
    np.testing.assert_allclose(found.loc["P50+P51"], pair, atol=1e-4)


def test_a_heavy_penalty_leaves_the_mean_change():
    train, control = data()
    found = predict_bilinear(train, control, ["G20", "G31"], ridge=1e9)
    # the control is one of the training profiles
    mean = (train.sum() + control) / (len(train) + 1)
    np.testing.assert_allclose(found, [mean, mean], rtol=1e-6)


def test_bad_input():
    train, control = data()
    with pytest.raises(ValueError, match="train holds 'G3', which are to be predicted"):
        predict_bilinear(train, control, ["G3"])
    with pytest.raises(ValueError, match="embedding lacks 'Q'; without it, perturbed genes must be among the genes"):
        predict_bilinear(train, control, ["G20+Q"])
    with pytest.raises(ValueError, match="embedding must hold at least two training perturbations, but has 0 of 'p0'"):
        predict_bilinear(train.add_prefix("p", axis=0).rename(index=lambda x: x.replace("pG", "p")), control, ["G20"])
    for kwargs in ({"n_components": 0}, {"ridge": 0.0}):
        with pytest.raises(ValueError, match="must be at least 1 and ridge"):
            predict_bilinear(train, control, ["G20"], **kwargs)
