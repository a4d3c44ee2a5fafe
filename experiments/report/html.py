"""From a page to HTML: one file without scripts, styles or pictures from elsewhere."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from experiments.report.blocks import Page

if TYPE_CHECKING:
    from jinja2 import Environment

_PACKAGE = "experiments.report"
_FOLDER = "templates"


def render(page: Page) -> str:
    """The whole HTML of a page. What comes from users is escaped; the same page gives the same text."""
    template = _environment().get_template("page.html.j2")
    return template.render(page=page, style=_part("page.css"), script=_part("page.js"))


def _part(name: str) -> Any:
    """A file of ours, to stand in the page as it is."""
    from markupsafe import Markup

    return Markup(files(_PACKAGE).joinpath(_FOLDER, name).read_text(encoding="utf-8"))


@cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader(_PACKAGE, _FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
