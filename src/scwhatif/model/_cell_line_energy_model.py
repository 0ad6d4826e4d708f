"""Enhancer–promoter interaction as an energy that travels to unseen cell lines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from scvi.model.base import BaseModelClass

from scwhatif._compat import seeded
from scwhatif.model._cell_line_energy_checks import (
    check_energy_settings,
    check_training,
    warn_unreportable,
)
from scwhatif.model._cell_line_energy_diagnosis_mixin import CellLineEnergyDiagnosisMixin
from scwhatif.model._cell_line_energy_evaluation_mixin import CellLineEnergyEvaluationMixin
from scwhatif.model._cell_line_energy_inputs_mixin import CellLineEnergyInputsMixin, prior_shift
from scwhatif.model._cell_line_energy_prediction_mixin import CellLineEnergyPredictionMixin
from scwhatif.model._cell_line_energy_rows import EpisodeSplitter, read_pairs, split_pairs
from scwhatif.model._cell_line_energy_setup_mixin import CellLineEnergySetupMixin
from scwhatif.model._summary_mixin import SummaryMixin
from scwhatif.model._training_mixin import TrainingMixin
from scwhatif.module import CellLineEnergyModule
from scwhatif.module._cell_line_energy import LINE_KEY
from scwhatif.train import EnergyTrainingPlan
from scwhatif.train._energy_monitor import best_threshold

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

    from scwhatif.model._cell_line_energy_normalizer import InputNorm, LineNormalizer
    from scwhatif.module._cell_line_energy import Backbone
    from scwhatif.nn._energy_interaction import Interaction


# fewest and most pairs that a line is asked for in a step
_QUERY = (32, 256)
_STEPS, _EPOCHS = 500, (6, 30)


class CellLineEnergyModel(
    CellLineEnergyPredictionMixin,
    CellLineEnergyEvaluationMixin,
    CellLineEnergyDiagnosisMixin,
    CellLineEnergyInputsMixin,
    CellLineEnergySetupMixin,
    SummaryMixin,
    TrainingMixin,
    BaseModelClass,
):
    r"""Energy model of enhancer–promoter interaction (rows are pairs) that predicts for cell lines it has not seen.

    .. math::
        P(y = 1 \mid x, c) = \sigma\Big(\frac{U(x) - R(c) + \lambda\, U(x)\, R(c)}{T}\Big)

    The score :math:`U` is read from the pair; its features are made comparable between lines without labels. The
    energy :math:`R \ge 0` is read from the mean environment code :math:`z_E` of a support set: pairs of the cell line
    whose labels are not used. There is no embedding of a line's identity, so a new line needs no new parameter.

    The scalar energy gives every line a slope and an intercept, hence a calibration. It does not change the order of
    the pairs of a line; ``interaction="channels"`` can.

    Parameters
    ----------
    adata
        Pairs registered with :meth:`setup_anndata`.
    registry
        Registry of a saved model, to load it without data.
    interaction
        ``"scalar"`` as above; ``"channels"``: a sum over ``n_channels`` such terms before the division by :math:`T`;
        ``"linear"``: slope and shift linear in :math:`z_E`; ``"none"``: :math:`U / T`, empirical risk minimisation.
    backbone
        What reads the pair: ``"mlp"`` the features, ``"cnn"`` the sequence, ``"precomputed"`` an embedding.
    input_norm
        ``"rank"`` or ``"zscore"`` within each line, ``None`` for features as they are. Fitted on all pairs of a line,
        labelled or not, hence transductive. The environment always reads the raw features: once they are normalised,
        nothing tells one line from another.
    trees_weight
        Weight of gradient boosted trees beside the network, 0 for the network alone (``backbone="mlp"`` only). The
        trees read the raw features, and others, of the same weight, the normalised ones. All are fitted on their own
        and their logits averaged, because they err differently.
    n_latent, n_environment, n_hidden, n_layers, dropout_rate
        Sizes of the code of a pair, of :math:`z_E`, of the hidden layers, and dropout.
    embedding, n_bins
        Encoding of numerical features: ``"piecewise"`` linear, ``"periodic"`` or ``"none"``, and its size.
    n_channels
        Channels with ``interaction="channels"``.
    lambda_init, t_init
        Initial :math:`\lambda`, and :math:`t` in :math:`T = \mathrm{softplus}(t)`; by default :math:`T = 1`.
    temperature, temperature_range
        ``"line"`` lets :math:`T` differ by line; bounds of :math:`T`.
    loss, rho_positive
        ``"bce"``, or margins by class (:class:`scwhatif.nn.ImmaxLoss`): ``"theory"``, ``"adaptive"`` or ``"fixed"``.
    corr_weight, adversary_weight, contrast_weight, sparsity_weight, prototype_weight
        Initial weights of the auxiliary losses; they grow by 0.01 per epoch up to twice that. The method as published
        has 0.1, 0.1, 0.05, 0.01 and 0.05. They are off because none has been shown to help in an unseen line; see the
        user guide.
    decouple
        What ``corr_weight`` weighs: ``"correlation"`` between the dimensions of the two codes, or ``"hsic"``, a kernel
        measure that is not blind to what lies beyond a straight line.
    sparsity, t_l2
        ``"l1"`` or ``"l2"``; weight of the squared distance of :math:`T` from 1.
    contrast_temperature, contrast_within_weight
        Of the contrast of lines: temperature, and weight of its second level, the label within the line.
    adversary_given_label
        Lets the adversary see the label, so that it does not punish differences in prevalence.
    support_in_loss
        Whether the labels of support pairs are learnt from in training as well.
    joint
        Whether the score is trained through the energy, as published. By default it is trained as if there were none,
        and the scalar or linear energy on top of it, because neither can improve the order of the pairs of a line.
        Where the numbers of the energy are wanted (:meth:`get_energies`), train jointly.
    enhancer_length, promoter_length
        Positions of the enhancer and of the promoter in the sequences (``backbone="cnn"``). By default those that
        :func:`scwhatif.pp.add_pair_sequences` has written down, otherwise half of all each.
    lines
        Cell lines known to adversary and prototypes; those of ``adata`` by default.
    seed
        Seeds the initial weights.

    Examples
    --------
    >>> import scwhatif as wi
    >>> adata = wi.datasets.simulate_pairs(3, 4, 10)
    >>> wi.model.CellLineEnergyModel.setup_anndata(adata, label_key="label", cell_line_key="cell_line")
    >>> model = wi.model.CellLineEnergyModel(adata, trees_weight=0.0, n_hidden=16)
    >>> model.train(max_epochs=3, enable_progress_bar=False)
    >>> model.predict_proba().shape
    (600,)
    """

    _module_cls = CellLineEnergyModule
    _row_name = "pairs"
    # the energy is switched off in the warm-up
    _ddp_strategy = "ddp_find_unused_parameters_true"
    _training_plan_cls = EnergyTrainingPlan
    _data_splitter_cls = EpisodeSplitter

    def __init__(
        self,
        adata: AnnData | None = None,
        registry: dict[str, Any] | None = None,
        *,
        interaction: Interaction = "scalar",
        backbone: Backbone = "mlp",
        input_norm: InputNorm | None = "rank",
        trees_weight: float = 0.6,
        n_latent: int = 128,
        n_environment: int = 16,
        n_hidden: int = 128,
        n_layers: int = 1,
        dropout_rate: float = 0.3,
        embedding: Literal["piecewise", "periodic", "none"] = "piecewise",
        n_bins: int = 16,
        n_channels: int = 8,
        lambda_init: float = 0.1,
        t_init: float | None = None,
        temperature: Literal["scalar", "line"] = "scalar",
        temperature_range: tuple[float, float] | None = None,
        loss: Literal["bce", "theory", "adaptive", "fixed"] = "bce",
        rho_positive: float = 1.0,
        corr_weight: float = 0.0,
        adversary_weight: float = 0.0,
        contrast_weight: float = 0.0,
        sparsity_weight: float = 0.0,
        prototype_weight: float = 0.0,
        decouple: Literal["correlation", "hsic"] = "correlation",
        sparsity: Literal["l1", "l2"] = "l1",
        t_l2: float = 0.0,
        contrast_temperature: float = 0.1,
        contrast_within_weight: float = 0.0,
        adversary_given_label: bool = False,
        support_in_loss: bool = False,
        joint: bool = False,
        enhancer_length: int | None = None,
        promoter_length: int | None = None,
        lines: Sequence[str] | None = None,
        seed: int | None = 42,
    ) -> None:
        super().__init__(adata, registry)
        settings = {k: v for k, v in locals().items() if k not in ("self", "adata", "registry", "lines", "__class__")}
        check_energy_settings(settings, self._setup)
        mapping = [str(line) for line in self.get_state_registry(LINE_KEY)["categorical_mapping"]]
        # saved with the model, so that loading with data of other lines changes no size
        lines = mapping if lines is None else [str(line) for line in lines]
        self.lines = list(lines)
        self.backbone, self.input_norm = backbone, input_norm
        if backbone == "cnn":
            # saved with the model too, because data to come need not tell
            enhancer_length, promoter_length = self._sequence_lengths(enhancer_length, promoter_length)
        self.trees_weight = trees_weight if backbone == "mlp" else 0.0
        environment = self._setup["environment_key"]
        n_environment_features = self._n_columns("environment") if environment else self.summary_stats.n_vars
        n_features = self._n_columns("embedding") if backbone == "precomputed" else self.summary_stats.n_vars
        with seeded(seed):
            self.module = self._module_cls(
                n_features,
                n_environment_features,
                len(lines),
                backbone=backbone,
                interaction=interaction,
                n_channels=n_channels,
                lambda_init=lambda_init,
                t_init=t_init,
                temperature=temperature,
                temperature_range=temperature_range,
                n_latent=n_latent,
                n_environment=n_environment,
                n_hidden=n_hidden,
                n_layers=n_layers,
                dropout_rate=dropout_rate,
                embedding=embedding,
                n_bins=n_bins,
                loss=loss,
                rho_positive=rho_positive,
                weights={
                    "corr": corr_weight,
                    "adversary": adversary_weight,
                    "contrast": contrast_weight,
                    "sparsity": sparsity_weight,
                    "prototype": prototype_weight,
                },
                decouple=decouple,
                sparsity=sparsity,
                t_l2=t_l2,
                contrast_temperature=contrast_temperature,
                contrast_within_weight=contrast_within_weight,
                adversary_given_label=adversary_given_label,
                support_in_loss=support_in_loss,
                joint=joint,
                enhancer_length=enhancer_length,
                promoter_length=promoter_length,
            )
        self.threshold_ = self.threshold_balanced_ = 0.5
        self.prior_shift_ = 0.0
        self.n_lines_trained_ = 0
        self.lines_trained_: list[str] = []
        self.normalizer_: LineNormalizer | None = None
        self.trees_: Any = None
        self._model_summary_string = (
            f"CellLineEnergyModel: interaction {interaction}, backbone {backbone}, trees_weight {self.trees_weight:g}, "
            f"input_norm {input_norm}, loss {loss}; {self.summary_stats.n_vars} features"
        )
        self.init_params_ = self._get_init_params(locals())

    def train(  # type: ignore[override]
        self,
        max_epochs: int | None = None,
        *,
        train_size: float = 0.8,
        external_indexing: Sequence[np.ndarray] | None = None,
        n_support: int = 32,
        n_query: int | None = None,
        lines_per_episode: int = 4,
        positive_share: float | None = None,
        early_stopping: bool = True,
        early_stopping_patience: int = 3,
        gradient_clip_val: float | None = 5.0,
        seed: int | None = 42,
        plan_kwargs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Train in episodes of several cell lines, and take the weights of the best epoch.

        The best epoch has the highest ``validation_aupr``, the area under the precision–recall curve averaged over
        the lines of the validation pairs. Validation pairs also set the thresholds of :meth:`predict`. Test pairs
        take part in nothing but the normalisation of their line, which reads no label.

        Parameters
        ----------
        max_epochs
            Number of epochs; by default about 500 steps, in 6 to 30 epochs. Validation pairs are of the training lines
            and do not tell when the network starts to get worse in unseen ones.
        train_size
            Share of pairs to train on; the rest is for validation. Chromosomes are kept whole where they are known.
        external_indexing
            Positions of the training, validation and test pairs, instead of ``train_size``; together they are all.
        n_support, n_query, lines_per_episode, positive_share
            As in :class:`scwhatif.train.EpisodeSampler`; by default the query holds a fiftieth of an average line, from
            32 to 256 pairs. With ``positive_share`` predictions are corrected for it.
        early_stopping
            Stop when ``validation_aupr`` has not risen for ``early_stopping_patience`` epochs after the warm-up.
        early_stopping_patience
            Epochs.
        gradient_clip_val
            Largest gradient norm.
        seed
            Seeds split, trees, episodes and noise.
        plan_kwargs
            Arguments of :class:`scwhatif.train.EnergyTrainingPlan`; by default AdamW with ``lr=1e-3`` and
            ``weight_decay=1e-2``, cosine annealing.
        **kwargs
            Further arguments of scvi-tools' ``train`` and :class:`scvi.train.Trainer`.

        Raises
        ------
        ValueError
            There is no label, no positive or no negative, a line has too few pairs for a support set, a loss that
            compares lines has only one, or the split is none.
        TrainingDivergedError
            The loss stopped being a number.
        """
        table = read_pairs(self.adata, self._setup, self.backbone)
        parts = split_pairs(table, train_size, external_indexing, seed)
        compared = [f"{n}_weight" for n in ("adversary", "contrast") if self.module.weights[n]]
        check_training(table, parts[0], n_support=n_support, needs_lines=compared)
        if lines_per_episode < 2 and compared:
            msg = f"{compared} compare cell lines within a step; set lines_per_episode to at least 2."
            raise ValueError(msg)
        rows = self._prepare(table, parts[0], seed)
        labelled = ~np.isnan(table.label[parts[0]])
        self.lines_trained_ = np.unique(table.lines[parts[0]][labelled]).tolist()
        self.n_lines_trained_ = len(self.lines_trained_)
        warn_unreportable(self.n_lines_trained_, self.module.interaction.kind)
        self.prior_shift_ = prior_shift(table, parts[0], positive_share)
        if n_query is None:
            n_query = int(np.clip(labelled.sum() // self.n_lines_trained_ // 50, *_QUERY))
        if max_epochs is None:
            per_step = (n_support + n_query) * min(lines_per_episode, self.n_lines_trained_)
            max_epochs = int(np.clip(_STEPS * per_step / labelled.sum(), *_EPOCHS))
        validated = len(parts[1]) > 0
        plan = {"weight_decay": 1e-2, "lr_schedule": "cosine", "line_names": self._codes()[1], **(plan_kwargs or {})}
        if self.is_trained_:
            plan.setdefault("warmup_epochs", 0)
        super().train(
            max_epochs=max_epochs,
            early_stopping=early_stopping and validated,
            early_stopping_monitor="validation_aupr",
            early_stopping_mode="max",
            early_stopping_patience=early_stopping_patience,
            early_stopping_warmup_epochs=plan.get("warmup_epochs", 2),
            check_val_every_n_epoch=1 if validated else None,
            gradient_clip_val=gradient_clip_val,
            seed=seed,
            plan_kwargs=plan,
            # episodes are dealt to the processes by their sampler, and validation pairs are read by all of them
            use_distributed_sampler=False,
            datasplitter_kwargs={
                "rows": rows,
                "external_indexing": parts,
                "episodes": {
                    "n_support": n_support,
                    "n_query": n_query,
                    "lines_per_episode": lines_per_episode,
                    "positive_share": positive_share,
                    "seed": seed,
                },
            },
            **kwargs,
        )

    def _after_training(self) -> None:
        self._fix_gauge(np.asarray(self.train_indices))
        table = read_pairs(self.adata, self._setup, self.backbone)
        rows = np.asarray(self.validation_indices, dtype=np.int64)
        rows = rows[~np.isnan(table.label[rows])]
        if len(rows):
            probability = self.predict_proba(indices=rows)
            self.threshold_, self.threshold_balanced_ = best_threshold(
                probability, table.label[rows], table.lines[rows]
            )

    @property
    def _setup(self) -> dict[str, Any]:
        return self.registry["setup_args"]

    def _n_columns(self, name: str) -> int:
        return int(self.summary_stats[f"n_{name}"])
