from __future__ import annotations

import pandas as pd
import pytest

from scwhatif.perturbation import Edit
from scwhatif.perturbation._resolve import resolve_features, resolve_latent

PAIR = Edit("feature", ("TP53", "MDM2"), "ko")
MYC = Edit("feature", ("MYC",), "x", 2)
LATENT = Edit("latent", ("z3",), "+", 1)


@pytest.mark.parametrize("wrap", [list, tuple, pd.Index, lambda names: pd.Index(names, dtype="category")])
def test_features_are_paired_with_columns(wrap):
    var_names = wrap(["MYC", "ACTB", "TP53", "MDM2"])
    assert resolve_features([MYC, LATENT, PAIR, MYC], var_names) == [(0, MYC), (3, PAIR), (2, PAIR), (0, MYC)]


def test_unknown_features_are_all_named_with_close_matches():
    edits = [Edit("feature", ("tp53", "nothing_like_it", "MYC"), "ko")]
    with pytest.raises(KeyError) as caught:
        resolve_features(edits, ["MYC", "TP53", "TP63", "TP73", "TP53BP1"])
    assert caught.value.args[0] == (
        "features not in var_names: 'nothing_like_it', 'tp53' (close: TP53, TP73, TP63); "
        "use scwhatif.pp.match_genes to match names to the data"
    )


def test_only_the_first_unknown_features_get_suggestions():
    with pytest.raises(KeyError) as caught:
        resolve_features([Edit("feature", tuple(f"GENE{i:02d}" for i in range(30)), "ko")], ["GENE", "MYC"])
    message = caught.value.args[0]
    assert all(f"'GENE{i:02d}'" in message for i in range(30))
    assert message.count("(close: GENE)") == 10


def test_repeated_names_matter_only_where_edited():
    var_names = ["TP53", "MYC", "TP53", "MDM2", "ACTB", "ACTB"]
    assert resolve_features([MYC], var_names) == [(1, MYC)]
    with pytest.raises(ValueError, match=r"more than once in var_names: 'TP53'; call adata.var_names_make_unique"):
        resolve_features([MYC, PAIR], var_names)


def test_latent_edits_are_paired_with_dimensions():
    first = Edit("latent", ("z0",), "=", 0)
    assert resolve_latent([first, MYC, LATENT], 4) == [(0, first), (3, LATENT)]
    with pytest.raises(ValueError, match="out of range: z3; there are 3, counted from z0"):
        resolve_latent([first, LATENT], 3)
