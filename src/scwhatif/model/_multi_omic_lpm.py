"""Latent Perturbation Model from drivers to metabolites."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from scvi import REGISTRY_KEYS
from scvi.data import AnnDataManager, AnnDataManagerValidationCheck
from scvi.data.fields import MuDataCategoricalJointObsField, MuDataLayerField
from scvi.model.base import BaseModelClass

from scwhatif._compat import seeded
from scwhatif.model._multi_omic_checks import check_lpm_settings, check_mudata, check_new_samples
from scwhatif.model._multi_omic_flow import as_list, decoder_links, flow_order
from scwhatif.model._multi_omic_prediction_mixin import MultiOmicPredictionMixin
from scwhatif.model._multi_omic_rows import MultiOmicRows, RowSplitter, read_rows, split_rows
from scwhatif.model._summary_mixin import SummaryMixin
from scwhatif.model._training_mixin import TrainingMixin
from scwhatif.module import LayerSpec, MultiOmicVAE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import torch
    from anndata import AnnData
    from mudata import MuData

    from scwhatif.nn._driver_encoder import DriverEncoderKind


class MultiOmicLPM(MultiOmicPredictionMixin, SummaryMixin, TrainingMixin, BaseModelClass):
    r"""Latent Perturbation Model (MultiOmicLPM): from driver to metabolite, with any layer missing.

    (Not to be confused with the Large Perturbation Model, which shares the abbreviation.) The parts are

    - an encoder per layer, each a Gaussian expert on one latent state :math:`z`, multiplied with the prior and with
      whichever others are there: the drivers alone give ``z_seed``, all other layers ``z_state``, both ``z_full``;
    - decoders along the flow, :math:`z \to` others, RNA :math:`\to` protein :math:`\to` PTM layers :math:`\to`
      metabolites, in which every feature also sees its same-gene parents (as measured, or as decoded where they are
      not), and lineage or batch enter additively;
    - evidence: once :math:`z` is trained, ridge regressions in closed form of every layer on every other one, on the
      same genes, and on all together, combined by their leave-one-out errors. Prediction of a hidden layer takes both
      the latent path and the evidence, weighted on the validation samples. Prediction of a perturbation takes only
      the latent path and the drivers.

    In training every step sees all layers, a random subset, and all but a random one; entries that were not measured
    never enter, and noise is learned feature by feature.

    Parameters
    ----------
    adata
        MuData registered with :meth:`setup_mudata`.
    registry
        Registry of a saved model, to load it without data.
    n_latent
        Number of latent dimensions.
    n_hidden, dropout_rate
        Width of the encoders (and of an MLP decoder) and their dropout.
    driver_encoder
        ``"attention"`` among drivers, ``"deepset"``, or ``"linear"``, the honest choice for a few hundred samples.
    decoder
        ``"linear"`` or ``"mlp"`` (one hidden layer).
    evidence
        ``"full"``: regressions on whole layers and on the same genes; ``"cis"``: on the same genes only; ``None``:
        the latent path alone.
    beta
        Weight of the KL; saved with the model, see ``effective_beta_``.
    reduction
        What ``beta`` is weighed against: the ``"mean"`` of the negative log-likelihood over all features, or the
        ``"sum"``, for which ``beta=1`` is the evidence lower bound.
    align_weight
        Weight of the contrastive alignment of ``z_seed`` and ``z_state``; 0 switches it off.
    max_rank
        Largest number of principal axes of a layer in the evidence.
    links
        Same-gene parents by (layer, earlier layer), as :func:`scwhatif.nn.cis_links` returns them; ``None`` takes
        them from the column named in :meth:`setup_mudata`.
    seed
        Seeds the initial weights.

    Examples
    --------
    >>> import scwhatif as wi
    >>> mdata = wi.datasets.simulate_flow(60, n_rna=30, n_protein=20, n_ptm=(5, 8, 10), n_metabolites=6)
    >>> wi.model.MultiOmicLPM.setup_mudata(
    ...     mdata, rna="rna", protein="protein", ptm=["ptm_0", "ptm_1", "ptm_2"], metabolome="metabolome"
    ... )
    >>> model = wi.model.MultiOmicLPM(mdata, n_latent=4)
    >>> model.train(max_epochs=2, enable_progress_bar=False)
    >>> model.get_latent_representation(which="seed").shape
    (60, 4)
    >>> model.predict("ptm_1", given=["rna", "protein"]).shape
    (60, 8)
    """

    _module_cls = MultiOmicVAE
    _row_name = "samples"
    _data_splitter_cls = RowSplitter

    def __init__(
        self,
        adata: MuData | None = None,
        registry: dict[str, Any] | None = None,
        *,
        n_latent: int = 32,
        n_hidden: int = 128,
        dropout_rate: float = 0.1,
        driver_encoder: DriverEncoderKind = "attention",
        decoder: Literal["linear", "mlp"] = "linear",
        evidence: Literal["full", "cis"] | None = "full",
        beta: float = 0.01,
        reduction: Literal["mean", "sum"] = "mean",
        align_weight: float = 0.02,
        max_rank: int = 512,
        links: Mapping[tuple[str, str], torch.Tensor] | None = None,
        seed: int | None = 42,
    ) -> None:
        check_lpm_settings(
            n_latent=n_latent,
            beta=beta,
            align_weight=align_weight,
            reduction=reduction,
            decoder=decoder,
            evidence=evidence,
        )
        super().__init__(adata, registry)
        names = flow_order(self._setup)
        drivers = self._setup["drivers"]
        if links is None:
            links = {} if adata is None else decoder_links(adata, self._setup)
        specs = [
            LayerSpec(name, self.summary_stats[f"n_{name}"], self._likelihood(name))  # type: ignore[arg-type]
            for name in names
        ]
        n_categories = []
        if self._setup["categorical_covariate_keys"]:
            n_categories = list(self.get_state_registry(REGISTRY_KEYS.CAT_COVS_KEY)["n_cats_per_key"])
        with seeded(seed):
            self.module = self._module_cls(
                specs,
                drivers=drivers,
                links=links,
                n_categories=n_categories,
                n_latent=n_latent,
                n_hidden=n_hidden,
                dropout_rate=dropout_rate,
                decoder=decoder,
                driver_encoder=driver_encoder,
                beta=beta,
                reduction=reduction,
                align_weight=align_weight,
            )
        self.layer_names = names
        self.evidence = evidence
        self.max_rank = max_rank
        self.effective_beta_ = self.module.effective_beta
        self._rows: MultiOmicRows | None = None
        self._model_summary_string = (
            f"MultiOmicLPM (Latent Perturbation Model): {' → '.join(names)}; n_latent {n_latent}, "
            f"driver_encoder {driver_encoder}, decoder {decoder}, evidence {evidence}, "
            f"beta {beta:g} against the {reduction} over features (effective beta {self.effective_beta_:g}), "
            f"align_weight {align_weight:g}"
        )
        self.init_params_ = self._get_init_params(locals())

    @classmethod
    def setup_mudata(
        cls,
        mdata: MuData,
        *,
        drivers: str | None = "drivers",
        others: Sequence[str] = (),
        rna: str | None = None,
        protein: str | None = None,
        ptm: Sequence[str] = (),
        metabolome: str | None = None,
        likelihoods: Mapping[str, str] | None = None,
        layers: Mapping[str, str] | None = None,
        categorical_covariate_keys: Sequence[str] | None = None,
        cis: str | None = "gene_symbol",
        **kwargs: Any,
    ) -> None:
        """Say which modality stands where in the flow. Modalities that are not named take no part.

        Modalities keep the rows they have, in any order; everything is aligned by name. A sample that a modality
        lacks, and an entry that is NaN, was not measured; nothing is ever filled in.

        Parameters
        ----------
        mdata
            Samples with modalities. Only scvi-tools' own bookkeeping is written (``uns["_scvi_uuid"]``, and
            ``obsm["_scvi_extra_categorical_covs"]`` where there are covariates).
        drivers
            Modality of drivers (mutations, copy number, fusions): 0, 1, or NaN where not called. ``None``: no drivers.
        others
            Modalities upstream of the RNA, such as copy number or methylation.
        rna, protein, ptm, metabolome
            The modalities along the flow; any number of PTM layers.
        likelihoods
            ``"normal"`` (default), ``"student"``, ``"nb"`` or ``"bernoulli"`` by modality.
        layers
            Layer to read by modality; ``X`` otherwise.
        categorical_covariate_keys
            Columns of ``mdata.obs`` that enter the decoders and the evidence, such as the lineage.
        cis
            Column of every modality's ``var`` with the gene of a feature, several separated by ``";"``. Modalities
            without it have no same-gene links; ``None`` links nothing.
        **kwargs
            For scvi-tools' own use.

        Raises
        ------
        KeyError
            A modality, layer or column does not exist.
        TypeError
            ``mdata`` is no MuData, or a modality holds no numbers.
        ValueError
            Names are not unique, a value does not fit its likelihood, a driver has no carrier or nothing but carriers,
            a feature is constant or never measured, a sample has nothing measured, a covariate is missing.
        """
        names = flow_order(
            {
                "drivers": drivers,
                "others": others,
                "rna": rna,
                "protein": protein,
                "ptm": ptm,
                "metabolome": metabolome,
            }
        )
        others, ptm = as_list(others), as_list(ptm)
        likelihoods, layers = dict(likelihoods or {}), dict(layers or {})
        categorical_covariate_keys = list(categorical_covariate_keys or [])
        check_mudata(
            mdata,
            names,
            drivers=drivers,
            likelihoods=likelihoods,
            layers=layers,
            categorical_covariate_keys=categorical_covariate_keys,
            cis=cis,
            first_use="source_registry" not in kwargs,
        )
        setup_method_args = cls._get_setup_method_args(
            cls=cls,
            mdata=mdata,
            drivers=drivers,
            others=others,
            rna=rna,
            protein=protein,
            ptm=ptm,
            metabolome=metabolome,
            likelihoods=likelihoods,
            layers=layers,
            categorical_covariate_keys=categorical_covariate_keys,
            cis=cis,
        )
        fields: list[Any] = [
            MuDataLayerField(name, layers.get(name), is_count_data=False, mod_key=name, mod_required=True)
            for name in names
        ]
        if categorical_covariate_keys:
            fields.append(
                MuDataCategoricalJointObsField(REGISTRY_KEYS.CAT_COVS_KEY, categorical_covariate_keys, mod_key=None)
            )
        manager = AnnDataManager(
            fields=fields,
            setup_method_args=setup_method_args,
            validation_checks=AnnDataManagerValidationCheck(check_fully_paired_mudata=False),
        )
        manager.register_fields(mdata, **kwargs)
        cls.register_manager(manager)

    @classmethod
    def setup_anndata(cls, adata: AnnData, **kwargs: Any) -> None:
        """Not available: the model needs several layers.

        Parameters
        ----------
        adata
            Not used.
        **kwargs
            Not used.

        Raises
        ------
        TypeError
            Always.
        """
        msg = (
            "MultiOmicLPM joins several layers of the same samples, which one AnnData cannot hold with rows of their "
            "own. Put them into a MuData, mudata.MuData({'drivers': …, 'rna': …}), and call setup_mudata."
        )
        raise TypeError(msg)

    def train(  # type: ignore[override]
        self,
        max_epochs: int = 100,
        *,
        batch_size: int = 64,
        train_size: float = 0.9,
        external_indexing: Sequence[np.ndarray] | None = None,
        early_stopping: bool = False,
        gradient_clip_val: float | None = 5.0,
        seed: int | None = 42,
        plan_kwargs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Train the latent model, then fit the evidence.

        Means and scales come from the training samples only. The evidence is fitted on training and validation
        samples; test samples take part in nothing.

        Parameters
        ----------
        max_epochs
            Number of epochs.
        batch_size
            Samples per step.
        train_size
            Share of samples to train on; the rest is for validation.
        external_indexing
            Positions of the training, validation and test samples in ``mdata.obs_names``, instead of ``train_size``;
            together they are all samples.
        early_stopping
            Stop when ``objective_validation``, in which every layer is predicted from the others, no longer improves.
        gradient_clip_val
            Largest gradient norm.
        seed
            Seeds split and noise.
        plan_kwargs
            Arguments of :class:`scwhatif.train.TrainingPlan`; by default AdamW with ``lr=1e-3`` and
            ``weight_decay=1e-2``, cosine annealing, and a KL warm-up over 30 % of the epochs.
        **kwargs
            Further arguments of scvi-tools' ``train`` and :class:`scvi.train.Trainer`.

        Raises
        ------
        ValueError
            ``external_indexing`` does not split the samples, or there are too few to train on.
        """
        parts = split_rows(self.adata.n_obs, train_size, external_indexing, seed)
        rows = self._rows_of(None)
        if not self.module.initialized:
            training = self._on_device(rows.batch(parts[0]))
            self.module.initialize(
                training[REGISTRY_KEYS.X_KEY], training["observed"], training.get(REGISTRY_KEYS.CAT_COVS_KEY)
            )
        plan = {"lr": 1e-3, "weight_decay": 1e-2, "lr_schedule": "cosine", "kl_warmup": 0.3, **(plan_kwargs or {})}
        super().train(
            max_epochs=max_epochs,
            batch_size=batch_size,
            early_stopping=early_stopping,
            gradient_clip_val=gradient_clip_val,
            seed=seed,
            plan_kwargs=plan,
            datasplitter_kwargs={"rows": rows, "external_indexing": parts},
            **kwargs,
        )

    def _after_training(self) -> None:
        self._fit_evidence()

    @property
    def _setup(self) -> dict[str, Any]:
        return self.registry["setup_args"]

    def _likelihood(self, name: str) -> str:
        return "bernoulli" if name == self._setup["drivers"] else self._setup["likelihoods"].get(name, "normal")

    def _rows_of(self, mdata: MuData | None) -> MultiOmicRows:
        own = mdata is None or mdata is self._adata
        if own and self._rows is not None:
            return self._rows
        mdata = self._validate_anndata(mdata)
        for name in self.layer_names:
            expected = self.get_state_registry(name)["column_names"]
            if not np.array_equal(mdata[name].var_names, expected):
                msg = f"mdata[{name!r}] must have the {len(expected)} features of the model, in their order."
                raise ValueError(msg)
        if not own:
            setup = self._setup
            check_new_samples(
                mdata,
                self.layer_names,
                drivers=setup["drivers"],
                likelihoods=setup["likelihoods"],
                layers=setup["layers"],
            )
        codes = None
        if self._setup["categorical_covariate_keys"]:
            manager = self.get_anndata_manager(mdata, required=True)
            codes = np.asarray(manager.get_from_registry(REGISTRY_KEYS.CAT_COVS_KEY), dtype=np.int64)
        rows = read_rows(mdata, self.layer_names, layers=self._setup["layers"], codes=codes)
        if own:
            self._rows = rows
        return rows
