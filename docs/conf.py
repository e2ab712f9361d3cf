"""Sphinx: the pages of this folder and the reference from docstrings."""

project = "Accredit"
author = "The Accredit authors"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.autosummary", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
html_theme = "alabaster"
html_theme_options = {
    "description": "What every switchable part of a network earns",
    "fixed_sidebar": True,
    # code is up to 120 characters wide
    "page_width": "1240px",
    "body_max_width": "none",
    "code_font_size": "0.8em",
}
myst_heading_anchors = 3
autodoc_typehints = "description"
autodoc_member_order = "bysource"
default_role = "code"  # docstrings write code in single backticks
suppress_warnings = [
    "docutils",  # mathematics in plain text, such as |mu| and f(*x), is not markup
    "ref.python",  # two modules may each have a class of one name, and a signature says which only to a reader
]
