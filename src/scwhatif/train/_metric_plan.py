"""The training plan of :class:`scwhatif.model.MetricEncoder`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from scvi import REGISTRY_KEYS

from scwhatif.metrics import retrieval_scores
from scwhatif.metrics._cluster_geometry import cluster_geometry
from scwhatif.module._metric_encoder import EXAM_KEY, IDENTITY_KEY
from scwhatif.nn._metric_loss import default_margin, has_margin
from scwhatif.train._bank_pairs import BankPairs
from scwhatif.train._divergence import TrainingDivergedError
from scwhatif.train._global_hard_pairs import GlobalPairs, global_hard_pairs
from scwhatif.train._metric_settings import BANK_SIZE, check_mining, gain_needed, uses_margin
from scwhatif.train._mine_triplets import mine_triplets
from scwhatif.train._training_plan import TrainingPlan

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scwhatif.module._metric_encoder import MetricEncoderModule
    from scwhatif.nn import MetricLoss
    from scwhatif.train._metric_settings import Mining, Monitor, Search
    from scwhatif.train._pk_splitter import PKSplitter

_CHUNK = 8192
_SUMMED = ("loss", "active_pairs", "batch_intra", "batch_inter")
_SOUGHT = ("pairs_age", "rows_searched")


class MetricTrainingPlan(TrainingPlan):
    """Chooses pairs, scores retrieval after every epoch, and takes the weights of the best one, epoch 0 included.

    Parameters
    ----------
    module
        Module to train.
    metric_loss
        The loss. Its proxies, if it has any, are trained too.
    mining
        What the loss compares, or a dict of what from which epoch on (counted from 0).
    margin
        A number, or a dict of margins by epoch, linear in between; ``None`` is the default of the loss.
    refresh_every
        Epochs between two searches for the pairs of ``"full-hard"``.
    search, bank_size
        Whether these are sought among all training rows (``"exact"``) or in a bank of the last rows of batches, and how
        many it holds; 4096 by default.
    positive_quantile, negative_ranks
        As in :func:`scwhatif.train.global_hard_pairs`.
    monitor
        What the best epoch is the best in: ``"map"`` or ``"rank_1"`` of the validation rows.
    min_gain
        Share of what epoch 0 misses (1 less its score) that an epoch must gain to be taken instead of it, and at least
        .01; with 0, any gain will do.
    max_queries
        At most so many validation rows ask for others.
    lr, weight_decay
        Of AdamW.
    seed
        Draws random negatives, ranks and validation queries.
    **kwargs
        Further arguments of :class:`scwhatif.train.TrainingPlan`.

    Raises
    ------
    ValueError
        A setting is not known or out of range, or settings contradict each other.
    """

    module: MetricEncoderModule

    def __init__(
        self,
        module: MetricEncoderModule,
        *,
        metric_loss: MetricLoss,
        mining: Mining | Mapping[int, Mining] = "all",
        margin: float | Mapping[int, float] | None = None,
        refresh_every: int = 1,
        search: Search = "exact",
        bank_size: int | None = None,
        positive_quantile: float = 0.5,
        negative_ranks: tuple[int, int] = (3, 12),
        monitor: Monitor = "map",
        min_gain: float = 0.0,
        max_queries: int = 2048,
        lr: float = 1e-3,
        weight_decay: float = 1e-2,
        seed: int | None = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(module, lr=lr, weight_decay=weight_decay, **kwargs)
        check_mining(
            metric_loss.name,
            mining,
            margin,
            refresh_every=refresh_every,
            search=search,
            bank_size=bank_size,
            monitor=monitor,
            min_gain=min_gain,
            positive_quantile=positive_quantile,
            negative_ranks=negative_ranks,
        )
        self.metric_loss = metric_loss
        self.mining = {0: mining} if isinstance(mining, str) else dict(sorted(mining.items()))
        margin = default_margin(metric_loss.name) if margin is None else margin
        self.margins = dict(sorted(margin.items())) if not isinstance(margin, float | int) else {0: float(margin)}
        self.refresh_every, self.search = refresh_every, search
        self.bank_size = BANK_SIZE if bank_size is None else bank_size
        self.positive_quantile, self.negative_ranks = positive_quantile, negative_ranks
        self.monitor, self.min_gain, self.max_queries = monitor, min_gain, max_queries
        self.seed = 0 if seed is None else seed
        self.best_epoch, self.best_score = 0, -np.inf
        self.table: list[dict[str, Any]] = []
        self._best_state: dict[str, torch.Tensor] = {}
        self._pairs: GlobalPairs | None = None
        self._pairs_epoch = 0
        self._bank: BankPairs | None = None
        self._totals = dict.fromkeys((*_SUMMED, *_SOUGHT, "n"), 0.0)
        self._generator: torch.Generator | None = None
        self._proxy_of: torch.Tensor | None = None

    def mining_at(self, epoch: int) -> str:
        """What is compared in an epoch, counted from 0.

        Parameters
        ----------
        epoch
            Its number.

        Returns
        -------
        One of the strategies.
        """
        return self.mining[max(start for start in self.mining if start <= epoch)]

    def margin_at(self, epoch: int) -> float:
        """Margin in an epoch, counted from 0.

        Parameters
        ----------
        epoch
            Its number.

        Returns
        -------
        The margin.
        """
        return float(np.interp(epoch, list(self.margins), list(self.margins.values())))

    def configure_optimizers(self) -> dict[str, Any]:
        """As in the base plan, and the proxies."""
        config = super().configure_optimizers()
        proxies = list(self.metric_loss.parameters())
        if proxies:
            config["optimizer"].add_param_group({"params": proxies, "weight_decay": 0.0})
        return config

    @property
    def _data(self) -> PKSplitter:
        return self.trainer.datamodule

    def on_train_start(self) -> None:
        """Score the input, which is epoch 0."""
        super().on_train_start()
        if self.metric_loss.proxies is not None:
            rows = self._train_rows()
            identity = self._data.rows.identity
            known, codes = identity[rows].unique(return_inverse=True)
            self._proxy_of = torch.full((int(identity.max()) + 1,), -1, device=identity.device)
            self._proxy_of[known] = torch.arange(len(known), device=identity.device)
            self.metric_loss.start_proxies(self.embed(rows), codes)
        self._note(0, {"mining": "none", "margin": np.nan, **dict.fromkeys((*_SUMMED, *_SOUGHT), np.nan)})

    def on_train_epoch_start(self) -> None:
        """Set strategy and margin of this epoch, and look for pairs among all rows if it is due."""
        epoch = self.current_epoch
        self._totals = dict.fromkeys(self._totals, 0.0)
        if has_margin(self.metric_loss.name):
            self.metric_loss.margin = self.margin_at(epoch)
        self._generator = torch.Generator(self.device)
        self._generator.manual_seed(
            int(np.random.SeedSequence([self.seed, epoch, self.global_rank]).generate_state(1)[0])
        )
        if self.mining_at(epoch) != "full-hard":
            self._pairs = self._bank = None
        elif self.search == "bank":
            self._bank = self._new_bank() if self._bank is None else self._bank
        elif self._pairs is None or epoch - self._pairs_epoch >= self.refresh_every:
            self._pairs, self._pairs_epoch = self._search(epoch), epoch

    def _new_bank(self) -> BankPairs:
        data, size = self._data.rows, min(self.bank_size, len(self._data.train_idx))
        return BankPairs(
            size,
            data.identity,
            exams=data.exam,
            positive_quantile=self.positive_quantile,
            negative_ranks=self.negative_ranks,
            seed=int(np.random.SeedSequence([self.seed, self.global_rank]).generate_state(1)[0]),
        )

    def _search(self, epoch: int) -> GlobalPairs:
        data, rows = self._data.rows, self._train_rows()
        found = global_hard_pairs(
            self.embed(rows),
            data.identity[rows],
            exams=None if data.exam is None else data.exam[rows],
            positive_quantile=self.positive_quantile,
            negative_ranks=self.negative_ranks,
            seed=self.seed + epoch,
        )
        # positions among all rows, which is how batches name theirs
        pairs = GlobalPairs(*(torch.full((len(data),), -1, device=rows.device) for _ in found))
        for mine, theirs in zip(found, pairs, strict=True):
            theirs[rows] = torch.where(mine < 0, -1, rows[mine])
        return pairs

    def _train_rows(self) -> torch.Tensor:
        return torch.as_tensor(np.asarray(self._data.train_idx, dtype=np.int64), device=self._data.rows.x.device)

    def training_step(self, batch: dict[str, torch.Tensor], batch_idx: int) -> torch.Tensor:
        """One batch of identities."""
        triplets = None
        if self.mining_at(self.current_epoch) == "full-hard":
            batch, triplets = self._with_pairs(batch)
        inferred, _ = self.module(batch, compute_loss=False)
        z, identity = inferred["z"], batch[IDENTITY_KEY]
        if not torch.isfinite(z).all():
            self._raise_diverged(float("nan"))
        if self._proxy_of is not None:
            batch = {**batch, IDENTITY_KEY: self._proxy_of[identity]}
        compared = self._chosen(z, batch) if triplets is None else triplets
        loss = self.module.loss(batch, inferred, {}, metric_loss=self.metric_loss, compared=compared).loss
        if not torch.isfinite(loss):
            self._raise_diverged(loss.item())
        seen = {} if self._proxy_of is not None else self.metric_loss.statistics(z, identity, compared)
        for name, value in {"loss": loss.item(), "n": 1.0, **seen}.items():
            self._totals[name] += value
        self.log("train_loss", loss.detach(), on_step=False, on_epoch=True, prog_bar=True, batch_size=len(z))
        return loss

    def _with_pairs(self, batch: dict[str, torch.Tensor]) -> tuple[dict[str, torch.Tensor], tuple[torch.Tensor, ...]]:
        """A batch with the positive and negative found for each of its rows, and the triplets of them."""
        anchor = batch[REGISTRY_KEYS.INDICES_KEY]
        if self._bank is not None:
            (positive, negative), age = self._bank.choose(self.embed(anchor), anchor)
            for name, value in zip(_SOUGHT, (age, len(self._bank)), strict=True):
                self._totals[name] += value
        elif self._pairs is not None:
            positive, negative = self._pairs.positive[anchor], self._pairs.negative[anchor]
        else:
            msg = "mining='full-hard' needs pairs found among all training rows, and no search has been made."
            raise RuntimeError(msg)
        known = (positive >= 0) & (negative >= 0)
        rows = torch.cat([anchor[known], positive[known], negative[known]])
        places = torch.arange(len(rows), device=rows.device)
        return self._data.rows[rows], tuple(places.chunk(3))

    def _chosen(self, z: torch.Tensor, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, ...] | None:
        mining = self.mining_at(self.current_epoch)
        identity, exam = batch[IDENTITY_KEY], batch.get(EXAM_KEY)
        if mining != "all":
            return mine_triplets(
                z,
                identity,
                strategy=mining,  # type: ignore[arg-type]
                margin=self.margin_at(self.current_epoch),
                exams=exam,
                generator=self._generator,
            )
        if exam is None or self._proxy_of is not None:
            return None
        same = identity[:, None] == identity[None]
        elsewhere = same & (exam[:, None] != exam[None])
        return (*elsewhere.nonzero(as_tuple=True), *(~same).nonzero(as_tuple=True))

    def on_train_epoch_end(self) -> None:
        """Check the epoch's health, score it, log it, and remember the best weights."""
        names = list(self._totals)
        sums = self._reduce(torch.tensor([self._totals[name] for name in names], dtype=torch.float64))
        totals = dict(zip(names, sums.tolist(), strict=True))
        means = {name: totals[name] / totals["n"] for name in _SUMMED}
        if self._proxy_of is not None:
            means |= dict.fromkeys(("active_pairs", "batch_intra", "batch_inter"), np.nan)
        if not self._weights_are_finite():
            self._raise_diverged(means["loss"])
        epoch = self.current_epoch
        margin = self.margin_at(epoch) if uses_margin(self.metric_loss.name, [self.mining_at(epoch)]) else np.nan
        sought = dict.fromkeys(_SOUGHT, np.nan)
        if self._bank is not None:
            # from batches to epochs
            n_steps = totals["n"] / self.trainer.world_size
            sought = {name: totals[name] / totals["n"] for name in _SOUGHT}
            sought["pairs_age"] /= n_steps
        elif self._pairs is not None:
            sought = {"pairs_age": float(epoch - self._pairs_epoch), "rows_searched": float(len(self._data.train_idx))}
        self._note(epoch + 1, {"mining": self.mining_at(epoch), "margin": margin, **means, **sought})
        row = self.table[-1]
        logged = {f"validation_{name}": row[name] for name in ("map", "rank_1", "auc", "ratio")}
        logged |= {name: row[name] for name in (*_SUMMED[1:], "margin") if np.isfinite(row[name])}
        self.log_dict({name: float(value) for name, value in logged.items()})

    def _note(self, epoch: int, row: dict[str, Any]) -> None:
        """Score the validation rows, and keep the weights if they are the best so far."""
        score = self.scores()
        self.table.append({"epoch": epoch, **row, **score})
        start = self.table[0][self.monitor]
        enough = epoch == 0 or score[self.monitor] - start >= gain_needed(start, self.min_gain)
        if score[self.monitor] > self.best_score and enough:
            self.best_epoch, self.best_score = epoch, score[self.monitor]
            self._best_state = self._snapshot()

    def scores(self) -> dict[str, float]:
        """Retrieval of the validation rows with the weights as they are.

        Returns
        -------
        ``"map"``, ``"rank_1"``, ``"auc"`` and ``"ratio"`` (of mean squared distances between identities and within).
        """
        data = self._data
        gallery = data.gallery
        asking = np.flatnonzero(np.isin(gallery, np.asarray(data.val_idx)))
        if len(asking) > self.max_queries:
            asking = np.sort(np.random.default_rng(self.seed).choice(asking, self.max_queries, replace=False))
        rows = torch.as_tensor(gallery, device=data.rows.x.device)
        z = self.embed(rows).double().cpu().numpy()
        identity = data.rows.identity[rows].cpu().numpy()
        exam = None if data.rows.exam is None else data.rows.exam[rows].cpu().numpy()
        found = retrieval_scores(z, identity, exam=exam, queries=asking, ks=(1,))
        geometry = cluster_geometry(z, identity, max_queries=1).scores
        return {
            "map": float(found["ap"].mean()),
            "rank_1": float(found["rank@1"].mean()),
            "auc": float(found["auc"].mean()),
            "ratio": float(geometry["ratio"]),
        }

    @torch.no_grad()
    def embed(self, rows: torch.Tensor) -> torch.Tensor:
        """Embed rows in evaluation mode.

        Parameters
        ----------
        rows
            Positions, on the device.

        Returns
        -------
        ``(n_rows, n_latent)``.
        """
        training = self.module.training
        self.module.eval()
        try:
            x = self._data.rows.x
            return torch.cat([self.module.inference(x[part])["z"] for part in rows.split(_CHUNK)])
        finally:
            self.module.train(training)

    def on_train_end(self) -> None:
        """Take the best weights."""
        self.module.load_state_dict(self._best_state)

    def _raise_diverged(self, loss: float) -> None:
        self.module.load_state_dict(self._best_state)
        epoch = self.current_epoch
        msg = (
            f"Training diverged in epoch {epoch} (counting from 0): loss {loss:g}. Restored the weights of the best "
            f"epoch before, which is after {self.best_epoch} epoch(s). Likely cause: the learning rate lr={self.lr:g} "
            f"is too high; lower it (plan_kwargs={{'lr': {self.lr / 10:g}}})."
        )
        raise TrainingDivergedError(msg, epoch, self.best_epoch)


def run_table(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """What was noted, one row per epoch."""
    return pd.DataFrame(rows).astype({"epoch": np.int64})
