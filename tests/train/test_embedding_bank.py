"""First in, first out, and the nearest of what is in."""

from __future__ import annotations

import pytest
import torch

import scwhatif as wi


def test_oldest_out_first():
    bank = wi.train.EmbeddingBank(10, 3)
    rows = torch.randn(28, 3, requires_grad=True)
    for i in range(4):
        bank.add(rows[7 * i : 7 * i + 7], torch.arange(7 * i, 7 * i + 7))
        assert len(bank) == min(10, 7 * i + 7)
    assert torch.equal(bank.embedding, rows[-10:])
    assert not bank.embedding.requires_grad
    assert bank.labels.tolist() == list(range(18, 28))
    assert bank.ages.tolist() == [1, 1, 1] + [0] * 7


def test_a_batch_larger_than_the_bank():
    bank = wi.train.EmbeddingBank(4, 2)
    rows = torch.randn(9, 2)
    bank.add(rows, torch.arange(9))
    assert torch.equal(bank.embedding, rows[-4:])


def test_negatives_are_the_nearest_of_other_identities():
    generator = torch.Generator().manual_seed(0)
    bank = wi.train.EmbeddingBank(200, 4)
    bank.add(torch.randn(200, 4, generator=generator), torch.arange(200) % 5)
    z, y = torch.randn(30, 4, generator=generator), torch.arange(30) % 5
    cosine = torch.nn.functional.cosine_similarity(z[:, None], bank.embedding[None], dim=2)
    ordered = cosine.masked_fill(y[:, None] == bank.labels[None], -2).argsort(dim=1, descending=True)
    assert torch.equal(bank.negatives(z, y, ranks=(1, 1)), ordered[:, 0])
    drawn = bank.negatives(z, y, ranks=(3, 12), generator=generator)
    assert all(int(place) in ordered[i, 2:12].tolist() for i, place in enumerate(drawn))
    assert len(set(bank.negatives(z[:1].expand(50, -1), y[:1].expand(50)).tolist())) > 5


def test_nothing_to_choose_from():
    bank = wi.train.EmbeddingBank(5, 2)
    z = torch.randn(3, 2)
    assert bank.negatives(z, [0, 1, 2]).tolist() == [-1] * 3
    bank.add(z, [1, 1, 1])
    assert bank.negatives(z[:2], [1, 0], ranks=(2, 2)).tolist()[0] == -1
    # two ranks asked for, three there; then more than there are
    assert bank.negatives(z[:1], [0], ranks=(9, 9)).item() in range(3)


def test_bad_input():
    with pytest.raises(ValueError, match="size=0"):
        wi.train.EmbeddingBank(0, 2)
    bank = wi.train.EmbeddingBank(5, 2)
    with pytest.raises(ValueError, match=r"rows of 2 dimensions; this batch has the shape \(4, 3\)"):
        bank.add(torch.zeros(4, 3), [0] * 4)
    with pytest.raises(ValueError, match="labels must hold one code for each of the 4 rows"):
        bank.add(torch.zeros(4, 2), [0])
    with pytest.raises(ValueError, match=r"ranks=\(3, 2\)"):
        bank.negatives(torch.zeros(1, 2), [0], ranks=(3, 2))
