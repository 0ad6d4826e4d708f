"""Recognises the parts of an encoder, and makes the cheapest plan that reproduces it."""

from __future__ import annotations

import math
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy import sparse
from scvi import REGISTRY_KEYS
from torch import nn

from scwhatif._compat import infer
from scwhatif.engine._covariate_tap import CovariateTap
from scwhatif.engine._encoder_tail import EncoderTail, fold_batch_norm
from scwhatif.engine._feature_transform import FeatureTransform
from scwhatif.engine._general_plan import GeneralPlan
from scwhatif.engine._pair_edits import PairEdits
from scwhatif.engine._row_update_plan import RowUpdatePlan
from scwhatif.nn import GaussianEncoder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from numpy.typing import NDArray

    from scwhatif.engine._encoder_plan import EncoderPlan

# What a plan may be off by: in posterior standard deviations, or on the mean (relative to it where it is above 1).
_RELATIVE, _ABSOLUTE = 1e-4, 1e-5
_CHECKED_CELLS, _CHECKED_FEATURES = 32, 8
# Names of the heads for mean and variance, in encoders of scvi-tools and of those made like them.
_HEADS = (("mean_encoder", "var_encoder"), ("z_mean_encoder", "z_var_encoder"))
# What a module that only resembles the known ones may fail with when it is taken apart.
_MISFITS = (AttributeError, LookupError, RuntimeError, TypeError, ValueError)


def build_plan(
    module: nn.Module, x: NDArray[Any] | sparse.csr_matrix, fields: Mapping[str, NDArray[Any]]
) -> EncoderPlan:
    """Make a plan, see :func:`scwhatif.engine.encoder_plan`.

    Parameters
    ----------
    module
        A trained module of the scvi-tools kind.
    x
        A few cells.
    fields
        Their other registered fields.

    Returns
    -------
    The plan.

    Raises
    ------
    TypeError
        The module has no Gaussian posterior.
    ValueError
        The module's weights are not finite, its data are minified, or there is no cell to check the plan on.
    """
    some: Any = x[:_CHECKED_CELLS]
    cells = np.asarray(some.toarray() if sparse.issparse(some) else some, dtype=np.float32)
    fields = {key: values[:_CHECKED_CELLS] for key, values in fields.items()}
    _check(module, cells)
    sample = _Sample(module, cells, fields)
    with _full_precision():
        mean, _ = sample.infer()
        for anatomy in _anatomies(module):
            plan = _row_update_plan(sample, anatomy)
            if plan is not None and _agrees(plan, sample):
                return plan
    return GeneralPlan(module, n_features=cells.shape[1], n_latent=mean.shape[1], signed=sample.signed)


def _check(module: nn.Module, cells: NDArray[np.float32]) -> None:
    if len(cells) == 0:
        msg = "x holds no cell to check the plan on."
        raise ValueError(msg)
    if getattr(module, "minified_data_type", None) is not None:
        msg = "the module's data are minified, so it reads latent codes instead of features; give it its counts back."
        raise ValueError(msg)
    broken = [name for name, values in module.named_parameters() if not values.isfinite().all()]
    if broken:
        msg = (
            f"weights of {type(module).__name__} are NaN or infinite, in {', '.join(broken[:3])} among others: "
            "training diverged. Train again with a lower learning rate."
        )
        raise ValueError(msg)


@dataclass(frozen=True, eq=False)
class _Sample:
    """A module and some cells to find out on what it does."""

    module: nn.Module
    x: NDArray[np.float32]
    fields: dict[str, NDArray[Any]]

    def infer(self, x: NDArray[np.float32] | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """Posterior by the module itself, of the cells or of edited ones."""
        return infer(self.module, {REGISTRY_KEYS.X_KEY: self.x if x is None else x, **self.fields})

    def trace(self) -> list[tuple[nn.Module, torch.Tensor | None]]:
        """Parts of the module in the order they run in, with what goes into the linear ones."""
        calls: list[tuple[nn.Module, torch.Tensor | None]] = []

        def note(part: nn.Module, args: tuple[Any, ...]) -> None:
            calls.append((part, args[0].clone() if isinstance(part, nn.Linear) else None))

        hooks = [part.register_forward_pre_hook(note) for part in self.module.modules()]
        try:
            self.infer()
        finally:
            for hook in hooks:
                hook.remove()
        return calls

    @property
    def signed(self) -> bool:
        """Whether the features are continuous, and so may be below 0."""
        likelihood = getattr(self.module, "gene_likelihood", None)
        return bool((self.x < 0).any()) or (isinstance(likelihood, str) and likelihood.startswith("normal"))


@dataclass(frozen=True, eq=False)
class _Anatomy:
    """Parts of an encoder: linear layers and what lies between them in order, then heads of mean and variance."""

    steps: list[nn.Module]
    heads: tuple[nn.Linear, nn.Linear]
    activation: Callable[[torch.Tensor], torch.Tensor]
    var_eps: float
    bounds: tuple[float, float] = (-math.inf, math.inf)


def _anatomies(module: nn.Module) -> Iterator[_Anatomy]:
    """All parts of a module that are built like an encoder."""
    for part in module.modules():
        if isinstance(part, GaussianEncoder):
            infinite = torch.tensor([-math.inf, math.inf])
            lower, upper = part.variance(infinite).log().tolist()
            heads = part.mean, part.log_var
            yield _Anatomy([part.first, *_leaves(part.hidden)], heads, torch.exp, 0.0, (lower, upper))
        layers: Any = getattr(part, "encoder", None)
        for names in _HEADS:
            found = [[*_leaves(head)] for name in names if isinstance(head := getattr(part, name, None), nn.Module)]
            linear = [head[0] for head in found if len(head) == 1 and isinstance(head[0], nn.Linear)]
            plain_mean = isinstance(getattr(part, "mean_activation", None), nn.Identity | None)
            if len(linear) == 2 and plain_mean and hasattr(layers, "fc_layers"):
                activation = getattr(part, "var_activation", torch.exp)
                yield _Anatomy([*_leaves(layers)], (linear[0], linear[1]), activation, getattr(part, "var_eps", 1e-4))


def _leaves(module: nn.Module) -> Iterator[nn.Module]:
    """Parts without parts, in order, less those that do nothing in evaluation mode."""
    for part in module.modules():
        if next(part.children(), None) is None and not isinstance(part, nn.Dropout | nn.Identity):
            yield part


def _row_update_plan(sample: _Sample, anatomy: _Anatomy) -> RowUpdatePlan | None:
    """The encoder taken apart, ``None`` if it does not start with a linear layer on transformed features."""
    calls = sample.trace()
    for part, entering in calls:
        transform = None if entering is None or part not in anatomy.steps else _transform(sample, entering)
        if transform is not None and isinstance(part, nn.Linear):
            try:
                return _taken_apart(sample, anatomy, part, transform, [called for called, _ in calls])
            except _MISFITS:
                return None
    return None


def _taken_apart(
    sample: _Sample, anatomy: _Anatomy, first: nn.Linear, transform: FeatureTransform, calls: list[nn.Module]
) -> RowUpdatePlan:
    module, n_features = sample.module, sample.x.shape[1]
    steps = anatomy.steps[anatomy.steps.index(first) + 1 :]
    tap = CovariateTap(
        module,
        first,
        steps[0],
        before={*calls[: calls.index(steps[0])]},
        n_features=n_features,
        fields=sample.fields,
        n_cells=len(sample.x),
    )
    scale, shift, steps = fold_batch_norm(steps)
    weight = first.weight.detach()[:, :n_features].T
    rotation = getattr(module, "rotation", None)
    return RowUpdatePlan(
        (weight if scale is None else weight * scale).clone(memory_format=torch.contiguous_format),
        tap,
        None if scale is None or shift is None else (scale, shift),
        tail=EncoderTail(
            steps,
            first.out_features,
            anatomy.heads,
            activation=anatomy.activation,
            var_eps=anatomy.var_eps,
            bounds=anatomy.bounds,
        ).to(weight.device),
        transform=transform,
        rotation=rotation.clone() if isinstance(rotation, torch.Tensor) else None,
        signed=sample.signed and not transform.log1p,
    )


def _transform(sample: _Sample, entering: torch.Tensor) -> FeatureTransform | None:
    """What was done to the features, given what enters a layer; ``None`` if it is nothing known."""
    n_features = sample.x.shape[1]
    if entering.ndim != 2 or entering.shape[1] < n_features:
        return None
    candidates = [FeatureTransform(log1p=log1p, by_mean=mean) for mean in (False, True) for log1p in (True, False)]
    center, scale = (getattr(sample.module, name, None) for name in ("input_mean", "input_std"))
    if isinstance(center, torch.Tensor) and isinstance(scale, torch.Tensor):
        mean, std = center.double().cpu().numpy(), scale.double().cpu().numpy()
        candidates.insert(0, FeatureTransform(log1p=False, center=mean, scale=std))
    x = torch.as_tensor(sample.x, device=entering.device)
    for transform in candidates:
        factor = torch.from_numpy(transform.log_factor(sample.x.sum(1, dtype=np.float64), n_features))
        made = transform.cells(x, factor.to(x.device))
        if made.isfinite().all() and torch.allclose(made, entering[:, :n_features], rtol=1e-5, atol=1e-5):
            return transform
    return None


def _agrees(plan: RowUpdatePlan, sample: _Sample) -> bool:
    """Whether a plan gives what the module does, for whole cells and for edited ones."""
    rng = np.random.default_rng(0)
    # features that are there say more than those that are not
    seen = np.argsort(-(sample.x != 0).sum(0), kind="stable")[: 4 * _CHECKED_FEATURES]
    features = rng.choice(seen, min(_CHECKED_FEATURES, len(seen)), replace=False)
    states = plan.cells(sparse.csr_matrix(sample.x), sample.fields)
    if not _close(plan, (states.mean, states.var), sample.infer()):
        return False
    rows = np.arange(len(sample.x))
    for at, feature in enumerate(features):
        edited = sample.x.copy()
        edited[:, feature] = 2 * edited[:, feature] + 1 if at % 2 else 0
        columns = np.full(len(rows), feature)
        pairs = PairEdits(rows, np.arange(len(rows) + 1), columns, sample.x[:, feature], edited[:, feature])
        if not _close(plan, plan.edited(states, pairs), sample.infer(edited)):
            return False
    return True


def _close(
    plan: RowUpdatePlan, found: tuple[torch.Tensor, torch.Tensor], wanted: tuple[torch.Tensor, torch.Tensor]
) -> bool:
    mean, var = found
    if plan.rotation is not None:
        mean, var = mean @ plan.rotation, var @ plan.rotation.square()
    if mean.shape != wanted[0].shape:
        return False
    rounding = _ABSOLUTE * wanted[0].abs().clamp(min=1)
    same_mean = (mean - wanted[0]).abs() <= torch.maximum(_RELATIVE * wanted[1].sqrt(), rounding)
    # of the logarithm of the standard deviation
    same_var = (var / wanted[1]).log().abs() <= 2 * _RELATIVE
    return bool(same_mean.all()) and bool(same_var.all())


@contextmanager
def _full_precision() -> Iterator[None]:
    """Multiply matrices in float32 proper, so that a plan is not refused over the module's own rounding."""
    precision = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(precision)
