"""Checkpoints of a screen, and its pairs, in a folder that zarr and AnnData can read."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray
    from scipy import sparse

_MARK = "scwhatif_screen"
_VERSION = 2
# Group with the pairs, and what the names of checkpoints start with.
PAIRS = "distance"
_SUMS = "sums-"
_PARTIAL = ".partial"
# Values per chunk of the pairs on disk.
_CHUNK_VALUES = 2**18
_CHUNK_ROWS = 2**14


class ScreenStore:
    """A folder that a screen can be resumed from, whenever it was stopped.

    It is a zarr group. Sums are written to a new group beside the last one, which then takes its final name in one
    step; a checkpoint is there as a whole or not at all. Pairs are appended to a CSR matrix in AnnData's own format,
    ``anndata.io.read_elem(zarr.open(path)["distance"])``; what a checkpoint does not vouch for is cut off on resuming.

    Parameters
    ----------
    path
        The folder; made if it is not there.
    fingerprint
        What makes two screens the same, by name, beyond what the screen itself knows: the model, for instance.
    seconds
        Least time between two checkpoints; the last is always written.
    """

    def __init__(self, path: str | Path, fingerprint: Mapping[str, Any], *, seconds: float = 15.0) -> None:
        self.path = Path(path)
        self.fingerprint = dict(fingerprint)
        self.seconds = seconds
        self._written = time.monotonic()

    def resume(self, totals: Mapping[str, NDArray[Any]], fingerprint: Mapping[str, Any], *, n_kept: int | None) -> int:
        """Open or make the folder, and read the last checkpoint.

        Parameters
        ----------
        totals
            Arrays by name, all zeros; overwritten by those of the checkpoint.
        fingerprint
            What makes two screens the same, as far as the screen knows.
        n_kept
            Columns of the matrix of pairs; ``None`` for no such matrix.

        Returns
        -------
        Number of cells that are done.

        Raises
        ------
        ValueError
            The folder holds something else, another screen, or is damaged.
        """
        wanted = {name: _plain(value) for name, value in {**self.fingerprint, **fingerprint}.items()}
        self._open(wanted, n_kept)
        n_cells, n_values = 0, 0
        checkpoints = sorted(self.path.glob(f"{_SUMS}*"), key=lambda folder: folder.name)
        finished = [folder for folder in checkpoints if not folder.name.endswith(_PARTIAL)]
        if finished:
            sums = _group(self.path)[finished[-1].name]
            n_cells, n_values = int(sums.attrs["n_cells"]), int(sums.attrs["n_values"])
            for name, values in totals.items():
                values[...] = sums[name][...]
        for folder in checkpoints:
            if folder not in finished[-1:]:
                shutil.rmtree(folder)
        if n_kept is not None:
            self._cut_pairs(n_cells, n_values, n_kept)
        self._written = time.monotonic()
        return n_cells

    def add(
        self, n_cells: int, totals: Mapping[str, NDArray[Any]], pairs: sparse.csr_matrix | None, *, last: bool
    ) -> None:
        """Append the pairs of a shard, and write a checkpoint if it is time.

        Parameters
        ----------
        n_cells
            Number of cells that are done.
        totals
            Arrays by name.
        pairs
            Of the cells that were added.
        last
            Whether all cells are done.
        """
        group = _group(self.path)
        if pairs is not None:
            _append(group[PAIRS], pairs, n_cells)
        if not last and time.monotonic() - self._written < self.seconds:
            return
        n_values = 0 if pairs is None else group[PAIRS]["data"].shape[0]
        name = f"{_SUMS}{n_cells:012d}"
        partial = group.create_group(f"{name}{_PARTIAL}", overwrite=True)
        partial.attrs.update({"n_cells": n_cells, "n_values": n_values})
        for key, values in totals.items():
            partial.create_array(key, data=values)
        before = [folder for folder in self.path.glob(f"{_SUMS}*") if not folder.name.endswith(_PARTIAL)]
        (self.path / partial.basename).replace(self.path / name)
        for folder in before:
            shutil.rmtree(folder)
        self._written = time.monotonic()

    def _open(self, wanted: dict[str, Any], n_kept: int | None) -> None:
        """Check that the folder is this screen's, or make it so."""
        if not self.path.exists() or (self.path.is_dir() and not any(self.path.iterdir())):
            group = _new_group(self.path, {_MARK: _VERSION, "fingerprint": wanted})
            if n_kept is not None:
                _create_pairs(group, n_kept)
            return
        try:
            attributes = dict(_group(self.path).attrs)
        except (OSError, ValueError, KeyError, TypeError) as error:
            msg = f"store={str(self.path)!r} is not a zarr group, or a damaged one; choose another path or delete it."
            raise ValueError(msg) from error
        if attributes.get(_MARK) != _VERSION:
            msg = f"store={str(self.path)!r} holds something other than a screen; choose another path."
            raise ValueError(msg)
        found = attributes["fingerprint"]
        different = [name for name in sorted({*found, *wanted}) if found.get(name) != wanted.get(name)]
        if different:
            shown = ", ".join(f"{name} (there {found.get(name)}, here {wanted.get(name)})" for name in different)
            msg = f"store={str(self.path)!r} holds another screen, which differs in {shown}. Choose another path."
            raise ValueError(msg)
        if n_kept is not None and PAIRS not in _group(self.path):
            _create_pairs(_group(self.path), n_kept)

    def _cut_pairs(self, n_cells: int, n_values: int, n_kept: int) -> None:
        """Take away what was appended after the last checkpoint."""
        try:
            pairs = _group(self.path)[PAIRS]
            sizes = [pairs[name].shape[0] for name in ("data", "indices", "indptr")]
        except KeyError:
            sizes = [0, 0, 0]
        if sizes[0] < n_values or sizes[1] < n_values or sizes[2] < n_cells + 1:
            if n_cells:
                msg = f"store={str(self.path)!r} is damaged: pairs are missing. Delete it and start anew."
                raise ValueError(msg)
            # stopped while it was being made
            shutil.rmtree(self.path / PAIRS, ignore_errors=True)
            _create_pairs(_group(self.path), n_kept)
            return
        for name, size in (("data", n_values), ("indices", n_values), ("indptr", n_cells + 1)):
            pairs[name].resize((size,))
        pairs.attrs["shape"] = [n_cells, n_kept]


def _zarr() -> Any:
    try:
        import zarr
    except ImportError as error:
        msg = "store= needs zarr 3 or newer: pip install 'zarr>=3'."
        raise ImportError(msg) from error
    if int(zarr.__version__.partition(".")[0]) < 3:
        msg = f"store= needs zarr 3 or newer, not {zarr.__version__}: pip install 'zarr>=3'."
        raise ImportError(msg)
    return zarr


def _group(path: Path) -> Any:
    return _zarr().open_group(path, mode="r+")


def _new_group(path: Path, attributes: dict[str, Any]) -> Any:
    return _zarr().create_group(path, attributes=attributes)


def _create_pairs(group: Any, n_kept: int) -> None:
    attributes = {"encoding-type": "csr_matrix", "encoding-version": "0.1.0", "shape": [0, n_kept]}
    pairs = group.create_group(PAIRS, attributes=attributes)
    for name, dtype, chunk in (
        ("data", np.float32, _CHUNK_VALUES),
        ("indices", np.int32, _CHUNK_VALUES),
        ("indptr", np.int64, _CHUNK_ROWS),
    ):
        pairs.create_array(name, shape=(0,), dtype=dtype, chunks=(chunk,))
    pairs["indptr"].append(np.zeros(1, np.int64))


def _append(pairs: Any, cells: sparse.csr_matrix, n_cells: int) -> None:
    n_values = pairs["data"].shape[0]
    pairs["data"].append(cells.data.astype(np.float32, copy=False))
    pairs["indices"].append(cells.indices.astype(np.int32, copy=False))
    pairs["indptr"].append(cells.indptr[1:].astype(np.int64) + n_values)
    pairs.attrs["shape"] = [n_cells, cells.shape[1]]


def _plain(value: Any) -> Any:
    """As JSON gives it back."""
    return json.loads(json.dumps(value))
