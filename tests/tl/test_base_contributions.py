from types import SimpleNamespace

import numpy as np
import pytest
import torch

from scwhatif.nn import SequenceEncoder
from scwhatif.tl import _base_contributions
from scwhatif.tl._base_contributions import base_contributions, top_windows


def network(function):
    return SimpleNamespace(module=SimpleNamespace(device="cpu"), of_bases=function)


@pytest.fixture
def codes():
    return np.random.default_rng(0).integers(0, 5, (3, 40)).astype(np.uint8)


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    encoder = SequenceEncoder(6, enhancer_length=15, promoter_length=25, n_filters=3, n_hidden=4).eval()
    return network(lambda bases, rows: encoder.encode(bases).sum(1) * (1 + torch.tensor(rows)))


def test_mutagenesis_equals_one_mutant_at_a_time(encoder, codes, monkeypatch):
    monkeypatch.setattr(_base_contributions, "_CHUNK", 7)
    found = base_contributions(encoder, codes, "mutagenesis")
    hot = np.eye(5, 4, dtype=np.float32)
    for row, sequence in enumerate(codes):
        with torch.no_grad():
            here = encoder.of_bases(torch.from_numpy(hot[sequence][None]), [row]).item()
            for at, base in enumerate(sequence):
                if base == 4:
                    assert found[row, at] == 0
                    continue
                losses = []
                for other in set(range(4)) - {int(base)}:
                    mutant = sequence.copy()
                    mutant[at] = other
                    losses.append(here - encoder.of_bases(torch.from_numpy(hot[mutant][None]), [row]).item())
                assert found[row, at] == pytest.approx(np.mean(losses), abs=1e-5)


def test_gradient_equals_mutagenesis_of_what_is_linear(codes):
    weight = torch.randn(40, 4, generator=torch.Generator().manual_seed(0))
    linear = network(lambda bases, rows: (bases * weight).sum((1, 2)))
    first, second = (base_contributions(linear, codes, method) for method in ("gradient_input", "mutagenesis"))
    np.testing.assert_allclose(first, second, atol=1e-5)
    known = codes[0] < 4
    own = weight.numpy()[np.arange(40), np.minimum(codes[0], 3)]
    expected = own - (weight.numpy().sum(1) - own) / 3
    np.testing.assert_allclose(first[0], np.where(known, expected, 0), atol=1e-5)


def test_gradient_guesses_mutagenesis(encoder, codes):
    first, second = (base_contributions(encoder, codes, method) for method in ("gradient_input", "mutagenesis"))
    assert np.corrcoef(first.ravel(), second.ravel())[0, 1] > 0.5


def test_windows_are_largest_first_apart_and_within_an_end():
    contributions = np.zeros((2, 20), dtype=np.float32)
    contributions[0, 2:5], contributions[0, 14:17], contributions[1, 7:10] = 1.0, -2.0, 0.5
    codes = np.tile(np.arange(4, dtype=np.uint8), (2, 5))
    lines = np.array(["b", "a"])
    table = top_windows(contributions, codes, np.array(["p", "q"]), lines, enhancer_length=9, window=3, n_windows=2)
    assert table.columns.tolist() == ["pair", "cell_line", "end", "start", "stop", "contribution", "sequence"]
    first, second = table.iloc[0], table.iloc[1]
    assert first.tolist() == ["p", "b", "promoter", 5, 8, -6.0, "GTA"]
    assert second.tolist() == ["p", "b", "enhancer", 2, 5, 3.0, "GTA"]
    # the third peak crosses the border: two of its bases are of the enhancer, one of the promoter
    of_q = table[table["pair"] == "q"]
    assert of_q["contribution"].tolist() == [1.0, 0.5]
    assert of_q["end"].tolist() == ["enhancer", "promoter"]
    many = top_windows(contributions, codes, np.array(["p", "q"]), lines, enhancer_length=9, window=4, n_windows=9)
    for _, part in many.groupby(["pair", "end"], observed=True):
        assert (np.diff(np.sort(part["start"])) >= 4).all()


def test_an_end_shorter_than_the_window_has_none():
    found = top_windows(
        np.ones((1, 10), dtype=np.float32), np.zeros((1, 10), dtype=np.uint8), np.array(["p"]), np.array(["a"]),
        enhancer_length=2, window=5, n_windows=3,
    )  # fmt: skip
    assert set(found["end"]) == {"promoter"}
    assert found["sequence"].iloc[0] == "AAAAA"
