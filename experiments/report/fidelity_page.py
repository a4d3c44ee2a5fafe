"""The report of a fidelity: what is missing and the grade first, then each component by itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from experiments.fidelity.records import Record
from experiments.fidelity.result import FidelityResult
from experiments.fidelity.show import discordant_lines, missing_lines
from experiments.fidelity.words import (
    GRADES,
    SPREAD,
    VERDICTS,
    figure_name,
    percent,
    qualities,
    quality_line,
    target_name,
    target_value,
)
from experiments.metric_names import figure_text, metric_name
from experiments.report.blocks import (
    Block,
    Cell,
    Column,
    Fold,
    KeyFigure,
    KeyFigures,
    Page,
    Section,
    Sentences,
    Table,
    Tone,
)
from experiments.report.numbers import NOTHING
from experiments.report.pictures import picture

_TONES: Mapping[str | None, Tone] = {
    "A": "good", "B": "warning", "C": "bad", "near": "warning", "missed": "bad", "discordant": "bad",
}  # fmt: skip
_MOST_ROWS_OPEN = 30


def fidelity_page(made: FidelityResult) -> Page:
    """The whole report, from the record alone."""
    record = made.record
    sections = [
        Section("policies", "The policies", [_policies(made), *_interference(made)]),
        Section("makespan", "Makespan and other figures", list(_figures(made))),
        Section("stages", "Stage by stage", list(_stages(made))),
        Section("triggers", "Triggers", [_triggers(made)]),
        Section("ranks", "The order of the policies", list(_ranks(made))),
        Section("method", "How it was measured", list(_method(made))),
    ]
    facts = [
        ("policies", f"{len(record.policies)}"),
        ("real runs of each", f"{record.repeats}"),
        ("seeds", _seeds(record)),
        ("simulated accuracy from", qualities(record)),
        ("machine", record.machine),
        ("folder", "" if made.folder is None else str(made.folder)),
    ]
    shown = [(label, text) for label, text in facts if text]
    return Page("Fidelity", record.name, record.question, shown, list(_top(made)), sections)


def _top(made: FidelityResult) -> Iterator[Block]:
    if lines := missing_lines(made):
        yield Sentences(lines, "bad")
    targets = {row["target"]: row for row in made.assessment.targets.iter_rows(named=True)}
    figures = [KeyFigure("grade", made.grade, GRADES[made.grade])]
    for name, row in targets.items():
        if name.startswith(("error", "rank")):
            figures.append(KeyFigure(target_name(name), target_value(name, row["value"]), f"target {row['bound']}"))
    yield KeyFigures(figures)
    rows = [
        [
            Cell(target_name(name), name),
            Cell(target_value(name, row["value"]), row["value"]),
            Cell(row["bound"], row["bound"]),
            Cell(row["grade"] or NOTHING, row["grade"], "", _tone(row["grade"])),
            Cell(row["note"], row["note"]),
        ]
        for name, row in targets.items()
    ]
    columns = [Column("target"), Column("value"), Column("bound"), Column("grade"), Column("note")]
    note = f"The grade is the worst of these. {' '.join(f'{grade}: {text}.' for grade, text in GRADES.items())}"
    yield Table("Targets", columns, rows, note, is_sortable=False)
    resumed = [f"{each.label}: real run {run.repeat}" for each in made.record.policies for run in each.runs
               if run.was_resumed]  # fmt: skip
    if resumed:
        yield Sentences([f"Interrupted and gone on with, so that they started twice: {', '.join(resumed)}"], "warning")


def _policies(made: FidelityResult) -> Table:
    records = {each.label: each for each in made.record.policies}
    rows = []
    for row in made.assessment.policies.iter_rows(named=True):
        each = records[row["policy"]]
        texts = (each.trigger, each.depends_on, each.graph, row["calibrated_on"])
        rows.append(
            [
                Cell(row["policy"], row["policy"]),
                Cell(row["grade"], row["grade"], "", _tone(row["grade"])),
                Cell(f"{row['done']} of {row['repeats']}", row["done"]),
                *(Cell(text or NOTHING, text) for text in texts),
                Cell(f"{each.num_devices}", each.num_devices),
                Cell(row["error"] or NOTHING, row["error"], "", "bad" if row["error"] else "plain"),
            ]
        )
    names = ("policy", "grade", "real runs", "trigger", "depends on", "graph", "costs from", "devices", "missing")
    numeric = ("real runs", "devices")
    note = "The grade of a policy is the worst of its makespan, its stages, and triggers that are promised."
    return Table("Policies", [Column(name, name in numeric) for name in names], rows, note)


def _interference(made: FidelityResult) -> Iterator[Block]:
    """What the calibration measured of jobs side by side, for policies that have several devices."""
    lines = [
        f"{each.label}: {each.num_devices} devices; a training beside another one takes "
        f"{percent(each.prediction.interference, signed=False)} longer, as the runs of {each.prediction.calibrated_on} "
        "showed"
        for each in made.record.policies
        if each.num_devices > 1 and each.prediction.interference is not None
    ]
    if lines:
        yield Sentences(lines)


def _figures(made: FidelityResult) -> Iterator[Block]:
    caption = (
        "Left: the nearer to the line, the better; horizontal bars are the spread. Right: the same as errors; hatched "
        "is the spread in both directions, within which it is a tie."
    )
    yield picture("makespans", made.plot.makespans(), caption)
    rows = [
        [Cell(row["policy"], row["policy"]), Cell(figure_name(row["figure"]), row["figure"]), *_compared(row)]
        for row in made.assessment.figures.iter_rows(named=True)
    ]
    columns = [Column("policy"), Column("figure"), *_COMPARED]
    note = f"{SPREAD} Only the makespan has a target; it is not the whole, for errors of the stages can cancel."
    yield _long(Table("Real and simulated figures of each policy", columns, rows, note))


def _stages(made: FidelityResult) -> Iterator[Block]:
    yield picture(
        "stages", made.plot.stages(), "Blue: the simulation is too fast. Red: too slow. Framed: no target met."
    )
    yield picture(
        "bias", made.plot.bias(), "A stage whose median is far from 0 has costs that are wrong for all policies."
    )
    rows = [
        [
            Cell(row["policy"], row["policy"]),
            Cell(row["stage"], row["stage"]),
            *_compared(row, ", ".join(map(figure_text, row["repeats_s"]))),
            Cell(percent(row["share"], signed=False), row["share"]),
            Cell(percent(row["mape"], signed=False), row["mape"]),
            Cell(percent(row["real_mape"], signed=False), row["real_mape"]),
            Cell(figure_text(row["start_off_s"]), row["start_off_s"]),
            Cell(
                f"{row['num_matched']}",
                row["num_matched"],
                f"of {row['num_real']} real, {row['num_simulated']} simulated",
            ),
        ]
        for row in made.assessment.stages.iter_rows(named=True)
    ]
    numeric = ("share", "MAPE", "MAPE between repeats", "starts off by (s)", "matched")
    columns = [Column("policy"), Column("stage"), *_COMPARED, *(Column(name, True) for name in numeric)]
    note = (
        "Seconds, summed over the runs of a stage; in grey those of each repeat. MAPE: the mean relative error of "
        "single stage runs, matched by id. "
        + " ".join(f"{verdict.capitalize()}: {text}." for verdict, text in VERDICTS.items())
    )
    yield _long(Table("Seconds in each stage", columns, rows, note))


def _triggers(made: FidelityResult) -> Table:
    rows = [
        [
            Cell(row["policy"], row["policy"]),
            Cell(row["trigger"], row["trigger"]),
            Cell(row["depends_on"], row["depends_on"]),
            Cell("identical" if row["is_promised"] else NOTHING, str(row["is_promised"])),
            Cell(figure_text(row["num_real"]), row["num_real"]),
            *(Cell(f"{row[name]:,}", row[name]) for name in ("num_simulated", "distance", "real_distance")),
            Cell(row["verdict"] or NOTHING, row["verdict"], "", _tone(row["verdict"])),
        ]
        for row in made.assessment.triggers.iter_rows(named=True)
    ]
    columns = [
        *(Column(name) for name in ("policy", "trigger", "depends on", "promised")),
        *(Column(name, True) for name in ("real", "simulated", "edit distance", "between repeats")),
        Column("verdict"),
    ]
    note = (
        "Edit distance: how many triggers have to be added or taken away until all positions are the same; of the "
        "simulation from the first repeat, which has its seed, and of the two repeats that are farthest apart."
    )
    return Table("Triggers and their positions", columns, rows, note)


def _ranks(made: FidelityResult) -> Iterator[Block]:
    caption = "Each policy's place in the real runs and in the simulation."
    yield picture("ranks", made.plot.ranks(), caption)
    if lines := discordant_lines(made):
        yield Sentences(lines, "bad")
    pairs = made.assessment.pairs
    rows = [
        [
            Cell(metric_name(row["figure"]).label, row["figure"]),
            *(Cell(row[name], row[name]) for name in ("policy", "other")),
            *(
                Cell(figure_text(row[name]), row[name])
                for name in ("real_difference", "spread", "simulated_difference")
            ),
            Cell(row["relation"], row["relation"], "", _tone(row["relation"])),
        ]
        for row in pairs.iter_rows(named=True)
    ]
    heads = ("real difference", "spread", "simulated difference")
    columns = [
        Column("figure"),
        Column("policy"),
        Column("other"),
        *(Column(h, True) for h in heads),
        Column("relation"),
    ]
    note = "Left out: the real difference is no larger than the larger spread of the two, so that there is no order."
    yield _long(Table("Pairs of policies", columns, rows, note))


def _method(made: FidelityResult) -> Iterator[Block]:
    record = made.record
    lines = [
        f"Each policy: {record.repeats} real runs, seeds {_seeds(record)}. All policies took turns, one run at a time.",
        "Each was simulated with the same seeds, and with costs that were fitted to real runs of another policy.",
        quality_line(record),
        "The real figure is the median of the repeats, the simulated one that of the simulated runs.",
        SPREAD,
    ]
    yield Sentences(lines)


def _seeds(record: Record) -> str:
    return f"{record.seed}" if record.repeats == 1 else f"{record.seed} to {record.seed + record.repeats - 1}"


_COMPARED = [*(Column(name, True) for name in ("real", "spread", "simulated", "error")), Column("verdict")]


def _compared(row: Mapping[str, Any], aside: str = "") -> list[Cell]:
    return [
        Cell(figure_text(row["real"]), row["real"], aside),
        *(Cell(figure_text(row[name]), row[name]) for name in ("spread", "simulated")),
        Cell(percent(row["error"]), row["error"]),
        Cell(row["verdict"] or NOTHING, row["verdict"], "", _tone(row["verdict"])),
    ]


def _tone(word: str | None) -> Tone:
    return _TONES.get(word, "plain")


def _long(table: Table) -> Table | Fold:
    """A table as it is, or folded away if it is long."""
    return table if len(table.rows) <= _MOST_ROWS_OPEN else Fold(f"{table.caption}: {len(table.rows)} rows", table)
