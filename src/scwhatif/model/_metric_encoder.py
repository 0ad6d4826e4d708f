"""An embedding in which rows of one identity are neighbours."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from scvi.model.base import BaseModelClass

from scwhatif._compat import seeded
from scwhatif._validation import check_var_names
from scwhatif.model._metric_encoder_checks import check_encoder_settings, check_input, input_of, tell_dropped
from scwhatif.model._metric_encoder_evaluation_mixin import MetricEncoderEvaluationMixin
from scwhatif.model._metric_encoder_rows import read_rows, split_rows
from scwhatif.model._summary_mixin import SummaryMixin
from scwhatif.model._training_mixin import TrainingMixin
from scwhatif.module._metric_encoder import MetricEncoderModule
from scwhatif.nn._metric_loss import MetricLoss, check_loss, has_proxies
from scwhatif.train._metric_plan import MetricTrainingPlan, run_table
from scwhatif.train._metric_settings import check_bank, check_mining
from scwhatif.train._pk_sampler import PKSampler, has_positive
from scwhatif.train._pk_splitter import PKSplitter

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anndata import AnnData

    from scwhatif.model._metric_encoder_rows import SplitBy
    from scwhatif.nn._metric_loss import Loss
    from scwhatif.train._metric_settings import Mining, Monitor, Search


class MetricEncoder(MetricEncoderEvaluationMixin, SummaryMixin, TrainingMixin, BaseModelClass):
    r"""Learns an embedding in which rows of one identity, seen in different exams, are each other's neighbours.

    By default it is a head on an embedding, :math:`z + f(z)` with :math:`f = 0` at the start, so that it **is** the
    embedding before training. It is judged by identities it has not learnt from, after every epoch, and the best epoch
    is kept. If that is epoch 0, training does not help, and the input comes back as it was (:attr:`improved_`). With
    few identities this is common: networks trained from scratch often lose to their input there.

    Parameters
    ----------
    adata
        Rows registered with :meth:`setup_anndata`.
    registry
        Registry of a saved model, to load it without data.
    encoder
        ``"residual"`` as above, of the size of the input; ``"mlp"``: a network from scratch.
    n_latent
        Dimensions of ``"mlp"``; 32 by default.
    n_hidden, n_layers, dropout_rate
        Of the network :math:`f`.
    seed
        Seeds the initial weights.

    Attributes
    ----------
    table_
        One row per epoch of the last training, from epoch 0, which is before it: ``epoch``, what was compared
        (``mining``, ``margin``), ``loss``, what the loss saw (``active_pairs``, ``batch_intra``, ``batch_inter``, as
        :meth:`scwhatif.nn.MetricLoss.statistics` has them), of the pairs of ``"full-hard"`` how many epochs ago they
        were embedded (``pairs_age``) and among how many rows they were sought (``rows_searched``), and of the
        validation rows ``map``, ``rank_1``, ``auc`` and ``ratio`` (of squared distances between identities and within).
        ``model.history`` has most of it from epoch 1.
    best_epoch_
        The epoch whose weights were taken.
    improved_
        Whether the model finds the validation rows better than its input does.
    split_by_
        What was held out: ``"identity"``, ``"exam"``, ``"row"``, or ``"external"``.
    gallery_indices_
        Positions of the rows among which validation rows look for others of their identity.
    n_dropped_
        Rows that took no part for want of another of their identity.

    Raises
    ------
    ValueError
        A setting is not known or out of range.

    Examples
    --------
    >>> import scwhatif as wi
    >>> adata = wi.datasets.simulate_factors(240, 30, 8, n_cell_types=8, n_batches=2, seed=0)
    >>> wi.model.MetricEncoder.setup_anndata(adata, identity_key="cell_type", exam_key="batch")
    >>> model = wi.model.MetricEncoder(adata, n_hidden=16)
    >>> model.train(max_epochs=2, enable_progress_bar=False)
    >>> adata.obsm["X_metric"] = model.get_latent_representation()
    >>> model.table_["epoch"].tolist(), model.split_by_
    ([0, 1, 2], 'identity')
    """

    _module_cls = MetricEncoderModule
    _row_name = "rows"
    # the plan's table, best weights and mined pairs are not kept
    _resumable = False
    _training_plan_cls = MetricTrainingPlan  # type: ignore[assignment]
    _data_splitter_cls = PKSplitter

    def __init__(
        self,
        adata: AnnData | None = None,
        registry: dict[str, Any] | None = None,
        *,
        encoder: Literal["residual", "mlp"] = "residual",
        n_latent: int | None = None,
        n_hidden: int = 128,
        n_layers: int = 1,
        dropout_rate: float = 0.0,
        seed: int | None = 42,
    ) -> None:
        super().__init__(adata, registry)
        setup = self._setup
        n_input = int(self.summary_stats["n_vars" if setup["obsm_key"] is None else "n_embedding"])
        check_encoder_settings(
            encoder=encoder,
            n_input=n_input,
            n_latent=n_latent,
            n_hidden=n_hidden,
            n_layers=n_layers,
            dropout_rate=dropout_rate,
        )
        self.encoder = encoder
        self.n_latent = n_input if encoder == "residual" else (n_latent or 32)
        with seeded(seed):
            self.module = self._module_cls(
                n_input,
                n_latent=self.n_latent,
                encoder=encoder,
                counts=setup["input_kind"] == "counts",
                n_hidden=n_hidden,
                n_layers=n_layers,
                dropout_rate=dropout_rate,
            )
        self.table_: pd.DataFrame | None = None
        self.best_epoch_: int | None = None
        self.improved_: bool | None = None
        self.split_by_: str | None = None
        self.n_dropped_ = 0
        self.gallery_indices_: np.ndarray | None = None
        where = "X" if setup["layer"] is None else f"layers[{setup['layer']!r}]"
        where = where if setup["obsm_key"] is None else f"obsm[{setup['obsm_key']!r}]"
        self._model_summary_string = (
            f"MetricEncoder: encoder {encoder} on {where} ({setup['input_kind']}, {n_input} features) to "
            f"{self.n_latent} dimensions; identity {setup['identity_key']!r}, exam {setup['exam_key']!r}"
        )
        self.init_params_ = self._get_init_params(locals())

    def train(  # type: ignore[override]
        self,
        max_epochs: int = 50,
        *,
        loss: Loss = "supcon",
        loss_kwargs: Mapping[str, Any] | None = None,
        mining: Mining | Mapping[int, Mining] = "all",
        margin: float | Mapping[int, float] | None = None,
        refresh_every: int = 1,
        search: Search = "exact",
        bank_size: int | None = None,
        positive_quantile: float = 0.5,
        negative_ranks: tuple[int, int] = (3, 12),
        n_identities: int | None = None,
        n_per_identity: int = 4,
        split_by: SplitBy | None = None,
        validation_size: float | None = None,
        external_indexing: Sequence[np.ndarray] | None = None,
        monitor: Monitor = "map",
        min_gain: float = 0.05,
        early_stopping: bool = True,
        early_stopping_patience: int = 10,
        seed: int | None = 42,
        plan_kwargs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Train, and take the weights of the epoch that finds held-out identities best, epoch 0 included.

        Rows whose identity was seen once, or in one exam only, take no part; how many is told.

        ================= ============================================================================================
        ``mining``        what the loss compares
        ================= ============================================================================================
        ``"all"``         all pairs of a batch
        ``"random"``      all positives of a batch, each with a random negative
        ``"semihard"``    all positives, each with the nearest negative beyond it but within the margin
        ``"hard"``        the farthest positive and the nearest negative of a batch
        ``"full-hard"``   a positive and a negative found among all training rows, behind guard rails
        ================= ============================================================================================

        Parameters
        ----------
        max_epochs
            Number of epochs.
        loss, loss_kwargs
            Name and options of :class:`scwhatif.nn.MetricLoss`.
        mining
            As above, or a dict of what from which epoch on: ``{0: "random", 5: "semihard"}``.
        margin
            Of the loss, and of ``"semihard"``; or a dict of margins by epoch, linear in between.
        refresh_every
            Epochs between two searches of ``"full-hard"``, if exact.
        search, bank_size
            Where ``"full-hard"`` looks for pairs. ``"exact"``: among all training rows, in a time that grows with their
            square. ``"bank"``: among the last ``bank_size`` rows of batches (4096 by default, at most as many as there
            are), in a time that grows with ``bank_size`` times the rows; they are as they were embedded then. The bank
            starts with the first batch, so the first steps choose among few rows, and ranks of negatives count from
            these: see ``rows_searched`` and ``pairs_age`` of :attr:`table_`. Up to some 10 000 rows the exact search
            costs no more. Under DDP every process has a bank of its own.
        positive_quantile, negative_ranks
            Its guard rails, as in :func:`scwhatif.train.global_hard_pairs`.
        n_identities, n_per_identity
            Identities per batch, by default 16 or all there are, and rows of each.
        split_by
            What is held out for validation: ``"identity"``, for claims about new identities; ``"exam"`` or ``"row"``,
            for claims about known ones seen again. By default identities where there are 5 or more, otherwise rows,
            which is told.
        validation_size
            Share to hold out; by default a third of the identities, or a quarter of the exams or rows.
        external_indexing
            Positions of training and validation rows, instead; others take no part, and are the test set.
        monitor
            Chooses the epoch: ``"map"`` or ``"rank_1"`` of the validation rows. The loss never does.
        min_gain
            Share of what the input misses (1 less its ``monitor``) that an epoch must gain to be taken instead of it,
            and at least .01: less is the noise of a few identities. With 0 any gain will do. ``encoder="mlp"``, which
            cannot give the input back, takes its best epoch.
        early_stopping, early_stopping_patience
            Stop when ``monitor`` has not risen for so many epochs. scvi-tools does not under DDP.
        seed
            Seeds split, batches and choice of pairs.
        plan_kwargs
            Further arguments of :class:`scwhatif.train.MetricTrainingPlan`: ``lr``, ``weight_decay`` …
        **kwargs
            Further arguments of scvi-tools' ``train`` and :class:`scvi.train.Trainer`; ``strategy`` is Lightning's.

        Raises
        ------
        ValueError
            A setting is not known, out of range or contradicts another, the input is constant, there are fewer
            identities than a batch is to hold, or too little is left to learn from or to be judged by.
        ImportError
            pytorch-metric-learning is not installed.
        TrainingDivergedError
            The loss stopped being a number.
        """
        options = dict(loss_kwargs or {})
        check_loss(loss, None, options)
        check_mining(
            loss,
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
        rows = read_rows(self.adata, self._setup)
        identity, exam = rows.identity.numpy(), None if rows.exam is None else rows.exam.numpy()
        split = split_rows(
            identity,
            exam,
            split_by=split_by,
            validation_size=validation_size,
            external_indexing=external_indexing,
            seed=seed,
        )
        sampler: dict[str, Any] = {"n_identities": n_identities, "n_per_identity": n_per_identity, "seed": seed}
        # says what is wrong with the numbers before anything starts
        dealer = PKSampler(identity, exams=exam, rows=split.train, **sampler)
        dealt = dealer.eligible
        check_bank(bank_size, dealer.n_identities * n_per_identity)
        unused = np.setdiff1d(np.arange(len(identity)), np.concatenate([dealt, split.validation]))
        n_known = len(np.unique(identity[dealt]))
        proxied = {"n_identities": n_known, "n_latent": self.n_latent} if has_proxies(loss) else {}
        with seeded(seed):
            metric_loss = MetricLoss(loss, **proxied, **options)
        self.n_dropped_ = tell_dropped(identity, has_positive(identity, exam), self._setup["exam_key"])
        self.split_by_, self.gallery_indices_ = split.by, split.gallery
        if not self.is_trained_:
            # columns of a table have units of their own, those of an embedding or of genes one
            table = self._setup["input_kind"] == "continuous" and self._setup["obsm_key"] is None
            self.module.describe_input(rows.x[dealt].to(self.module.device), each_feature=table)
        # rows are shared out by the sampler
        kwargs.setdefault("use_distributed_sampler", False)
        plan = {
            "metric_loss": metric_loss,
            "mining": mining,
            "margin": margin,
            "refresh_every": refresh_every,
            "search": search,
            "bank_size": bank_size,
            "positive_quantile": positive_quantile,
            "negative_ranks": negative_ranks,
            "monitor": monitor,
            "min_gain": min_gain if self.encoder == "residual" else 0.0,
            "seed": seed,
            **(plan_kwargs or {}),
        }
        super().train(
            max_epochs=max_epochs,
            early_stopping=early_stopping,
            early_stopping_monitor=f"validation_{monitor}",
            early_stopping_mode="max",
            early_stopping_patience=early_stopping_patience,
            early_stopping_warmup_epochs=0,
            # the plan scores all validation rows together, without a loader
            limit_val_batches=0,
            seed=seed,
            plan_kwargs=plan,
            datasplitter_kwargs={
                "rows": rows,
                "gallery": split.gallery,
                "external_indexing": [dealt, split.validation, unused],
                "sampler": sampler,
            },
            **kwargs,
        )

    def _after_training(self) -> None:
        plan = self.trainer.lightning_module
        self.table_, self.best_epoch_ = run_table(plan.table), plan.best_epoch
        mining = self.table_["mining"].iloc[1:].to_numpy()
        index = pd.RangeIndex(len(mining), name="epoch")
        self.history_["mining"] = pd.DataFrame({"mining": mining}, index=index)
        gain = self.get_improvement(n_boot=1).set_index("score").loc[plan.monitor]
        self.improved_ = bool(gain["gain"] > 0)
        if self.improved_:
            return
        if self.encoder == "residual" and self.best_epoch_ == 0 and gain["gain"] == 0:
            told = (
                f"Training did not help: no epoch gains {plan.min_gain:.0%} or more of what the input misses and "
                f"at least .01 (its {plan.monitor} is {gain['input']:.3f}), so the model gives the input back as it is."
            )
        else:
            told = (
                f"The input finds the validation rows as well or better ({plan.monitor} {gain['input']:.3f}, the model "
                f"{gain['head']:.3f}). Keep the input, or train anew with encoder='residual', which starts from it."
            )
        warnings.warn(told, UserWarning, stacklevel=3)

    def _validate_anndata(self, adata: AnnData | None = None, copy_if_view: bool = True) -> AnnData:  # noqa: FBT001, FBT002
        if adata is not None and adata is not self.adata:
            check_input(adata, self._setup)
            stored, name = input_of(adata, self._setup)
            if self._setup["obsm_key"] is None:
                check_var_names(adata, self.get_var_names(), "the AnnData given to this model")
            elif stored.shape[1] != self.module.n_input:
                msg = f"{name} has {stored.shape[1]} columns; the model was set up with {self.module.n_input}."
                raise ValueError(msg)
        return super()._validate_anndata(adata, copy_if_view=copy_if_view)
