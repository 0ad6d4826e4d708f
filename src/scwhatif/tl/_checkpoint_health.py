"""Health of the embedding at every checkpoint of a run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd

from scwhatif._keys import Key
from scwhatif._provenance import params
from scwhatif._quiet import quiet
from scwhatif._validation import check_obs_key

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

    from anndata import AnnData
    from numpy.typing import ArrayLike, NDArray

_WEIGHTS = "model.pt"
_EPOCH = re.compile(r"epoch=(\d+)")


def checkpoint_health(
    adata: AnnData,
    paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    model_class: Any,
    identity_key: str | None = None,
    exam_key: str | None = None,
    indices: ArrayLike | None = None,
    n_cells: int = 4096,
    ks: Sequence[int] = (1, 5, 10),
    thresholds: Mapping[str, tuple[float, float]] | None = None,
    key_added: str = Key.uns.CHECKPOINT_HEALTH,
    seed: int = 0,
    copy: bool = False,
) -> AnnData | None:
    """Judge the embedding of every saved epoch of a run, after the run.

    The judge is the one of :func:`scwhatif.tl.embedding_health` and :class:`scwhatif.train.EmbeddingMonitor`, and every
    checkpoint is asked about the same cells. Save all epochs with
    ``model.train(enable_checkpointing=True, callbacks=[SaveCheckpoint(dirpath=…, save_top_k=-1)])`` of scvi-tools.

    Parameters
    ----------
    adata
        Cells, set up as for the models; nothing of the loading is written into it.
    paths
        A folder with saved models in it, or the folders of saved models. A name with ``epoch=3``, as
        ``SaveCheckpoint`` gives, says that epochs 0 to 3 had been run.
    model_class
        Class of the models, such as ``scvi.model.SCVI``.
    identity_key, exam_key
        Columns of ``obs``; with the first, retrieval and geometry are measured too, see
        :class:`scwhatif.train.EmbeddingMonitor`.
    indices
        Positions of cells to look at, such as those held out: a checkpoint does not know its own. ``None`` is all.
    n_cells
        At most so many of them, drawn once.
    ks
        Values of *k* of Rank@k.
    thresholds
        As in :func:`scwhatif.metrics.embedding_verdict`.
    key_added
        Key of ``uns`` to write to.
    seed
        Draws the cells.
    copy
        Whether to return a copy instead of writing into ``adata``.

    Returns
    -------
    ``None``, or the copy, with

    ``uns["checkpoint_health"]["table"]`` : DataFrame
        One row per checkpoint, those in a folder in the order of their epochs: ``checkpoint`` (name of its folder),
        ``epoch`` (float64, number of epochs run, NaN if not in the name), ``verdict``, ``status``, ``reasons``, and
        float64 the indicators of :func:`scwhatif.metrics.embedding_indicators` with ``active_share``; with
        ``identity_key`` also ``map``, ``map_at_r``, ``auc``, ``rank_<k>``, ``n_queries``, ``gallery`` and the scores of
        :func:`scwhatif.metrics.cluster_geometry`.
    ``uns["checkpoint_health"]["params"]`` : dict
        Arguments and versions.

    Raises
    ------
    FileNotFoundError
        A path does not exist or holds no saved model.
    TypeError
        A checkpoint is of another class, or ``adata`` is a MuData.
    KeyError
        A column of ``obs`` does not exist.
    ValueError
        ``exam_key`` comes without ``identity_key``, or a setting is out of range.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import scwhatif as wi
    >>> adata = wi.datasets.simulate_factors(150, 30, 3, seed=0)
    >>> wi.model.BetaLinearSCVI.setup_anndata(adata)
    >>> model = wi.model.BetaLinearSCVI(adata, n_latent=3, seed=0)
    >>> folder = Path(tempfile.mkdtemp())
    >>> for epoch in range(2):
    ...     model.train(max_epochs=1, seed=0, enable_progress_bar=False)
    ...     model.save(folder / f"epoch={epoch}")
    >>> wi.tl.checkpoint_health(adata, folder, model_class=wi.model.BetaLinearSCVI, identity_key="cell_type")
    >>> adata.uns["checkpoint_health"]["table"][["checkpoint", "epoch"]]
      checkpoint  epoch
    0    epoch=0    1.0
    1    epoch=1    2.0
    """
    if hasattr(adata, "mod"):
        msg = "checkpoint_health is for models of an AnnData, not of a MuData."
        raise TypeError(msg)
    for name, key in (("identity_key", identity_key), ("exam_key", exam_key)):
        if key is not None:
            check_obs_key(adata, key, name)
    if exam_key is not None and identity_key is None:
        msg = "exam_key says which cells of an identity are an answer, so it needs identity_key."
        raise ValueError(msg)
    folders = _folders(paths)
    with quiet("scvi"):
        for folder in folders:
            _check_class(folder, model_class)
    rows = _rows(adata, indices, n_cells, seed)
    identity, exam = (
        None if key is None else adata.obs[key].astype(str).to_numpy()[rows] for key in (identity_key, exam_key)
    )
    table = []
    for folder in folders:
        epoch = _EPOCH.search(folder.name)
        report = _look(adata, folder, model_class, rows, identity, exam, ks=ks, thresholds=thresholds, seed=seed)
        table.append(
            {
                "checkpoint": folder.name,
                "epoch": float(epoch[1]) + 1 if epoch else np.nan,
                "verdict": report.row["verdict"],
                "status": report.row["status"],
                "reasons": report.reasons,
                **report.row,
            }
        )
    found = adata.copy() if copy else adata
    found.uns[key_added] = {
        "table": pd.DataFrame(table, index=pd.Index([str(i) for i in range(len(table))])),
        Key.uns.PARAMS: params(
            model_class=model_class.__name__,
            identity_key=identity_key,
            exam_key=exam_key,
            n_cells=len(rows),
            ks=list(ks),
            thresholds=None if thresholds is None else {name: list(each) for name, each in thresholds.items()},
            seed=seed,
        ),
    }
    return found if copy else None


def _folders(paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]]) -> list[Path]:
    """Folders of saved models by epoch, then by name with its numbers in order."""
    if not isinstance(paths, str | Path) and not hasattr(paths, "__fspath__"):
        given = [Path(each) for each in cast("Sequence[str | os.PathLike[str]]", paths)]
        for folder in given:
            if not (folder / _WEIGHTS).is_file():
                msg = f"{folder} holds no saved model: there is no file {_WEIGHTS} in it."
                raise FileNotFoundError(msg)
        return given
    folder = Path(cast("str | os.PathLike[str]", paths))
    found = [folder] if (folder / _WEIGHTS).is_file() else [each.parent for each in folder.glob(f"*/{_WEIGHTS}")]
    if not found:
        msg = (
            f"{folder} holds no saved model: neither it nor a folder in it has a file {_WEIGHTS}. Save every epoch "
            "with scvi.train.SaveCheckpoint(dirpath=…, save_top_k=-1), or models with model.save(…)."
        )
        raise FileNotFoundError(msg)

    def place(each: Path) -> tuple[float, list[tuple[int, int | str]]]:
        epoch = _EPOCH.search(each.name)
        parts = [(0, int(part)) if part.isdigit() else (1, part) for part in re.split(r"(\d+)", each.name) if part]
        return (float(epoch[1]) if epoch else np.inf, parts)

    return sorted(found, key=place)


def _check_class(folder: Path, model_class: Any) -> None:
    name = model_class.load_registry(str(folder)).get("model_name")
    if name != model_class.__name__:
        msg = f"{folder} holds a {name}, not a {model_class.__name__}; pass model_class=."
        raise TypeError(msg)


def _rows(adata: AnnData, indices: ArrayLike | None, n_cells: int, seed: int) -> NDArray[np.int64]:
    if n_cells < 2:
        msg = f"n_cells={n_cells} must be at least 2."
        raise ValueError(msg)
    rows = np.arange(adata.n_obs) if indices is None else np.sort(np.asarray(indices)).astype(np.int64)
    if rows.ndim != 1 or len(rows) < 2 or rows[0] < 0 or rows[-1] >= adata.n_obs:
        msg = f"indices must hold two or more positions from 0 to {adata.n_obs - 1}."
        raise ValueError(msg)
    if len(rows) > n_cells:
        rows = np.sort(np.random.default_rng(seed).choice(rows, n_cells, replace=False))
    return rows


def _look(
    adata: AnnData,
    folder: Path,
    model_class: Any,
    rows: NDArray[np.int64],
    identity: NDArray | None,
    exam: NDArray | None,
    **settings: Any,
) -> Any:
    from scwhatif._compat import seeded
    from scwhatif.metrics._embedding_report import embedding_report
    from scwhatif.tl._beta_fit import shallow

    # loading registers the data it is given, and writes into them
    cells = shallow(adata)
    cells.var = adata.var.copy()
    with quiet("scvi"), seeded(settings["seed"]):
        model = model_class.load(str(folder), adata=cells, accelerator="cpu")
        try:
            z = np.asarray(model.get_latent_representation(indices=rows))
        finally:
            model.deregister_manager(cells)
    return embedding_report(z, identity=identity, exam=exam, **settings)
