from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial import distance as distances
from scipy.stats import rankdata

from scwhatif.metrics import discrimination_score

NAIVE = {"l1": distances.cityblock, "l2": distances.euclidean, "cosine": distances.cosine}


def profiles(seed: int = 0, n: int = 8, n_genes: int = 20) -> tuple[pd.DataFrame, pd.DataFrame, pd.Series]:
    rng = np.random.default_rng(seed)
    names = [f"G{i}" for i in range(n_genes)]
    observed = pd.DataFrame(rng.normal(size=(n, n_genes)), names[:n], names)
    return observed + 1.5 * rng.normal(size=observed.shape), observed, pd.Series(rng.normal(size=n_genes), names)


@pytest.mark.parametrize("candidates", ["observed", "predicted"])
@pytest.mark.parametrize("distance", NAIVE)
@pytest.mark.parametrize("masked", [False, True])
def test_equals_a_naive_loop(distance: str, candidates: str, masked: bool):
    predicted, observed, control = profiles()
    targets = {p: p for p in observed.index} if masked else None
    reference = control if distance == "cosine" else None
    found = discrimination_score(
        predicted, observed, distance=distance, reference=reference, targets=targets, candidates=candidates
    )
    asked, ranked = (predicted, observed) if candidates == "observed" else (observed, predicted)
    for p in observed.index:
        nearer = []
        for q in observed.index.drop(p):
            genes = observed.columns.drop([p, q]) if masked else observed.columns
            own, other = (
                NAIVE[distance]((asked.loc[p] - control)[genes], (ranked.loc[each] - control)[genes]) for each in (p, q)
            )
            nearer.append(own < other)
        assert found[p] == pytest.approx(np.mean(nearer)), p


@given(st.integers(0, 2**16), st.integers(2, 9))
def test_is_one_less_the_mid_rank_over_the_others(seed: int, n: int):
    rng = np.random.default_rng(seed)
    # few values, so that ties occur
    predicted, observed = rng.integers(2, size=(2, n, 3)).astype(float)
    ranks = [rankdata(np.abs(observed - predicted[p]).sum(axis=1))[p] - 1 for p in range(n)]
    np.testing.assert_allclose(discrimination_score(predicted, observed), 1 - np.array(ranks) / (n - 1))


def test_the_scale_runs_from_zero_to_one():
    observed = np.diag([1.0, 2.0, 3.0])
    assert discrimination_score(observed, observed).tolist() == [1, 1, 1]
    assert discrimination_score([[0.0, 0, 3]] * 3, observed).tolist() == [0.5, 0, 1]
    # as is exactly one half what does not depend on the perturbation at all, or cannot be told apart
    for distance in ("l1", "l2"):
        predicted, observed, _ = profiles()
        same = pd.DataFrame([predicted.iloc[0]] * 8, index=observed.index)
        assert discrimination_score(same, observed, distance=distance).mean() == pytest.approx(0.5)
    flat = np.ones((4, 3))
    assert discrimination_score(np.random.default_rng(0).normal(size=(4, 3)), flat).tolist() == [0.5] * 4


def test_no_change_has_no_direction():
    _, observed, control = profiles()
    same = pd.DataFrame([control] * 8, index=observed.index)
    assert (discrimination_score(same, observed, distance="cosine", reference=control) == 0.5).all()


def with_hits(n: int = 20) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Profiles that differ by their own target above all, and a prediction of nothing else."""
    _, observed, _ = profiles(n=n, n_genes=400)
    hit = pd.DataFrame(0.0, observed.index, observed.columns)
    for p in observed.index:
        hit.loc[p, p] = 30
    return observed + hit, hit


def test_target_genes_do_not_give_the_answer_away():
    observed, hit = with_hits()
    assert discrimination_score(hit, observed).mean() == 1
    targets = {p: [p] for p in observed.index}
    assert discrimination_score(hit, observed, targets=targets).mean() == pytest.approx(0.5)
    # one gene, several, or none
    named = discrimination_score(hit, observed, targets={p: p for p in observed.index} | {"other": "x"})
    pd.testing.assert_series_equal(named, discrimination_score(hit, observed, targets=targets))
    several = discrimination_score(hit, observed, targets={p: list(observed.index) for p in observed.index})
    rest = observed.columns.drop(observed.index)
    pd.testing.assert_series_equal(several, discrimination_score(hit[rest], observed[rest]))
    assert discrimination_score(hit, observed, targets={p: [] for p in observed.index}).mean() == 1


@pytest.mark.parametrize("distance", NAIVE)
def test_no_change_scores_one_half_with_and_without_targets(distance: str):
    observed, hit = with_hits()
    reference = np.zeros(400) if distance == "cosine" else None
    for targets in (None, {p: p for p in observed.index}):
        found = discrimination_score(0 * hit, observed, distance=distance, reference=reference, targets=targets)
        assert found.mean() == pytest.approx(0.5)
    # were only the own target left out, as elsewhere, all others would seem far away
    own = [(observed.drop(columns=p).abs().sum(axis=1).rank()[p] - 1) / 19 for p in observed.index]
    assert 1 - np.mean(own) > 0.9


@pytest.mark.optional
def test_cell_eval_divides_by_all():
    pytest.importorskip("cell_eval", reason="cell-eval is not installed")
    import anndata as ad
    from cell_eval._types import PerturbationAnndataPair
    from cell_eval.metrics import discrimination_score as theirs

    predicted, observed, control = profiles()

    def adata(table: pd.DataFrame) -> ad.AnnData:
        table = pd.concat([table, control.to_frame("control").T])
        obs = pd.DataFrame({"p": table.index}, index=[f"c{i}" for i in range(len(table))])
        return ad.AnnData(table.to_numpy(), obs=obs, var=pd.DataFrame(index=table.columns))

    pair = PerturbationAnndataPair(
        real=adata(observed), pred=adata(predicted), pert_col="p", control_pert="control", embed_key=None
    )
    n = len(observed)
    expected = pd.Series(theirs(pair, metric="l1", exclude_target_gene=False)).loc[observed.index]
    # without ties, ranks are the same
    np.testing.assert_allclose((1 - discrimination_score(predicted, observed)) * (n - 1), (1 - expected) * n, atol=1e-9)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"distance": "linf"}, "distance='linf' must be one of"),
        ({"candidates": "both"}, "candidates='both' must be one of"),
        ({"distance": "cosine"}, "reference is needed for distance='cosine'"),
        ({"reference": np.zeros(20)}, "of no use to the others"),
        ({"targets": {"G0": "G0"}}, r"targets lacks 'G1', 'G2', 'G3', 'G4', 'G5', … \(2 more\)"),
    ],
)
def test_bad_input(kwargs: dict, message: str):
    predicted, observed, _ = profiles()
    with pytest.raises(ValueError, match=message):
        discrimination_score(predicted, observed, **kwargs)


def test_one_perturbation_or_no_names():
    predicted, observed, _ = profiles()
    with pytest.raises(ValueError, match="at least two perturbations"):
        discrimination_score(predicted.iloc[:1], observed.iloc[:1])
    with pytest.raises(ValueError, match="targets need names"):
        discrimination_score(predicted.to_numpy(), observed.to_numpy(), targets={})
