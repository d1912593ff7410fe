"""The documentation site: `make docs` builds it into build/docs/html, without a request to anywhere."""

from __future__ import annotations

import os
import sys
from importlib import metadata
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]
# What runs while the site is built takes one thread, like the tests.
os.environ.setdefault("OMP_NUM_THREADS", "1")

project, author, copyright = "esssim", "The esssim authors", "The esssim authors, MIT licence"
version = release = metadata.version("esssim")
language = "en"

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinxcontrib.bibtex",
    "sphinx_gallery.gen_gallery",
    "_sphinx",
]
exclude_patterns = ["_*", "examples", "**/README.md", "gallery/**.ipynb"]
# A notebook is a script in jupytext's percent format, and is executed when the site is built.
nb_custom_formats = {".nb.py": ["jupytext.reads", {"fmt": "py:percent"}]}
nb_execution_mode = "cache"
nb_execution_cache_path = str(HERE.parent / "build" / "docs" / "notebooks")
nb_execution_raise_on_error = True
nb_execution_timeout = 120
# What the cells write does not land among the pages.
nb_execution_in_temp = True
suppress_warnings = ["config.cache"]
myst_enable_extensions = ["attrs_block", "colon_fence", "deflist", "dollarmath", "fieldlist"]
myst_heading_anchors = 3
bibtex_bibfiles = ["references.bib"]
bibtex_reference_style = "author_year"
# Other pages lead to an entry by its key.
bibtex_cite_id = "{key}"

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_type_aliases = {
    **{name: name for name in ("FloatArray", "IntArray", "Seed", "Curvature", "Progress")},
    "npt.ArrayLike": "ArrayLike",
}
# Types of other packages have no page here, and neither have those inside of this one.
nitpick_ignore_regex = [("py:.*", r"(?!esssim\.\w+$).*")]
python_use_unqualified_type_names = True
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

# Scripts named plot_* are run and their pictures shown; the others take too long, or ask for a cluster.
sphinx_gallery_conf = {
    "examples_dirs": ["../examples", "examples"],
    "gallery_dirs": ["gallery/examples", "gallery/problems"],
    "backreferences_dir": "gallery/backreferences",
    "doc_module": ("esssim",),
    "reference_url": {"esssim": None},
    "reset_modules": ("matplotlib", "_sphinx.gallery.in_our_style"),
    "within_subsection_order": "FileNameSortKey",
    "download_all_examples": False,
    "remove_config_comments": True,
    "show_signature": False,
    "write_computation_times": False,
    "min_reported_time": 1e9,
}
# `Names` in the text of a script are code.
default_role = "code"

html_theme = "pydata_sphinx_theme"
html_title = "esssim"
html_static_path = ["_static"]
html_css_files = ["esssim.css"]
html_js_files = ["esssim.js"]
html_search_scorer = str(HERE / "_sphinx" / "scorer.js")
html_show_sourcelink = False
html_context = {"default_mode": "auto"}
# Pages without others below them, and the table of results, take the width of the sidebar.
ALONE = ("index", "start", "question", "explorer", "tutorial", "glossary", "limits", "reliability", "results/index")
html_sidebars = {name: [] for name in ALONE}
html_math_renderer = "mathml"
html_theme_options = {
    "show_nav_level": 2,
    "header_links_before_dropdown": 9,
    "navbar_align": "left",
    "show_prev_next": True,
    "secondary_sidebar_items": {"**": ["page-toc"], "gallery/index": []},
    "footer_start": ["copyright"],
    "footer_end": [],
    "logo": {"text": "esssim"},
}
