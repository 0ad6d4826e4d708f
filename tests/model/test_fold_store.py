"""Folds on disk are there as a whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from scwhatif.model._fold_store import model_path, read_manifest, read_scores, write_fold, write_manifest


class Model:
    def __init__(self, *, fails: bool = False) -> None:
        self.fails = fails

    def save(self, path: str, *, save_anndata: bool) -> None:
        assert not save_anndata
        Path(path).mkdir(parents=True)
        (Path(path) / "model.pt").write_text("weights")
        if self.fails:
            raise KeyboardInterrupt


def test_round_trip(tmp_path):
    assert read_scores(tmp_path, "a") is None
    rows = [{"fold": 0, "r2": 0.1 + 0.2, "coverage": float("nan")}]
    write_fold(tmp_path, "a", Model(), rows)
    found = read_scores(tmp_path, "a")
    assert found[0]["r2"] == rows[0]["r2"]
    assert found[0]["coverage"] != found[0]["coverage"]
    assert (model_path(tmp_path, "a") / "model.pt").read_text() == "weights"
    assert [each.name for each in tmp_path.iterdir()] == ["a"]


def test_an_interrupted_fold_leaves_nothing(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        write_fold(tmp_path, "a", Model(fails=True), [])
    assert list(tmp_path.iterdir()) == []


def test_the_first_of_two_runs_wins(tmp_path):
    write_fold(tmp_path, "a", Model(), [{"r2": 1}])
    write_fold(tmp_path, "a", Model(), [{"r2": 2}])
    assert read_scores(tmp_path, "a") == [{"r2": 1}]
    assert [each.name for each in tmp_path.iterdir()] == ["a"]


def test_a_place_that_is_taken_raises(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "other").write_text("")
    with pytest.raises(OSError, match="a"):
        write_fold(tmp_path, "a", Model(), [])


def test_damaged_scores(tmp_path):
    write_fold(tmp_path, "a", Model(), [])
    (tmp_path / "a" / "scores.json").write_text("[{")
    with pytest.raises(ValueError, match="cannot be read as the scores of a fold"):
        read_scores(tmp_path, "a")


def test_manifest(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"run scwhatif\.tl\.cross_validate"):
        read_manifest(tmp_path)
    for manifest in ({"folds": [1]}, {"folds": [2]}):
        write_manifest(tmp_path, manifest)
        assert read_manifest(tmp_path) == manifest
    assert [each.name for each in tmp_path.iterdir()] == ["cross_validate.json"]
