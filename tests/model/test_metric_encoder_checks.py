"""What cannot be learnt from is named before anything is written."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy import sparse

from scwhatif.model._metric_encoder_checks import (
    check_constant,
    check_encoder_settings,
    check_identities,
    check_input,
    codes_of,
    input_of,
    tell_dropped,
)

SETUP = {"obsm_key": None, "layer": None, "input_kind": None}


def make(x: object, **obs: object) -> AnnData:
    n = x.shape[0]
    frame = pd.DataFrame(obs, index=[f"r{i}" for i in range(n)])
    return AnnData(x, obs=frame)


COUNTS = np.array([[1.0, 0], [2, 3], [0, 4]], dtype=np.float32)


@pytest.mark.parametrize("wrap", [np.asarray, sparse.csr_matrix, sparse.csc_matrix])
def test_kind_is_told_by_the_values(wrap):
    assert check_input(make(wrap(COUNTS)), SETUP) == "counts"
    assert check_input(make(wrap(COUNTS + 0.5)), SETUP) == "continuous"
    assert check_input(make(wrap(-COUNTS)), SETUP) == "continuous"
    assert check_input(make(wrap(COUNTS)), {**SETUP, "input_kind": "continuous"}) == "continuous"


def test_an_embedding_is_continuous():
    adata = make(COUNTS)
    adata.obsm["z"] = COUNTS
    adata.obsm["frame"] = pd.DataFrame(COUNTS, index=adata.obs_names, columns=["a", "b"])
    assert check_input(adata, {**SETUP, "obsm_key": "z"}) == "continuous"
    values, name = input_of(adata, {**SETUP, "obsm_key": "frame"})
    np.testing.assert_array_equal(values, COUNTS)
    assert name == "adata.obsm['frame']"


@pytest.mark.parametrize(
    ("x", "setup", "error", "message"),
    [
        (COUNTS * np.nan, {}, ValueError, "NaN or infinite"),
        (COUNTS + np.inf, {}, ValueError, "NaN or infinite"),
        (COUNTS - 1.5, {"input_kind": "counts"}, ValueError, "not counts"),
        (COUNTS, {"input_kind": "count"}, ValueError, "input_kind='count' must be one of"),
        (COUNTS * [[1], [0], [1]], {"input_kind": "counts"}, ValueError, "without any count"),
        (COUNTS * [[1], [0], [1]], {"input_kind": "continuous"}, ValueError, r"1 row\(s\) of zeros"),
        (COUNTS, {"obsm_key": "X_pac"}, KeyError, "X_pac"),
        (COUNTS, {"layer": "raw"}, KeyError, "raw"),
    ],
)
def test_wrong_input(x, setup, error, message):
    with pytest.raises(error, match=message):
        check_input(make(x), {**SETUP, **setup})


@pytest.mark.parametrize(
    ("identity", "exam", "error", "message"),
    [
        (list("aaaa"), None, ValueError, "one identity only"),
        (list("abcd"), None, ValueError, "0 of 4 identities of obs"),
        (list("aabc"), None, ValueError, "1 of 3 identities of obs"),
        (list("aabb"), list("xxyy"), ValueError, "was seen in two values of obs"),
        (["a", None, "b", "b"], None, ValueError, "missing for 1 row"),
        (list("aabb"), ["x", None, "x", "y"], ValueError, "exam_key"),
    ],
)
def test_wrong_identities(identity, exam, error, message):
    adata = make(np.ones((4, 2)), who=identity, when=exam)
    with pytest.raises(error, match=message):
        check_identities(adata, "who", None if exam is None else "when")


def test_unknown_columns():
    adata = make(np.ones((4, 2)), who=list("aabb"))
    with pytest.raises(KeyError, match=r"identity_key='whom'.*Did you mean 'who'"):
        check_identities(adata, "whom", None)
    with pytest.raises(KeyError, match="exam_key='when'"):
        check_identities(adata, "who", "when")


def test_codes_are_int64_whatever_the_labels():
    adata = make(np.ones((3, 2)), who=[2**24, 2**24 + 1, 2**24])
    adata.obs["cat"] = pd.Categorical(["b", "a", "b"])
    for key in ("who", "cat"):
        codes = codes_of(adata, key)
        assert codes.dtype == np.int64
        assert codes.tolist() == [0, 1, 0]


def test_a_constant_is_refused():
    with pytest.raises(ValueError, match="z is constant"):
        check_constant(np.full((5, 3), 2.5, dtype=np.float32), "z")
    with pytest.raises(ValueError, match="z is constant"):
        check_constant(1e4 + 1e-4 * np.arange(15).reshape(5, 3), "z")
    check_constant(np.arange(15.0).reshape(5, 3), "z")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"encoder": "resnet"}, "encoder='resnet' must be one of"),
        ({"n_latent": 3}, "cannot be set with encoder='residual'"),
        ({"encoder": "mlp", "n_latent": 0}, "n_latent=0 must be at least 1"),
        ({"n_hidden": 0}, "n_hidden=0"),
        ({"n_layers": 0}, "n_layers=0"),
        ({"dropout_rate": 1.0}, "dropout_rate=1.0"),
    ],
)
def test_wrong_encoders(settings, message):
    usual = {"encoder": "residual", "n_latent": None, "n_hidden": 8, "n_layers": 1, "dropout_rate": 0.0}
    with pytest.raises(ValueError, match=message):
        check_encoder_settings(n_input=5, **{**usual, **settings})
    check_encoder_settings(n_input=5, **{**usual, "n_latent": 5})


def test_dropped_rows_are_counted_and_told():
    identity, usable = np.array([0, 0, 1, 2, 2]), np.array([True, True, False, True, True])
    with pytest.warns(UserWarning, match="1 of 5 rows take no part.*1 identities have one row only"):
        assert tell_dropped(identity, usable, None) == 1
    assert tell_dropped(identity, np.ones(5, dtype=bool), None) == 0
