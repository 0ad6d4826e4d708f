import math

import torch
from torch.nn.functional import cosine_similarity

from scwhatif.nn import contrastive_alignment

LOG_TEMPERATURE = torch.tensor(math.log(0.2))


def codes(n_rows=6, n_latent=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n_rows, n_latent, generator=generator), torch.randn(n_rows, n_latent, generator=generator)


def naive(seed, state, same, temperature):
    losses = []
    for i in range(len(seed)):
        others = [j for j in range(len(seed)) if j == i or not same[i, j]]
        rows = [math.exp(float(cosine_similarity(seed[i], state[j], dim=0)) / temperature) for j in others]
        columns = [math.exp(float(cosine_similarity(seed[j], state[i], dim=0)) / temperature) for j in others]
        own = math.exp(float(cosine_similarity(seed[i], state[i], dim=0)) / temperature)
        losses.append(-0.5 * math.log(own / sum(rows)) - 0.5 * math.log(own / sum(columns)))
    return torch.tensor(losses)


def test_equals_a_double_loop():
    seed, state = codes()
    same = torch.zeros(6, 6, dtype=torch.bool)
    same[0, 3] = same[3, 0] = same[2, 5] = same[5, 2] = True
    same.fill_diagonal_(True)
    torch.testing.assert_close(
        contrastive_alignment(seed, state, same, LOG_TEMPERATURE), naive(seed, state, same, 0.2), rtol=1e-5, atol=1e-5
    )


def test_rows_with_the_same_drivers_are_not_in_each_other_s_denominators():
    seed, state = codes()
    same = torch.eye(6, dtype=torch.bool)
    same[0, 1] = same[1, 0] = True
    before = contrastive_alignment(seed, state, same, LOG_TEMPERATURE)
    moved = state.clone()
    moved[1] = -state[1]
    after = contrastive_alignment(seed, moved, same, LOG_TEMPERATURE)
    torch.testing.assert_close(after[0], before[0])
    assert (after[2:] - before[2:]).abs().min() > 1e-4


def test_aligned_codes_cost_less_and_a_row_without_negatives_nothing():
    seed, state = codes(20, 8)
    apart = torch.eye(20, dtype=torch.bool)
    assert contrastive_alignment(seed, seed, apart, LOG_TEMPERATURE).mean() < 0.6
    assert contrastive_alignment(seed, state, apart, LOG_TEMPERATURE).mean() > 2.0
    everything = torch.ones(20, 20, dtype=torch.bool)
    torch.testing.assert_close(contrastive_alignment(seed, state, everything, LOG_TEMPERATURE), torch.zeros(20))


def test_gradient_is_finite_where_pairs_are_left_out():
    seed, state = codes()
    seed.requires_grad_()
    same = torch.ones(6, 6, dtype=torch.bool)
    same[0, 1] = same[1, 0] = False
    contrastive_alignment(seed, state, same, LOG_TEMPERATURE).sum().backward()
    assert torch.isfinite(seed.grad).all()
