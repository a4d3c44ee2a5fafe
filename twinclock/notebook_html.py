"""Small tables and lines for a notebook, which take their colours from the page. Texts are escaped here."""

from __future__ import annotations

from collections.abc import Container, Iterable
from html import escape

_FIRST = (0,)


def html_box(title: str, *parts: str) -> str:
    """HTML `parts` one below the other, under a title."""
    return (
        '<div style="color:inherit;background:transparent;font-size:0.95em">'
        f"<strong>{escape(title)}</strong>{''.join(parts)}</div>"
    )


def html_table(*rows: str) -> str:
    """A table of rows that are HTML."""
    return f'<table style="border-collapse:collapse;margin:0.4em 0">{"".join(rows)}</table>'


def html_row(texts: Iterable[str], tag: str = "td", left: Container[int] = _FIRST) -> str:
    """One row of a table; the columns of these numbers stand to the left, the others to the right."""
    cells = (
        f'<{tag} style="text-align:{"left" if number in left else "right"};padding:0.1em 1em 0.1em 0">'
        f"{escape(text)}</{tag}>"
        for number, text in enumerate(texts)
    )
    return f"<tr>{''.join(cells)}</tr>"


def html_lines(texts: Iterable[str]) -> str:
    """A paragraph for each text."""
    return "".join(f'<p style="margin:0.3em 0">{escape(text)}</p>' for text in texts)
