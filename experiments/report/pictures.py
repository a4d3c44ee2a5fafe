"""matplotlib figures as SVG that can stand in a page beside others."""

from __future__ import annotations

import re
from io import BytesIO
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from experiments.report.blocks import Picture
from twinclock._chart import style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_REFERENCE = re.compile(r"url\(#([^)]*)\)")
_NUMBER = re.compile(r"-?\d+\.\d{3,}")
_MARGIN = 0.12
"""Inches around what is drawn."""
_POINTS_PER_INCH = 72.0
_DROPPED = ("metadata", "style")
"""Elements that speak of the picture's origin, or to the whole page."""


def picture(key: str, figure: Figure, caption: str, alt: str = "") -> Picture:
    """A figure as part of a page. `key` is its own among all pictures there, as the ids within begin with it.

    `alt`: what there is to see, for who can't; the figure's own headings if it is empty. The same figure gives the same
    text.
    """
    buffer = BytesIO()
    with style():
        figure.savefig(buffer, format="svg", metadata={"Date": None})
        view_box = _view_box(figure)
    told = alt or ". ".join(text for each in figure.texts if (text := each.get_text().strip()))
    return Picture(key, told or caption, caption, inline_svg(buffer.getvalue(), key, view_box))


def inline_svg(svg: bytes, key: str, view_box: str) -> str:
    """An SVG file as an element of HTML: no prologue, names without namespaces, ids that begin with `key`."""
    root = ElementTree.fromstring(svg)
    _plain(root, key)
    root.attrib = {"viewBox": view_box, "aria-hidden": "true"}
    return ElementTree.tostring(root, encoding="unicode")


def _view_box(figure: Figure) -> str:
    """The part of a figure where something is drawn, in points; savefig's own way to find it draws everything twice."""
    drawn = figure.get_tightbbox().padded(_MARGIN)
    left, top = drawn.x0, figure.get_figheight() - drawn.y1
    return " ".join(f"{_POINTS_PER_INCH * each:.2f}" for each in (left, top, drawn.width, drawn.height))


def _plain(element: ElementTree.Element, key: str) -> None:
    element.tag = _local(element.tag)
    element.attrib = {_local(name): _attribute(_local(name), value, key) for name, value in element.attrib.items()}
    element.tail = None
    if element.text is not None and not element.text.strip():
        element.text = None
    for child in [each for each in element if _local(each.tag) in _DROPPED]:
        element.remove(child)
    for child in element:
        _plain(child, key)


def _attribute(name: str, value: str, key: str) -> str:
    if name == "id":
        return f"{key}-{value}"
    if name == "href":
        return f"#{key}-{value[1:]}" if value.startswith("#") else value
    if name in ("d", "points", "x", "y", "width", "height"):
        return _NUMBER.sub(_rounded, " ".join(value.split()))
    return _REFERENCE.sub(rf"url(#{key}-\1)", value)


def _rounded(number: re.Match[str]) -> str:
    """A hundredth of a point is less than anybody sees."""
    return f"{float(number[0]):.2f}"


def _local(name: str) -> str:
    return name.rpartition("}")[2]
