"""Perturbations resolved to columns, and what they change in a chunk of cells."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from scwhatif.perturbation import Edit

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

# One perturbation: feature edits by column in the order they are carried out.
Item = tuple[tuple[int, Edit], ...]


@dataclass(frozen=True, eq=False)
class EditedColumns:
    """Every value that an edited column changes in a chunk of cells, column after column.

    Parameters
    ----------
    offsets
        Values of column ``j`` are ``offsets[j]`` to ``offsets[j + 1]``, ``(n_columns + 1,)``.
    rows
        Row of each value, ascending within a column, ``(n_values,)``.
    features
        Feature of each value.
    before, after
        The values, float32.
    """

    offsets: NDArray[np.int64]
    rows: NDArray[np.int64]
    features: NDArray[np.int64]
    before: NDArray[np.float32]
    after: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class ItemTable:
    """Items that share what they do to single features: a feature under one chain of edits is an *edited column*.

    Doses, sets and combinations of the same genes then read and transform each value once.

    Parameters
    ----------
    chains
        What is done, one edit after another.
    features, chain_of
        Feature and chain of each edited column, ``(n_columns,)``.
    offsets, columns
        Columns of item ``i`` are ``columns[offsets[i]:offsets[i + 1]]``, features ascending.
    """

    chains: tuple[tuple[Edit, ...], ...]
    features: NDArray[np.int64]
    chain_of: NDArray[np.int64]
    offsets: NDArray[np.int64]
    columns: NDArray[np.int64]

    @classmethod
    def from_items(cls, items: Sequence[Item]) -> ItemTable:
        """Resolve items.

        Parameters
        ----------
        items
            Feature edits by column, in the order they are carried out; several on one column follow one another.

        Returns
        -------
        The table.
        """
        chains: dict[tuple[tuple[str, object], ...], tuple[int, tuple[Edit, ...]]] = {}

        def number_of(edits: tuple[Edit, ...]) -> int:
            # the names an edit carries do not matter any more
            key = tuple((edit.op, edit.value) for edit in edits)
            return chains.setdefault(key, (len(chains), edits))[0]

        if items and all(len(item) == 1 for item in items):
            # one edit each, mostly the same object over and over: all at once
            edits = {id(item[0][1]): item[0][1] for item in items}
            numbers = {identity: number_of((edit,)) for identity, edit in edits.items()}
            asked = np.array([(item[0][0], numbers[id(item[0][1])]) for item in items], dtype=np.int64)
            pairs, columns = np.unique(asked, axis=0, return_inverse=True)
            offsets = np.arange(len(items) + 1)
        else:
            found: dict[tuple[int, int], int] = {}
            referred: list[list[int]] = []
            for item in items:
                by_feature: dict[int, list[Edit]] = {}
                for feature, edit in item:
                    by_feature.setdefault(feature, []).append(edit)
                numbered = [(feature, number_of(tuple(by_feature[feature]))) for feature in sorted(by_feature)]
                referred.append([found.setdefault(each, len(found)) for each in numbered])
            pairs = np.array(list(found), dtype=np.int64).reshape(-1, 2)
            columns = np.fromiter(chain.from_iterable(referred), dtype=np.int64)
            offsets = np.concatenate([[0], np.cumsum([len(own) for own in referred])])
        return cls(
            chains=tuple(edits for _, edits in chains.values()),
            features=pairs[:, 0].copy(),
            chain_of=pairs[:, 1].copy(),
            offsets=offsets.astype(np.int64),
            columns=columns.ravel().astype(np.int64),
        )

    def __len__(self) -> int:
        """Number of items."""
        return len(self.offsets) - 1

    def n_dense(self, *, signed: bool) -> int:
        """Count the edited columns that touch cells without the feature.

        Parameters
        ----------
        signed
            Whether values may be below 0.

        Returns
        -------
        Their number.
        """
        dense = [not _keeps_zeros(edits, signed=signed) for edits in self.chains]
        return int(np.isin(self.chain_of, np.flatnonzero(dense)).sum())

    def edit(self, chunk: sparse.csr_matrix, first_row: int, *, signed: bool, seed: int) -> EditedColumns:
        """Carry out every edited column on a chunk of cells.

        Parameters
        ----------
        chunk
            Cells × features, float32, sorted, without zeros and duplicates.
        first_row
            Row of its first cell in the whole data. Edits that draw do so cell by cell, from a generator seeded with
            ``seed`` and the cell's row, over the cell's non-zero features: a draw depends on nothing else.
        signed
            Whether values may be below 0; if not, edits stop there.
        seed
            Seed of edits that draw.

        Returns
        -------
        The values that change.
        """
        by_feature = chunk.tocsc()
        parts = []
        for number, edits in enumerate(self.chains):
            columns = np.flatnonzero(self.chain_of == number)
            features = self.features[columns]
            clip = not signed
            if not _keeps_zeros(edits, signed=signed):
                rows, owner, before, after = _whole_columns(chunk, features, edits, first_row, clip=clip, seed=seed)
                owner = columns[owner]
            else:
                own = by_feature[:, features]
                owner, rows, before = np.repeat(columns, np.diff(own.indptr)), own.indices, own.data
                if _draws(edits):
                    drawn = _drawn(chunk, edits, first_row, clip=clip, seed=seed)
                    after = drawn.tocsc()[:, features].data
                else:
                    after = _apply(edits, before, None, clip=clip)
            changed = after != before
            if not changed.all():
                owner, rows, before, after = owner[changed], rows[changed], before[changed], after[changed]
            parts.append((owner, rows, before, after))
        if len(parts) == 1:
            owner, rows, before, after = parts[0]
        else:
            nothing = np.empty(0, np.int64), np.empty(0, np.int32), np.empty(0, np.float32), np.empty(0, np.float32)
            owner, rows, before, after = (np.concatenate(values) for values in zip(nothing, *parts, strict=True))
            order = np.argsort(owner, kind="stable")
            owner, rows, before, after = owner[order], rows[order], before[order], after[order]
        counts = np.bincount(owner, minlength=len(self.features))
        offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        return EditedColumns(offsets, rows.astype(np.int64), np.repeat(self.features, counts), before, after)


def _keeps_zeros(edits: Iterable[Edit], *, signed: bool) -> bool:
    return all(edit.keeps_zeros(clip=not signed) for edit in edits)


def _draws(edits: Iterable[Edit]) -> bool:
    return any(edit.op == "thin" for edit in edits)


def _apply(
    edits: Iterable[Edit], values: NDArray[np.float32], rng: np.random.Generator | None, *, clip: bool
) -> NDArray[np.float32]:
    for edit in edits:
        values = edit.apply(values, rng, clip=clip)
    return values.astype(np.float32, copy=False)


def _drawn(
    chunk: sparse.csr_matrix, edits: Sequence[Edit], first_row: int, *, clip: bool, seed: int
) -> sparse.csr_matrix:
    """The chunk with every non-zero value edited, cell by cell, and what became 0 still stored."""
    after = np.empty_like(chunk.data)
    for row in range(chunk.shape[0]):
        cell = slice(chunk.indptr[row], chunk.indptr[row + 1])
        after[cell] = _apply(edits, chunk.data[cell], np.random.default_rng([seed, first_row + row]), clip=clip)
    return sparse.csr_matrix((after, chunk.indices, chunk.indptr), shape=chunk.shape)


def _whole_columns(
    chunk: sparse.csr_matrix,
    features: NDArray[np.int64],
    edits: Sequence[Edit],
    first_row: int,
    *,
    clip: bool,
    seed: int,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32], NDArray[np.float32]]:
    """Row, number in ``features``, value and edited value of every cell, whether it has the feature or not."""
    before = np.ascontiguousarray(chunk[:, features].toarray().T)
    if _draws(edits):
        after = np.empty_like(before)
        for row in range(chunk.shape[0]):
            rng = np.random.default_rng([seed, first_row + row])
            after[:, row] = _apply(edits, chunk[row].toarray()[0], rng, clip=clip)[features]
    else:
        after = _apply(edits, before, None, clip=clip)
    owner, rows = np.divmod(np.arange(before.size), max(chunk.shape[0], 1))
    return rows, owner, before.ravel(), after.ravel()
