"""Effects of edits on a posterior, for encoders that fit one compiled loop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scwhatif.engine._encoder_plan import CellStates
    from scwhatif.engine._fused_tail import FusedTail

# A block's product with the heads is kept below what makes a BLAS start threads of its own: blocks are tiny, and who
# wants several threads runs several blocks.
_BLOCK_PRODUCT = 2**18
_BLOCK_RANGE = (1, 64)
# Reassociation and contraction cost less than rounding; infinities and NaN keep their meaning.
_FASTMATH = {"contract", "reassoc", "nsz", "arcp"}

_LOG2_E = np.float32(1.4426950408889634)
_LN2_HIGH, _LN2_LOW = np.float32(0.693359375), np.float32(-2.12194440e-4)
_SQRT_HALF = np.float32(0.70710678)
_HALF, _ONE, _ZERO = np.float32(0.5), np.float32(1), np.float32(0)
# What exp and log must stay within for a float32.
_MAX_EXPONENT, _MIN_NORMAL = 87.0, np.float32(1.2e-38)


class PairKernel:
    """Adds up what edits do to the posteriors of one chunk of cells, in one thread and without the interpreter's lock.

    Pairs of one perturbation should follow one another: the weights they read then stay in the cache, as do the hidden
    units of a chunk of a thousand cells.

    Parameters
    ----------
    tail
        The encoder.
    states
        The unedited cells.
    """

    def __init__(self, tail: FusedTail, states: CellStates) -> None:
        n_hidden, width = tail.head.shape
        n_latent = width // 2
        self.tail = tail
        self.weight, self.hidden = tail.weight, _float32(states.hidden)
        if not tail.layer_norm and not ((tail.scale == 1).all() and (tail.shift == 0).all()):
            self.weight, self.hidden = self.weight * tail.scale, self.hidden * tail.scale + tail.shift
        # what an unbiased head gives for an unchanged cell
        self.mean = _float32(states.mean) - tail.head_bias[:n_latent]
        self.log_var_bias = tail.head_bias[n_latent:].copy()
        self.precision = 1 / _float32(states.var)
        self.block = int(np.clip(_BLOCK_PRODUCT // (n_hidden * width), *_BLOCK_RANGE))

    def add(
        self,
        rows: NDArray[np.int64],
        offsets: NDArray[np.int64],
        features: NDArray[np.int64],
        change: NDArray[np.float32],
        bins: NDArray[np.int64],
        sums: NDArray[np.float64],
        distance: NDArray[np.float32] | None = None,
    ) -> None:
        """Encode pairs and add what has changed to the sums of their bins.

        Parameters
        ----------
        rows, offsets, features
            As in :class:`PairEdits`; every pair has at least one entry.
        change
            From :meth:`EncoderPlan.input_change`, ``(n_entries,)``.
        bins
            Row of ``sums`` that each pair belongs to, ``(n_pairs,)``.
        sums
            ``(n_bins, n_latent + 2)``, float64: change of the mean, its length in units of the cell's own posterior
            standard deviations, and Kullback-Leibler divergence of the edited from the original posterior in nats.
            Added to.
        distance
            The length of each pair, ``(n_pairs,)``, float32. Overwritten.
        """
        tail = self.tail
        _sum_pairs(
            self.block,
            self.hidden,
            self.weight,
            tail.layer_norm,
            np.float32(tail.eps),
            tail.scale,
            tail.shift,
            tail.head,
            np.float32(tail.var_eps),
            self.log_var_bias,
            np.float32(max(tail.lower, -_MAX_EXPONENT)),
            np.float32(min(tail.upper, _MAX_EXPONENT)),
            self.mean,
            self.precision,
            rows,
            offsets,
            features,
            change,
            bins,
            sums,
            np.empty(0, np.float32) if distance is None else distance,
        )


def _float32(values: Any) -> NDArray[np.float32]:
    return np.ascontiguousarray(values.numpy(), dtype=np.float32)


@njit(nogil=True, cache=True, fastmath=_FASTMATH)
def _sum_pairs(  # type: ignore[no-untyped-def]
    block, hidden, weight, layer_norm, eps, scale, shift, head, var_eps, log_var_bias, lower, upper,
    mean, precision, rows, offsets, features, change, bins, sums, distance,
):  # fmt: skip
    n_latent = mean.shape[1]
    act = np.empty((block, hidden.shape[1]), np.float32)
    out = np.empty((block, 2 * n_latent), np.float32)
    size = block * n_latent
    moved, scaled = np.empty(size, np.float32), np.empty(size, np.float32)
    square, divergence = np.empty(size, np.float32), np.empty(size, np.float32)
    grown, ratio = np.empty(size, np.float32), np.empty(size, np.float32)
    bits, mantissa = np.empty(size, np.int32), np.empty(size, np.int32)
    for start in range(0, rows.size, block):
        n = min(block, rows.size - start)
        _activate(start, n, hidden, weight, rows, offsets, features, change, layer_norm, eps, scale, shift, act)
        np.dot(act[:n], head, out[:n])
        _compare(start, n, out, mean, precision, log_var_bias, rows, moved, divergence, scaled)
        _terms(n * n_latent, moved, scaled, var_eps, lower, upper, square, divergence, grown, ratio, bits, mantissa)
        _add(start, n, n_latent, moved, square, divergence, bins, sums, distance)


# The steps take whole arrays: handing over slices of them would cost more than the work on one pair.


@njit(nogil=True, cache=True, fastmath=_FASTMATH)
def _activate(  # type: ignore[no-untyped-def]
    start, n, hidden, weight, rows, offsets, features, change, layer_norm, eps, scale, shift, act
):
    """Move the hidden units of a block along the rows of its entries, standardise where the encoder does, rectify."""
    width = hidden.shape[1]
    for i in range(n):
        row, first, stop = rows[start + i], offsets[start + i], offsets[start + i + 1]
        step, feature = change[first], features[first]
        if stop - first == 1 and not layer_norm:
            for k in range(width):
                act[i, k] = max(hidden[row, k] + step * weight[feature, k], _ZERO)
            continue
        for k in range(width):
            act[i, k] = hidden[row, k] + step * weight[feature, k]
        for entry in range(first + 1, stop):
            step, feature = change[entry], features[entry]
            for k in range(width):
                act[i, k] += step * weight[feature, k]
        if layer_norm:
            mean = _ZERO
            for k in range(width):
                mean += act[i, k]
            mean /= np.float32(width)
            square = _ZERO
            for k in range(width):
                square += (act[i, k] - mean) * (act[i, k] - mean)
            norm = _ONE / np.sqrt(square / np.float32(width) + eps)
            for k in range(width):
                act[i, k] = max((act[i, k] - mean) * norm * scale[k] + shift[k], _ZERO)
        else:
            for k in range(width):
                act[i, k] = max(act[i, k], _ZERO)


@njit(nogil=True, cache=True, fastmath=_FASTMATH)
def _compare(  # type: ignore[no-untyped-def]
    start, n, out, mean, precision, log_var_bias, rows, moved, log_var, scaled
):
    """Lay out what is compared: change of the mean, logarithm of the new variance, old precision."""
    n_latent = mean.shape[1]
    for i in range(n):
        row, at = rows[start + i], i * n_latent
        for j in range(n_latent):
            moved[at + j] = out[i, j] - mean[row, j]
        for j in range(n_latent):
            log_var[at + j] = out[i, n_latent + j] + log_var_bias[j]
        for j in range(n_latent):
            scaled[at + j] = precision[row, j]


@njit(nogil=True, cache=True, fastmath=_FASTMATH)
def _terms(  # type: ignore[no-untyped-def]
    size, moved, precision, var_eps, lower, upper, square, divergence, grown, ratio, bits, mantissa
):
    """What each latent dimension adds to the squared scaled length and to the divergence.

    ``divergence`` holds the logarithms of the new variances when called. exp and log are polynomials, because calls
    of the library's would keep the loops from being vectorised.
    """
    power, fraction, ratio_bits = bits.view(np.float32), mantissa.view(np.float32), ratio.view(np.int32)
    for i in range(size):
        y = min(max(divergence[i], lower), upper) * _LOG2_E
        whole = np.floor(y + _HALF)
        bits[i] = (np.int32(whole) + np.int32(127)) << np.int32(23)
        grown[i] = _exp2_fraction(y - whole)
    for i in range(size):
        ratio[i] = max((grown[i] * power[i] + var_eps) * precision[i], _MIN_NORMAL)
        square[i] = moved[i] * moved[i] * precision[i]
    for i in range(size):
        bits[i] = (ratio_bits[i] >> np.int32(23)) - np.int32(126)
        mantissa[i] = (ratio_bits[i] & np.int32(0x007FFFFF)) | np.int32(0x3F000000)
    for i in range(size):
        small = fraction[i] < _SQRT_HALF
        exponent = np.float32(bits[i]) - (_ONE if small else _ZERO)
        x = (fraction[i] + fraction[i] if small else fraction[i]) - _ONE
        log = _log1p_fraction(x) + exponent * _LN2_LOW + exponent * _LN2_HIGH
        divergence[i] = _HALF * (ratio[i] - _ONE - log + square[i])


@njit(nogil=True, cache=True, fastmath=_FASTMATH)
def _add(start, n, n_latent, moved, square, divergence, bins, sums, distance):  # type: ignore[no-untyped-def]
    """Reduce over latent dimensions, and add each pair to its bin."""
    for i in range(n):
        target, at = bins[start + i], i * n_latent
        total, nats = _ZERO, _ZERO
        for j in range(n_latent):
            sums[target, j] += moved[at + j]
        for j in range(n_latent):
            total += square[at + j]
        for j in range(n_latent):
            nats += divergence[at + j]
        length = np.sqrt(total)
        sums[target, n_latent] += length
        sums[target, n_latent + 1] += nats
        if distance.size:
            distance[start + i] = length


@njit(nogil=True, cache=True, fastmath=_FASTMATH)
def _exp2_fraction(x):  # type: ignore[no-untyped-def]
    """2 to the power of a number between -1/2 and 1/2, to the last digit but one (minimax, Cephes)."""
    y = np.float32(1.535336188319500e-4)
    y = y * x + np.float32(1.339887440266574e-3)
    y = y * x + np.float32(9.618437357674640e-3)
    y = y * x + np.float32(5.550332471162809e-2)
    y = y * x + np.float32(2.402264791363012e-1)
    y = y * x + np.float32(6.931472028550421e-1)
    return y * x + _ONE


@njit(nogil=True, cache=True, fastmath=_FASTMATH)
def _log1p_fraction(x):  # type: ignore[no-untyped-def]
    """Logarithm of 1 + x for x between sqrt(1/2) - 1 and sqrt(2) - 1 (minimax, Cephes)."""
    y = np.float32(7.0376836292e-2)
    y = y * x - np.float32(1.1514610310e-1)
    y = y * x + np.float32(1.1676998740e-1)
    y = y * x - np.float32(1.2420140846e-1)
    y = y * x + np.float32(1.4249322787e-1)
    y = y * x - np.float32(1.6668057665e-1)
    y = y * x + np.float32(2.0000714765e-1)
    y = y * x - np.float32(2.4999993993e-1)
    y = y * x + np.float32(3.3333331174e-1)
    return x + x * x * (x * y - _HALF)
