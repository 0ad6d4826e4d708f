"""Find a list of genes in an AnnData, whatever naming either side uses."""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

import pandas as pd

from scwhatif._keys import Key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from anndata import AnnData

_SYMBOL_COLUMNS = (
    "gene_symbols",
    "gene_symbol",
    "gene_names",
    "gene_name",
    "gene_short_name",
    "feature_name",
    "feature_names",
    "hgnc_symbol",
    "mgi_symbol",
    "symbols",
    "symbol",
)
_ENSEMBL_COLUMNS = (
    "gene_ids",
    "gene_id",
    "feature_id",
    "feature_ids",
    "ensembl_gene_id",
    "ensembl_ids",
    "ensembl_id",
    "ensembl",
)
_ENSEMBL = re.compile(r"(ENS[A-Z]*[GTPE]\d{6,})(\.\d+)?", re.IGNORECASE)


@dataclass(frozen=True, repr=False)
class GeneMatch:
    """Which genes of a list are in the data, and under which name.

    Attributes
    ----------
    queried
        The distinct genes asked for, in the order given.
    found
        Gene asked for → name in ``adata.var_names``.
    missing
        Genes the data do not have.
    ambiguous
        Gene asked for → the names it could mean; none of them was chosen.
    how
        For each gene found: ``"exact"``, ``"version"`` (Ensembl version suffix ignored), ``"case"`` (upper and lower
        case ignored), ``"column"`` (through a column of ``var``) or ``"alias"``.
    min_found
        Share of genes that should have been found.
    """

    queried: tuple[str, ...]
    found: dict[str, str]
    missing: list[str]
    ambiguous: dict[str, list[str]]
    how: dict[str, str]
    min_found: float = 0.8

    @property
    def n_queried(self) -> int:
        """Number of distinct genes asked for."""
        return len(self.queried)

    @property
    def n_found(self) -> int:
        """Number of genes found."""
        return len(self.found)

    @property
    def var_names(self) -> list[str]:
        """Names in ``adata.var_names``, each once, in the order asked for: ``adata[:, match.var_names]``."""
        return list(dict.fromkeys(self.found.values()))

    def to_frame(self) -> pd.DataFrame:
        """Put the match into a table.

        Returns
        -------
        One row per gene asked for, in that order, with columns ``query``, ``var_name``, ``how`` (a way, ``"ambiguous"``
        or ``"missing"``) and ``candidates`` (``"; "`` between names); all text, empty where there is none.
        """
        rows = []
        for query in self.queried:
            status = "ambiguous" if query in self.ambiguous else "missing"
            candidates = "; ".join(self.ambiguous.get(query, []))
            rows.append((query, self.found.get(query, ""), self.how.get(query, status), candidates))
        frame = pd.DataFrame(rows, columns=["query", "var_name", "how", "candidates"], dtype=object)
        frame.index = frame.index.astype(str)
        return frame

    def report(self) -> str:
        """Summarise the match.

        Returns
        -------
        Text: how many genes were found and how, and the names of those that were not.
        """
        lines = [f"{self.n_found} of {self.n_queried} genes found ({self.n_found / self.n_queried:.0%})"]
        ways = pd.Series(list(self.how.values()), dtype=object).value_counts()
        lines += [f"  by {way}: {n}" for way, n in ways.items() if way != "exact"]
        if self.missing:
            lines.append(f"  missing: {', '.join(self.missing)}")
        lines += [f"  ambiguous: {query} could be {', '.join(names)}" for query, names in self.ambiguous.items()]
        return "\n".join(lines)

    def write_to(self, adata: AnnData, *, key_added: str = Key.uns.MATCH_GENES) -> None:
        """Write the match to ``adata.uns[key_added]``.

        Parameters
        ----------
        adata
            Data to annotate, in place.
        key_added
            Key of ``uns``; holds ``table`` (:meth:`to_frame`) and ``params`` (``min_found``, ``n_queried``,
            ``n_found``). Both survive :meth:`anndata.AnnData.write_h5ad`.
        """
        adata.uns[key_added] = {
            "table": self.to_frame(),
            "params": {"min_found": self.min_found, "n_queried": self.n_queried, "n_found": self.n_found},
        }

    def __repr__(self) -> str:
        return self.report()

    def _repr_html_(self) -> str:
        head = escape(self.report()).replace("\n", "<br>")
        return f"<p>{head}</p>{self.to_frame().to_html(index=False, max_rows=20)}"


def match_genes(
    adata: AnnData,
    genes: Iterable[str],
    *,
    by: str | None = None,
    aliases: Mapping[str, str | Sequence[str]] | None = None,
    min_found: float = 0.8,
) -> GeneMatch:
    """Find `genes` in `adata` by symbol or Ensembl id, through case, version suffix, columns and aliases.

    Ways are tried from the safest to the loosest, and the first that gives a name is taken: the name as it is, without
    Ensembl version (``ENSG00000141510.18``), without regard to case; each in ``var_names`` first, then in the columns
    of ``var`` that hold names; at last `aliases`. Where one way gives several names, none is chosen: the gene is
    reported as ambiguous.

    Parameters
    ----------
    adata
        Data with genes in ``var_names``.
    genes
        Names to look for; repeated names count once, surrounding blanks do not matter.
    by
        What the names in `genes` are: ``"symbol"``, ``"ensembl"``, or the column of ``adata.var`` they come from.
        ``None`` looks at ``var_names`` and at every column with a usual name, such as ``gene_symbols``,
        ``feature_name`` or ``gene_ids``.
    aliases
        Former or other name → name (or names) to look for instead, for instance ``{"P53": "TP53"}``. Looked up
        without regard to case, and only for genes not found otherwise.
    min_found
        Warn if a smaller share of `genes` is found.

    Returns
    -------
    The :class:`GeneMatch`. Nothing is written; :meth:`GeneMatch.write_to` keeps it in ``adata.uns``.

    Raises
    ------
    TypeError
        `genes` is a single string, or holds something that is not a string.
    ValueError
        `genes` is empty, or holds an empty name.
    KeyError
        `by` is neither a kind of name `adata` has, nor a column of ``var``.

    Warns
    -----
    UserWarning
        Fewer than `min_found` of the genes were found.

    Examples
    --------
    >>> import anndata as ad, numpy as np, pandas as pd, scwhatif as wi
    >>> var = pd.DataFrame({"gene_symbols": ["TP53", "MYC"]}, index=["ENSG00000141510", "ENSG00000136997"])
    >>> adata = ad.AnnData(np.ones((2, 2)), var=var)
    >>> match = wi.pp.match_genes(adata, ["P53", "ENSG00000136997.20", "tp53"], aliases={"P53": "TP53"})
    >>> match.found
    {'P53': 'ENSG00000141510', 'ENSG00000136997.20': 'ENSG00000136997', 'tp53': 'ENSG00000141510'}
    >>> match.how
    {'P53': 'alias', 'ENSG00000136997.20': 'version', 'tp53': 'column'}
    """
    queried = _queries(genes)
    sources = _sources(adata, by)
    lookup = _Lookup(sources)
    other_names = {
        name.strip().casefold(): [target] if isinstance(target, str) else list(target)
        for name, target in (aliases or {}).items()
    }
    found: dict[str, str] = {}
    how: dict[str, str] = {}
    missing: list[str] = []
    ambiguous: dict[str, list[str]] = {}
    for query in queried:
        name = query.strip()
        candidates, way = lookup(name)
        if not candidates:
            hits = [lookup(target.strip())[0] for target in other_names.get(name.casefold(), [])]
            candidates, way = list(dict.fromkeys(c for hit in hits for c in hit)), "alias"
        if not candidates:
            missing.append(query)
        elif len(candidates) > 1 or lookup.is_duplicated(candidates[0]):
            ambiguous[query] = candidates
        else:
            found[query], how[query] = candidates[0], way
    match = GeneMatch(queried, found, missing, ambiguous, how, min_found)
    if match.n_found < min_found * match.n_queried:
        msg = (
            f"only {match.n_found} of {match.n_queried} genes found, fewer than min_found={min_found:.0%}. Check that "
            f"they are of the same species and kind of name as adata.var_names ({', '.join(adata.var_names[:3])}, …), "
            "or pass aliases."
        )
        warnings.warn(msg, UserWarning, stacklevel=2)
    return match


def _queries(genes: Iterable[str]) -> tuple[str, ...]:
    if isinstance(genes, str):
        msg = f"genes must be a list of names, not the string {genes!r}; pass [{genes!r}]."
        raise TypeError(msg)
    queried = tuple(dict.fromkeys(genes))
    for i, gene in enumerate(queried):
        if not isinstance(gene, str):
            msg = f"genes must be strings, but number {i} is {gene!r}; drop it or convert it with str()."
            raise TypeError(msg)
        if not gene.strip():
            msg = f"genes holds an empty name (number {i}); drop it."
            raise ValueError(msg)
    if not queried:
        msg = "genes is empty; pass at least one name."
        raise ValueError(msg)
    return queried


def _is_ensembl(names: pd.Series) -> bool:
    known = names.dropna().astype(str)
    return len(known) > 0 and bool(known.map(lambda n: _ENSEMBL.fullmatch(n) is not None).mean() > 0.5)


def _sources(adata: AnnData, by: str | None) -> list[pd.Series]:
    """Columns of names to search, ``var_names`` first; the index of each is ``var_names``."""
    var_names = pd.Series(adata.var_names, index=adata.var_names, name=None)
    if by is not None and by not in {"symbol", "ensembl"}:
        if by not in adata.var.columns:
            msg = f"by={by!r} is neither 'symbol', 'ensembl' nor a column of adata.var: {list(adata.var.columns)}."
            raise KeyError(msg)
        return [adata.var[by]]
    usual = {*_SYMBOL_COLUMNS, *_ENSEMBL_COLUMNS}
    sources = [var_names, *(adata.var[c] for c in adata.var.columns if str(c).lower() in usual)]
    if by is not None:
        sources = [s for s in sources if _is_ensembl(s) == (by == "ensembl")]
    if not sources:
        kind = "Ensembl ids" if by == "ensembl" else "gene symbols"
        msg = (
            f"by={by!r}, but neither adata.var_names ({', '.join(adata.var_names[:3])}, …) nor a column with a usual "
            f"name holds {kind}; name the column with by=…: {list(adata.var.columns)}."
        )
        raise KeyError(msg)
    return sources


def _without_version(name: str) -> str:
    hit = _ENSEMBL.fullmatch(name)
    return hit.group(1).upper() if hit else name


class _Lookup:
    """Names of genes under each way of reading them, from the safest way to the loosest."""

    def __init__(self, sources: list[pd.Series]) -> None:
        ways: list[tuple[str, Callable[[str], str]]] = [
            ("exact", str),
            ("version", _without_version),
            ("case", str.casefold),
        ]
        direct = [s for s in sources if s.name is None]
        columns = [s for s in sources if s.name is not None]
        self._tiers: list[tuple[str, Callable[[str], str], dict[str, list[str]]]] = []
        for way, key in ways:
            self._tiers += [
                (label, key, self._table(group, key)) for label, group in ((way, direct), ("column", columns)) if group
            ]
        index = sources[0].index
        self._duplicated = set(index[index.duplicated()])

    @staticmethod
    def _table(sources: list[pd.Series], key: Callable[[str], str]) -> dict[str, list[str]]:
        table: dict[str, dict[str, Any]] = {}
        for source in sources:
            known = source[source.notna().to_numpy()]
            for var_name, name in zip(known.index, known.astype(str), strict=True):
                table.setdefault(key(name.strip()), {})[var_name] = None
        return {name: list(var_names) for name, var_names in table.items()}

    def __call__(self, name: str) -> tuple[list[str], str]:
        """Candidates in ``var_names`` and the way they were found; no candidates if there is none."""
        for way, key, table in self._tiers:
            candidates = table.get(key(name))
            if candidates:
                return candidates, way
        return [], ""

    def is_duplicated(self, var_name: str) -> bool:
        """Whether several features go by `var_name`, so that it names none of them."""
        return var_name in self._duplicated
