"""DNA of both ends of a pair."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import pandas as pd

from scwhatif._keys import Key
from scwhatif._provenance import params
from scwhatif._validation import check_obs_key
from scwhatif.pp._chrom_names import check_chrom_names, other_chrom_name

if TYPE_CHECKING:
    from os import PathLike

    from anndata import AnnData

Unknown = Literal["code", "error"]

_BASES = "ACGT"
_N = len(_BASES)
# letters of the IUPAC alphabet that leave the base open
_OPEN = "NRYSWKMBDHV"
_STRANGE = 255
_CODE = np.full(256, _STRANGE, dtype=np.uint8)
for _code, _letter in enumerate(_BASES):
    _CODE[[ord(_letter), ord(_letter.lower())]] = _code
for _letter in _OPEN:
    _CODE[[ord(_letter), ord(_letter.lower())]] = _N


def add_pair_sequences(
    adata: AnnData,
    fasta: str | PathLike[str],
    *,
    enhancer_length: int = 1000,
    promoter_length: int = 1000,
    unknown: Unknown = "code",
    chrom_key: str = Key.obs.CHROM,
    key_added: str = Key.obsm.SEQUENCE,
    copy: bool = False,
) -> AnnData | None:
    r"""Read the DNA of enhancer and promoter from a FASTA file, as windows of one length around their middles.

    Needs `pyfaidx <https://pypi.org/project/pyfaidx>`__, which writes an index beside the file where there is none.

    Parameters
    ----------
    adata
        Pairs with ``obs["enhancer_start"]``, ``obs["enhancer_end"]``, ``obs["promoter_start"]`` and
        ``obs["promoter_end"]``, zero-based and half-open, as from :func:`scwhatif.pp.pairs_from_table`.
    fasta
        Genome of the same assembly, with chromosomes named as in ``obs``; may be compressed with bgzip.
    enhancer_length, promoter_length
        Base pairs of the windows.
    unknown
        What to do with bases that are not A, C, G or T (N and the other letters for several bases, or a window that
        reaches over the end of a chromosome): ``"code"`` gives them a code of their own and counts them, ``"error"``
        refuses them.
    chrom_key
        Column of ``obs`` with the chromosome.
    key_added
        Key of ``obsm`` and ``uns``.
    copy
        Whether to return a copy instead of writing into ``adata``.

    Returns
    -------
    ``None``, or with ``copy=True`` an AnnData. Written are

    ``obsm[key_added]`` : array (``n_obs`` × ``enhancer_length + promoter_length``), uint8
        Bases of the enhancer, then of the promoter, on the forward strand: 0 to 3 for A, C, G, T, 4 for unknown.
    ``uns[key_added]["params"]`` : dict
        Arguments without the path, ``n_unknown_enhancer`` and ``n_unknown_promoter`` (bases of code 4).

    Raises
    ------
    ImportError
        pyfaidx is not installed.
    KeyError
        ``obs`` lacks a column, or the file lacks a chromosome.
    ValueError
        A length is below 1, `unknown` is none of the two, chromosomes are named in two ways, a place lies beyond the
        end of its chromosome, the file holds other letters than those of bases, or unknown bases are refused.

    Examples
    --------
    >>> from pathlib import Path
    >>> import scwhatif as wi
    >>> adata = wi.datasets.simulate_pairs(1, 1, 5)
    >>> _ = Path("genome.fa").write_text(">chr1\n" + "ACGT" * 50_000)
    >>> wi.pp.add_pair_sequences(adata, "genome.fa", enhancer_length=100, promoter_length=200)  # doctest: +SKIP
    >>> adata.obsm["pair_sequence"].shape  # doctest: +SKIP
    (25, 300)
    """
    lengths = {"enhancer": enhancer_length, "promoter": promoter_length}
    for what, length in lengths.items():
        if length < 1:
            msg = f"{what}_length={length} must be at least 1."
            raise ValueError(msg)
    if unknown not in get_args(Unknown):
        msg = f"unknown={unknown!r} must be one of {get_args(Unknown)}."
        raise ValueError(msg)
    check_obs_key(adata, chrom_key, "chrom_key")
    for what in lengths:
        for end in ("start", "end"):
            check_obs_key(adata, f"{what}_{end}", f"{what}_{end}")
    chrom = adata.obs[chrom_key].astype(str).to_numpy()
    check_chrom_names(set(chrom), f"obs[{chrom_key!r}]")
    faidx = _pyfaidx()

    with faidx.Fasta(str(fasta), as_raw=True, sequence_always_upper=True) as genome:
        _check_chroms(genome, set(chrom))
        parts = {
            what: _windows(genome, chrom, adata.obs[f"{what}_start"], adata.obs[f"{what}_end"], length, what)
            for what, length in lengths.items()
        }
    n_unknown = {what: int((codes == _N).sum()) for what, codes in parts.items()}
    if unknown == "error" and any(n_unknown.values()):
        rows = np.flatnonzero(np.hstack(list(parts.values())).max(axis=1) == _N)
        msg = (
            f"{len(rows)} pair(s) have bases that are not A, C, G or T, the first {adata.obs_names[rows[0]]!r}. Leave "
            "them out, or give such bases a code of their own with unknown='code'."
        )
        raise ValueError(msg)

    adata = adata.copy() if copy else adata
    adata.obsm[key_added] = np.hstack(list(parts.values()))
    adata.uns[key_added] = {
        Key.uns.PARAMS: params(
            enhancer_length=enhancer_length,
            promoter_length=promoter_length,
            unknown=unknown,
            chrom_key=chrom_key,
            n_unknown_enhancer=n_unknown["enhancer"],
            n_unknown_promoter=n_unknown["promoter"],
        )
    }
    return adata if copy else None


def _pyfaidx() -> Any:
    try:
        import pyfaidx
    except ImportError as error:
        msg = "Reading a FASTA file needs pyfaidx: pip install 'scwhatif[sequence]'."
        raise ImportError(msg) from error
    return pyfaidx


def _check_chroms(genome: Any, wanted: set[str]) -> None:
    known = set(genome.keys())
    missing = sorted(wanted - known)
    if missing:
        other = other_chrom_name(missing[0])
        hint = f" It calls it {other!r}; name both in one way." if other in known else ""
        msg = f"the FASTA file has no sequence {missing[0]!r} ({len(missing)} chromosome(s) are missing).{hint}"
        raise KeyError(msg)


def _windows(genome: Any, chrom: np.ndarray, start: pd.Series, end: pd.Series, length: int, what: str) -> np.ndarray:
    """Codes of the windows, each distinct place read once, ``(n_pairs, length)``."""
    places = pd.DataFrame({"chrom": chrom, "start": start.to_numpy(), "end": end.to_numpy()})
    which, distinct = places.groupby(["chrom", "start", "end"], sort=True).ngroup(), places.drop_duplicates()
    distinct = distinct.sort_values(["chrom", "start", "end"], ignore_index=True)
    codes = np.full((len(distinct), length), _N, dtype=np.uint8)
    sizes = {name: len(genome[name]) for name in distinct["chrom"].unique()}
    for row, (name, first, last) in enumerate(distinct.itertuples(index=False)):
        if not 0 <= first < last <= sizes[name]:
            msg = (
                f"{what} {name}:{first}-{last} is not within {name} of the FASTA file, which has {sizes[name]} base "
                "pairs. Is it of another assembly?"
            )
            raise ValueError(msg)
        left = (first + last - length) // 2
        inside = slice(max(left, 0), min(left + length, sizes[name]))
        letters = np.frombuffer(genome[name][inside].encode("ascii", "replace"), dtype=np.uint8)
        codes[row, inside.start - left : inside.stop - left] = _CODE[letters]
        if codes[row].max() == _STRANGE:
            strange = chr(letters[_CODE[letters] == _STRANGE][0])
            msg = f"the FASTA file has the letter {strange!r} near {name}:{first}-{last}, which stands for no base."
            raise ValueError(msg)
    return codes[which.to_numpy()]
