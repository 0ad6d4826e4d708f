"""What every base of the sequences of a pair contributes, and where contributions gather."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from scwhatif.tl._pair_network import PairNetwork

_LETTERS = np.array(list("ACGTN"))
_N_BASES = 4
# Sequences encoded at a time.
_CHUNK = 96


def base_contributions(
    network: PairNetwork, codes: NDArray[np.uint8], method: Literal["mutagenesis", "gradient_input"]
) -> NDArray[np.float32]:
    """Target of a pair less its mean over the other three bases at a position, one position at a time.

    Parameters
    ----------
    network
        The network, and the pairs.
    codes
        Sequences of the pairs, ``(n_pairs, n_positions)``, 0 to 4.
    method
        ``"mutagenesis"`` mutates every base to every other; ``"gradient_input"`` takes the first-order guess of that,
        from one gradient per pair.

    Returns
    -------
    ``(n_pairs, n_positions)``; 0 where the base is not known.
    """
    explain = _mutate if method == "mutagenesis" else _differentiate
    return np.stack([explain(network, row, each) for row, each in enumerate(codes)]).astype(np.float32)


def _one_hot(network: PairNetwork, codes: NDArray[np.uint8]) -> torch.Tensor:
    import torch

    hot = np.eye(_N_BASES + 1, _N_BASES, dtype=np.float32)[codes]
    return torch.from_numpy(hot).to(network.module.device)


def _mutate(network: PairNetwork, row: int, codes: NDArray[np.uint8]) -> NDArray[np.float64]:
    import torch

    known = np.flatnonzero(codes < _N_BASES)
    at = np.repeat(known, _N_BASES - 1)
    to = (codes[at] + np.tile(np.arange(1, _N_BASES), len(known))) % _N_BASES
    found = np.zeros(len(at))
    with torch.no_grad():
        here = float(network.of_bases(_one_hot(network, codes[None]), [row])[0])
        for start in range(0, len(at), _CHUNK):
            part = slice(start, min(start + _CHUNK, len(at)))
            mutants = np.tile(codes, (part.stop - start, 1))
            mutants[np.arange(len(mutants)), at[part]] = to[part]
            found[part] = network.of_bases(_one_hot(network, mutants), [row] * len(mutants)).double().cpu().numpy()
    contributions = np.zeros(len(codes))
    contributions[known] = here - found.reshape(-1, _N_BASES - 1).mean(1)
    return contributions


def _differentiate(network: PairNetwork, row: int, codes: NDArray[np.uint8]) -> NDArray[np.float64]:
    import torch

    bases = _one_hot(network, codes[None]).requires_grad_()
    slope = torch.autograd.grad(network.of_bases(bases, [row]).sum(), bases)[0][0].double().cpu().numpy()
    known = codes < _N_BASES
    here = slope[np.arange(len(codes)), np.where(known, codes, 0)]
    others = (slope.sum(1) - here) / (_N_BASES - 1)
    return np.where(known, here - others, 0.0)


def top_windows(
    contributions: NDArray[np.float32],
    codes: NDArray[np.uint8],
    names: NDArray,
    lines: NDArray,
    *,
    enhancer_length: int,
    window: int,
    n_windows: int,
) -> pd.DataFrame:
    """Windows in which the contributions of bases add up to most, of either sign, without overlap.

    Parameters
    ----------
    contributions, codes
        Of the pairs, ``(n_pairs, n_positions)``.
    names, lines
        Name and cell line of each pair.
    enhancer_length
        Positions of the enhancer; windows do not cross from one end into the other.
    window
        Positions of a window.
    n_windows
        Most windows per pair.

    Returns
    -------
    A row per window, largest first within all: ``pair``, ``cell_line``, ``end``, ``start`` and ``stop`` (from 0,
    within the sequence of that end), ``contribution``, ``sequence``.
    """
    rows = []
    ends = {"enhancer": (0, enhancer_length), "promoter": (enhancer_length, codes.shape[1])}
    for pair, (each, bases) in enumerate(zip(contributions, codes, strict=True)):
        sums, starts, origin = [], [], []
        for end, (first, last) in ends.items():
            if last - first >= window:
                total = np.concatenate([[0.0], np.cumsum(each[first:last], dtype=np.float64)])
                sums.append(total[window:] - total[:-window])
                starts.append(np.arange(len(sums[-1])))
                origin += [end] * len(sums[-1])
        value, start, end_of = np.concatenate(sums), np.concatenate(starts), np.array(origin)
        free = np.ones(len(value), dtype=bool)
        for _ in range(n_windows):
            if not free.any():
                break
            best = int(np.where(free, np.abs(value), -1.0).argmax())
            end, at = str(end_of[best]), int(start[best])
            first = ends[end][0] + at
            letters = "".join(_LETTERS[bases[first : first + window]])
            rows.append((names[pair], lines[pair], end, at, at + window, value[best], letters))
            free &= ~((end_of == end) & (np.abs(start - at) < window))
    columns = ["pair", "cell_line", "end", "start", "stop", "contribution", "sequence"]
    table = pd.DataFrame(rows, columns=columns)
    table = table.sort_values("contribution", key=np.abs, ascending=False, kind="stable", ignore_index=True)
    table["cell_line"] = pd.Categorical(table["cell_line"], categories=np.unique(lines))
    table["end"] = pd.Categorical(table["end"], categories=list(ends))
    table.index = table.index.astype(str)
    return table
