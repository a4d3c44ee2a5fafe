"""The pages as a browser has them: whole, quiet, from one file, sortable, light and dark, on a desk and on a phone."""

from __future__ import annotations

from itertools import combinations, pairwise
from pathlib import Path

import pytest
from browser import Tab

SORTS = ("run", "runs", "study", "fidelity")
NARROW = 360

CONTRASTS = """
(() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const known = new Map();
  const rgb = (text) => {
    if (!known.has(text)) {
      canvas.clearRect(0, 0, 1, 1);
      canvas.fillStyle = text;
      canvas.fillRect(0, 0, 1, 1);
      known.set(text, Array.from(canvas.getImageData(0, 0, 1, 1).data));
    }
    return known.get(text);
  };
  const luminance = (colour) => colour.slice(0, 3)
    .map((value) => value / 255)
    .map((value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4))
    .reduce((sum, value, index) => sum + value * [0.2126, 0.7152, 0.0722][index], 0);
  const background = (element) => {
    for (let each = element; each; each = each.parentElement) {
      const colour = rgb(getComputedStyle(each).backgroundColor);
      if (colour[3] === 255) return colour;
    }
    return [255, 255, 255, 255];
  };
  const low = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.textContent.trim() || element.closest("script, svg, .skip")) continue;
    const pair = [rgb(getComputedStyle(element).color), background(element)].map(luminance).sort((a, b) => b - a);
    const contrast = (pair[0] + 0.05) / (pair[1] + 0.05);
    if (contrast < 4.5) low.push(`${contrast.toFixed(2)} ${element.outerHTML.slice(0, 120)}`);
  }
  return Array.from(new Set(low));
})()
"""
PICTURES = """
Array.from(document.querySelectorAll(".picture"), (each) => {
  for (let fold = each.closest("details"); fold; fold = null) fold.open = true;
  const box = each.querySelector("svg").getBoundingClientRect();
  return [each.getAttribute("aria-label"), box.width, box.height, each.querySelectorAll("path").length];
})
"""


@pytest.mark.parametrize("sort", SORTS)
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_a_page_is_quiet_legible_and_asks_for_nothing_but_itself(
    tab: Tab, pages: dict[str, Path], sort: str, dark: bool
):
    tab.open(pages[sort], dark=dark)
    assert tab.value("document.title").endswith("twinclock")
    assert tab.complaints == []
    assert tab.requested == [pages[sort].as_uri()]
    assert tab.value("document.compatMode") == "CSS1Compat"
    assert tab.value("document.characterSet") == "UTF-8"
    assert tab.value(CONTRASTS) == []


@pytest.mark.parametrize("sort", SORTS)
def test_every_picture_is_there_and_says_what_it_shows(tab: Tab, pages: dict[str, Path], sort: str):
    tab.open(pages[sort])
    pictures = tab.value(PICTURES)
    assert len(pictures) >= 2
    for label, width, height, num_paths in pictures:
        assert len(label) > 10
        assert width > 600
        assert height > 200
        assert num_paths > 10


@pytest.mark.parametrize("sort", SORTS)
def test_nothing_in_a_picture_points_out_of_it(tab: Tab, pages: dict[str, Path], sort: str):
    """Clip paths, hatches and glyphs: several pictures share a page, and each finds its own."""
    tab.open(pages[sort])
    assert tab.value("new Set(Array.from(document.querySelectorAll('[id]'), (each) => each.id)).size") == tab.value(
        "document.querySelectorAll('[id]').length"
    )
    lost = """
    Array.from(document.querySelectorAll(".picture svg"), (svg) => {
      const own = new Set(Array.from(svg.querySelectorAll("[id]"), (each) => each.id));
      const asked = svg.outerHTML.matchAll(/(?:href="#|url\\(#)([^")]+)/g);
      return Array.from(asked, (match) => match[1]).filter((id) => !own.has(id));
    }).flat()
    """
    assert tab.value(lost) == []


def test_the_page_follows_the_system_and_then_the_switch(tab: Tab, pages: dict[str, Path]):
    ground = "getComputedStyle(document.body).backgroundColor"
    tab.open(pages["run"], dark=True)
    dark = tab.value(ground)
    tab.open(pages["run"])
    light = tab.value(ground)
    assert light != dark
    assert tab.value("document.getElementById('theme').getAttribute('aria-label')") == "Switch to dark mode"
    for expected in (dark, light, dark):
        tab.value("document.getElementById('theme').click()")
        assert tab.value(ground) == expected
    assert tab.value(CONTRASTS) == []
    assert tab.value("document.getElementById('theme').getAttribute('aria-label')") == "Switch to light mode"


CAPTIONED = """
window.table = (caption) => Array.from(document.querySelectorAll("table"))
  .find((each) => each.caption.textContent === caption);
window.column = (caption, index) => Array.from(table(caption).tBodies[0].rows, (row) => row.cells[index].textContent);
window.head = (caption, name) => Array.from(table(caption).tHead.rows[0].cells)
  .findIndex((each) => each.textContent === name);
"""


def test_a_column_of_numbers_sorts_by_number_both_ways(tab: Tab, pages: dict[str, Path]):
    tab.open(pages["study"])
    tab.value(CAPTIONED)
    caption = "What each variant came to"
    index = tab.value(f"head('{caption}', 'device-seconds ↓')")
    before = tab.value(f"column('{caption}', {index})")
    known = [text for text in before if text != "-"]
    assert 0 < len(known) < len(before)
    head = f"table('{caption}').tHead.rows[0].cells[{index}]"
    tab.value(f"{head}.querySelector('button').click()")
    assert tab.value(f"{head}.ariaSort") == "ascending"
    ascending = tab.value(f"column('{caption}', {index})")
    assert ascending == sorted(known, key=first_number) + ["-"] * (len(before) - len(known))
    tab.value(f"{head}.querySelector('button').click()")
    assert tab.value(f"{head}.ariaSort") == "descending"
    descending = tab.value(f"column('{caption}', {index})")
    assert descending[: len(known)] == ascending[: len(known)][::-1]
    assert descending[len(known) :] == ["-"] * (len(before) - len(known))


def first_number(text: str) -> float:
    return float(text.split()[0].replace(",", ""))


def test_a_column_of_text_sorts_by_keyboard_and_only_one_column_says_that_it_is_sorted(
    tab: Tab, pages: dict[str, Path]
):
    tab.open(pages["run"])
    tab.value(CAPTIONED)
    caption = next(each for each in tab.value(CAPTIONS) if each.startswith("The critical path"))
    tab.value(f"table('{caption}').tHead.rows[0].cells[2].querySelector('button').click()")
    tab.value(f"table('{caption}').tHead.rows[0].cells[0].querySelector('button').focus()")
    tab.press("Enter")
    stages = tab.value(f"column('{caption}', 0)")
    assert stages == sorted(stages)
    assert len(set(stages)) > 3
    sorts = tab.value(f"Array.from(table('{caption}').tHead.rows[0].cells, (each) => each.ariaSort)")
    assert sorts == ["ascending", *["none"] * (len(sorts) - 1)]


CAPTIONS = "Array.from(document.querySelectorAll('caption'), (each) => each.textContent)"


@pytest.mark.parametrize("sort", SORTS)
def test_a_reader_who_listens_finds_the_way(tab: Tab, pages: dict[str, Path], sort: str):
    tab.open(pages[sort])
    levels = tab.value("Array.from(document.querySelectorAll('h1, h2, h3, h4'), (each) => Number(each.tagName[1]))")
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(second - first <= 1 for first, second in pairwise(levels))
    captions = tab.value(CAPTIONS)
    assert len(captions) == tab.value("document.querySelectorAll('table').length")
    assert all(captions)
    unnamed = "Array.from(document.querySelectorAll('[aria-labelledby]')).filter((each) => !document.getElementById("
    assert tab.value(unnamed + "each.getAttribute('aria-labelledby'))).length") == 0
    links = tab.value("Array.from(document.querySelectorAll('nav a'), (each) => each.hash.slice(1))")
    assert all(tab.value(f"document.getElementById('{link}') !== null") for link in links)
    assert len(links) >= 4


@pytest.mark.parametrize("sort", SORTS)
def test_without_scripts_everything_is_there_but_the_buttons(tab: Tab, pages: dict[str, Path], sort: str):
    rows = "document.querySelectorAll('tbody tr').length"
    tab.open(pages[sort])
    expected = tab.value(rows)
    tab.open(pages[sort], scripts=False)
    assert tab.value(rows) == expected > 3
    assert tab.value("Array.from(document.querySelectorAll('button')).filter((each) => !each.hidden).length") == 0
    assert tab.complaints == []


@pytest.mark.parametrize("sort", SORTS)
def test_on_a_phone_only_tables_and_pictures_scroll_sideways(tab: Tab, pages: dict[str, Path], sort: str):
    tab.open(pages[sort], width=NARROW)
    assert tab.value("document.documentElement.scrollWidth") == NARROW
    assert tab.value("document.body.getBoundingClientRect().width") == NARROW


def test_what_users_wrote_is_text_and_nothing_else(tab: Tab, pages: dict[str, Path]):
    tab.open(pages["study"])
    assert tab.value("document.scripts.length") == 1
    assert "<script>alert('x')</script>&amp;" in tab.value("document.querySelector('.lead').textContent")
    assert any("<script>" in text for text in tab.value(ROW_HEADS))
    assert tab.complaints == []


ROW_HEADS = "Array.from(document.querySelectorAll('tbody th'), (each) => each.textContent)"


def test_screenshots_in_light_and_dark_and_on_a_phone_differ_and_are_not_empty(
    tab: Tab, pages: dict[str, Path], tmp_path: Path
):
    shots = []
    for name, options in {"light": {}, "dark": {"dark": True}, "narrow": {"width": NARROW}}.items():
        file = tmp_path / f"{name}.png"
        tab.open(pages["study"], **options)
        tab.screenshot(file)
        shots.append(file.read_bytes())
    assert min(map(len, shots)) > 20_000
    assert all(one != two for one, two in combinations(shots, 2))
