"""How Sphinx builds the documentation: sphinx-build -W docs build/docs."""

import pulsehr

project = "pulsehr"
author = "The pulsehr developers"
release = pulsehr.__version__
extensions = ["myst_parser", "numpydoc", "sphinx.ext.autodoc", "sphinx.ext.autosummary"]
html_theme = "alabaster"
numpydoc_show_class_members = False
autodoc_typehints = "none"
# labels of scikit-learn's own pages, which inherited docstrings point to
suppress_warnings = ["ref.ref"]
