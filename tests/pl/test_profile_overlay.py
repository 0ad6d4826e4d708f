from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
import pytest

import scwhatif as wi

if TYPE_CHECKING:
    from collections.abc import Iterator

    from anndata import AnnData

PAIR = ("type_2", "type_0")


@pytest.fixture(autouse=True)
def _close_figures() -> Iterator[None]:
    yield
    plt.close("all")


def decoded(likelihood: str) -> AnnData:
    adata = wi.datasets.simulate_factors(150, 40, 3, n_cell_types=3, likelihood=likelihood)
    adata.var["shift"] = np.arange(40, 0, -1) * 5.0
    wi.model.BetaLinearSCVI.setup_anndata(adata)
    model = wi.model.BetaLinearSCVI(adata, n_latent=2, gene_likelihood=likelihood, seed=0)
    model.train(max_epochs=20, seed=0, accelerator="cpu", enable_progress_bar=False)
    wi.tl.pseudo_profiles(adata, model, "cell_type", contrast=PAIR, n_samples=50)
    wi.tl.pseudo_profiles(adata, model, "cell_type", key_added="plain")
    return adata


@pytest.fixture(scope="module")
def counts() -> AnnData:
    return decoded("nb")


@pytest.fixture(scope="module")
def continuous() -> AnnData:
    return decoded("normal")


def profiles(adata: AnnData, *states: str) -> np.ndarray:
    known = list(adata.uns["pseudo_profiles"]["states"].index)
    return adata.varm["pseudo_profiles"][:, [known.index(state) for state in states]].T.astype(float)


def legend(ax: plt.Axes) -> list[str]:
    return [text.get_text() for text in ax.get_legend().get_texts()]


def test_features_that_differ_most(counts: AnnData):
    ax = wi.pl.profile_overlay(counts, n_top=7, show=False)
    first, second = np.log2(profiles(counts, *PAIR) + 1)
    difference = first - second
    top = np.argsort(-np.abs(difference))[:7]
    names = [label.get_text() for label in ax.get_yticklabels()]
    assert names == counts.var_names[top[np.argsort(-difference[top])]].tolist()
    rows = counts.var_names.get_indexer(names)
    points = [collection.get_offsets()[:, 0] for collection in ax.collections if len(collection.get_offsets()) == 7]
    np.testing.assert_allclose(np.stack(points), profiles(counts, *PAIR)[:, rows], rtol=1e-6)
    assert ax.get_xscale() == "log"
    assert legend(ax) == [*PAIR, "95 % interval"]
    # the interval of the fold change, carried over to the first state
    table = counts.uns["pseudo_profiles"]["contrast"].iloc[rows]
    segments = np.array(ax.collections[-1].get_segments())[:, :, 0]
    expected = (profiles(counts, PAIR[1])[0, rows] + 1)[:, None] * 2 ** table[["lower", "upper"]].to_numpy() - 1
    np.testing.assert_allclose(segments, expected.clip(min=0), rtol=1e-5)


@pytest.mark.parametrize("pair", [PAIR, PAIR[::-1]])
def test_interval_holds_the_first_profile_whichever_it_is(continuous: AnnData, pair: tuple[str, str]):
    ax = wi.pl.profile_overlay(continuous, pair, x="shift", show=False)
    np.testing.assert_array_equal(ax.lines[0].get_xdata(), np.arange(1, 41) * 5.0)
    drawn = np.stack([line.get_ydata() for line in ax.lines])
    np.testing.assert_allclose(drawn, profiles(continuous, *pair)[:, ::-1], rtol=1e-6)
    table = continuous.uns["pseudo_profiles"]["contrast"][::-1]
    sign = 1 if pair == PAIR else -1
    bounds = np.sort(sign * table[["lower", "upper"]].to_numpy(), axis=1).T + drawn[1]
    band = ax.collections[-1].get_paths()[0].vertices[:, 1]
    assert (band.min(), band.max()) == pytest.approx((bounds.min(), bounds.max()))
    # up to the error of 50 samples
    width = np.diff(bounds, axis=0)[0]
    assert ((drawn[0] > bounds[0] - width / 2) & (drawn[0] < bounds[1] + width / 2)).all()
    assert legend(ax) == [*pair, "95 % interval"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("shift", "expected value")


def test_areas_are_shaded_where_a_profile_is_higher(continuous: AnnData):
    ax = wi.pl.profile_overlay(continuous, ("type_1", "type_0"), x="shift", show=False)
    # not contrasted: no interval
    assert len(ax.collections) == 2
    assert legend(ax) == ["type_1", "type_0"]
    first, second = profiles(continuous, "type_1", "type_0")
    x = continuous.var["shift"].to_numpy()
    for area, higher in zip(ax.collections, (first > second, second > first), strict=True):
        covered = [
            path.contains_point((at, (a + b) / 2))
            for at, a, b in zip(x, first, second, strict=True)
            for path in area.get_paths()
        ]
        covered = np.reshape(covered, (40, -1)).any(axis=1)
        inside = (x > x.min()) & (x < x.max())
        assert (covered == higher)[inside].all()


def test_draws_into_given_axes(counts: AnnData):
    for arguments in ({}, {"x": "shift"}, {"states": ("type_0", "type_1")}):
        _, ax = plt.subplots()
        assert wi.pl.profile_overlay(counts, ax=ax, show=False, **arguments) is ax


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"key": "other"}, KeyError, r"tl\.pseudo_profiles\(adata, model, groupby, key_added='other'\)"),
        ({"key": "plain"}, KeyError, r"holds no contrast.*contrast=\(…, …\), key_added='plain'"),
        ({"states": ("type_0", "type_9")}, KeyError, r"\['type_9'\].*it holds"),
        ({"states": ("type_0", "type_0")}, ValueError, "two different states"),
        ({"states": "type_0"}, ValueError, "two different states"),
        ({"x": "mass"}, KeyError, "mass"),
    ],
)
def test_bad_input(counts: AnnData, arguments: dict, error: type, message: str):
    with pytest.raises(error, match=message):
        wi.pl.profile_overlay(counts, **arguments)
