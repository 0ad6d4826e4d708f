import pytest
import torch

from scwhatif.nn import SequenceEncoder, reverse_complement


def test_reverse_complement_of_both_parts():
    #                         A  C  G  N | T  T  A
    sequence = torch.tensor([[0, 1, 2, 4, 3, 3, 0]])
    #                         N  C  G  T | T  A  A
    assert reverse_complement(sequence, 4).tolist() == [[4, 1, 2, 3, 3, 0, 0]]
    torch.testing.assert_close(reverse_complement(reverse_complement(sequence, 4), 4), sequence)


def test_code_shape_and_sign():
    torch.manual_seed(0)
    encoder = SequenceEncoder(12, enhancer_length=60, n_filters=4, n_hidden=8).eval()
    code = encoder(torch.randint(0, 5, (3, 160)))
    assert code.shape == (3, 12)
    assert code.min() >= 0


def test_strand_is_drawn_in_training_only():
    torch.manual_seed(0)
    encoder = SequenceEncoder(12, n_filters=4, n_hidden=8, dropout_rate=0.0)
    sequence = torch.randint(0, 4, (1, 100))
    encoder.eval()
    forward, turned = encoder(sequence), encoder(reverse_complement(sequence, 50))
    torch.testing.assert_close(encoder(sequence), forward)
    assert not torch.allclose(forward, turned)
    encoder.train()
    for part in encoder.modules():
        if isinstance(part, torch.nn.BatchNorm1d):
            part.eval()
    with torch.no_grad():
        drawn = [encoder(sequence) for _ in range(20)]
    is_forward = [torch.allclose(code, forward, atol=1e-6) for code in drawn]
    is_turned = [torch.allclose(code, turned, atol=1e-6) for code in drawn]
    assert any(is_forward)
    assert any(is_turned)
    assert all(a or b for a, b in zip(is_forward, is_turned, strict=True))


@pytest.mark.slow
def test_finds_a_planted_motif():
    generator = torch.Generator().manual_seed(0)
    sequence = torch.randint(0, 4, (900, 80), generator=generator)
    label = torch.arange(900) % 2
    motif = torch.tensor([0, 3, 2, 1, 0, 0, 2, 3])
    for i in range(900):
        if label[i]:
            at = int(torch.randint(0, 32, (1,), generator=generator))
            sequence[i, at : at + 8] = motif
    torch.manual_seed(0)
    net = torch.nn.Sequential(SequenceEncoder(16, dropout_rate=0.0), torch.nn.Linear(16, 1))
    optimizer = torch.optim.Adam(net.parameters(), lr=5e-3)
    for step in range(160):
        rows = slice(100 * (step % 8), 100 * (step % 8) + 100)
        loss = torch.nn.functional.binary_cross_entropy_with_logits(net(sequence[rows])[:, 0], label[rows].float())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    net.eval()
    called = net(sequence[800:])[:, 0] > 0
    assert (called == label[800:].bool()).float().mean() > 0.8


def test_lengths_of_both_ends():
    assert SequenceEncoder(4).lengths(101) == (50, 51)
    assert SequenceEncoder(4, enhancer_length=30).lengths(100) == (30, 70)
    assert SequenceEncoder(4, promoter_length=30).lengths(100) == (70, 30)
    assert SequenceEncoder(4, enhancer_length=60, promoter_length=40).lengths(100) == (60, 40)


@pytest.mark.parametrize(
    "lengths", [{"enhancer_length": 30, "promoter_length": 40}, {"enhancer_length": 100}, {"promoter_length": 120}]
)
def test_sequences_of_other_lengths_are_refused(lengths):
    encoder = SequenceEncoder(4, n_filters=2, n_hidden=4, **lengths).eval()
    with pytest.raises(ValueError, match=r"Sequences have 100 positions.*Read them with these lengths"):
        encoder(torch.zeros(2, 100, dtype=torch.long))


def test_each_end_is_read_by_its_tower():
    torch.manual_seed(0)
    encoder = SequenceEncoder(12, enhancer_length=60, promoter_length=100, n_filters=4, n_hidden=8).eval()
    bases = torch.rand(2, 160, 4)
    hidden = [encoder.towers[0](bases[:, :60].transpose(1, 2)), encoder.towers[1](bases[:, 60:].transpose(1, 2))]
    torch.testing.assert_close(encoder.encode(bases), encoder.head(torch.cat(hidden, 1)).relu())


def test_shares_of_bases_are_the_codes_and_can_be_differentiated():
    torch.manual_seed(0)
    encoder = SequenceEncoder(12, n_filters=4, n_hidden=8).eval()
    sequence = torch.randint(0, 5, (3, 80))
    bases = torch.nn.functional.one_hot(sequence, 5)[..., :4].float().requires_grad_()
    torch.testing.assert_close(encoder.encode(bases), encoder(sequence))
    encoder.encode(bases).sum().backward()
    assert bases.grad.abs().sum() > 0
