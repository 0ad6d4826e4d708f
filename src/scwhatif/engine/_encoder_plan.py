"""What a screen asks of an encoder, whatever model it comes from."""

from __future__ import annotations

import abc
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    import torch
    from numpy.typing import NDArray
    from scipy import sparse
    from torch import nn

    from scwhatif.engine._fused_tail import FusedTail
    from scwhatif.engine._pair_edits import PairEdits


@dataclass(frozen=True, eq=False)
class CellStates:
    """What an encoder makes of a chunk of whole, unedited cells.

    Parameters
    ----------
    mean, var
        Of the posterior in the axes it was trained in, ``(n_cells, n_latent)``.
    hidden
        What enters the first non-linearity or layer normalisation, ``(n_cells, n_hidden)``, float32; batch
        normalisation is already in it. ``None`` where an encoder is not taken apart.
    injected
        What covariates add to each later layer, ``(n_cells, width)`` each; empty where they enter the first only.
    x, fields
        The cells themselves, as they were given.
    scaled
        ``hidden`` of the same cells rescaled, for edits that rescale; known to the plan alone.
    """

    mean: torch.Tensor
    var: torch.Tensor
    hidden: torch.Tensor | None
    injected: tuple[torch.Tensor, ...]
    x: NDArray[Any] | sparse.csr_matrix
    fields: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    scaled: Any = None


class EncoderPlan(abc.ABC):
    """Snapshot of an encoder that re-encodes edited cells: later changes of the module do not reach it.

    Plans can be pickled and compute on one device, that of the module they were made from. Posteriors are Gaussian,
    and in the axes that the encoder was trained in, where they are factorised; with a logistic-normal latent space
    they are those of the Gaussian before the softmax.

    Attributes
    ----------
    kind
        ``"row-update"``: a change of one feature costs one row of the first layer. ``"general"``: edited cells run
        through the whole module.
    n_features, n_latent
        Numbers of features and of latent dimensions.
    device
        Where the plan computes.
    signed
        Whether values may be below 0, so that edits do not stop there.
    """

    kind: ClassVar[Literal["row-update", "general"]]
    n_features: int
    n_latent: int
    device: torch.device
    signed: bool

    @property
    def weight_norm(self) -> NDArray[np.float64] | None:
        """Length of each feature's first-layer weights, ``(n_features,)``; ``None`` where no such layer is known."""
        return None

    @property
    def fused(self) -> FusedTail | None:
        """The plan for one compiled loop, ``None`` where it does not fit one.

        It holds for pairs without ``log_scale``, whose inputs move as :meth:`input_change` says.
        """
        return None

    @abc.abstractmethod
    def cells(
        self,
        x: NDArray[Any] | sparse.csr_matrix,
        fields: Mapping[str, NDArray[Any]],
        *,
        scale_range: tuple[NDArray[np.floating], NDArray[np.floating]] | None = None,
    ) -> CellStates:
        """Encode whole cells.

        Parameters
        ----------
        x
            Cells × features, untransformed.
        fields
            The other registered fields of these cells by their key in the scvi-tools registry, one row per cell.
        scale_range
            Smallest and largest ``log_scale`` of the edits to come, ``(n_cells,)`` each. Edits outside are as exact,
            but slower; ``None`` prepares for none.

        Returns
        -------
        What :meth:`edited` starts from.
        """

    @abc.abstractmethod
    def edited(self, states: CellStates, pairs: PairEdits) -> tuple[torch.Tensor, torch.Tensor]:
        """Encode cells after an edit.

        Parameters
        ----------
        states
            From :meth:`cells`.
        pairs
            What to change in which of these cells.

        Returns
        -------
        Posterior mean and variance of each pair, ``(n_pairs, n_latent)`` each.
        """

    def input_change(self, pairs: PairEdits) -> NDArray[np.float32]:
        """How far each entry moves what enters the first layer, where :attr:`fused` is not ``None``.

        Parameters
        ----------
        pairs
            What to change.

        Returns
        -------
        ``(n_entries,)``: ``hidden`` moves by this times the feature's row of the weight.
        """
        msg = f"{type(self).__name__} is not taken apart."
        raise NotImplementedError(msg)

    def to_reported_axes(self, shift: NDArray[np.float64]) -> NDArray[np.float64]:
        """Differences of posterior means in the axes the model reports.

        Parameters
        ----------
        shift
            In the plan's axes, ``(..., n_latent)``.

        Returns
        -------
        Same shape.
        """
        return shift


def encoder_plan(
    module: nn.Module, x: NDArray[Any] | sparse.csr_matrix, fields: Mapping[str, NDArray[Any]]
) -> EncoderPlan:
    """Take the encoder of a module apart as far as it goes.

    Parameters
    ----------
    module
        A trained module of the scvi-tools kind.
    x
        A few cells (32 are enough), untransformed, to check the plan against the module's own inference.
    fields
        Their other registered fields, see :func:`scwhatif._compat.registered_data`.

    Returns
    -------
    The cheapest plan that reproduces the module, on its device. An encoder that starts with a linear layer on
    features transformed one by one (SCVI, SCANVI, LinearSCVI, TOTALVI, DRVI, BetaLinearSCVI) costs one row of that
    layer per changed feature; every other one is run in full for each edited cell. The parts are recognised by what
    they are and checked by what they do, so a model need not be known by name.

    Raises
    ------
    TypeError
        The module has no Gaussian posterior.
    ValueError
        The module's weights are not finite, or its data are minified.

    Examples
    --------
    What a module makes of four cells without their first gene, and without their first two:

    >>> import numpy as np
    >>> from scwhatif.engine import PairEdits, encoder_plan
    >>> from scwhatif.module import BetaLinearVAE
    >>> x = np.random.default_rng(0).poisson(2, (4, 20)).astype(np.float32)
    >>> fields = {"batch": np.zeros((4, 1), dtype=np.int64)}
    >>> plan = encoder_plan(BetaLinearVAE(20, n_latent=3), x, fields)
    >>> plan.kind
    'row-update'
    >>> pairs = PairEdits(
    ...     rows=np.repeat(np.arange(4), 2),
    ...     offsets=np.array([0, 1, 3, 4, 6, 7, 9, 10, 12]),
    ...     features=np.tile([0, 0, 1], 4),
    ...     before=x[np.repeat(np.arange(4), 3), np.tile([0, 0, 1], 4)],
    ...     after=np.zeros(12, dtype=np.float32),
    ... )
    >>> mean, var = plan.edited(plan.cells(x, fields), pairs)
    >>> mean.shape
    torch.Size([8, 3])
    """
    from scwhatif.engine._plan_builders import build_plan

    return build_plan(module, x, fields)
