"""Where :class:`scwhatif.model.CellLineEnergyModel` finds what it reads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scvi.data import AnnDataManager
from scvi.data.fields import CategoricalObsField, LayerField, NumericalObsField, ObsmField

from scwhatif.model._cell_line_energy_checks import check_pairs
from scwhatif.module._cell_line_energy import LABEL_KEY, LINE_KEY

if TYPE_CHECKING:
    from anndata import AnnData


class CellLineEnergySetupMixin:
    """Registration of pairs."""

    _get_setup_method_args: Any
    register_manager: Any

    @classmethod
    def setup_anndata(
        cls,
        adata: AnnData,
        *,
        label_key: str,
        cell_line_key: str,
        chrom_key: str | None = None,
        layer: str | None = None,
        environment_key: str | None = None,
        sequence_key: str | None = None,
        embedding_key: str | None = None,
        **kwargs: Any,
    ) -> None:
        """Say where pairs keep what the model reads.

        Parameters
        ----------
        adata
            Pairs × features; a feature that was not measured is NaN. Only scvi-tools' own bookkeeping is written
            (``uns["_scvi_uuid"]``, ``obs["_scvi_cell_line"]``).
        label_key
            Column of ``obs``: 1 where the pair interacts, 0 where not, NaN where not known.
        cell_line_key
            Column of ``obs`` with the cell line.
        chrom_key
            Column of ``obs`` with the chromosome, so that splits can keep loci apart.
        layer
            Layer with the features; ``X`` otherwise.
        environment_key
            Key of ``obsm`` with raw features from which the environment is read; ``X`` otherwise.
        sequence_key
            Key of ``obsm`` with codes of the bases (0 to 3 for A, C, G, T, 4 for any other), enhancer then promoter.
        embedding_key
            Key of ``obsm`` with a precomputed embedding of the pair.
        **kwargs
            For scvi-tools' own use.

        Raises
        ------
        KeyError
            A key does not exist.
        TypeError
            Features are no numbers.
        ValueError
            A label is neither 0 nor 1, a cell line or chromosome is missing, chromosomes are named in two ways, a
            feature is infinite or never measured, a sequence holds other codes.
        """
        setup_method_args = cls._get_setup_method_args(
            cls=cls,
            adata=adata,
            label_key=label_key,
            cell_line_key=cell_line_key,
            chrom_key=chrom_key,
            layer=layer,
            environment_key=environment_key,
            sequence_key=sequence_key,
            embedding_key=embedding_key,
        )
        check_pairs(adata, setup_method_args["setup_args"], needs_label="source_registry" not in kwargs)
        fields: list[Any] = [
            LayerField("X", layer, is_count_data=False),
            CategoricalObsField(LINE_KEY, cell_line_key),
            NumericalObsField(LABEL_KEY, label_key),
        ]
        for name, key in [("environment", environment_key), ("embedding", embedding_key), ("sequence", sequence_key)]:
            if key is not None:
                fields.append(ObsmField(name, key, is_count_data=False))
        manager = AnnDataManager(fields=fields, setup_method_args=setup_method_args)
        if "source_registry" in kwargs:
            # a line that the model has not seen is what it is for
            kwargs.setdefault("extend_categories", True)
        manager.register_fields(adata, **kwargs)
        cls.register_manager(manager)
