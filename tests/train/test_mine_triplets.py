"""Triplets of a batch beside plain loops."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

import scwhatif as wi
from scwhatif.train._mine_triplets import sphere


def batch(n=64, n_identities=8, seed=0):
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(n, 5, generator=generator) * torch.rand(n, 1, generator=generator).add(0.1)
    return z, torch.arange(n) % n_identities, torch.randint(3, (n,), generator=generator)


def distances(z):
    u = (z / z.norm(dim=1, keepdim=True)).double().numpy()
    return np.linalg.norm(u[:, None] - u[None], axis=2)


def positives_of(a, y, exams=None):
    rows = [p for p in range(len(y)) if p != a and y[p] == y[a]]
    elsewhere = rows if exams is None else [p for p in rows if exams[p] != exams[a]]
    return elsewhere or rows


@pytest.mark.parametrize("with_exams", [False, True])
def test_hard_is_farthest_and_nearest(with_exams):
    z, y, exams = batch()
    exams = exams if with_exams else None
    d = distances(z)
    found = wi.train.mine_triplets(z, y, strategy="hard", exams=exams)
    assert found.anchor.tolist() == list(range(64))
    for a, p, n in zip(*(each.tolist() for each in found), strict=True):
        assert d[a, p] == pytest.approx(max(d[a, q] for q in positives_of(a, y, exams)), abs=1e-6)
        assert d[a, n] == pytest.approx(min(d[a, q] for q in range(64) if y[q] != y[a]), abs=1e-6)


@pytest.mark.parametrize("with_exams", [False, True])
@pytest.mark.parametrize("margin", [0.02, 0.2])
def test_semihard_for_every_pair(margin, with_exams):
    z, y, exams = batch()
    exams = exams if with_exams else None
    d = distances(z)
    found = wi.train.mine_triplets(z, y, strategy="semihard", margin=margin, exams=exams)
    expected = []
    n_fallback = 0
    for a in range(64):
        others = [n for n in range(64) if y[n] != y[a]]
        for p in positives_of(a, y, exams):
            window = [n for n in others if d[a, p] < d[a, n] < d[a, p] + margin]
            n_fallback += not window
            expected.append((a, p, min(window or others, key=lambda n: d[a, n])))
    assert 0 < n_fallback < len(expected)
    assert list(zip(*(each.tolist() for each in found), strict=True)) == expected


def test_random_is_uniform_over_other_identities():
    z, y, _ = batch(n=12, n_identities=3)
    generator = torch.Generator().manual_seed(1)
    counts = np.zeros(12)
    for _ in range(300):
        found = wi.train.mine_triplets(z, y, strategy="random", generator=generator)
        assert (y[found.anchor] == y[found.positive]).all()
        assert (found.anchor != found.positive).all()
        assert (y[found.anchor] != y[found.negative]).all()
        counts += np.bincount(found.negative[found.anchor == 0].numpy(), minlength=12)
    assert len(found.anchor) == 12 * 3
    assert (counts[(y == 0).numpy()] == 0).all()
    assert chisquare(counts[(y != 0).numpy()]).pvalue > 0.01


def test_random_is_repeatable():
    z, y, _ = batch()
    first, second = (
        wi.train.mine_triplets(z, y, strategy="random", generator=torch.Generator().manual_seed(3)).negative
        for _ in range(2)
    )
    assert torch.equal(first, second)


@pytest.mark.parametrize("strategy", ["random", "semihard", "hard"])
def test_rows_without_a_partner_are_in_no_triplet(strategy):
    z, _, _ = batch(n=5)
    found = wi.train.mine_triplets(z, [0, 0, 1, 2, 3], strategy=strategy)
    assert set(found.anchor.tolist()) == {0, 1}
    alone = [0, 1, 2, 3, 4]
    one = [0, 0, 0, 0, 0]
    for labels in (alone, one):
        found = wi.train.mine_triplets(z, labels, strategy=strategy)
        assert [len(each) for each in found] == [0, 0, 0]
        assert all(each.dtype == torch.int64 for each in found)


def test_length_does_not_matter_and_no_gradient_flows():
    z, y, _ = batch()
    z.requires_grad_()
    first = wi.train.mine_triplets(z, y, strategy="hard")
    second = wi.train.mine_triplets(z * torch.rand(64, 1).add(0.5), y, strategy="hard")
    assert torch.equal(first.negative, second.negative)
    assert sphere(torch.zeros(1, 3, dtype=torch.float16)).tolist() == [[0.0, 0.0, 0.0]]


def test_bad_input():
    z, y, _ = batch()
    with pytest.raises(ValueError, match=r"strategy='semi-hard' must be one of \('random', 'semihard', 'hard'\)"):
        wi.train.mine_triplets(z, y, strategy="semi-hard")
    with pytest.raises(ValueError, match="margin=0"):
        wi.train.mine_triplets(z, y, strategy="semihard", margin=0.0)
    with pytest.raises(ValueError, match="labels must hold one code for each of the 64 rows"):
        wi.train.mine_triplets(z, y[:-1], strategy="hard")
    with pytest.raises(TypeError, match=r"exams must be integer codes, not torch\.float32"):
        wi.train.mine_triplets(z, y, strategy="hard", exams=y.float())


def test_codes_beyond_single_precision_stay_apart():
    z, _, _ = batch(n=4)
    found = wi.train.mine_triplets(z, torch.tensor([2**24, 2**24, 2**24 + 1, 2**24 + 1]), strategy="hard")
    assert found.positive.tolist() == [1, 0, 3, 2]
