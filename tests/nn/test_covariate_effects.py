import torch

from scwhatif.nn import CovariateEffects


def test_effects_add_up():
    effects = CovariateEffects([2, 3], 2, 4)
    with torch.no_grad():
        for i, parameter in enumerate(effects.parameters()):
            parameter.copy_(torch.arange(parameter.numel(), dtype=torch.float32).reshape(parameter.shape) + 10 * i)
    first = torch.tensor([[1], [0]])
    second = torch.tensor([[2], [1]])
    continuous = torch.tensor([[0.5, -1.0], [0.0, 2.0]])
    result = effects([first, second], continuous)
    for cell in range(2):
        expected = (
            effects.tables[0][first[cell, 0]]
            + effects.tables[1][second[cell, 0]]
            + continuous[cell, 0] * effects.slopes[0]
            + continuous[cell, 1] * effects.slopes[1]
        )
        torch.testing.assert_close(result[cell], expected)


def test_no_covariates_is_zero_without_parameters():
    effects = CovariateEffects([], 0, 4)
    assert effects([], None) == 0
    assert not list(effects.parameters())


def test_linear_form_is_the_sum_of_the_effects():
    effects = CovariateEffects([2, 1, 3], 2, 4)
    with torch.no_grad():
        for parameter in effects.parameters():
            parameter.normal_()
    categorical = [torch.tensor([[1], [0]]), torch.zeros(2, 1), torch.tensor([[2], [1]])]
    continuous = torch.tensor([[0.5, -1.0], [0.0, 2.0]])
    constant, design, table = effects.linear_form(categorical, continuous)
    assert (constant.shape, design.shape, table.shape) == ((4,), (2, 7), (7, 4))
    torch.testing.assert_close(constant + design @ table, effects(categorical, continuous))


def test_linear_form_of_one_batch_is_a_constant():
    effects = CovariateEffects([1], 0, 4)
    constant, design, table = effects.linear_form([torch.zeros(3, 1)], None)
    assert torch.equal(constant, effects.tables[0][0])
    assert design is None
    assert table is None
