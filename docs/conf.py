"""The documentation site, built by `make docs` into build/docs."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
# Before NumPy loads: small matrices, on cores that others use too.
for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

import simlab
from simlab.algorithms.table import names


def public(module: str) -> list[str]:
    """Names in a module's ``__all__``, or else what it defines without an underscore."""
    found = importlib.import_module(module)
    own = [name for name, value in vars(found).items() if getattr(value, "__module__", None) == module]
    return sorted(getattr(found, "__all__", [name for name in own if not name.startswith("_")]), key=str.lower)


project, author, copyright = "simlab", "The simlab developers", "the simlab developers"
version = release = simlab.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.viewcode",
    "numpydoc",
    "myst_parser",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["tutorials", "templates"]  # what the gallery reads, and what autosummary does
templates_path = ["templates"]

# Reference: a page for each public name, listed in reference.rst or found in its module.
autosummary_generate = True
autosummary_context = {"algorithms": sorted(names(), key=str.lower), "public": public}
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the docstrings say them, with shapes
numpydoc_show_class_members = False
default_role = "py:obj"
nitpicky = True
# Single backticks in docstrings are code; those that spell a name of ours in full must lead to it.
nitpick_ignore_regex = [("py:obj", r"(?!(simlab|theory)\.).*"), ("py:class", ".*")]

# Pages: Markdown as GitHub reads it.
myst_heading_anchors = 4
suppress_warnings = ["config.cache"]  # the gallery's settings hold functions

# Tutorials: every page is run when it is built.
sphinx_gallery_conf = {
    "examples_dirs": ["tutorials"],
    "gallery_dirs": ["generated/tutorials"],
    "within_subsection_order": "FileNameSortKey",
    "filename_pattern": r"\.py",
    "abort_on_example_error": True,
    "download_all_examples": False,
    "show_memory": False,
    "write_computation_times": False,
    "show_signature": False,
    "image_scrapers": ("matplotlib",),
    "matplotlib_animations": False,
    "remove_config_comments": True,
}

html_theme = "pydata_sphinx_theme"
html_title = f"simlab {release}"
html_theme_options = {
    "navbar_align": "left",
    "show_prev_next": False,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
}
html_static_path = ["static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_copy_source = False


def _is_field(app: Any, what: str, name: str, obj: Any, skip: bool, options: Any) -> bool | None:
    """Fields of a NamedTuple, which its docstring describes, are no members of their own."""
    return True if type(obj).__name__ == "_tuplegetter" else None


def _own_sources(app: Any) -> list[Any]:
    """No page of sources is made of builtins, and so none is listed."""
    vars(app.env).get("_viewcode_modules", {}).pop("builtins", None)
    return []


def setup(app: Any) -> None:
    """Connect."""
    app.connect("html-collect-pages", _own_sources, priority=400)
    app.connect("autodoc-skip-member", _is_field)
