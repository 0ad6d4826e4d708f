"""Every loss is that of a naive double loop, and nothing wrong passes in silence."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch

from scwhatif.nn import MetricLoss
from scwhatif.nn._metric_loss import default_margin, has_margin, has_proxies

LABELS = torch.tensor([0, 0, 0, 1, 1, 2, 2, 2, 3])
PAIRED = ("supcon", "multi_similarity", "triplet", "contrastive")


@pytest.fixture
def z() -> torch.Tensor:
    return torch.randn(len(LABELS), 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 3


def unit(z: torch.Tensor) -> np.ndarray:
    return (z / z.norm(dim=1, keepdim=True)).detach().numpy()


def mean_above_zero(values: list[float]) -> float:
    values = [value for value in values if value > 0]
    return sum(values) / max(len(values), 1)


def naive(name: str, u: np.ndarray, labels: np.ndarray, margin: float) -> float:
    n = len(u)
    cosine = u @ u.T
    distance = np.array([[np.linalg.norm(u[i] - u[j]) for j in range(n)] for i in range(n)])
    positive = [[j for j in range(n) if j != i and labels[j] == labels[i]] for i in range(n)]
    negative = [[j for j in range(n) if labels[j] != labels[i]] for i in range(n)]
    if name == "supcon":
        anchors = []
        for i in range(n):
            total = sum(np.exp(cosine[i, k] / 0.1) for k in range(n) if k != i)
            terms = [-np.log(np.exp(cosine[i, j] / 0.1) / total) for j in positive[i]]
            # an anchor without positives is worth 0, not NaN
            anchors.append(sum(terms) / len(terms) if terms else 0.0)
        return mean_above_zero(anchors)
    if name == "multi_similarity":
        anchors = [
            np.log(1 + sum(np.exp(-2 * (cosine[i, j] - 0.5)) for j in positive[i])) / 2
            + np.log(1 + sum(np.exp(50 * (cosine[i, k] - 0.5)) for k in negative[i])) / 50
            for i in range(n)
        ]
        return sum(anchors) / n
    if name == "triplet":
        return mean_above_zero(
            [distance[i, j] - distance[i, k] + margin for i in range(n) for j in positive[i] for k in negative[i]]
        )
    together = mean_above_zero([distance[i, j] for i in range(n) for j in positive[i]])
    return together + mean_above_zero([margin - distance[i, k] for i in range(n) for k in negative[i]])


@pytest.mark.parametrize("name", PAIRED)
def test_equals_a_naive_loop(name: str, z: torch.Tensor):
    loss = MetricLoss(name)
    expected = naive(name, unit(z), LABELS.numpy(), default_margin(name))
    assert loss(z, LABELS).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", ["proxy_anchor", "center"])
def test_proxies_equal_a_naive_loop(name: str, z: torch.Tensor):
    torch.manual_seed(0)
    loss = MetricLoss(name, n_identities=4, n_latent=4).double()
    cosine = unit(z) @ unit(loss.proxies).T
    labels = LABELS.numpy()
    if name == "center":
        terms = [-np.log(np.exp(c[y] / 0.1) / np.exp(c / 0.1).sum()) for c, y in zip(cosine, labels, strict=True)]
        expected = sum(terms) / len(terms)
    else:
        near = [np.log(1 + sum(np.exp(-32 * (cosine[labels == k, k] - 0.1)))) for k in range(4)]
        far = [np.log(1 + sum(np.exp(32 * (cosine[labels != k, k] + 0.1)))) for k in range(4)]
        expected = (sum(near) + sum(far)) / 4
    assert loss(z, LABELS).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", ["proxy_anchor", "center"])
def test_proxies_start_at_the_mean_direction(name: str, z: torch.Tensor):
    loss = MetricLoss(name, n_identities=4, n_latent=4).double()
    loss.start_proxies(z, LABELS)
    for k in range(4):
        mean = unit(z)[LABELS.numpy() == k].mean(axis=0)
        np.testing.assert_allclose(loss.proxies[k].detach().numpy(), mean / np.linalg.norm(mean), rtol=1e-6)
    loss(z, LABELS).backward()
    assert all(torch.isfinite(p.grad).all() and p.grad.abs().sum() > 0 for p in loss.parameters())


@pytest.mark.parametrize("name", PAIRED)
def test_length_of_rows_plays_no_part_and_gradients_are_finite(name: str):
    z = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.2, 1.0]], requires_grad=True)
    labels = torch.tensor([0, 0, 1, 1])
    loss = MetricLoss(name)
    value = loss(z, labels)
    assert loss(z * torch.tensor([[5.0], [1.0], [0.1], [2.0]]), labels).item() == pytest.approx(value.item(), abs=1e-5)
    value.backward()
    assert torch.isfinite(z.grad).all()


def test_triplets_and_pairs_are_what_is_compared(z: torch.Tensor):
    triplets = (torch.tensor([0, 3]), torch.tensor([1, 4]), torch.tensor([3, 8]))
    u = unit(z)
    distance = [[np.linalg.norm(u[a] - u[b]) for a, b in zip(triplets[0], each, strict=True)] for each in triplets[1:]]
    expected = mean_above_zero([p - n + 0.9 for p, n in zip(*distance, strict=True)])
    assert MetricLoss("triplet", margin=0.9)(z, LABELS, triplets).item() == pytest.approx(expected, rel=1e-5)
    pairs = (*triplets[:2], triplets[0], triplets[2])
    expected = mean_above_zero(distance[0]) + mean_above_zero([0.9 - d for d in distance[1]])
    assert MetricLoss("contrastive", margin=0.9)(z, LABELS, pairs).item() == pytest.approx(expected, rel=1e-5)


def test_statistics_equal_a_naive_loop(z: torch.Tensor):
    u, labels, n = unit(z), LABELS.numpy(), len(LABELS)
    squared = np.array([[((u[i] - u[j]) ** 2).sum() for j in range(n)] for i in range(n)])
    same = labels[:, None] == labels[None]
    off = ~np.eye(n, dtype=bool)
    found = MetricLoss("triplet", margin=0.4).statistics(z, LABELS)
    assert found["batch_intra"] == pytest.approx(squared[same & off].mean())
    assert found["batch_inter"] == pytest.approx(squared[~same].mean())
    d = np.sqrt(squared)
    violated = [
        d[i, j] - d[i, k] + 0.4 > 0
        for i in range(n)
        for j in range(n)
        for k in range(n)
        if same[i, j] and i != j and not same[i, k]
    ]
    assert found["active_pairs"] == pytest.approx(np.mean(violated))
    triplets = (torch.tensor([0, 3]), torch.tensor([1, 4]), torch.tensor([3, 8]))
    some = MetricLoss("triplet", margin=0.4).statistics(z, LABELS, triplets)
    assert some["active_pairs"] == np.mean([d[0, 1] - d[0, 3] + 0.4 > 0, d[3, 4] - d[3, 8] + 0.4 > 0])
    near = MetricLoss("contrastive", margin=1.2).statistics(z, LABELS)["active_pairs"]
    assert near == pytest.approx(np.r_[d[same & off] > 0, d[~same] < 1.2].mean())
    assert np.isnan(MetricLoss("supcon").statistics(z, LABELS)["active_pairs"])


def test_margin_may_be_set_anew(z: torch.Tensor):
    loss = MetricLoss("contrastive", margin=0.3)
    assert loss.margin == 0.3
    loss.margin = 1.5
    assert loss(z, LABELS).item() == pytest.approx(naive("contrastive", unit(z), LABELS.numpy(), 1.5), rel=1e-5)
    assert np.isnan(MetricLoss("supcon").margin)
    assert has_margin("proxy_anchor")
    assert not has_margin("center")
    assert has_proxies("center")


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"name": "supcom"}, "must be one of"),
        ({"name": "triplet", "margn": 1}, "has no option"),
        ({"name": "supcon", "margin": 0.2}, "losses with a margin are"),
        ({"name": "triplet", "margin": 0.0}, "must be positive"),
        ({"name": "center"}, "needs n_identities"),
        ({"name": "proxy_anchor", "n_identities": 1, "n_latent": 2}, "at least 2"),
    ],
)
def test_wrong_settings(kwargs: dict, message: str):
    with pytest.raises(ValueError, match=message):
        MetricLoss(**kwargs)


def test_wrong_batches(z: torch.Tensor):
    loss = MetricLoss("supcon")
    with pytest.raises(TypeError, match="int64"):
        loss(z, LABELS.float())
    with pytest.raises(ValueError, match="do not fit"):
        loss(z, LABELS[:-1])
    broken = z.clone()
    broken[4, 1] = torch.nan
    # pytorch-metric-learning would leave the row out
    with pytest.raises(ValueError, match="NaN or infinite"):
        loss(broken, LABELS)
    for labels in (torch.zeros(9, dtype=torch.int64), torch.arange(9)):
        with pytest.raises(ValueError, match="nothing can be compared"):
            loss(z, labels)
    one = torch.tensor([0])
    with pytest.raises(ValueError, match="another identity than its anchor"):
        loss(z, LABELS, (one, torch.tensor([3]), torch.tensor([4])))
    with pytest.raises(ValueError, match="or a negative of the same"):
        loss(z, LABELS, (one, torch.tensor([1]), torch.tensor([2])))
    with pytest.raises(ValueError, match="nothing can be compared"):
        loss(z, LABELS, (one[:0], one[:0], one[:0]))
    proxied = MetricLoss("center", n_identities=3, n_latent=4).double()
    with pytest.raises(ValueError, match="from 0 to 2"):
        proxied(z, LABELS)
    with pytest.raises(ValueError, match="no use for pairs or triplets"):
        proxied(z, LABELS.clamp(max=2), (one, one, one))


def test_without_the_library(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "pytorch_metric_learning", None)
    with pytest.raises(ImportError, match=r"scwhatif\[metric\]"):
        MetricLoss("supcon")
