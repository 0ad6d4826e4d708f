import pytest
import torch

from scwhatif.nn import PairEncoder


@pytest.mark.parametrize("embedding", ["piecewise", "periodic", "none"])
def test_code_is_not_negative_and_has_exact_zeros(embedding):
    torch.manual_seed(0)
    encoder = PairEncoder(5, 32, n_hidden=16, embedding=embedding).eval()
    observed = torch.ones(20, 5, dtype=torch.bool)
    code = encoder(torch.randn(20, 5), observed)
    assert code.shape == (20, 32)
    assert code.min() == 0
    assert 0 < (code == 0).float().mean() < 1


def test_missing_values_are_not_read_but_their_absence_is():
    torch.manual_seed(0)
    encoder = PairEncoder(3, 8, n_hidden=16).eval()
    values, observed = torch.randn(6, 3), torch.ones(6, 3, dtype=torch.bool)
    full = encoder(values, observed)
    observed[:, 2] = False
    first = encoder(values, observed)
    values[:, 2] = 1e6
    torch.testing.assert_close(encoder(values, observed), first)
    assert not torch.allclose(first, full)
