"""Saving that leaves the model saved before, if it fails."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any


class AtomicSaveMixin:
    """Writes a model beside its place and moves it there when it is whole."""

    def save(
        self,
        dir_path: str,
        prefix: str | None = None,
        overwrite: bool = False,  # noqa: FBT001, FBT002
        **kwargs: Any,
    ) -> None:
        """Save the model.

        On a full disk, or if the process is killed, a model that was in the folder before is still there, whole: each
        file is written elsewhere on the same disk and put into its place in one step, the model last.

        Parameters
        ----------
        dir_path
            Folder.
        prefix
            Put in front of the names of the files.
        overwrite
            Replace a model that is there.
        **kwargs
            Further arguments of scvi-tools' ``save``, such as ``save_anndata``.

        Raises
        ------
        ValueError
            The folder exists, and ``overwrite`` is false.
        OSError
            There is no room.
        """
        folder = Path(dir_path)
        if folder.exists() and not overwrite:
            msg = f"{str(dir_path)!r} already exists. Pass overwrite=True to replace the model in it."
            raise ValueError(msg)
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as beside:
            written = Path(beside) / "model"
            super().save(str(written), prefix=prefix, **kwargs)  # type: ignore[misc]
            folder.mkdir(exist_ok=True)
            for file in sorted(written.iterdir(), key=lambda file: file.suffix == ".pt"):
                file.replace(folder / file.name)
