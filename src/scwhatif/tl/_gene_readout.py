"""How much each gene moves a readout of the latent code, summed over bins of cells."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from anndata import AnnData
    from numpy.typing import NDArray
    from torch import nn

    from scwhatif.engine import FeatureCounts, Item, Readout
    from scwhatif.tl._cell_bins import CellBins
    from scwhatif.tl._encoder_source import EncoderSource

    Track = Callable[[range], Iterable[int]]

# Entries of dense cells × features held at once.
_BLOCK_ENTRIES = 2**21


class ReadoutSums(NamedTuple):
    """Sums over the cells of each bin.

    Parameters
    ----------
    change
        Of the change of the readout, ``(n_items, n_bins)``.
    size
        Of its absolute value.
    counts
        What the data alone say of the bins.
    """

    change: NDArray[np.float64]
    size: NDArray[np.float64]
    counts: FeatureCounts


class GradientSums(NamedTuple):
    """Sums over the cells of each bin, ``(n_genes, n_bins)``, and how good an integral is.

    Parameters
    ----------
    change
        Of what a gene contributes.
    size
        Of its absolute value.
    completeness
        Root mean square over cells of what contributions lack to add up to the difference from the baseline, relative
        to that of the difference; NaN where there is nothing to add up.
    """

    change: NDArray[np.float64]
    size: NDArray[np.float64]
    completeness: float


def gene_columns(adata: AnnData, genes: str | Sequence[str] | None, name: str) -> NDArray[np.int64]:
    """Columns of the genes asked for, sorted.

    Parameters
    ----------
    adata
        The data.
    genes
        ``None`` for all.
    name
        The argument that carried them.

    Returns
    -------
    Columns.

    Raises
    ------
    KeyError
        A gene is not there.
    ValueError
        There are none.
    """
    from scwhatif.perturbation import Perturbation

    if genes is None:
        return np.arange(adata.n_vars)
    if not len(genes):
        msg = f"{name} is empty; pass None for all genes."
        raise ValueError(msg)
    return np.unique([column for column, _ in Perturbation.knockout(genes).feature_edits(adata.var_names)])


def knockout(column: int) -> Item:
    """Set one gene to 0.

    Parameters
    ----------
    column
        The gene.

    Returns
    -------
    What a screen carries out.
    """
    from scwhatif.perturbation import Edit

    # columns are resolved, so any name will do
    return ((int(column), Edit("feature", ("gene",), "ko")),)


def screen_readout(
    source: EncoderSource,
    readout: Readout,
    bins: CellBins,
    items: Sequence[Item],
    *,
    seed: int = 0,
    n_jobs: int | None = None,
    track: Track = iter,
) -> ReadoutSums:
    """Carry out every item alone on every cell that takes part, and see what happens to a readout; exact.

    Parameters
    ----------
    source
        Encoder and data.
    readout
        What is read.
    bins
        Cells.
    items
        What is done.
    seed, n_jobs, track
        As for :class:`scwhatif.engine.Screen`.

    Returns
    -------
    Sums.
    """
    from scwhatif.engine import ReadoutPlan, Screen

    # one more group for cells that take no part, to which nothing is done
    within = np.ones((len(items), bins.n_bins + 1), dtype=bool)
    within[:, -1] = False
    sums = Screen(
        ReadoutPlan(source.plan, readout),
        source.x,
        source.fields,
        bins.codes,
        bins.n_bins + 1,
        items,
        within=within,
        seed=seed,
        n_jobs=n_jobs,
        track=track,
    ).run()
    return ReadoutSums(sums.shift[:, :-1, 0], sums.distance[:, :-1], sums.counts)


def gradient_readout(
    source: EncoderSource,
    module: nn.Module,
    readout: Readout,
    bins: CellBins,
    *,
    baselines: NDArray[np.float32] | None,
    n_steps: int,
    track: Track = iter,
) -> GradientSums:
    r"""Differentiate a readout by every gene at every cell, or integrate that from baselines to the cell.

    What a gene contributes to a cell above its mean over the baselines counts as it is, what it contributes to one
    below with the opposite sign: otherwise cells above and below would cancel, however much the gene matters.

    Parameters
    ----------
    source, readout, bins
        As for :func:`screen_readout`.
    module
        What the encoder is part of.
    baselines
        ``(n_baselines, n_genes)``, untransformed; ``None`` for the derivative at the cell itself.
    n_steps
        Gradients per cell, shared out among the baselines.
    track
        Wraps the iteration over blocks of cells.

    Returns
    -------
    Sums.
    """
    from scipy import sparse

    from scwhatif.engine import read_rows
    from scwhatif.engine._readout_gradient import readout_gradient

    gradient = readout_gradient(source.plan, module, readout)
    taking_part = bins.taking_part
    n_genes = source.plan.n_features
    change, size = np.zeros((2, bins.n_bins, n_genes))
    lacking = whole = 0.0
    step = max(1, _BLOCK_ENTRIES // n_genes)
    center = None if baselines is None else gradient.scaled(baselines).double().mean(dim=0).numpy()
    for start in track(range(0, len(taking_part), step)):
        rows = taking_part[start : start + step]
        # a range first: not every matrix on disk can be read row by row
        first = int(rows[0])
        x = read_rows(source.x, slice(first, int(rows[-1]) + 1))[rows - first].toarray()
        fields = {key: values[rows] for key, values in source.fields.items()}
        if baselines is None:
            values = gradient.jacobian(x, fields)
        else:
            values, difference = gradient.path(x, fields, baselines, n_steps=-(-n_steps // len(baselines)))
            lacking += float(np.square(values.sum(axis=1) - difference).sum())
            whole += float(np.square(difference).sum())
            values = values * np.sign(gradient.scaled(x).double().numpy() - center)
        member = sparse.csr_matrix(
            (np.ones(len(rows)), (bins.codes[rows], np.arange(len(rows)))), shape=(bins.n_bins, len(rows))
        )
        change += member @ values
        size += member @ np.abs(values)
    completeness = np.sqrt(lacking / whole) if whole > 0 else np.nan
    return GradientSums(change.T, size.T, float(completeness))
