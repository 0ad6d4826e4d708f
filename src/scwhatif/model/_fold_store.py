"""Models of the folds of a cross-validation on disk, each written all at once."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

if TYPE_CHECKING:
    import os

_MANIFEST = "cross_validate.json"
_SCORES = "scores.json"
_MODEL = "model"


def write_fold(folder: str | os.PathLike[str], name: str, model: Any, scores: list[dict[str, Any]]) -> None:
    """Save model and scores of a fold so that it is there as a whole or not at all.

    Parameters
    ----------
    folder
        Where folds lie.
    name
        Of the fold.
    model
        Trained.
    scores
        Rows of its table.
    """
    final = Path(folder) / name
    # a name of its own: two runs may share a folder
    temporary = final.with_name(f".{name}.{uuid4().hex}.tmp")
    try:
        model.save(str(temporary / _MODEL), save_anndata=False)
        (temporary / _SCORES).write_text(json.dumps(scores))
        temporary.replace(final)
    except OSError:
        # the other run was faster
        if not (final / _SCORES).exists():
            raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def read_scores(folder: str | os.PathLike[str], name: str) -> list[dict[str, Any]] | None:
    """Read the scores of a fold.

    Parameters
    ----------
    folder, name
        As for :func:`write_fold`.

    Returns
    -------
    Rows of its table; ``None`` if the fold is not there.

    Raises
    ------
    ValueError
        The file is damaged.
    """
    path = Path(folder) / name / _SCORES
    if not path.exists():
        return None
    try:
        scores: list[dict[str, Any]] = json.loads(path.read_text())
    except ValueError as error:
        msg = f"{path} cannot be read as the scores of a fold ({error}); delete {path.parent} to run it again."
        raise ValueError(msg) from error
    return scores


def model_path(folder: str | os.PathLike[str], name: str) -> Path:
    """Where the model of a fold lies.

    Parameters
    ----------
    folder, name
        As for :func:`write_fold`.

    Returns
    -------
    The folder that ``load`` of the model takes.
    """
    return Path(folder) / name / _MODEL


def write_manifest(folder: str | os.PathLike[str], manifest: dict[str, Any]) -> None:
    """Say which folds belong to the cross-validation run last.

    Parameters
    ----------
    folder
        Where folds lie.
    manifest
        ``"model_class"``, ``"obs_names"`` and ``"folds"``: name, and positions of training, validation and test samples
        by fold.
    """
    final = Path(folder) / _MANIFEST
    temporary = final.with_name(f".{_MANIFEST}.{uuid4().hex}.tmp")
    try:
        temporary.write_text(json.dumps(manifest))
        temporary.replace(final)
    finally:
        temporary.unlink(missing_ok=True)


def read_manifest(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """Read what :func:`write_manifest` wrote.

    Parameters
    ----------
    folder
        Where folds lie.

    Returns
    -------
    The manifest.

    Raises
    ------
    FileNotFoundError
        There is none.
    """
    path = Path(folder) / _MANIFEST
    if not path.exists():
        msg = (
            f"{Path(folder)} holds no {_MANIFEST}; run scwhatif.tl.cross_validate(mdata, …, directory=…) with this "
            "folder first."
        )
        raise FileNotFoundError(msg)
    manifest: dict[str, Any] = json.loads(path.read_text())
    return manifest
