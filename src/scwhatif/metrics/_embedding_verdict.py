"""What a set of indicators says of an embedding."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

Health = Literal["ok", "cone", "label_only", "outlier", "dimensional", "posterior", "point"]
Status = Literal["ok", "warn", "error"]

# Warn and error; the later one is the stricter, so the order says which side is bad.
HEALTH_THRESHOLDS: Final[dict[str, tuple[float, float]]] = {
    "mean_cosine": (0.90, 0.99),
    "spread": (0.05, 0.01),
    "erank_ratio": (0.25, 0.10),
    "erank_cov_ratio": (0.15, 0.10),
    "top1": (0.50, 0.90),
    "uniformity": (-0.5, -0.02),
    "norm_cv": (3.0, float("inf")),
    "resultant_length": (0.90, float("inf")),
    "within_share": (0.05, float("-inf")),
    "active_share": (0.5, 0.0),
}
_SEVERITY: Final[dict[Health, Status]] = {
    "ok": "ok",
    "cone": "warn",
    "label_only": "warn",
    "outlier": "warn",
    "dimensional": "error",
    "posterior": "error",
    "point": "error",
}


class EmbeddingVerdict(NamedTuple):
    """A verdict with its reasons.

    Parameters
    ----------
    verdict
        What is wrong, see :func:`embedding_verdict`.
    status
        ``"ok"``, ``"warn"`` or ``"error"``.
    reasons
        In words, with the numbers; empty if nothing is wrong.
    """

    verdict: Health
    status: Status
    reasons: tuple[str, ...]


def indicator_status(name: str, value: float, thresholds: Mapping[str, tuple[float, float]] | None = None) -> Status:
    """Which side of its thresholds a single indicator is on.

    Parameters
    ----------
    name
        Of the indicator; one without thresholds is always ``"ok"``.
    value
        Its value.
    thresholds
        Warn and error by indicator, instead of those of the package.

    Returns
    -------
    ``"ok"``, ``"warn"`` or ``"error"``.
    """
    limits = {**HEALTH_THRESHOLDS, **(thresholds or {})}.get(name)
    if limits is None or value != value:
        return "ok"
    warn, error = limits
    sign = 1.0 if error >= warn else -1.0
    if sign * value > sign * error or (name == "active_share" and value <= error):
        return "error"
    return "warn" if sign * value > sign * warn else "ok"


def embedding_verdict(
    indicators: Mapping[str, float],
    *,
    directions: Mapping[str, float] | None = None,
    thresholds: Mapping[str, tuple[float, float]] | None = None,
) -> EmbeddingVerdict:
    r"""Judge an embedding by all its indicators together; the first that applies is the verdict.

    ================= ======================================================================================= ========
    verdict           rule (with the thresholds of the package)                                               status
    ================= ======================================================================================= ========
    ``"point"``       mean cosine above .99, or variance below 1 % of the squared length of the mean          error
    ``"label_only"``  no more dimensions than means of the groups can span, and under 5 % of variance within  warn
    ``"dimensional"`` effective rank below 10 % of what is possible, or over 90 % of the variance on one axis error
    ``"posterior"``   ``n_active`` of a posterior is 0: all codes are the prior, which looks perfectly round  error
    ``"outlier"``     standard deviation of the lengths over 3 times their mean: a few rows make the spectrum warn
    ``"cone"``        mean resultant length above .9: centre before using cosines                             warn
    ``"ok"``          none of these                                                                           ok
    ================= ======================================================================================= ========

    Parameters
    ----------
    indicators
        From :func:`~scwhatif.metrics.embedding_indicators`. ``"active_share"`` (``n_active`` over ``n_dims``) is judged
        if it is there; add it for posteriors only, because on any other scale a variance of .01 means nothing.
    directions
        The same of the rows brought to length 1, to judge rank and variance by where outliers make the spectrum.
    thresholds
        Warn and error by indicator, instead of those of the package.

    Returns
    -------
    The verdict.

    Examples
    --------
    >>> import numpy as np
    >>> import scwhatif as wi
    >>> cloud = np.random.default_rng(0).normal(size=(500, 16))
    >>> wi.metrics.embedding_verdict(wi.metrics.embedding_indicators(cloud)).verdict
    'ok'
    >>> found = wi.metrics.embedding_verdict(wi.metrics.embedding_indicators(cloud + 100))
    >>> found.verdict, found.reasons[0]
    ('point', 'mean cosine of two rows is 1.000')
    """

    def bad(name: str, values: Mapping[str, float] = indicators) -> bool:
        return name in values and indicator_status(name, values[name], thresholds) == "error"

    def worth_a_warning(name: str) -> bool:
        return name in indicators and indicator_status(name, indicators[name], thresholds) != "ok"

    outlying = worth_a_warning("norm_cv")
    shape = directions if outlying and directions is not None else indicators
    reasons: dict[Health, list[str]] = {"point": [], "dimensional": []}
    if bad("mean_cosine"):
        reasons["point"].append(f"mean cosine of two rows is {indicators['mean_cosine']:.3f}")
    if bad("spread"):
        reasons["point"].append(f"variance is {indicators['spread']:.1e} of the squared length of the mean")
    for name in ("erank_ratio", "erank_cov_ratio"):
        if bad(name, shape):
            rank = shape[name.removesuffix("_ratio")]
            reasons["dimensional"].append(f"effective rank ({name.removesuffix('_ratio')}) is {rank:.1f}")
    if bad("top1", shape):
        reasons["dimensional"].append(f"{shape['top1']:.0%} of the variance is on one axis")
    if bad("active_share"):
        reasons["posterior"] = ["no dimension of the posterior mean varies: the codes are the prior"]
    # the means of C groups span C - 1 dimensions
    if worth_a_warning("within_share") and indicators["erank_cov"] < indicators["n_groups"]:
        reasons["label_only"] = [
            f"effective rank {indicators['erank_cov']:.1f} for {indicators['n_groups']:.0f} groups, and "
            f"{indicators['within_share']:.1%} of the variance within them: nothing but the labels is left"
        ]
    if outlying:
        reasons["outlier"] = [
            f"lengths vary {indicators['norm_cv']:.1f} times their mean; the farthest thousandth of the rows has "
            f"{indicators['tail_share']:.0%} of the variance"
        ]
    if worth_a_warning("resultant_length"):
        reasons["cone"] = [
            f"mean resultant length is {indicators['resultant_length']:.2f}: all rows point to one side, so centre "
            "them before using cosines"
        ]
    order: tuple[Health, ...] = ("point", "label_only", "dimensional", "posterior", "outlier", "cone")
    for verdict in order:
        if reasons.get(verdict):
            return EmbeddingVerdict(verdict, _SEVERITY[verdict], tuple(reasons[verdict]))
    return EmbeddingVerdict("ok", "ok", ())
