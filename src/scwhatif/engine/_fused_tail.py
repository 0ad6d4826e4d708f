"""The weights of an encoder whose every step fits one compiled loop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class FusedTail:
    r"""One hidden layer: (normalisation) → ReLU → linear heads of mean and variance, as arrays for a compiled loop.

    With :math:`h` from :attr:`CellStates.hidden`, moved along rows of ``weight``,

    .. math::
        a &= \mathrm{relu}(\tilde h \cdot \mathrm{scale} + \mathrm{shift}), \qquad
            \tilde h = \frac{h - \bar h}{\sqrt{\mathrm{var}(h) + \mathrm{eps}}}
            \text{ if } \texttt{layer_norm} \text{ else } h \\
        (m, s) &= a \cdot \mathrm{head} + \mathrm{head\_bias}, \qquad
            v = \exp(\mathrm{clip}(s, \mathrm{lower}, \mathrm{upper})) + \mathrm{var\_eps}

    Parameters
    ----------
    weight
        ``(n_features, n_hidden)``, float32, one contiguous row per feature.
    scale, shift
        ``(n_hidden,)``, float32.
    layer_norm
        Whether each cell is standardised over its hidden units first.
    eps
        Added to the variance over hidden units.
    head
        ``(n_hidden, 2 * n_latent)``, float32: mean, then logarithm of the variance.
    head_bias
        ``(2 * n_latent,)``, float32.
    var_eps
        Added to the variance.
    lower, upper
        Bounds of the logarithm of the variance, infinite where there are none.
    """

    weight: NDArray[np.float32]
    scale: NDArray[np.float32]
    shift: NDArray[np.float32]
    layer_norm: bool
    eps: float
    head: NDArray[np.float32]
    head_bias: NDArray[np.float32]
    var_eps: float
    lower: float
    upper: float
