"""Health of the latent space while a model is trained."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from lightning.pytorch.callbacks import Callback

from scwhatif._compat import seeded
from scwhatif.metrics._embedding_report import embedding_report

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lightning.pytorch import LightningModule, Trainer

_LOGGED = (
    "mean_cosine",
    "resultant_length",
    "erank_ratio",
    "top1",
    "uniformity",
    "active_share",
    "map",
    "map_at_r",
    "auc",
    "n_queries",
    "gallery",
    "intra",
    "inter",
    "ratio",
    "nn_accuracy",
    "calinski_harabasz",
    "davies_bouldin",
)


class EmbeddingMonitor(Callback):
    """Watch the latent space of a model of the scvi-tools kind, epoch by epoch, and say when it collapses.

    Pass it as ``model.train(callbacks=[monitor])``. It looks at the same cells every time, starts with the untrained
    model (epoch 0), and leaves training as it was: the generators and the mode of the module are put back, so the loss
    is the same to the last bit with and without it. A change of state is said once.

    Parameters
    ----------
    identity_key
        Column of ``obs``; with it retrieval is measured too (:func:`scwhatif.metrics.retrieval_scores`), so that
        training can stop on it: ``early_stopping_monitor="embedding_map"``, ``early_stopping_mode="max"``.
    exam_key
        Column of ``obs`` whose values an answer must not share with the query.
    split
        Cells to look at: of the ``"validation"`` set (all, where there is none), the ``"train"`` set, or ``"all"``.
    n_cells
        At most so many of them, drawn once.
    ks
        Values of *k* of Rank@k.
    max_queries
        At most so many of them ask for others of their identity, among all of them. This bounds the cost of a look.
    every_n_epochs
        How often to look.
    on_collapse
        ``"warn"``, or ``"stop"`` training at the end of the epoch in which the status becomes an error.
    thresholds
        As in :func:`scwhatif.metrics.embedding_verdict`.
    seed
        Draws the cells.

    Raises
    ------
    ValueError
        A setting is out of range or not known, or ``exam_key`` comes without ``identity_key``.

    Examples
    --------
    >>> import scwhatif as wi
    >>> adata = wi.datasets.simulate_factors(150, 30, 3, seed=0)
    >>> wi.model.BetaLinearSCVI.setup_anndata(adata)
    >>> model = wi.model.BetaLinearSCVI(adata, n_latent=3, seed=0)
    >>> monitor = wi.train.EmbeddingMonitor(identity_key="cell_type")
    >>> model.train(max_epochs=2, seed=0, enable_progress_bar=False, callbacks=[monitor])
    >>> monitor.table_["epoch"].tolist(), len(model.history["embedding_map"])
    ([0, 1, 2], 2)
    """

    def __init__(
        self,
        *,
        identity_key: str | None = None,
        exam_key: str | None = None,
        split: Literal["validation", "train", "all"] = "validation",
        n_cells: int = 4096,
        ks: Sequence[int] = (1, 5, 10),
        max_queries: int = 1024,
        every_n_epochs: int = 1,
        on_collapse: Literal["warn", "stop"] = "warn",
        thresholds: dict[str, tuple[float, float]] | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        for name, value, known in (
            ("split", split, ("validation", "train", "all")),
            ("on_collapse", on_collapse, ("warn", "stop")),
        ):
            if value not in known:
                msg = f"{name}={value!r} must be one of {known}."
                raise ValueError(msg)
        for name, number in (
            ("n_cells", n_cells),
            ("max_queries", max_queries),
            ("every_n_epochs", every_n_epochs),
            *(("ks", k) for k in ks),
        ):
            if number < 1:
                msg = f"{name}={number} must be at least 1."
                raise ValueError(msg)
        if exam_key is not None and identity_key is None:
            msg = "exam_key says which cells of an identity are an answer, so it needs identity_key."
            raise ValueError(msg)
        self.identity_key, self.exam_key = identity_key, exam_key
        self.split, self.n_cells, self.every_n_epochs = split, n_cells, every_n_epochs
        self.ks, self.max_queries = tuple(ks), max_queries
        self.on_collapse, self.thresholds, self.seed = on_collapse, thresholds, seed
        self._rows: list[dict[str, Any]] = []
        self._cells: np.ndarray | None = None
        self._status = "ok"

    @property
    def table_(self) -> pd.DataFrame:
        """One row per look.

        Returns
        -------
        ``epoch`` (0 is before training), ``verdict``, ``status``, all indicators of
        :func:`scwhatif.metrics.embedding_indicators` with ``active_share`` (of the dimensions), and with
        ``identity_key`` ``map``, ``map_at_r``, ``auc``, ``rank_<k>``, ``n_queries``, ``gallery`` (mean number of cells
        ranked) and the scores of :func:`scwhatif.metrics.cluster_geometry`: ``intra``, ``inter`` and ``ratio`` over
        **all** pairs of the cells, which is not what a training step logs of its batch, ``nn_accuracy``,
        ``calinski_harabasz`` and ``davies_bouldin``. In ``model.history`` are, as ``embedding_<name>``,
        ``mean_cosine``, ``resultant_length``, ``erank_ratio``, ``top1``, ``uniformity``, ``active_share`` and all that
        ``identity_key`` brings.
        """
        return pd.DataFrame(self._rows)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the cells and look at the untrained model.

        Parameters
        ----------
        trainer, pl_module
            As Lightning passes them.

        Raises
        ------
        KeyError
            ``identity_key`` or ``exam_key`` is no column of ``obs``.
        """
        model = trainer._model  # type: ignore[attr-defined]
        adata = model.adata
        for key in (self.identity_key, self.exam_key):
            if key is not None and key not in adata.obs:
                msg = f"EmbeddingMonitor was given {key!r}, which is no column of adata.obs: {list(adata.obs)}."
                raise KeyError(msg)
        part = {"validation": "val_idx", "train": "train_idx"}.get(self.split)
        rows = getattr(trainer.datamodule, part, None) if part else None  # type: ignore[attr-defined]
        rows = np.arange(adata.n_obs) if rows is None or len(rows) < 2 else np.sort(np.asarray(rows))
        if len(rows) > self.n_cells:
            rows = np.sort(np.random.default_rng(self.seed).choice(rows, self.n_cells, replace=False))
        self._cells = rows
        if not self._rows:
            self._look(trainer, 0)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look before early stopping does."""
        if not trainer.sanity_checking:
            self._end_of_epoch(trainer, pl_module)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look, unless validation has."""
        self._end_of_epoch(trainer, pl_module)

    def _end_of_epoch(self, trainer: Trainer, pl_module: LightningModule) -> None:
        epoch = trainer.current_epoch + 1
        if self._rows[-1]["epoch"] < epoch and epoch % self.every_n_epochs == 0:
            self._look(trainer, epoch)
            row = self._rows[-1]
            for name in (*_LOGGED, *(f"rank_{k}" for k in self.ks)):
                if row.get(name) is not None and np.isfinite(row[name]):
                    pl_module.log(f"embedding_{name}", float(row[name]), on_epoch=True, batch_size=1)

    def _look(self, trainer: Trainer, epoch: int) -> None:
        model = trainer._model  # type: ignore[attr-defined]
        z = self._encode(model)
        obs = model.adata.obs.iloc[self._cells]
        identity, exam = (
            None if key is None else obs[key].astype(str).to_numpy() for key in (self.identity_key, self.exam_key)
        )
        report = embedding_report(
            z,
            identity=identity,
            exam=exam,
            ks=self.ks,
            max_queries=self.max_queries,
            thresholds=self.thresholds,
            seed=self.seed,
        )
        self._rows.append({"epoch": epoch, **report.row})
        self._say(trainer, str(report.row["status"]), report.reasons)

    def _encode(self, model: Any) -> np.ndarray:
        """Codes of the cells, with everything that training depends on put back."""
        training, trained, device = model.module.training, model.is_trained_, model.module.device
        model.is_trained_ = True
        model.module.eval()
        try:
            with seeded(self.seed):
                return np.asarray(model.get_latent_representation(indices=self._cells))
        finally:
            model.is_trained_ = trained
            model.module.to(device)
            model.module.train(training)

    def _say(self, trainer: Trainer, status: str, reasons: str) -> None:
        if status != self._status and status != "ok":
            epoch = self._rows[-1]["epoch"]
            msg = f"EmbeddingMonitor, epoch {epoch}: {self._rows[-1]['verdict']} ({status}): {reasons}."
            warnings.warn(msg, UserWarning, stacklevel=2)
        if status == "error" and self.on_collapse == "stop" and self._rows[-1]["epoch"] > 0:
            trainer.should_stop = True
        self._status = status
