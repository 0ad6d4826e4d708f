"""Sphinx configuration."""

from __future__ import annotations

import os
import shutil
from html.parser import HTMLParser
from importlib.metadata import metadata
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from sphinx.util import logging

info = metadata("scwhatif")
project = info["Name"]
author = info["Author"]
copyright = f"2026, {author}"
version = release = info["Version"]

# Sphinx reads nothing outside its own folder; the notebooks are executed when they are written, not here.
HERE = Path(__file__).parent
for notebook in (HERE.parent / "tutorials").glob("*.ipynb"):
    shutil.copy2(notebook, HERE / "tutorials")

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinx_autodoc_typehints",
    "sphinx_copybutton",
    "sphinxcontrib.bibtex",
]
templates_path = ["_templates"]
exclude_patterns = ["_build", "**.ipynb_checkpoints"]
# Types that are only imported for type checking, ours or others', need not resolve for the pages to be right.
suppress_warnings = ["sphinx_autodoc_typehints.forward_reference", "sphinx_autodoc_typehints.guarded_import"]

autosummary_generate = True
autosummary_ignore_module_all = False
autosummary_imported_members = True
autodoc_member_order = "groupwise"
napoleon_google_docstring = False
napoleon_numpy_docstring = True
napoleon_use_rtype = True
napoleon_use_param = True
napoleon_custom_sections = [("Params", "Parameters")]
typehints_defaults = "braces"
always_use_bars_union = True

myst_enable_extensions = ["amsmath", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = "off"
bibtex_bibfiles = ["references.bib"]
bibtex_reference_style = "author_year"

# Links to the other projects need the network, and a build without it must not fail.
if os.environ.get("READTHEDOCS") or os.environ.get("DOCS_INTERSPHINX"):
    extensions.append("sphinx.ext.intersphinx")
    intersphinx_mapping = {
        "python": ("https://docs.python.org/3", None),
        "anndata": ("https://anndata.readthedocs.io/en/stable", None),
        "matplotlib": ("https://matplotlib.org/stable", None),
        "mudata": ("https://mudata.readthedocs.io/stable", None),
        "numpy": ("https://numpy.org/doc/stable", None),
        "pandas": ("https://pandas.pydata.org/docs", None),
        "scanpy": ("https://scanpy.readthedocs.io/en/stable", None),
        "scipy": ("https://docs.scipy.org/doc/scipy", None),
        "scvi": ("https://docs.scvi-tools.org/en/stable", None),
        "torch": ("https://docs.pytorch.org/docs/stable", None),
    }

html_theme = "sphinx_book_theme"
html_title = project
html_static_path = ["_static"]
html_css_files = ["narrow.css"]
html_theme_options = {
    "repository_url": "https://github.com/scwhatif/scwhatif",
    "path_to_docs": "docs/",
    "use_repository_button": True,
    # the sidebar has a search field already
    "navbar_persistent": [],
}


def skip_foreign(app: Any, what: str, name: str, obj: Any, skip: bool, options: Any) -> bool | None:  # noqa: FBT001
    """Leave out what a class inherits from torch, lightning or scvi-tools: their own pages document it."""
    function = getattr(obj, "fget", None) or getattr(obj, "__func__", None) or obj
    foreign = not str(getattr(function, "__module__", None) or "scwhatif").startswith("scwhatif")
    return True if what == "class" and foreign else None


class Anchors(HTMLParser):
    """What a page can be linked at, and what it links to."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = {""}
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note anchors, links and pictures."""
        found = dict(attrs)
        self.names |= {value for key in ("id", "name") if (value := found.get(key))}
        self.links += [value for key in ("href", "src") if (value := found.get(key))]


def check_links(app: Any, exception: Exception | None) -> None:
    """Warn of links within the site that lead nowhere; those to elsewhere would need the network."""
    if exception is not None or app.builder.format != "html":
        return
    out = Path(app.outdir).resolve()
    pages: dict[Path, Anchors] = {}
    for path in (path for path in out.rglob("*.html") if path.relative_to(out).parts[0] != "_static"):
        pages[path] = Anchors()
        pages[path].feed(path.read_text())
    for path, page in pages.items():
        for link in dict.fromkeys(page.links):
            target = urlsplit(link)
            if target.scheme or target.netloc:
                continue
            there = (path.parent / unquote(target.path)).resolve() if target.path else path
            anchors = pages.get(there)
            if not there.exists() or (anchors and unquote(target.fragment) not in anchors.names):
                logging.getLogger(__name__).warning("%s links to %s, which is not there", path.relative_to(out), link)


def setup(app: Any) -> None:
    """Connect what the extensions leave to us."""
    app.connect("autodoc-skip-member", skip_foreign)
    app.connect("build-finished", check_links)
