"""The report of several runs: their figures side by side, and pictures with all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from experiments.plots import accuracy_by_policy, costs_by_policy, sim_against_real
from experiments.report.blocks import Block, Cell, Column, KeyFigure, KeyFigures, Page, Section, Sentences, Table
from experiments.report.numbers import NOTHING, date
from experiments.report.pictures import picture
from experiments.report.run_page import configuration, state_notes
from experiments.report.tables import figures_tables
from twinclock._chart import duration
from twinclock.result import Run
from twinclock.show import difference, footnotes, run_names


def runs_page(runs: Sequence[Run]) -> Page:
    """The whole report of two runs or more."""
    names = _own_names(runs)
    named = dict(zip(names, runs, strict=True))
    figures, *stages = figures_tables(runs, names)
    return Page(
        "Comparison",
        " and ".join(names) if len(runs) == 2 else f"{len(runs)} runs",
        "",
        [("runs", str(len(runs)))],
        [_key_figures(named), *(note for run in runs for note in state_notes(run)), *_footnotes(runs)],
        [
            Section("figures", "Side by side", [figures]),
            Section("models", "How good the models were", list(_models(named))),
            *_agreement(runs),
            Section("resources", "What they used", list(_resources(named, stages))),
            Section("runs", "The runs", [_runs(named), *(configuration(run) for run in runs)]),
        ],
    )


def _own_names(runs: Sequence[Run]) -> list[str]:
    """A name of its own for each run, in one line."""
    names = [name.replace("\n", " ") for name in run_names(runs)]
    return [name if names.count(name) == 1 else f"{name} #{number}" for number, name in enumerate(names, start=1)]


def _footnotes(runs: Sequence[Run]) -> Iterator[Block]:
    if notes := list(footnotes(runs)):
        yield Sentences(notes, "warning")


class _Asked(NamedTuple):
    """A figure that is asked for first."""

    key: str
    label: str
    superlative: str
    choose: Callable[[Iterable[float]], float]
    text: Callable[[float], str]


_ASKED = (
    _Asked("accuracy", "accuracy", "highest accuracy", max, lambda value: f"{value:.3f}"),
    _Asked("device_s", "device time", "least device time", min, duration),
    _Asked("makespan_s", "makespan", "shortest makespan", min, duration),
    _Asked("queued_s", "queueing", "least queueing", min, duration),
)


def _key_figures(named: Mapping[str, Run]) -> KeyFigures:
    """Of two runs from one to the other, of more the best one."""
    of = _change if len(named) == 2 else _best
    return KeyFigures([of(asked, {name: run.summary[asked.key] for name, run in named.items()}) for asked in _ASKED])


def _change(asked: _Asked, values: Mapping[str, float | None]) -> KeyFigure:
    first, second = values.values()
    told = [NOTHING if value is None else asked.text(value) for value in (first, second)]
    return KeyFigure(asked.label, " → ".join(told), difference(first, second))


def _best(asked: _Asked, values: Mapping[str, float | None]) -> KeyFigure:
    known = {name: value for name, value in values.items() if value is not None}
    if not known:
        return KeyFigure(asked.superlative, NOTHING, "no run has it")
    best = asked.choose(known.values())
    return KeyFigure(asked.superlative, asked.text(best), ", ".join(name for name in known if known[name] == best))


def _models(named: Mapping[str, Run]) -> Iterator[Block]:
    yield picture(
        "accuracy", accuracy_by_policy(named), "Accuracy of the active model over data time, above the triggers."
    )


def _agreement(runs: Sequence[Run]) -> Iterator[Section]:
    """How a simulated run compares with a real one, if there is one of each."""
    by_executor = {name: [run for run in runs if run.header["executor"] == name] for name in ("sim", "real")}
    if all(len(found) == 1 for found in by_executor.values()):
        (simulated,), (real,) = by_executor.values()
        figure = sim_against_real(simulated, real)
        caption = "Left: seconds of each stage in both; on the diagonal they agree. Below: the triggers of both."
        yield Section("agreement", "Simulated against real", [picture("agreement", figure, caption)])


def _resources(named: Mapping[str, Run], stages: Sequence[Table]) -> Iterator[Block]:
    yield picture("costs", costs_by_policy(named), "What each run used.")
    yield from stages


def _runs(named: Mapping[str, Run]) -> Table:
    rows = [
        [
            Cell(name, name),
            *(
                Cell(text, text)
                for text in (
                    str(run.header["executor"]),
                    run.outcome or run.state,
                    run.config.trigger.kind,
                    str(run.config.seed),
                    date(run.header["created"]) if "created" in run.header else NOTHING,
                    NOTHING if run.folder is None else str(run.folder),
                )
            ),
        ]
        for name, run in named.items()
    ]
    columns = [Column(name) for name in ("run", "executor", "state", "trigger", "seed", "started", "folder")]
    return Table("What was run", columns, rows)
