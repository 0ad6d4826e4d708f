"""Which values are changed in which cells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class PairEdits:
    """What is changed in which cells of a chunk: a *pair* is one cell under one perturbation.

    Parameters
    ----------
    rows
        Row of the cell in the chunk, ``(n_pairs,)``.
    offsets
        Entries of pair ``i`` are ``offsets[i]`` to ``offsets[i + 1]``, ``(n_pairs + 1,)``, as in a CSR matrix.
    features
        Feature of each entry, ``(n_entries,)``; each at most once per pair.
    before, after
        Untransformed values, ``(n_entries,)``.
    log_scale
        After the edit all values of the cell are multiplied by its exponential, ``(n_pairs,)``; ``None`` leaves them.
    """

    rows: NDArray[np.int64]
    offsets: NDArray[np.int64]
    features: NDArray[np.int64]
    before: NDArray[np.float32]
    after: NDArray[np.float32]
    log_scale: NDArray[np.float32] | None = None

    def __len__(self) -> int:
        """Number of pairs."""
        return len(self.rows)

    def __getitem__(self, pairs: slice) -> PairEdits:
        """A range of pairs, without copying where it can be helped.

        Parameters
        ----------
        pairs
            A slice with step 1.
        """
        start, stop, step = pairs.indices(len(self))
        if step != 1:
            msg = f"pairs can be sliced with step 1 only, not {step}."
            raise ValueError(msg)
        stop = max(start, stop)
        offsets = self.offsets[start : stop + 1]
        entries = slice(int(offsets[0]), int(offsets[-1]))
        return PairEdits(
            rows=self.rows[start:stop],
            offsets=offsets - offsets[0],
            features=self.features[entries],
            before=self.before[entries],
            after=self.after[entries],
            log_scale=None if self.log_scale is None else self.log_scale[start:stop],
        )

    @property
    def pair_of_entry(self) -> NDArray[np.int64]:
        """Pair that each entry belongs to, ``(n_entries,)``."""
        return np.repeat(np.arange(len(self)), np.diff(self.offsets))
