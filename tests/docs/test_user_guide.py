"""The python of the user guide and of the how-tos runs as printed, page by page, from top to bottom."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

DOCS = Path(__file__).parents[2] / "docs"
PAGES = sorted(
    page
    for folder in ("how_to", "user_guide")
    for page in (DOCS / folder).glob("*.md")
    if "```python" in page.read_text()
)
# Smaller data and shorter fits: all else runs as written.
QUICKER = {
    "beta_linear_scvi": {
        "(1000, 200, 4,": "(300, 60, 4,",
        "max_epochs=40": "max_epochs=3",
        "max_epochs=20": "max_epochs=2",
    },
    "cell_line_energy": {"train(max_epochs=8)": "train(max_epochs=4)", '"max_epochs": 8': '"max_epochs": 3'},
    "embedding_health": {"max_epochs=40": "max_epochs=4"},
    "multi_omic_lpm": {"max_epochs=30": "max_epochs=2", '"max_epochs": 30': '"max_epochs": 2', "cv=5": "cv=3"},
    "perturbation": {
        "(1500, 200, 4, n_targets=15,": "(400, 120, 4, n_targets=6,",
        "max_epochs=60": "max_epochs=5",
        "n_null=200": "n_null=20",
        "adata[:300]": "adata[:100]",
        "n_permutations=99": "n_permutations=19",
    },
    "reading_a_latent_space": {"max_epochs=150": "max_epochs=3"},
}


@pytest.fixture(autouse=True)
def _close_figures() -> Iterator[None]:
    yield
    plt.close("all")


def blocks(page: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", page.read_text(), flags=re.DOTALL | re.MULTILINE)


def test_pages_with_code_are_found():
    assert {"beta_linear_scvi", "perturbation", "reading_a_latent_space", "screen_genes"} <= {
        page.stem for page in PAGES
    }
    for page in PAGES:
        assert blocks(page), page


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    code = "\n".join(blocks(page))
    for written, quicker in QUICKER.get(page.stem, {}).items():
        assert code.count(written) == 1, written
        code = code.replace(written, quicker)
    monkeypatch.chdir(tmp_path)
    exec(compile(code, page.name, "exec"), {"__name__": "__main__"})
    # every plot that is called has drawn something
    drawn = [plt.figure(number) for number in plt.get_fignums()]
    assert len(drawn) == len(re.findall(r"^wi\.pl\.", code, flags=re.MULTILINE))
    assert all(axes.has_data() for figure in drawn for axes in figure.axes[:1])
