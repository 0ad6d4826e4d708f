"""Table of enhancer–promoter pairs into AnnData."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scwhatif._keys import Key
from scwhatif._provenance import params
from scwhatif._validation import _listed, _unknown_key
from scwhatif.pp._chrom_names import check_chrom_names

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

_INTERVAL = r"^(?P<chrom>[^\s:]+):(?P<start>[\d,]+)-(?P<end>[\d,]+)"
# Words in names of columns that hold what an experiment or another method found, once punctuation is out.
_RESULT = re.compile(
    r"p_?val|p_?adj|q_?val|fdr|effect_?size|signific|predict|power_?at|log_?fold|logfc|regulated", re.IGNORECASE
)


def pairs_from_table(
    table: pd.DataFrame,
    *,
    cell_line: str,
    label: str | None = None,
    chrom: str | None = None,
    enhancer: str | tuple[str, str] = ("enhancer_start", "enhancer_end"),
    promoter: str | tuple[str, str] = ("promoter_start", "promoter_end"),
    features: Sequence[str] | None = None,
    exclude: Sequence[str] = (),
    add_distance: bool = False,
) -> AnnData:
    """Make an AnnData whose rows are enhancer–promoter pairs.

    Parameters
    ----------
    table
        One row per pair and cell line. It is not changed.
    cell_line
        Column with the cell line.
    label
        Column with 1 (or true) where the pair interacts, 0 (or false) where not, missing where not known. ``None`` if
        nothing is known.
    chrom
        Column with the chromosome. May be left out where `enhancer` or `promoter` are names that tell it.
    enhancer, promoter
        Either the columns of start and end, zero-based and half-open, or one column of names that begin with the
        place, as ``"chr5:317258-317610"`` with anything after it.
    features
        Columns to learn from. ``None`` takes all numeric columns that are not named above or in `exclude`.
    exclude
        Columns that are no features: what is known only after the experiment, or what another method predicted.
    add_distance
        Whether to add the distance as a feature ``"log10_distance"``, the logarithm to base 10 of 1 plus its base
        pairs, where the table has none.

    Returns
    -------
    AnnData, pairs × features, in the order of the table, with

    ``X`` : array, float32
        Features. Those not measured are NaN.
    ``obs["cell_line"]``, ``obs["chrom"]`` : category
        As text.
    ``obs["label"]`` : int64, or float64 with NaN where a label is not known
        Not written if `label` is ``None``.
    ``obs["enhancer_start"]``, ``obs["enhancer_end"]``, ``obs["promoter_start"]``, ``obs["promoter_end"]`` : int64
        Places.
    ``obs["distance"]`` : int64
        Base pairs between enhancer and promoter, 0 where they overlap.
    ``obs["enhancer"]``, ``obs["promoter"]`` : str
        Names, where places were read from names.
    ``uns["pairs_from_table"]["params"]`` : dict
        Arguments.

    Raises
    ------
    KeyError
        The table has no such column.
    TypeError
        A feature is not numeric.
    ValueError
        The table is empty; a cell line, chromosome or place is missing or cannot be read; enhancer and promoter lie on
        different chromosomes; chromosomes are named in two ways; a label is neither 0 nor 1; a feature is infinite,
        never measured, listed in `exclude` as well, equal to the label, or named like a result of the experiment while
        ``features=None``; there is no feature.

    Examples
    --------
    >>> import pandas as pd
    >>> import scwhatif as wi
    >>> table = pd.DataFrame(
    ...     {
    ...         "line": ["K562", "K562"],
    ...         "enhancer": ["chr5:317258-317610|K562", "chr5:400100-400400|K562"],
    ...         "promoter": ["chr5:889813-889814|G1", "chr5:400300-400301|G2"],
    ...         "bound": [1, 0],
    ...         "CTCF (enhancer)": [0.4, None],
    ...     }
    ... )
    >>> adata = wi.pp.pairs_from_table(table, cell_line="line", label="bound", enhancer="enhancer", promoter="promoter")
    >>> adata.shape, adata.obs["distance"].tolist()
    ((2, 1), [572203, 0])
    """
    from anndata import AnnData

    if not len(table):
        msg = "table has no rows."
        raise ValueError(msg)
    named = [cell_line, *(each for each in (label, chrom) if each is not None)]
    for place in (enhancer, promoter):
        named += [place] if isinstance(place, str) else list(place)
    _check_columns(table, [*named, *exclude, *(features or ())])

    obs = pd.DataFrame({Key.obs.CELL_LINE: _text(table, cell_line, "cell_line")})
    places = {what: _places(table, place, what) for what, place in (("enhancer", enhancer), ("promoter", promoter))}
    obs[Key.obs.CHROM] = _chrom(table, chrom, places)
    check_chrom_names(obs[Key.obs.CHROM].unique(), "the table")
    for what, place in places.items():
        obs[f"{what}_start"], obs[f"{what}_end"] = place["start"], place["end"]
    gap = np.maximum(
        obs[Key.obs.PROMOTER_START] - obs[Key.obs.ENHANCER_END], obs[Key.obs.ENHANCER_START] - obs[Key.obs.PROMOTER_END]
    )
    obs[Key.obs.DISTANCE] = np.maximum(gap, 0)
    for what, column in (("enhancer", enhancer), ("promoter", promoter)):
        if isinstance(column, str):
            obs[what] = table[column].astype(str).to_numpy()
    if label is not None:
        obs[Key.obs.LABEL] = _labels(table, label)
    chosen = _chosen(table, {*named, *exclude}) if features is None else list(features)
    x = _features(table, chosen, exclude, obs.get(Key.obs.LABEL), named)
    if add_distance:
        chosen = [*chosen, "log10_distance"]
        x = np.column_stack([x, np.log10(1 + obs[Key.obs.DISTANCE].to_numpy(float))])

    for key in (Key.obs.CELL_LINE, Key.obs.CHROM):
        obs[key] = obs[key].astype("category")
    obs.index = pd.Index([f"pair_{i}" for i in range(len(obs))])
    recorded = params(
        cell_line=cell_line,
        label=label,
        chrom=chrom,
        enhancer=enhancer,
        promoter=promoter,
        exclude=list(exclude) or None,
        add_distance=add_distance,
    )
    return AnnData(
        x.astype(np.float32),
        obs=obs,
        var=pd.DataFrame(index=pd.Index(chosen)),
        uns={Key.uns.PAIRS_FROM_TABLE: {Key.uns.PARAMS: recorded}},
    )


def _check_columns(table: pd.DataFrame, columns: list[str]) -> None:
    if not table.columns.is_unique:
        twice = table.columns[table.columns.duplicated()].unique()
        msg = f"table has columns of one name: {_listed(twice)}. Rename them."
        raise ValueError(msg)
    for column in columns:
        if column not in table.columns:
            raise _unknown_key(column, table.columns, "the columns of table", "column")


def _text(table: pd.DataFrame, column: str, name: str) -> np.ndarray:
    """A column as text, none missing; whole numbers without a decimal point."""
    values = table[column]
    if values.isna().any():
        msg = f"column {column!r} ({name}) is missing in {int(values.isna().sum())} row(s), the first {_first(values)}."
        raise ValueError(msg)
    if pd.api.types.is_float_dtype(values) and (values % 1 == 0).all():
        values = values.astype(np.int64)
    return values.astype(str).to_numpy(dtype=object)


def _first(values: pd.Series) -> str:
    return f"at row {int(np.flatnonzero(values.isna())[0])}"


def _places(table: pd.DataFrame, columns: str | tuple[str, str], what: str) -> pd.DataFrame:
    """Columns ``start`` and ``end``, and ``chrom`` where the names tell it."""
    if isinstance(columns, str):
        found = table[columns].astype(str).str.extract(_INTERVAL)
        unread = found["start"].isna().to_numpy()
        if unread.any():
            example = table[columns].to_numpy()[unread][0]
            msg = (
                f"column {columns!r} ({what}) has {int(unread.sum())} name(s) that do not begin with a place such as "
                f"'chr5:317258-317610', the first {example!r}. Give the columns of start and end instead."
            )
            raise ValueError(msg)
        for end in ("start", "end"):
            found[end] = found[end].str.replace(",", "").astype(np.int64)
    else:
        found = pd.DataFrame()
        for end, column in zip(("start", "end"), columns, strict=True):
            numbers = pd.to_numeric(table[column], errors="coerce").to_numpy(dtype=np.float64)
            if not (np.isfinite(numbers) & (numbers % 1 == 0)).all():
                msg = f"column {column!r} ({what} {end}) must hold whole numbers, none missing."
                raise ValueError(msg)
            found[end] = numbers.astype(np.int64)
    wrong = ((found["start"] < 0) | (found["end"] <= found["start"])).to_numpy()
    if wrong.any():
        at = int(np.flatnonzero(wrong)[0])
        msg = (
            f"{int(wrong.sum())} {what}(s) end before they begin or begin below 0, the first at row {at}: "
            f"{found['start'].iloc[at]}-{found['end'].iloc[at]}. Places are zero-based and half-open."
        )
        raise ValueError(msg)
    return found.reset_index(drop=True)


def _chrom(table: pd.DataFrame, column: str | None, places: dict[str, pd.DataFrame]) -> np.ndarray:
    """Chromosome of each pair, the same wherever it is told."""
    told = {what: place["chrom"].to_numpy(dtype=object) for what, place in places.items() if "chrom" in place}
    if column is not None:
        told = {f"column {column!r}": _text(table, column, "chrom"), **told}
    if not told:
        msg = "no chromosome is told; name its column with chrom=."
        raise ValueError(msg)
    (first, names), *others = told.items()
    for what, other in others:
        differ = names != other
        if differ.any():
            at = int(np.flatnonzero(differ)[0])
            msg = (
                f"{int(differ.sum())} pair(s) lie on two chromosomes, or these are named in two ways: at row {at}, "
                f"{first} says {names[at]!r} and {what} {other[at]!r}. Leave such pairs out, or name all in one way."
            )
            raise ValueError(msg)
    return names


def _labels(table: pd.DataFrame, column: str) -> np.ndarray:
    values = table[column]
    if values.dtype == object or isinstance(values.dtype, pd.StringDtype | pd.CategoricalDtype):
        # a column of true and false with gaps, or read as text
        spelt = {"true": 1.0, "false": 0.0, "1": 1.0, "0": 0.0, "1.0": 1.0, "0.0": 0.0}
        numbers = values.astype(object).map(lambda each: spelt.get(str(each).lower(), np.nan))
    else:
        numbers = values.astype(np.float64)
    strange = ((numbers.isna() & ~values.isna()) | ~(numbers.isna() | numbers.isin([0, 1]))).to_numpy()
    if strange.any():
        msg = (
            f"column {column!r} (label) must hold 0, 1 or nothing, not {_listed(values[strange].unique())}. Leave out "
            "rows without a verdict, or make it missing."
        )
        raise ValueError(msg)
    known = numbers.to_numpy(dtype=np.float64)
    return known if np.isnan(known).any() else known.astype(np.int64)


def _chosen(table: pd.DataFrame, taken: set[str]) -> list[str]:
    chosen = [str(c) for c in table.columns if c not in taken and pd.api.types.is_numeric_dtype(table[c])]
    results = [column for column in chosen if _RESULT.search(re.sub(r"[\s.\-]+", "_", column))]
    if results:
        msg = (
            f"column(s) {_listed(results)} look like a result, known only after the experiment, and would give the "
            "label away. Leave them out with exclude=, or name all features with features=."
        )
        raise ValueError(msg)
    return chosen


def _features(
    table: pd.DataFrame, chosen: list[str], exclude: Sequence[str], label: Any, named: list[str]
) -> np.ndarray:
    if not chosen:
        msg = "no column is left to be a feature; name them with features=."
        raise ValueError(msg)
    both = [column for column in chosen if column in {*exclude, *named}]
    if both:
        msg = f"column(s) {_listed(both)} cannot be features: they are excluded or have another part."
        raise ValueError(msg)
    words = [column for column in chosen if not pd.api.types.is_numeric_dtype(table[column])]
    if words:
        msg = f"feature(s) {_listed(words)} are not numeric. Encode them, or leave them out."
        raise TypeError(msg)
    x = table[chosen].to_numpy(dtype=np.float64, na_value=np.nan)
    endless, empty = np.isinf(x).any(axis=0), np.isnan(x).all(axis=0)
    for wrong, what in ((endless, "infinite values"), (empty, "no values at all")):
        if wrong.any():
            msg = f"feature(s) {_listed(np.asarray(chosen)[wrong])} hold {what}. Mend them, or leave them out."
            raise ValueError(msg)
    if label is not None:
        known = ~np.isnan(np.asarray(label, dtype=np.float64))
        y = np.asarray(label, dtype=np.float64)[known]
        if len(np.unique(y)) == 2:
            same = [c for c, column in zip(chosen, x[known].T, strict=True) if np.array_equal(column, y)]
            if same:
                msg = f"feature(s) {_listed(same)} equal the label. Leave them out with exclude=."
                raise ValueError(msg)
    return x
