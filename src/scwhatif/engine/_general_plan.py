"""An encoder that is run in full for every edited cell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import torch
from scipy import sparse
from scvi import REGISTRY_KEYS

from scwhatif._compat import infer
from scwhatif.engine._encoder_plan import CellStates, EncoderPlan
from scwhatif.engine._module_snapshot import module_snapshot

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray
    from torch import nn

    from scwhatif.engine._pair_edits import PairEdits

# Values of cells that are dense at one time.
_DENSE_VALUES = 2**22


class GeneralPlan(EncoderPlan):
    """Any module with a Gaussian posterior: edited cells are made and go through its own inference.

    Posteriors are in the axes that the model reports.

    Parameters
    ----------
    module
        The module, of which a copy is kept.
    n_features, n_latent
        Numbers of features and latent dimensions.
    signed
        Whether values may be below 0.
    """

    kind: ClassVar[Literal["row-update", "general"]] = "general"

    def __init__(self, module: nn.Module, *, n_features: int, n_latent: int, signed: bool = False) -> None:
        self.module = module_snapshot(module)
        self.n_features = n_features
        self.n_latent = n_latent
        self.signed = signed
        self.device = next((parameter.device for parameter in module.parameters()), torch.device("cpu"))

    @torch.inference_mode()
    def cells(
        self,
        x: NDArray[Any] | sparse.csr_matrix,
        fields: Mapping[str, NDArray[Any]],
        *,
        scale_range: tuple[NDArray[np.floating], NDArray[np.floating]] | None = None,
    ) -> CellStates:
        """Encode whole cells, see :meth:`EncoderPlan.cells`; ``scale_range`` makes no difference."""
        rows: Any = x.tocsr() if sparse.issparse(x) else x  # type: ignore[union-attr]
        batches = [
            self._encode(_dense(rows[at]), fields, np.arange(x.shape[0])[at]) for at in self._batches(x.shape[0])
        ]
        return CellStates(*self._joined(batches), hidden=None, injected=(), x=rows, fields=fields)

    @torch.inference_mode()
    def edited(self, states: CellStates, pairs: PairEdits) -> tuple[torch.Tensor, torch.Tensor]:
        """Encode cells after an edit, see :meth:`EncoderPlan.edited`."""
        batches = []
        for at in self._batches(len(pairs)):
            some = pairs[at]
            x = _dense(states.x[some.rows])
            x[some.pair_of_entry, some.features] = some.after
            if some.log_scale is not None:
                x *= np.exp(some.log_scale)[:, None]
            batches.append(self._encode(x, states.fields, some.rows))
        return self._joined(batches)

    def _encode(
        self, x: NDArray[np.float32], fields: Mapping[str, NDArray[Any]], rows: NDArray[np.int64]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        return infer(self.module, {REGISTRY_KEYS.X_KEY: x, **{key: values[rows] for key, values in fields.items()}})

    def _batches(self, n: int) -> list[slice]:
        step = max(1, _DENSE_VALUES // self.n_features)
        return [slice(start, min(start + step, n)) for start in range(0, n, step)]

    def _joined(self, batches: list[tuple[torch.Tensor, torch.Tensor]]) -> tuple[torch.Tensor, torch.Tensor]:
        none = torch.empty((0, self.n_latent), device=self.device)
        mean, var = zip(*batches, strict=True) if batches else ([none], [none])
        return torch.cat([*mean]), torch.cat([*var])


def _dense(x: Any) -> NDArray[np.float32]:
    return np.array(x.toarray() if sparse.issparse(x) else x, dtype=np.float32)
