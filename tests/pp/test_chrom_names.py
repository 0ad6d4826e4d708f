from __future__ import annotations

import pytest

from scwhatif.pp._chrom_names import check_chrom_names, other_chrom_name


@pytest.mark.parametrize("names", [["chr1", "chrX", "chr1"], ["1", "X", "MT"], ["Chr1"], []])
def test_one_way(names: list[str]):
    check_chrom_names(names, "the table")


def test_two_ways():
    with pytest.raises(ValueError, match=r"obs\['chrom'\] names chromosomes in two ways, as 'chr1' and as '1', 'X'"):
        check_chrom_names(["1", "chr1", "X"], "obs['chrom']")


def test_other_name():
    assert other_chrom_name("chr1") == "1"
    assert other_chrom_name("X") == "chrX"
