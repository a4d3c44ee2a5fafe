"""The studies by which the simulator is judged: their results as they are committed, and the tables that docs show.

    python -m experiments.fidelity.published

Takes what `twinclock fidelity` has left in `runs/` of the studies in `studies/fidelity/`; one that is not there stays
as it is. Writes its record beside each study, the picture of its makespans to `docs/images/`, and the tables to
`docs/fidelity.md`.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import polars as pl

from experiments.fidelity.result import FidelityResult
from experiments.fidelity.show import discordant_lines, grade_line, missing_lines, target_row
from experiments.fidelity.words import percent, qualities
from experiments.metric_names import figure_text
from twinclock.errors import RunError, UserError

STUDIES = Path(__file__).parent.parent / "studies" / "fidelity"
NAMES = ("rodents", "flights", "two-devices", "one-gpu")
_DOCS = Path(__file__).parent.parent.parent / "docs"
PAGE = _DOCS / "fidelity.md"
_MOST_PAIRS = 5
_MARKED = "<!-- {name} -->\n{text}<!-- end of {name} -->\n"


def main() -> None:
    """Publish what there is in `runs/`."""
    from twinclock.plots import save

    folders = {name: Path("runs") / f"fidelity-{name}-fidelity" for name in NAMES}
    there = {name: folder for name, folder in folders.items() if folder.exists()}
    if not there:
        raise RunError(f"runs: nothing to publish here, expected one of {', '.join(map(str, folders.values()))}")
    for name, folder in there.items():
        made = FidelityResult.load(folder)
        file = made.write(STUDIES)
        file.replace(STUDIES / f"{name}.json")
        save(made.plot.makespans(), _DOCS / "images" / f"fidelity-{name}.png")
        page = PAGE.read_text(encoding="utf-8")
        PAGE.write_text(with_tables(page, name, published(name)), encoding="utf-8")


def published(name: str) -> FidelityResult:
    """The committed result of one of the studies."""
    return FidelityResult.load(STUDIES / f"{name}.json")


def with_tables(page: str, name: str, made: FidelityResult) -> str:
    """The page, with the tables of a study between its marks as they have to be."""
    marked = re.escape(_MARKED).replace(r"\{name\}", re.escape(name)).replace(r"\{text\}", r".*?")
    text = "".join(f"{line}\n" for line in tables(made))
    return re.sub(marked, lambda _: _MARKED.format(name=name, text=text), page, count=1, flags=re.DOTALL)


def tables(made: FidelityResult) -> Iterator[str]:
    """What is said of a study: its grade, targets, policies, the stages that are off, and pairs in the wrong order."""
    said = made.assessment
    policies = f"{len(made.record.policies)} policies, {made.record.repeats} real runs of each"
    yield f"**{grade_line(made)}.** {policies}; simulated accuracy from: {qualities(made.record)}."
    yield ""
    yield from (f"- {line}" for line in missing_lines(made))
    yield from _table(("target", "value", "bound", "grade", ""), map(target_row, said.targets.to_dicts()))
    heads = (
        "policy",
        "makespan (s)",
        "spread (s)",
        "simulated (s)",
        "error",
        "verdict",
        "accuracy",
        "simulated accuracy",
    )
    yield from _table(heads, _policies(made))
    off = said.stages.filter(pl.col("verdict").is_in(["near", "missed"]))
    stages = off.group_by("stage", maintain_order=True).agg(
        pl.len(), pl.col("error").median().alias("middle"), pl.col("error").min().alias("low"), pl.col("error").max()
    )
    rows = (
        (stage, str(num), percent(middle), f"{percent(low)} to {percent(high)}")
        for stage, num, middle, low, high in stages.iter_rows()
    )
    yield from _table(("stage beyond its target", "policies", "median error", "errors"), rows)
    yield from (f"- {line}" for line in discordant_lines(made, _MOST_PAIRS))


def _table(heads: tuple[str, ...], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    written = [f"| {' | '.join(row)} |" for row in rows]
    if written:
        yield f"| {' | '.join(heads)} |"
        yield f"|{'---|' * len(heads)}"
        yield from written
        yield ""


def _policies(made: FidelityResult) -> Iterator[tuple[str, ...]]:
    rows = {(row["policy"], row["figure"]): row for row in made.assessment.figures.iter_rows(named=True)}
    for policy in made.record.policies:
        makespan, accuracy = (rows.get((policy.label, name)) for name in ("makespan_s", "accuracy"))
        if makespan is None:
            continue
        seconds = [figure_text(makespan[name]) for name in ("real", "spread", "simulated")]
        scores = ["-", "-"] if accuracy is None else [figure_text(accuracy[name]) for name in ("real", "simulated")]
        yield policy.label, *seconds, percent(makespan["error"]), makespan["verdict"], *scores


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"error: {error}")
