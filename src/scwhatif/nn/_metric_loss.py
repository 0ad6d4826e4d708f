"""Losses that bring rows of one identity together, by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

import torch
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

Loss = Literal["supcon", "multi_similarity", "triplet", "contrastive", "proxy_anchor", "center"]


class _Spec(NamedTuple):
    """Class of pytorch-metric-learning, what it calls the margin and that margin's default, and options."""

    name: str
    margin: tuple[str, float] | None = None
    options: tuple[str, ...] = ()
    on_sphere: bool = False
    proxies: bool = False


_SPECS: dict[str, _Spec] = {
    "supcon": _Spec("SupConLoss", options=("temperature",)),
    "multi_similarity": _Spec("MultiSimilarityLoss", options=("alpha", "beta", "base")),
    "triplet": _Spec("TripletMarginLoss", ("margin", 0.2), ("swap", "smooth_loss"), on_sphere=True),
    "contrastive": _Spec("ContrastiveLoss", ("neg_margin", 0.5), ("pos_margin",), on_sphere=True),
    "proxy_anchor": _Spec("ProxyAnchorLoss", ("margin", 0.1), ("alpha",), proxies=True),
    "center": _Spec("NormalizedSoftmaxLoss", options=("temperature",), proxies=True),
}
# of the centres: the default of pytorch-metric-learning, 0.05, saturates with few identities
_CENTER_TEMPERATURE = 0.1


class MetricLoss(nn.Module):
    r"""A loss of :mod:`pytorch_metric_learning` by name, with its silent traps turned into errors.

    ====================== ============================================== ==========================================
    name                   compares                                       margin (default)
    ====================== ============================================== ==========================================
    ``"supcon"``           cosines of all pairs, softmax                  none
    ``"multi_similarity"`` cosines of all pairs, soft thresholds          none
    ``"triplet"``          distances, :math:`[d_{ap} - d_{an} + m]_+`     :math:`m` (0.2)
    ``"contrastive"``      distances, :math:`d_p` and :math:`[m - d_n]_+` :math:`m` (0.5)
    ``"proxy_anchor"``     cosines with one learnt proxy per identity     on the cosine (0.1)
    ``"center"``           the same, softmax over the identities          none
    ====================== ============================================== ==========================================

    All work on rows brought to length 1; distances are Euclidean between these, as in
    :func:`scwhatif.train.mine_triplets`, so that a margin means the same in the choice of triplets and in the loss. The
    mean is over what is above 0. ``"center"`` also pushes rows from other centres, since a pull alone would collapse.

    Parameters
    ----------
    name
        One of the above.
    margin
        As above; ``None`` is the default. It may be set anew at any time.
    n_identities, n_latent
        Number and size of proxies or centres; only for these.
    **options
        ``temperature`` of ``"supcon"`` and ``"center"`` (0.1); ``alpha`` (2), ``beta`` (50) and ``base`` (0.5) of
        ``"multi_similarity"``; ``swap`` and ``smooth_loss`` of ``"triplet"``; ``pos_margin`` (0) of
        ``"contrastive"``; ``alpha`` (32) of ``"proxy_anchor"``.

    Raises
    ------
    ValueError
        The name or an option is not known, a margin is given to a loss without one or is not positive, or there are
        fewer than two proxies.
    ImportError
        pytorch-metric-learning is not installed.

    Examples
    --------
    >>> import torch
    >>> import scwhatif as wi
    >>> loss = wi.nn.MetricLoss("triplet", margin=0.5)
    >>> z = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    >>> loss(z, torch.tensor([0, 0, 1, 1])).item(), round(loss(z, torch.tensor([0, 1, 0, 1])).item(), 3)
    (0.0, 1.207)
    """

    def __init__(
        self,
        name: Loss,
        *,
        margin: float | None = None,
        n_identities: int | None = None,
        n_latent: int | None = None,
        **options: Any,
    ) -> None:
        super().__init__()
        check_loss(name, margin, options)
        self.name, self.spec = name, _SPECS[name]
        losses, distances = _library()
        if self.spec.on_sphere:
            options["distance"] = distances.LpDistance(normalize_embeddings=True, p=2, power=1)
        if self.spec.proxies:
            if n_identities is None or n_latent is None or n_identities < 2:
                msg = f"loss={name!r} needs n_identities (at least 2) and n_latent, for a proxy of each identity."
                raise ValueError(msg)
            options["num_classes"], options["embedding_size"] = n_identities, n_latent
        if name == "center":
            options.setdefault("temperature", _CENTER_TEMPERATURE)
        self.n_identities = n_identities
        self.loss = getattr(losses, self.spec.name)(**options)
        if self.spec.margin is not None:
            self.margin = self.spec.margin[1] if margin is None else margin

    @property
    def margin(self) -> float:
        """The margin; NaN where there is none."""
        return float("nan") if self.spec.margin is None else float(getattr(self.loss, self.spec.margin[0]))

    @margin.setter
    def margin(self, value: float) -> None:
        check_loss(self.name, value, {})
        if self.spec.margin is not None:
            setattr(self.loss, self.spec.margin[0], float(value))

    @property
    def proxies(self) -> Tensor | None:
        """One row per identity, ``(n_identities, n_latent)``; ``None`` where there are none."""
        if not self.spec.proxies:
            return None
        return self.loss.proxies if self.name == "proxy_anchor" else self.loss.W.T

    @torch.no_grad()
    def start_proxies(self, embedding: Tensor, labels: Tensor) -> None:
        """Put every proxy at the mean direction of its identity.

        Parameters
        ----------
        embedding
            ``(n, n_latent)``.
        labels
            Identity of every row, int64 from 0; each has a row.
        """
        if self.proxies is not None:
            unit = nn.functional.normalize(embedding, dim=1)
            means = torch.zeros_like(self.proxies).index_add_(0, labels, unit)
            self.proxies.copy_(nn.functional.normalize(means, dim=1))

    def forward(self, embedding: Tensor, labels: Tensor, compared: Sequence[Tensor] | None = None) -> Tensor:
        """Loss of a batch.

        Parameters
        ----------
        embedding
            ``(n, n_latent)``, of any length.
        labels
            Identity of every row, int64; from 0 where there are proxies.
        compared
            What to compare, as positions in the batch: triplets (anchors, positives, negatives), or pairs (anchors,
            positives, anchors, negatives). ``None`` compares all rows of the batch.

        Returns
        -------
        A number.

        Raises
        ------
        TypeError
            Labels are not int64.
        ValueError
            Shapes do not fit, the embedding is not finite, there is nothing to compare, what is compared contradicts
            the labels, or proxies are given pairs or a label they do not know.
        """
        if labels.dtype != torch.int64:
            msg = f"labels must be int64, not {labels.dtype}: as float32, codes above 2**24 become equal."
            raise TypeError(msg)
        if embedding.ndim != 2 or labels.shape != embedding.shape[:1]:
            msg = f"labels of shape {tuple(labels.shape)} do not fit an embedding of {tuple(embedding.shape)}."
            raise ValueError(msg)
        if not torch.isfinite(embedding).all():
            msg = "The embedding holds NaN or infinite values, which a mean over what is above 0 would pass over."
            raise ValueError(msg)
        if self.spec.proxies:
            self._check_proxied(labels, compared)
            return self.loss(embedding, labels)
        positive, negative = _pairs(labels, compared)
        if not len(positive[0]) or not len(negative[0]):
            msg = "There are no two rows of one identity, or no two of different ones: nothing can be compared."
            raise ValueError(msg)
        if (labels[positive[0]] != labels[positive[1]]).any() or (labels[negative[0]] == labels[negative[1]]).any():
            msg = "A positive is of another identity than its anchor, or a negative of the same."
            raise ValueError(msg)
        return self.loss(embedding, labels, None if compared is None else tuple(compared))

    def _check_proxied(self, labels: Tensor, compared: Sequence[Tensor] | None) -> None:
        if compared is not None:
            msg = f"loss={self.name!r} compares rows with proxies and has no use for pairs or triplets."
            raise ValueError(msg)
        if int(labels.min()) < 0 or int(labels.max()) >= int(self.n_identities or 0):
            msg = f"labels must be codes from 0 to {int(self.n_identities or 0) - 1}, one for each proxy."
            raise ValueError(msg)

    @torch.no_grad()
    def statistics(
        self, embedding: Tensor, labels: Tensor, compared: Sequence[Tensor] | None = None
    ) -> dict[str, float]:
        """Describe what the loss saw.

        Parameters
        ----------
        embedding, labels, compared
            As for the loss.

        Returns
        -------
        ``"batch_intra"`` and ``"batch_inter"``, mean squared distances (2 − 2 cos) of the pairs compared, and
        ``"active_pairs"``, the share of triplets, or pairs, whose loss is above 0; NaN for a loss that leaves none out.
        """
        unit = nn.functional.normalize(embedding.detach().double(), dim=1)
        squared = (2 - 2 * unit @ unit.T).clamp(min=0)
        distance = squared.sqrt()
        positive, negative = _pairs(labels, compared)
        active = torch.full((1,), torch.nan)
        if self.name == "contrastive":
            active = torch.cat([distance[positive] > self.loss.pos_margin, distance[negative] < self.margin])
        elif self.name == "triplet" and compared is not None and len(compared) == 3:
            active = distance[positive] - distance[negative] + self.margin > 0
        elif self.name == "triplet":
            offered = torch.zeros_like(distance, dtype=torch.bool)
            offered[negative] = True
            violated = distance[positive][:, None] - distance[positive[0]] + self.margin > 0
            active = violated[offered[positive[0]]]
        return {
            "batch_intra": squared[positive].mean().item(),
            "batch_inter": squared[negative].mean().item(),
            "active_pairs": active.double().mean().item(),
        }


def _pairs(labels: Tensor, compared: Sequence[Tensor] | None) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Anchors with positives, and anchors with negatives."""
    if compared is None:
        same = labels[:, None] == labels[None]
        compared = (
            *(same & ~torch.eye(len(labels), dtype=torch.bool, device=same.device)).nonzero(as_tuple=True),
            *(~same).nonzero(as_tuple=True),
        )
    elif len(compared) == 3:
        compared = (compared[0], compared[1], compared[0], compared[2])
    first, positive, second, negative = compared
    return (first, positive), (second, negative)


def check_loss(name: str, margin: float | None, options: Mapping[str, Any]) -> None:
    """Raise ``ValueError`` naming the setting and what is allowed, unless a loss can be made of these."""
    if name not in get_args(Loss):
        msg = f"loss={name!r} must be one of {get_args(Loss)}."
        raise ValueError(msg)
    spec = _SPECS[name]
    unknown = sorted(set(options) - set(spec.options))
    if unknown:
        msg = f"loss={name!r} has no option {unknown}; it has {list(spec.options)}."
        raise ValueError(msg)
    if margin is not None and spec.margin is None:
        having = [each for each in _SPECS if _SPECS[each].margin]
        msg = f"margin={margin} has no meaning for loss={name!r}; losses with a margin are {having}."
        raise ValueError(msg)
    if margin is not None and not margin > 0:
        msg = f"margin={margin} must be positive."
        raise ValueError(msg)


def has_margin(name: str) -> bool:
    """Whether a loss has a margin."""
    return _SPECS[name].margin is not None


def default_margin(name: str) -> float:
    """The margin of a loss, or, for those without, that of choosing triplets."""
    margin = _SPECS[name].margin
    return _SPECS["triplet"].margin[1] if margin is None else margin[1]  # type: ignore[index]


def has_proxies(name: str) -> bool:
    """Whether a loss compares with proxies, and so needs no pairs."""
    return _SPECS[name].proxies


def _library() -> tuple[Any, Any]:
    try:
        from pytorch_metric_learning import distances, losses
    except ImportError as error:
        msg = "Losses of pairs come from pytorch-metric-learning: pip install 'scwhatif[metric]'."
        raise ImportError(msg) from error
    return losses, distances
