"""Sphinx settings. Build with: sphinx-build -W docs docs/_build"""

import os
import re
import subprocess
import sys
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.errors import ExtensionError

project = "mlinstruments"
author = "The mlinstruments developers"
release = installed_version("mlinstruments")
version = release

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.autosummary", "numpydoc"]
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 2
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
html_theme_options = {"page_width": "1120px", "sidebar_width": "240px", "body_max_width": "none"}
html_show_copyright = False
html_math_renderer = "mathml"


def visit_math(translator: Any, node: nodes.Element) -> None:
    """Write a formula as MathML, which browsers show without scripts or a network."""
    block, source = isinstance(node, nodes.math_block), node.astext()
    if re.search(r"frac\s*\d", source):  # would read \frac12 as 12 over what follows
        raise ExtensionError(f"write \\frac{{1}}{{2}}, with braces, in: {source}")
    try:
        formula = tex2mathml(source, as_block=block)
    except MathError as error:
        raise ExtensionError(f"formula not understood: {source}\n{error}") from None
    translator.body.append(f'<div class="math">{formula}</div>\n' if block else formula)
    raise nodes.SkipNode


def draw_pictures(app: Any) -> None:
    """Run the examples whose pictures examples.md shows and that are missing or out of date."""
    examples = Path(app.srcdir).parent / "examples"
    page = (Path(app.srcdir) / "examples.md").read_text(encoding="utf-8")
    for section in page.split("\n## ")[1:]:
        script = examples / re.findall(r"examples/(plot_\w+\.py)", section)[0]
        pictures = [examples / "output" / name for name in re.findall(r"output/(\S+png)", section)]
        drawn = all(p.exists() and p.stat().st_mtime > script.stat().st_mtime for p in pictures)
        if not drawn:
            command = [sys.executable, str(script), "--quick"]
            quiet = {**os.environ, "MPLBACKEND": "Agg"}
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=quiet)


def setup(app: Any) -> None:
    """Called by Sphinx."""
    app.connect("builder-inited", draw_pictures)
    app.add_html_math_renderer("mathml", (visit_math, None), (visit_math, None))
