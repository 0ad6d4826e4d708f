"""Where :class:`scwhatif.model.MetricEncoder` finds what it reads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from scvi.data import AnnDataManager
from scvi.data.fields import LayerField, ObsmField

from scwhatif.model._metric_encoder_checks import check_identities, check_input

if TYPE_CHECKING:
    from anndata import AnnData


class MetricEncoderSetupMixin:
    """Registration of rows."""

    _get_setup_method_args: Any
    register_manager: Any
    registry: Any

    @classmethod
    def setup_anndata(
        cls,
        adata: AnnData,
        *,
        identity_key: str,
        exam_key: str | None = None,
        layer: str | None = None,
        obsm_key: str | None = None,
        input_kind: Literal["counts", "continuous"] | None = None,
        **kwargs: Any,
    ) -> None:
        """Say what is to be found again, and by what.

        Parameters
        ----------
        adata
            Rows × features. Only scvi-tools' own bookkeeping is written (``uns["_scvi_uuid"]``).
        identity_key
            Column of ``obs`` with what is to be found again: a perturbed gene, a donor, a cell type.
        exam_key
            Column of ``obs`` with where it was seen: a guide, plate, batch or study. Two rows of an identity are then a
            pair only if their exams differ.
        layer
            Layer to read; ``X`` otherwise.
        obsm_key
            Key of ``obsm`` with an embedding to read instead, such as ``"X_pca"``.
        input_kind
            ``"counts"``, which are brought to one depth and logged, or ``"continuous"`` (signals, tables, embeddings),
            which are taken as they are. By default an embedding is continuous, and a layer is counts if it holds whole
            numbers of at least 0 only; say so where such numbers are no counts.
        **kwargs
            For scvi-tools' own use.

        Raises
        ------
        KeyError
            A column, layer or key does not exist.
        ValueError
            Both ``layer`` and ``obsm_key`` are given, the input holds NaN or rows of zeros or is not of its kind, a
            label is missing, or fewer than two identities have a pair.
        """
        if layer is not None and obsm_key is not None:
            msg = f"layer={layer!r} and obsm_key={obsm_key!r} both say what to read; give one of them."
            raise ValueError(msg)
        setup = {"layer": layer, "obsm_key": obsm_key, "input_kind": input_kind}
        input_kind = check_input(adata, setup)  # type: ignore[assignment]
        # data that a trained model merely reads need no labels
        if "source_registry" not in kwargs:
            check_identities(adata, identity_key, exam_key)
        setup_method_args = cls._get_setup_method_args(
            cls=cls,
            adata=adata,
            identity_key=identity_key,
            exam_key=exam_key,
            layer=layer,
            obsm_key=obsm_key,
            input_kind=input_kind,
        )
        field = LayerField("X", layer, is_count_data=False) if obsm_key is None else ObsmField("embedding", obsm_key)
        manager = AnnDataManager(fields=[field], setup_method_args=setup_method_args)
        manager.register_fields(adata, **kwargs)
        cls.register_manager(manager)

    @property
    def _setup(self) -> dict[str, Any]:
        return self.registry["setup_args"]
