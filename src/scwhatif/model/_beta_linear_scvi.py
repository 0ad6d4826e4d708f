"""β-VAE with a linear decoder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from scvi import REGISTRY_KEYS
from scvi.data.fields import (
    CategoricalJointObsField,
    CategoricalObsField,
    LayerField,
    NumericalJointObsField,
    NumericalObsField,
)
from scvi.model.base import ArchesMixin, BaseMinifiedModeModelClass, RNASeqMixin, VAEMixin

from scwhatif import _validation
from scwhatif._compat import StrictVarNamesMixin, minified_type, seeded
from scwhatif.model._backed_rows import RowManager
from scwhatif.model._checks import check_settings, check_setup
from scwhatif.model._decoding_mixin import DecodingMixin
from scwhatif.model._latent_axes_mixin import LatentAxesMixin
from scwhatif.model._summary_mixin import SummaryMixin
from scwhatif.model._training_mixin import TrainingMixin
from scwhatif.module import BetaLinearVAE
from scwhatif.train import SparseDataSplitter

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from anndata import AnnData


class BetaLinearSCVI(
    StrictVarNamesMixin,
    DecodingMixin,
    LatentAxesMixin,
    RNASeqMixin,
    VAEMixin,
    ArchesMixin,
    SummaryMixin,
    TrainingMixin,
    BaseMinifiedModeModelClass,
):
    r"""β-VAE with a linear decoder, for counts and for continuous features.

    .. math::
        z \sim N(0, I), \quad
        \eta = W z + b + \text{batch} + \text{covariates}, \quad
        x_g \sim NB(\ell\,\mathrm{softmax}(\eta)_g, \theta_g)

    with :math:`\ell` the observed library size (or :math:`x_g \sim NB(s\,e^{\eta_g}, \theta_g)` with a size factor
    :math:`s`, or :math:`x_g \sim N(\eta_g, \sigma_g^2)` for continuous features). Nothing stands behind :math:`W`, so
    every column can be read as the log fold change per unit of its latent dimension. After training the dimensions
    are put in a canonical form, which leaves the model's distribution unchanged: ordered by the variance they
    explain, signs such that the largest loadings are positive.

    Parameters
    ----------
    adata
        AnnData registered with :meth:`setup_anndata`.
    registry
        Registry of a data module, instead of ``adata``.
    n_latent
        Number of latent dimensions.
    n_hidden, n_layers, dropout_rate
        Width and number of hidden layers of the encoder, and its dropout.
    beta
        Weight of the latent penalty; 1 is the evidence lower bound. Saved with the model.
    objective
        ``"kl"``: β · KL :cite:p:`Higgins2017`. ``"total_correlation"``: only the total correlation within the KL is
        weighted by β :cite:p:`Chen2018`. ``"capacity"``: β · \|KL − C\| with C raised to ``capacity``
        :cite:p:`Burgess2018`.
    capacity
        Final C in nats per cell, for ``objective="capacity"``.
    free_bits
        Nats per dimension that are not charged (not with ``"capacity"``).
    decoder
        ``"linear"``, or ``"nonnegative"`` loadings.
    gene_likelihood
        ``"nb"``, ``"zinb"`` or ``"poisson"`` for counts, ``"normal"`` for continuous features.
    dispersion
        ``"gene"``, ``"gene-batch"``, or ``"unit"`` (normal only: variance 1, the β-VAE of mean squared error).
    encode_covariates
        Whether the encoder sees batch and covariates. Needed to keep them out of the latent space.
    seed
        Seeds the initial weights.

    Examples
    --------
    >>> import scwhatif as wi
    >>> adata = wi.datasets.pbmc68k()
    >>> wi.model.BetaLinearSCVI.setup_anndata(adata)
    >>> model = wi.model.BetaLinearSCVI(adata, n_latent=5, beta=2.0, seed=0)
    >>> model.train(max_epochs=2, seed=0, enable_progress_bar=False)
    >>> adata.obsm["X_wi"] = model.get_latent_representation()
    >>> adata.obsm["X_wi"].shape
    (700, 5)
    """

    _module_cls = BetaLinearVAE
    _data_splitter_cls = SparseDataSplitter
    _LATENT_QZM_KEY = "wi_latent_qzm"
    _LATENT_QZV_KEY = "wi_latent_qzv"
    history_: dict[str, pd.DataFrame] | None

    def __init__(
        self,
        adata: AnnData | None = None,
        registry: dict[str, Any] | None = None,
        *,
        n_latent: int = 10,
        n_hidden: int = 128,
        n_layers: int = 1,
        dropout_rate: float = 0.1,
        beta: float = 1.0,
        objective: Literal["kl", "total_correlation", "capacity"] = "kl",
        capacity: float = 25.0,
        free_bits: float = 0.0,
        decoder: Literal["linear", "nonnegative"] = "linear",
        gene_likelihood: Literal["nb", "zinb", "poisson", "normal"] = "nb",
        dispersion: Literal["gene", "gene-batch", "unit"] = "gene",
        encode_covariates: bool = True,
        seed: int | None = None,
    ) -> None:
        check_settings(
            n_latent=n_latent,
            beta=beta,
            objective=objective,
            free_bits=free_bits,
            decoder=decoder,
            gene_likelihood=gene_likelihood,
            dispersion=dispersion,
        )
        super().__init__(adata, registry)
        has_size_factor = REGISTRY_KEYS.SIZE_FACTOR_KEY in self._registered_fields()
        if adata is not None and self.minified_data_type is None:
            x = self.adata_manager.get_from_registry(REGISTRY_KEYS.X_KEY)
            if gene_likelihood == "normal":
                _validation.check_finite(x, name=self._data_name())
            else:
                _validation.check_count_matrix(x, adata.obs_names, name=self._data_name())
        with seeded(seed):
            self.module = self._module_cls(
                self.summary_stats.n_vars,
                n_batch=self.summary_stats.n_batch,
                n_cats_per_cov=self._n_cats_per_cov(),
                n_continuous_cov=self.summary_stats.get("n_extra_continuous_covs", 0),
                n_hidden=n_hidden,
                n_latent=n_latent,
                n_layers=n_layers,
                dropout_rate=dropout_rate,
                decoder=decoder,
                gene_likelihood=gene_likelihood,
                dispersion=dispersion,
                beta=beta,
                objective=objective,
                capacity=capacity,
                free_bits=free_bits,
                encode_covariates=encode_covariates,
                use_size_factor=has_size_factor,
            )
        self.module.minified_data_type = self.minified_data_type
        self.n_latent = n_latent
        self.beta_ = beta
        self.rotation_: str | None = None
        self.reference_categories_: list[int] | None = None
        self._model_summary_string = (
            f"BetaLinearSCVI: n_latent {n_latent}, beta {beta:g} ({objective}), decoder {decoder}, "
            f"gene_likelihood {gene_likelihood}, dispersion {dispersion}, n_hidden {n_hidden}, n_layers {n_layers}, "
            f"dropout_rate {dropout_rate:g}, encode_covariates {encode_covariates}"
        )
        self.init_params_ = self._get_init_params(locals())

    @classmethod
    def setup_anndata(
        cls,
        adata: AnnData,
        *,
        layer: str | None = None,
        batch_key: str | None = None,
        labels_key: str | None = None,
        size_factor_key: str | None = None,
        categorical_covariate_keys: list[str] | None = None,
        continuous_covariate_keys: list[str] | None = None,
        **kwargs: Any,
    ) -> None:
        """Register the fields the model reads.

        Parameters
        ----------
        adata
            Cells × features. Only scvi-tools' own bookkeeping is written (``uns["_scvi_uuid"]`` and the like).
        layer
            Layer with the data; ``None`` is ``X``.
        batch_key
            Column of ``obs`` with the batch.
        labels_key
            Column of ``obs`` with labels; kept for tools, not used in training.
        size_factor_key
            Column of ``obs`` with positive size factors, used instead of the library size.
        categorical_covariate_keys, continuous_covariate_keys
            Columns of ``obs`` with further covariates, additive on the log-rate.
        **kwargs
            For scvi-tools' own use.

        Raises
        ------
        KeyError
            A key or layer does not exist.
        ValueError
            A batch has one cell only, a covariate holds NaN, a size factor is not positive.
        """
        # before anything is written to adata
        check_setup(
            adata,
            layer=layer,
            batch_key=batch_key,
            labels_key=labels_key,
            size_factor_key=size_factor_key,
            categorical_covariate_keys=categorical_covariate_keys,
            continuous_covariate_keys=continuous_covariate_keys,
            first_use="source_registry" not in kwargs,
        )
        setup_method_args = cls._get_setup_method_args(
            cls=cls,
            adata=adata,
            layer=layer,
            batch_key=batch_key,
            labels_key=labels_key,
            size_factor_key=size_factor_key,
            categorical_covariate_keys=categorical_covariate_keys,
            continuous_covariate_keys=continuous_covariate_keys,
        )
        fields = [
            # the likelihood decides whether these must be counts, and is chosen with the model
            LayerField(REGISTRY_KEYS.X_KEY, layer, is_count_data=False),
            CategoricalObsField(REGISTRY_KEYS.BATCH_KEY, batch_key),
            CategoricalObsField(REGISTRY_KEYS.LABELS_KEY, labels_key),
            NumericalObsField(REGISTRY_KEYS.SIZE_FACTOR_KEY, size_factor_key, required=False),
            CategoricalJointObsField(REGISTRY_KEYS.CAT_COVS_KEY, categorical_covariate_keys),
            NumericalJointObsField(REGISTRY_KEYS.CONT_COVS_KEY, continuous_covariate_keys),
        ]
        minified = minified_type(adata)
        if minified is not None:
            fields += cls._get_fields_for_adata_minification(minified)
        manager = RowManager(fields=fields, setup_method_args=setup_method_args)
        manager.register_fields(adata, **kwargs)
        cls.register_manager(manager)

    @classmethod
    def load_query_data(
        cls,
        adata: AnnData,
        reference_model: str | BetaLinearSCVI,
        *,
        unfrozen: bool = False,
        accelerator: str = "auto",
        device: int | str = "auto",
    ) -> BetaLinearSCVI:
        """Map new data onto a trained model by scArches surgery :cite:p:`Lotfollahi2022`.

        Only the effects of categories the reference has not seen are trained (in encoder and decoder); the latent
        code of every reference cell stays exactly as it was.

        Parameters
        ----------
        adata
            Query cells with the reference's features in the same order, and the same ``obs`` columns.
        reference_model
            Trained model or the path of a saved one.
        unfrozen
            Train all weights instead.
        accelerator, device
            Where the new model lives.

        Returns
        -------
        Model on the query data; call ``train`` on it.

        Raises
        ------
        ValueError
            The query lacks features of the reference, or has them in another order.
        """
        if isinstance(reference_model, str):
            registry = cls.load_registry(reference_model)
            expected = registry["field_registries"]["X"]["state_registry"]["column_names"]
        else:
            registry = reference_model.registry
            expected = reference_model.get_var_names()
        _validation.check_var_names(adata, expected, "query data")
        n_reference = _category_counts(registry)
        model = super().load_query_data(
            adata=adata, reference_model=reference_model, unfrozen=True, accelerator=accelerator, device=device
        )
        if not unfrozen:
            model.reference_categories_ = n_reference
            model.module.freeze_for_query(n_reference)
        return model

    def _registered_fields(self) -> set[str]:
        registries = self.registry["field_registries"]
        return {key for key, value in registries.items() if value["data_registry"]}

    def _n_cats_per_cov(self) -> list[int]:
        if REGISTRY_KEYS.CAT_COVS_KEY not in self._registered_fields():
            return []
        return list(self.get_state_registry(REGISTRY_KEYS.CAT_COVS_KEY)["n_cats_per_key"])

    def _data_name(self) -> str:
        layer = self.get_setup_arg("layer")
        return "adata.X" if layer is None else f"adata.layers[{layer!r}]"

    def _after_training(self) -> None:
        # a query model shares the reference's axes
        if self.reference_categories_ is not None:
            return
        order = self.module.canonicalize()
        self.history_ = _reorder_kl_history(self.history_, order.tolist())


def _category_counts(registry: dict[str, Any]) -> list[int]:
    fields = registry["field_registries"]
    counts = [len(fields[REGISTRY_KEYS.BATCH_KEY]["state_registry"]["categorical_mapping"])]
    return counts + list(fields.get(REGISTRY_KEYS.CAT_COVS_KEY, {}).get("state_registry", {}).get("n_cats_per_key", []))


def _reorder_kl_history(
    history: dict[str, pd.DataFrame] | None, order: Sequence[int]
) -> dict[str, pd.DataFrame] | None:
    """Rename the KL traces, logged before the latent dimensions were reordered, to the new dimensions."""
    if not history:
        return history
    renamed = dict(history)
    for stage in ("train", "validation"):
        for new, old in enumerate(order):
            name, source = f"kl_z{new}_{stage}", f"kl_z{old}_{stage}"
            if source in history:
                renamed[name] = history[source].rename(columns={source: name})
    return renamed
