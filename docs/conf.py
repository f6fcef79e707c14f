"""Settings of the site: ``python -m sphinx -n -W docs runs/site`` makes it from this folder."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]

import detector  # noqa: E402
from detector.export.request import export  # noqa: E402

detector.export = export  # the function that calling the module of this name calls

project = "detector"
author = "The repdet authors"
copyright = f"{author}, Apache-2.0"
version = release = detector.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "offline"]
nitpicky = True  # a reference that leads nowhere is a warning, and -W makes warnings errors
myst_heading_anchors = 3
highlight_language = "text"
pygments_dark_style = "monokai"

autodoc_typehints = "none"  # the descriptions say what an argument takes
autodoc_member_order = "bysource"
napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_attr_annotations = False

html_theme = "furo"
html_title = "detector"
html_copy_source = False
html_show_sphinx = False
html_static_path = ["static"]
html_css_files = ["tables.css"]
