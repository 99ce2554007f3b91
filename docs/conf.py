"""How Sphinx builds the site; ``tox -e docs`` runs it."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
# The package of this checkout, whatever is installed.
sys.path[:0] = [str(HERE.parent), str(HERE / "extensions")]

from jobtastic_signals import __version__  # noqa: E402

project = "jobtastic-signals"
copyright = "the authors of jobtastic-signals"
release = version = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx_click",
    "sphinx_copybutton",
    "declared",
    "entries",
]
# Pygments does not know all of JSX. Tests read each block with the compiler of its language.
suppress_warnings = ["misc.highlighting_failure"]
exclude_patterns = ["extensions", "pictures"]

html_theme = "furo"
html_title = "jobtastic-signals"
html_theme_options = {
    "source_repository": "https://github.com/jobtastic-signals/jobtastic-signals/",
    "source_branch": "main",
    "source_directory": "docs/",
}
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

# Anchors are those that GitHub gives the same headings, so links work in both places.
myst_heading_anchors = 3
myst_enable_extensions = ["fieldlist"]

autodoc_member_order = "bysource"
autodoc_inherit_docstrings = False
autodoc_typehints = "none"
autodoc_class_signature = "mixed"
nitpicky = True
# Docstrings may name what has no page: private modules, and other packages, whose inventories are not read.
nitpick_ignore_regex = [(r"py:.*", r".*")]


def setup(app):
    # The docstring of a named tuple says what its fields are. Python's own says that they have numbers.
    app.connect("autodoc-skip-member", lambda *event: True if _is_numbered(event[3]) else None)


def _is_numbered(member):
    return (getattr(member, "__doc__", None) or "").startswith("Alias for field number")
