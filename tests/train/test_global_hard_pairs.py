"""Hard pairs of a whole set beside the full matrix of distances, and what wrong labels do to them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

import scwhatif as wi


def cloud(n=700, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.choice(9, size=n, p=np.array([30, 20, 10, 10, 10, 10, 5, 4.9, 0.1]) / 100)
    return (rng.normal(size=(n, 6)) + rng.normal(size=(9, 6))[y]).astype(np.float32), y, rng.integers(4, size=n)


def distances(z):
    u = z.astype(np.float64) / np.linalg.norm(z, axis=1, keepdims=True)
    return np.linalg.norm(u[:, None] - u[None], axis=2)


@pytest.mark.parametrize("with_exams", [False, True])
@pytest.mark.parametrize(("quantile", "ranks"), [(1.0, (1, 1)), (0.5, (3, 12)), (0.0, (5, 5)), (0.75, (300, 700))])
def test_equal_to_the_full_matrix(quantile, ranks, with_exams):
    z, y, exams = cloud()
    d = distances(z)
    found = wi.train.global_hard_pairs(
        z, y, exams=exams if with_exams else None, positive_quantile=quantile, negative_ranks=ranks, chunk_size=100
    )
    for a in range(len(z)):
        own = np.flatnonzero((y == y[a]) & (np.arange(len(z)) != a))
        elsewhere = own[exams[own] != exams[a]] if with_exams else own
        own = elsewhere if len(elsewhere) else own
        positive, negative = int(found.positive[a]), int(found.negative[a])
        if len(own):
            assert positive in own
            assert d[a, positive] == pytest.approx(np.sort(d[a, own])[int(quantile * (len(own) - 1))], abs=1e-5)
        else:
            assert positive == -1
        others = np.sort(d[a, y != y[a]])
        low, high = (min(rank, len(others)) - 1 for rank in ranks)
        assert y[negative] != y[a]
        assert others[low] - 1e-5 <= d[a, negative] <= others[high] + 1e-5


def test_result_does_not_depend_on_the_blocks():
    z, y, exams = cloud()
    first = wi.train.global_hard_pairs(z, y, exams=exams, chunk_size=7)
    second = wi.train.global_hard_pairs(torch.as_tensor(z), torch.as_tensor(y), exams=exams, chunk_size=10_000)
    assert torch.equal(first.positive, second.positive)
    assert torch.equal(first.negative, second.negative)
    other = wi.train.global_hard_pairs(z, y, exams=exams, seed=1)
    assert torch.equal(first.positive, other.positive)
    assert not torch.equal(first.negative, other.negative)


def test_ranks_are_drawn_evenly():
    z, y, _ = cloud()
    d = distances(z)
    negative = wi.train.global_hard_pairs(z, y, negative_ranks=(3, 6)).negative.numpy()
    rank = [(d[a, y != y[a]] < d[a, negative[a]] - 1e-6).sum() + 1 for a in range(len(z))]
    counts = np.bincount(rank, minlength=7)[3:7]
    assert counts.sum() > 690
    assert counts.min() > 120


def test_forbidden_rows_are_no_negatives():
    z, y, _ = cloud()
    codes = torch.as_tensor(y)
    found = wi.train.global_hard_pairs(
        z, y, negative_ranks=(1, 1), chunk_size=64, forbid=lambda rows: (codes[rows][:, None] - codes[None]).abs() == 1
    )
    apart = (codes - codes[found.negative]).abs()
    assert (apart > 1).all()
    nothing = wi.train.global_hard_pairs(z, y, forbid=lambda rows: torch.ones(len(rows), len(z), dtype=torch.bool))
    assert (nothing.negative == -1).all()


def test_nothing_to_find():
    z, _, _ = cloud(n=5)
    assert wi.train.global_hard_pairs(z, np.zeros(5, int)).negative.tolist() == [-1] * 5
    assert wi.train.global_hard_pairs(z, np.arange(5)).positive.tolist() == [-1] * 5


def test_guard_rails_keep_wrong_labels_out():
    """5 % wrong labels are most of the hardest positives and negatives, and few of the guarded ones."""
    x, truth = load_digits(return_X_y=True)
    rng = np.random.default_rng(0)
    wrong = rng.random(len(x)) < 0.05
    y = np.where(wrong, (truth + rng.integers(1, 10, size=len(x))) % 10, truth)
    shares = {}
    for name, rails in {"none": {"positive_quantile": 1.0, "negative_ranks": (1, 1)}, "default": {}}.items():
        positive, negative = wi.train.global_hard_pairs(x, y, **rails)
        shares[name] = (
            wrong[positive.numpy()][~wrong].mean(),
            (truth[negative.numpy()] == truth)[~wrong].mean(),
        )
    assert shares["none"][0] > 0.6
    assert shares["default"][0] < 0.1
    assert shares["none"][1] > 0.5
    assert shares["default"][1] < 0.3 < shares["none"][1]


def test_bad_input():
    z, y, _ = cloud(n=50)
    for kwargs, match in (
        ({"positive_quantile": 1.5}, r"positive_quantile=1\.5"),
        ({"negative_ranks": (0, 3)}, r"negative_ranks=\(0, 3\)"),
        ({"negative_ranks": (4, 3)}, r"negative_ranks=\(4, 3\)"),
        ({"chunk_size": 0}, "chunk_size=0"),
        ({"exams": y[:3]}, "exams must hold one code"),
    ):
        with pytest.raises(ValueError, match=match):
            wi.train.global_hard_pairs(z, y, **kwargs)
    with pytest.raises(TypeError, match="labels must be integer codes"):
        wi.train.global_hard_pairs(z, y.astype(float))
    with pytest.raises(ValueError, match="two dimensions"):
        wi.train.global_hard_pairs(z[0], y)
    z[3, 1] = np.nan
    with pytest.raises(ValueError, match="1 of 50 rows of the embedding hold NaN"):
        wi.train.global_hard_pairs(z, y)
