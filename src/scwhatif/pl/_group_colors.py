"""One colour per group of cells."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scwhatif.pl._style import OKABE_ITO

if TYPE_CHECKING:
    from anndata import AnnData


def group_colors(adata: AnnData, groupby: str, names: list[str]) -> dict[str, str]:
    """Take the colours that scanpy chose, if they still fit, or choose.

    Parameters
    ----------
    adata
        The data; ``uns[groupby + "_colors"]`` holds scanpy's colours, in the order of the categories.
    groupby
        Column of ``obs``.
    names
        Groups to colour.

    Returns
    -------
    Colour of each group: Okabe and Ito's, or, for more groups than it has colours, those of scanpy's palettes.
    """
    stored = adata.uns.get(f"{groupby}_colors")
    column = adata.obs[groupby]
    if stored is not None and hasattr(column, "cat") and len(stored) == len(column.cat.categories):
        known = {str(name): str(color) for name, color in zip(column.cat.categories, stored, strict=True)}
        return {name: known[name] for name in names}
    if len(names) <= len(OKABE_ITO):
        return dict(zip(names, OKABE_ITO.values(), strict=False))
    from scanpy.plotting import palettes

    palette = next((each for each in (palettes.default_20, palettes.default_28) if len(each) >= len(names)), None)
    palette = palettes.default_102 if palette is None else palette
    return {name: palette[i % len(palette)] for i, name in enumerate(names)}
