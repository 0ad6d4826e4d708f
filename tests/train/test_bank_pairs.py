"""Pairs from a bank, beside a double loop and the exact search."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from scwhatif.train import global_hard_pairs
from scwhatif.train._bank_pairs import BankPairs

N = 120


@pytest.fixture
def data():
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(N, 4, generator=generator)
    identity = torch.arange(N) % 10
    return z, identity, torch.randint(0, 3, (N,), generator=generator)


def batches(seed: int) -> list[torch.Tensor]:
    return list(torch.from_numpy(np.random.default_rng(seed).permutation(N)).split(24))


def naive(z, identity, exams, held, anchor, quantile, ranks):
    """Ordered loops over what the bank holds: the positive, and all negatives that may be drawn."""
    cosine = {other: float(torch.nn.functional.cosine_similarity(z[anchor], z[other], dim=0)) for other in held}
    nearest = sorted(held, key=lambda other: -cosine[other])
    positives = [other for other in nearest if identity[other] == identity[anchor] and other != anchor]
    if exams is not None:
        positives = [other for other in positives if exams[other] != exams[anchor]] or positives
    negatives = [other for other in nearest if identity[other] != identity[anchor]]
    positive = positives[math.floor(quantile * (len(positives) - 1))] if positives else -1
    return positive, negatives[ranks[0] - 1 : ranks[1]] or negatives[-1:]


@pytest.mark.parametrize("with_exams", [False, True])
@pytest.mark.parametrize(("quantile", "ranks"), [(1.0, (1, 1)), (0.5, (3, 12)), (0.0, (2, 2))])
def test_a_bank_of_all_rows_finds_what_a_search_among_all_finds(data, with_exams, quantile, ranks):
    z, identity, exams = data[0], data[1], data[2] if with_exams else None
    bank = BankPairs(N, identity, exams=exams, positive_quantile=quantile, negative_ranks=ranks, seed=1)
    for rows in batches(0):
        bank.choose(z[rows], rows)
    assert len(bank) == N
    exact = global_hard_pairs(z, identity, exams=exams, positive_quantile=quantile, negative_ranks=ranks)
    # the same rows again, in the same order: the bank holds each once all the while
    for rows in batches(0):
        pairs, age = bank.choose(z[rows], rows)
        assert 0 < age < 5
        assert torch.equal(pairs.positive, exact.positive[rows])
        if ranks[0] == ranks[1]:
            assert torch.equal(pairs.negative, exact.negative[rows])
        for anchor, positive, negative in zip(rows.tolist(), *(each.tolist() for each in pairs), strict=True):
            expected, may_be = naive(z, identity, exams, range(N), anchor, quantile, ranks)
            assert positive == expected
            assert negative in may_be


def test_only_what_the_bank_holds_is_found(data):
    z, identity, exams = data
    bank = BankPairs(40, identity, exams=exams, seed=1)
    seen: list[int] = []
    for rows in batches(0):
        pairs, _ = bank.choose(z[rows], rows)
        seen = [*seen, *rows.tolist()][-40:]
        assert len(bank) == len(seen)
        for anchor, positive, negative in zip(rows.tolist(), *(each.tolist() for each in pairs), strict=True):
            expected, may_be = naive(z, identity, exams, seen, anchor, 0.5, (3, 12))
            assert positive == expected
            assert negative in may_be


def test_the_first_batch_chooses_within_itself(data):
    z, identity, _ = data
    bank = BankPairs(N, identity, negative_ranks=(1, 1))
    rows = torch.tensor([0, 10, 1, 11, 2])
    pairs, age = bank.choose(z[rows], rows)
    assert pairs.positive.tolist() == [10, 0, 11, 1, -1]
    assert set(pairs.negative.tolist()) <= set(rows.tolist())
    assert age == 0
    pairs, age = BankPairs(N, identity).choose(z[:1], torch.tensor([0]))
    assert [each.tolist() for each in pairs] == [[-1], [-1]]
    assert math.isnan(age)


def test_an_earlier_state_of_a_row_is_no_positive_of_it(data):
    _, identity, _ = data
    bank = BankPairs(N, identity, positive_quantile=0.0)
    rows = torch.tensor([0, 10, 1])
    z = torch.eye(3)
    bank.choose(z, rows)
    assert bank.choose(z, rows)[0].positive.tolist() == [10, 0, -1]


def test_same_seed_same_pairs(data):
    z, identity, _ = data
    rows = torch.arange(N)
    first, same, other = (BankPairs(N, identity, seed=seed).choose(z, rows)[0].negative for seed in (0, 0, 1))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
