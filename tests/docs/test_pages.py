"""Every page can be found, every namespace has its page, and references are neither missing nor idle."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import scwhatif as wi

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [
    page
    for page in sorted(DOCS.rglob("*.md"))
    if not {"_build", "_templates", "generated"} & set(page.relative_to(DOCS).parts)
]
NAMESPACES = [name for name in wi.__all__ if name.islower()]


def entries(page: Path) -> list[str]:
    """What the tables of contents of a page name."""
    tables = re.findall(r"^```\{toctree\}\n(.*?)^```$", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    return [line for table in tables for line in table.splitlines() if line and not line.startswith(":")]


def test_every_page_is_in_a_table_of_contents():
    listed = {(page.parent / entry).resolve() for page in PAGES for entry in entries(page)}
    assert not [page for page in PAGES if page != DOCS / "index.md" and page.with_suffix("") not in listed]


@pytest.mark.parametrize("page", [*PAGES, ROOT / "README.md"], ids=lambda page: str(page.relative_to(ROOT)))
def test_links_to_files_lead_somewhere(page: Path):
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    links = re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", text)
    # notebooks are copied to the docs when these are built
    targets = {link: (page.parent / link, ROOT / "tutorials" / Path(link).name) for link in links}
    assert not [link for link, (there, notebook) in targets.items() if not (there.exists() or notebook.exists())]
    documents = re.findall(r"\{doc\}`(?:[^`<]*<)?([^`>]+)>?`", text)
    assert not [name for name in documents if not (page.parent / f"{name}.md").exists()]


@pytest.mark.parametrize("name", NAMESPACES)
def test_every_namespace_is_in_the_api(name: str):
    """The template lists all of ``__all__``, so that a public function cannot be missing there."""
    assert f"   scwhatif.{name}\n" in (DOCS / "api" / "index.md").read_text()
    template = (DOCS / "_templates" / "autosummary" / "namespace.rst").read_text()
    assert all(f", {kind})" in template for kind in ("classes", "exceptions", "functions"))


def test_references_are_there_once_and_used():
    keys = re.findall(r"^@\w+\{([^,]+),", (DOCS / "references.bib").read_text(), flags=re.MULTILINE)
    assert len(keys) == len(set(keys))
    sources = [*PAGES, *(ROOT / "src").rglob("*.py"), *(ROOT / "tutorials").glob("*.ipynb")]
    text = "\n".join(path.read_text() for path in sources)
    cited = {
        key.strip() for group in re.findall(r"(?:\{cite:\w+\}|:cite:\w+:)`([^`]+)`", text) for key in group.split(",")
    }
    assert sorted(cited - set(keys)) == []
    assert sorted(set(keys) - cited) == []
