"""Sphinx settings. Build with: sphinx-build -W docs docs/_build"""

from importlib.metadata import version as installed_version

project = "mlinstruments"
author = "The mlinstruments developers"
release = installed_version("mlinstruments")
version = release

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "numpydoc",
]
myst_enable_extensions = ["dollarmath"]
exclude_patterns = ["_build"]

# api.md documents every class on one page: no stub files are generated.
autosummary_generate = False
autodoc_default_options = {
    "members": True,
    "member-order": "bysource",
    # scikit-learn writes this method into every estimator; it refers to scikit-learn's manual.
    "exclude-members": "set_fit_request",
}
autodoc_typehints = "none"  # the numpydoc sections state the types
numpydoc_show_class_members = False  # autodoc lists the members already

html_theme = "alabaster"
