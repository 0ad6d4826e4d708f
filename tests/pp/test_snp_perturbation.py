"""Effects of alleles become factors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scwhatif.pp import snp_perturbation

if TYPE_CHECKING:
    from scwhatif import Perturbation

EFFECTS = pd.DataFrame(
    {
        "gene": ["B", "A", "A"],
        "snp": ["rs3", "rs1", "rs2"],
        "log2fc": [1.0, -1.0, 0.5],
        "se": [0.1, 0.2, 0.3],
    }
)


def factors(perturbation: Perturbation) -> dict[str, float]:
    return {edit.target: edit.value for edit in perturbation}


def test_effects_of_one_gene_add_on_the_log_scale():
    found = snp_perturbation(EFFECTS, snp="snp", dosage={"rs1": 1, "rs2": 2, "rs3": 0.5, "other": 9})
    assert factors(found) == {"A": 1.0, "B": 2**0.5}
    assert snp_perturbation(EFFECTS, snp="snp", dosage=pd.Series({"rs1": 1, "rs2": 2, "rs3": 0.5})) == found


def test_dosage_by_gene_and_for_all():
    table = EFFECTS.iloc[:2]
    assert factors(snp_perturbation(table)) == {"A": 0.5, "B": 2.0}
    assert factors(snp_perturbation(table, dosage=2)) == {"A": 0.25, "B": 4.0}
    assert factors(snp_perturbation(table, dosage=0)) == {"A": 1.0, "B": 1.0}
    assert factors(snp_perturbation(table, dosage={"A": 0, "B": 2})) == {"A": 1.0, "B": 4.0}


def test_names_of_columns():
    table = EFFECTS.iloc[:2].rename(columns={"gene": "symbol", "log2fc": "beta"})
    assert factors(snp_perturbation(table, gene="symbol", log2fc="beta")) == {"A": 0.5, "B": 2.0}


@given(beta=st.floats(-20, 20), one=st.floats(0, 1), two=st.floats(0, 1))
def test_doses_multiply(beta: float, one: float, two: float):
    table = pd.DataFrame({"gene": ["A"], "log2fc": [beta]})
    a, b, both = (factors(snp_perturbation(table, dosage=d))["A"] for d in (one, two, one + two))
    assert a * b == pytest.approx(both, rel=1e-9)


def test_draws_have_the_stated_error():
    draws = snp_perturbation(EFFECTS, snp="snp", dosage={"rs1": 1, "rs2": 2, "rs3": 0}, se="se", n_draws=4000)
    assert len(draws) == 4000
    log2 = np.log2([factors(each)["A"] for each in draws])
    sd = np.sqrt(0.2**2 + (2 * 0.3) ** 2)
    assert log2.mean() == pytest.approx(0, abs=4 * sd / np.sqrt(4000))
    assert log2.std() == pytest.approx(sd, rel=0.05)
    assert {factors(each)["B"] for each in draws} == {1.0}


def test_draws_depend_on_seed_and_not_on_order():
    def draw(table: pd.DataFrame, seed: int = 0) -> list[Perturbation]:
        return snp_perturbation(table, snp="snp", se="se", n_draws=3, seed=seed)

    assert draw(EFFECTS) == draw(EFFECTS.iloc[[2, 0, 1]])
    assert draw(EFFECTS) != draw(EFFECTS, seed=1)
    assert len(set(draw(EFFECTS))) == 3
    exact = snp_perturbation(EFFECTS.assign(se=0.0), snp="snp", se="se", n_draws=2)
    assert exact == [snp_perturbation(EFFECTS, snp="snp")] * 2


def test_input_is_left_alone():
    before = EFFECTS.copy()
    snp_perturbation(EFFECTS, snp="snp", se="se", n_draws=2)
    pd.testing.assert_frame_equal(EFFECTS, before)


@pytest.mark.parametrize(
    ("change", "kwargs", "error", "message"),
    [
        ({}, {"snp": "rsid"}, KeyError, "snp='rsid' is not in effects; its columns are 'gene', 'snp'"),
        ({"log2fc": [1, np.nan, 1]}, {"snp": "snp"}, ValueError, r"row\(s\) 1: column 'log2fc' does not hold a finite"),
        ({"log2fc": [1, 2, np.inf]}, {"snp": "snp"}, ValueError, r"row\(s\) 2: column 'log2fc' does not hold a finite"),
        ({"log2fc": ["1", "2", "x"]}, {"snp": "snp"}, ValueError, r"row\(s\) 2: column 'log2fc' does not hold a fin"),
        ({"gene": ["A", None, "C"]}, {"snp": "snp"}, ValueError, r"row\(s\) 1: the name in column 'gene' is missing"),
        ({"snp": ["r", None, "s"]}, {"snp": "snp"}, ValueError, r"row\(s\) 1: the name in column 'snp' is missing"),
        ({}, {}, ValueError, r"row\(s\) 2: the same gene has been in a row before; name the column of SNPs"),
        ({"snp": ["r", "s", "s"]}, {"snp": "snp"}, ValueError, r"row\(s\) 2: the same gene and snp has .* keep one"),
        ({}, {"snp": "snp", "dosage": 2.5}, ValueError, "dosage of snp 'rs1' is 2.5; effect alleles number 0 to 2"),
        ({}, {"snp": "snp", "dosage": -1}, ValueError, "dosage of snp 'rs1' is -1"),
        ({}, {"snp": "snp", "dosage": np.nan}, ValueError, "dosage of snp 'rs1' is nan"),
        ({}, {"snp": "snp", "dosage": {"rs1": 1}}, KeyError, "dosage has no entry for snp 'rs2', 'rs3'; 0 leaves"),
        ({}, {"snp": "snp", "se": "se"}, ValueError, "se and n_draws belong together"),
        ({}, {"snp": "snp", "n_draws": 3}, ValueError, "se and n_draws belong together"),
        ({}, {"snp": "snp", "se": "se", "n_draws": 0}, ValueError, "n_draws=0 must be at least 1"),
        ({"se": [0.1, -0.1, 0]}, {"snp": "snp", "se": "se", "n_draws": 2}, ValueError, r"row\(s\) 1: .*'se' does not"),
        ({"log2fc": [2000, 0, 0]}, {"snp": "snp"}, ValueError, "feature 'B': .* finite number"),
    ],
)
def test_bad_tables(change: dict, kwargs: dict, error: type[Exception], message: str):
    with pytest.raises(error, match=message):
        snp_perturbation(EFFECTS.assign(**change), **kwargs)


def test_empty_table():
    with pytest.raises(ValueError, match="effects has no rows"):
        snp_perturbation(EFFECTS.iloc[:0], snp="snp")
