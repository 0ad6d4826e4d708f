"""The demo runs as a user would run it, and tells what it found."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

SCRIPT = Path(__file__).parents[1] / "examples" / "demo.py"
TABLES = ["knockout", "loadings", "pseudo_profile_markers", "pseudo_profiles", "rank_latent", "rank_latent_floors"]
FIGURES = ["knockout", "latent_umap", "loadings", "pseudo_profiles", "rank_latent"]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """Output folder, taken from the environment, and the lines that were printed."""
    out = tmp_path_factory.mktemp("demo") / "made" / "by_the_demo"
    environment = {**os.environ, "DEMO_OUT": str(out), "MPLBACKEND": "Agg"}
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--epochs", "3"], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return out, done.stdout.splitlines()


def test_files(demo: tuple[Path, list[str]]):
    out, _ = demo
    assert sorted(path.name for path in out.iterdir()) == sorted(
        [f"{name}.csv" for name in TABLES] + [f"{name}.png" for name in FIGURES]
    )
    for name in FIGURES:
        assert (out / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert (out / f"{name}.png").stat().st_size > 10_000


def test_tables(demo: tuple[Path, list[str]]):
    out, _ = demo
    table = {name: pd.read_csv(out / f"{name}.csv") for name in TABLES}
    assert len(table["rank_latent"]) == 10 * 10
    assert len(table["rank_latent_floors"]) == 10
    assert table["loadings"].shape == (765, 1 + 10)
    assert table["pseudo_profiles"].shape == (765, 1 + 10)
    # profiles are expected counts per ten thousand
    assert table["pseudo_profiles"].drop(columns="gene").sum().between(9_990, 10_010).all()
    assert len(table["knockout"]) == (1 + 10) * 765
    assert table["rank_latent"]["auc"].between(0.5, 1).all()


def test_summary_is_ten_lines_of_what_the_tables_say(demo: tuple[Path, list[str]]):
    out, printed = demo
    summary = printed[: printed.index("")]
    assert len(summary) == 10
    assert summary[0].endswith(" 700 blood cells, 765 genes, 10 cell types")
    assert "3 epochs" in summary[1]
    assert re.search(r"ELBO of 70 held-out cells -\d+\.\d nats", summary[1])
    floors = pd.read_csv(out / "rank_latent_floors.csv").set_index("group")
    assert f"median AUC {floors['auc'].median():.2f}" in summary[2]
    for line, name in zip(summary[4:8], floors["n_cells"].nlargest(4).index, strict=True):
        assert line.strip().startswith(name)
        assert f"{floors.loc[name, 'best_dimension']} {floors.loc[name, 'auc']:.2f}" in line
    assert "not a causal effect" in summary[8]
    assert f"6 tables and 5 figures in {out}" in summary[9]


def test_nothing_but_the_summary_is_printed(demo: tuple[Path, list[str]]):
    _, printed = demo
    assert re.fullmatch(r"Done in \d+ s\.", printed[-1])
    assert len(printed) == 12
