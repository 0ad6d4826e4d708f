from __future__ import annotations

import builtins
from typing import TYPE_CHECKING

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import scwhatif as wi

if TYPE_CHECKING:
    from pathlib import Path

pytest.importorskip("pyfaidx", reason="pyfaidx is not installed")

add = wi.pp.add_pair_sequences
LETTERS = np.array(list("ACGTN"))


@pytest.fixture
def genome() -> dict[str, str]:
    rng = np.random.default_rng(0)
    return {f"chr{i}": "".join(rng.choice(list("ACGTacgt"), 500 * i)) for i in (1, 2)}


@pytest.fixture
def fasta(genome: dict[str, str], tmp_path: Path) -> Path:
    path = tmp_path / "genome.fa"
    lines = (
        f">{name} of a test\n" + "\n".join(s[i : i + 60] for i in range(0, len(s), 60)) for name, s in genome.items()
    )
    path.write_text("\n".join(lines) + "\n")
    return path


def pairs(rows: list[tuple[str, int, int, int, int]]) -> ad.AnnData:
    obs = pd.DataFrame(rows, columns=["chrom", "enhancer_start", "enhancer_end", "promoter_start", "promoter_end"])
    obs.index = [f"pair_{i}" for i in range(len(rows))]
    return ad.AnnData(np.zeros((len(rows), 1), dtype=np.float32), obs=obs)


PAIRS = [("chr1", 100, 140, 300, 301), ("chr2", 901, 940, 20, 60), ("chr1", 100, 140, 411, 422)]


def test_windows_equal_the_letters(genome: dict[str, str], fasta: Path, tmp_path: Path):
    adata = pairs(PAIRS)
    assert add(adata, fasta, enhancer_length=30, promoter_length=11) is None
    codes = adata.obsm["pair_sequence"]
    assert codes.dtype == np.uint8
    assert codes.shape == (3, 41)
    for row, (chrom, *places) in zip(codes, PAIRS, strict=True):
        (left, right), sequence = np.reshape(places, (2, 2)), genome[chrom].upper()
        for (start, end), length, part in ((left, 30, row[:30]), (right, 11, row[30:])):
            first = (start + end - length) // 2
            assert "".join(LETTERS[part]) == sequence[first : first + length]
    recorded = adata.uns["pair_sequence"]["params"]
    assert (recorded["enhancer_length"], recorded["n_unknown_enhancer"], recorded["n_unknown_promoter"]) == (30, 0, 0)
    adata.write_h5ad(tmp_path / "x.h5ad")
    back = ad.read_h5ad(tmp_path / "x.h5ad")
    np.testing.assert_array_equal(back.obsm["pair_sequence"], codes)
    assert back.uns["pair_sequence"]["params"]["promoter_length"] == 11


def test_over_the_end_is_unknown(genome: dict[str, str], fasta: Path):
    adata = pairs([("chr1", 0, 10, 490, 500)])
    added = add(adata, fasta, enhancer_length=30, promoter_length=20, key_added="dna", copy=True)
    assert "dna" not in adata.obsm
    codes = added.obsm["dna"][0]
    # the middle is at 5, so the window starts at -10
    assert (codes[:10] == 4).all()
    assert "".join(LETTERS[codes[10:30]]) == genome["chr1"][:20].upper()
    assert "".join(LETTERS[codes[30:45]]) == genome["chr1"][-15:].upper()
    assert (codes[45:] == 4).all()
    recorded = added.uns["dna"]["params"]
    assert (recorded["n_unknown_enhancer"], recorded["n_unknown_promoter"]) == (10, 5)
    with pytest.raises(ValueError, match=r"1 pair.s. have bases that are not A, C, G or T, the first 'pair_0'"):
        add(adata, fasta, enhancer_length=30, promoter_length=20, unknown="error")
    assert "pair_sequence" not in adata.obsm


def test_other_letters(tmp_path: Path):
    path = tmp_path / "n.fa"
    path.write_text(">chr1\nACGTNRYacgtnACGT\n")
    adata = pairs([("chr1", 0, 16, 0, 4)])
    add(adata, path, enhancer_length=16, promoter_length=4)
    assert adata.obsm["pair_sequence"][0].tolist() == [0, 1, 2, 3, 4, 4, 4, 0, 1, 2, 3, 4, 0, 1, 2, 3, 0, 1, 2, 3]
    strange = tmp_path / "x.fa"
    strange.write_text(">chr1\nACGTXCGTACGTACGT\n")
    with pytest.raises(ValueError, match="letter 'X' near chr1:0-16"):
        add(adata, strange, enhancer_length=16, promoter_length=4)


@pytest.mark.parametrize(
    ("rows", "kwargs", "error", "message"),
    [
        (PAIRS, {"enhancer_length": 0}, ValueError, "enhancer_length=0"),
        (PAIRS, {"unknown": "drop"}, ValueError, "unknown='drop'"),
        (PAIRS, {"chrom_key": "Chrom"}, KeyError, "Did you mean 'chrom'"),
        ([("1", 1, 2, 3, 4)], {}, KeyError, "It calls it 'chr1'"),
        ([("chr9", 1, 2, 3, 4)], {}, KeyError, "no sequence 'chr9'"),
        ([("1", 1, 2, 3, 4), ("chr2", 1, 2, 3, 4)], {}, ValueError, "in two ways"),
        ([("chr1", 1, 2, 499, 501)], {}, ValueError, "promoter chr1:499-501 is not within chr1 .* another assembly"),
        ([("chr1", 5, 5, 9, 10)], {}, ValueError, "enhancer chr1:5-5"),
    ],
)
def test_bad_input(fasta: Path, rows: list, kwargs: dict, error: type[Exception], message: str):
    adata = pairs(rows)
    with pytest.raises(error, match=message):
        add(adata, fasta, **kwargs)
    assert not len(adata.obsm)


def test_missing_column(fasta: Path):
    adata = pairs(PAIRS)
    del adata.obs["promoter_end"]
    with pytest.raises(KeyError, match="promoter_end"):
        add(adata, fasta)


def test_pyfaidx_is_optional(fasta: Path, monkeypatch: pytest.MonkeyPatch):
    import_ = builtins.__import__

    def without(name: str, *args, **kwargs):
        if name == "pyfaidx":
            raise ImportError(name)
        return import_(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r"pip install 'scwhatif\[sequence\]'"):
        add(pairs(PAIRS), fasta)
