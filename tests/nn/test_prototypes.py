import pytest
import torch

from scwhatif.nn import Prototypes


def test_two_updates_by_hand():
    prototypes = Prototypes(3, 2, momentum=0.9)
    e, lines = torch.tensor([[1.0, 0.0], [3.0, 2.0], [5.0, 5.0]]), torch.tensor([0, 0, 2])
    prototypes.update(e, lines)
    torch.testing.assert_close(prototypes.values, torch.tensor([[2.0, 1.0], [0.0, 0.0], [5.0, 5.0]]))
    prototypes.update(torch.tensor([[12.0, 11.0]]), torch.tensor([0]))
    torch.testing.assert_close(prototypes.values[0], torch.tensor([3.0, 2.0]))
    torch.testing.assert_close(prototypes.values[2], torch.tensor([5.0, 5.0]))
    assert prototypes.visited.tolist() == [True, False, True]


def test_distance_is_a_mean_over_rows_and_dimensions():
    prototypes = Prototypes(2, 2)
    prototypes.update(torch.tensor([[1.0, 1.0], [4.0, 0.0]]), torch.tensor([0, 1]))
    e = torch.tensor([[2.0, 1.0], [4.0, 2.0]], requires_grad=True)
    value = prototypes(e, torch.tensor([0, 1]))
    assert value.item() == pytest.approx((1 + 0 + 0 + 4) / 4)
    value.backward()
    torch.testing.assert_close(e.grad, torch.tensor([[0.5, 0.0], [0.0, 1.0]]))


def test_a_line_seen_first_is_compared_with_its_own_mean_and_nothing_is_written():
    prototypes = Prototypes(2, 1)
    value = prototypes(torch.tensor([[0.0], [2.0]]), torch.tensor([1, 1]))
    assert value.item() == 1.0
    assert not prototypes.visited.any()


def test_prototypes_are_buffers_that_are_saved():
    prototypes = Prototypes(2, 3)
    assert not prototypes.values.requires_grad
    assert not list(prototypes.parameters())
    assert set(prototypes.state_dict()) == {"values", "visited"}
