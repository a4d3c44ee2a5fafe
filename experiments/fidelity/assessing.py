"""From a record to what it says: tables, targets, grades. Pure: the same record gives the same assessment."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import median
from typing import Any

import polars as pl

from experiments.fidelity.ranking import Pair, kendall_tau, ranked_pairs
from experiments.fidelity.records import Figures, PolicyRecord, Record
from experiments.fidelity.verdicts import (
    MAKESPAN_ERROR,
    MEDIAN_MAKESPAN_ERROR,
    SMALL_SHARE,
    STAGE_ERROR,
    TAU,
    Comparison,
    Grade,
    Verdict,
    compare,
    grade_of,
    stage_verdict,
    tau_verdict,
    verdict,
    within,
    worst,
)
from twinclock.summary import edit_distance

RANKED = ("makespan_s", "device_s", "accuracy")
"""Figures that policies are ranked by."""
FIGURES = ("makespan_s", "device_s", "queued_s", "training_queued_s", "evaluation_queued_s", "accuracy", "triggers")
"""Figures that are compared for each policy; of these, makespan alone has a target of its own."""


@dataclass(frozen=True)
class Assessment:
    """What a record says. Frames have a row for each thing compared, policies in the order of the study."""

    grade: Grade
    """The worst of `targets`."""
    targets: pl.DataFrame
    """What was to be reached: `target`, `value` (null: nothing to measure), `bound`, `note`, `grade`."""
    policies: pl.DataFrame
    """`policy`, `grade` (the worst of its own components), `done` (repeats), `repeats`, `calibrated_on`, `error`."""
    figures: pl.DataFrame
    """Real beside simulated, medians over the seeds, for each policy and figure: `real`, `spread`, `simulated`,
    `difference`, `error`, `verdict` (null where there is no target and no tie)."""
    stages: pl.DataFrame
    """The same of each stage's seconds; also `share` (of the real makespan), `mape`, `real_mape`, `start_off_s`, and
    how many stage runs were matched."""
    triggers: pl.DataFrame
    """Edit distances of trigger positions: `distance` (a simulated run from the repeat with its seed, the largest),
    `real_distance` (of the two repeats farthest apart), `is_promised` (must they be the same?), `verdict`."""
    rankings: pl.DataFrame
    """For each figure that policies are ranked by: `tau` (null: no pair), `counted`, `left_out`, `verdict`."""
    pairs: pl.DataFrame
    """Each pair of policies for each of these figures, with its `relation`."""


def assess(record: Record) -> Assessment:
    """Compare, and grade."""
    figures = _frame(_FIGURES, (row for policy in record.policies for row in _figures(policy)))
    stages = _frame(_STAGES, (row for policy in record.policies for row in _stages(policy)))
    triggers = _frame(_TRIGGERS, (row for policy in record.policies for row in _triggers(policy)))
    pairs = _frame(_PAIRS, _pairs(record))
    rankings = _frame(_RANKINGS, (_ranking(pairs, figure) for figure in RANKED))
    policies = _frame(_POLICIES, (_policy(each, record, figures, stages, triggers) for each in record.policies))
    targets = _frame(_TARGETS, _targets(record, figures, stages, triggers, rankings))
    grade = worst(targets["grade"].drop_nulls().to_list())
    return Assessment(grade, targets, policies, figures, stages, triggers, rankings, pairs)


def missing(policy: PolicyRecord, repeats: int) -> str | None:
    """What a policy lacks, in one line; None if all its runs are done and it was predicted."""
    told = [f"real run {run.repeat}: {run.state}: {run.error}" for run in policy.runs if run.figures is None]
    if len(policy.runs) < repeats:
        told.append(f"{repeats - len(policy.runs)} real runs are missing")
    if not policy.prediction.simulated:
        told.append(f"no prediction: {policy.prediction.error}")
    return "; ".join(told) or None


def figure_of(figures: Figures, name: str) -> float | None:
    """One of `FIGURES`; None if the run has none."""
    if name == "triggers":
        return float(len(figures.positions))
    value: float | None = getattr(figures, name)
    return value


def _figures(policy: PolicyRecord) -> Iterator[dict[str, Any]]:
    for name in FIGURES:
        found = _compared(policy, name)
        if found is None:
            continue
        if name == "makespan_s":
            told: Verdict | None = verdict(found, MAKESPAN_ERROR)
        else:
            told = "tie" if found.is_tie else None
        yield {"policy": policy.label, "figure": name, **found._asdict(), "verdict": told}


def _compared(policy: PolicyRecord, name: str) -> Comparison | None:
    real, simulated = _values(policy.measured, name), _values(policy.prediction.simulated, name)
    return compare(real, median(simulated)) if real and simulated else None


def _values(runs: Sequence[Figures], name: str) -> list[float]:
    values = (figure_of(figures, name) for figures in runs)
    return [value for value in values if value is not None]


def _stages(policy: PolicyRecord) -> Iterator[dict[str, Any]]:
    simulated, measured = policy.prediction.simulated, policy.measured
    if not simulated or not measured:
        return
    makespan_s = median(figures.makespan_s for figures in measured)
    matched = {each.stage: each for each in policy.prediction.stages}
    names = dict.fromkeys(stage for figures in (*measured, *simulated) for stage in figures.stage_s)
    rows = []
    for stage in names:
        repeats_s = [figures.stage_s.get(stage, 0.0) for figures in measured]
        found = compare(repeats_s, median(figures.stage_s.get(stage, 0.0) for figures in simulated))
        match = matched.get(stage)
        row: dict[str, Any] = {
            "policy": policy.label,
            "stage": stage,
            "repeats_s": repeats_s,
            **found._asdict(),
            "share": found.real / makespan_s if makespan_s else 0.0,
            "mape": match and match.mape,
            "real_mape": match and match.real_mape,
            "start_off_s": match and match.start_off_s,
            "num_matched": match.num_matched if match else 0,
            "num_real": match.num_real if match else 0,
            "num_simulated": match.num_simulated if match else 0,
            "verdict": stage_verdict(found, makespan_s),
        }
        rows.append(row)
    yield from sorted(rows, key=lambda row: (-float(row["real"]), str(row["stage"])))


def _triggers(policy: PolicyRecord) -> Iterator[dict[str, Any]]:
    simulated, measured = policy.prediction.simulated, policy.measured
    if not simulated or not measured:
        return
    distance = max(
        edit_distance(figures.positions, run.figures.positions)
        for figures, run in zip(simulated, policy.runs, strict=True)
        if run.figures is not None
    )
    apart = (edit_distance(one.positions, other.positions) for one, other in combinations(measured, 2))
    real_distance = max(apart, default=0)
    is_promised = policy.depends_on == "data" and policy.mode == "replay"
    told: Verdict | None = "met" if distance == 0 else "tie" if distance <= real_distance else None
    if is_promised:
        told = "met" if distance == 0 else "missed"
    yield {
        "policy": policy.label,
        "trigger": policy.trigger,
        "depends_on": policy.depends_on,
        "is_promised": is_promised,
        "num_real": median(len(figures.positions) for figures in measured),
        "num_simulated": median(len(figures.positions) for figures in simulated),
        "distance": distance,
        "real_distance": real_distance,
        "verdict": told,
    }


def _pairs(record: Record) -> Iterator[dict[str, Any]]:
    for name in RANKED:
        real = {policy.label: found for policy in record.policies if (found := _values(policy.measured, name))}
        simulated = {
            policy.label: median(found)
            for policy in record.policies
            if (found := _values(policy.prediction.simulated, name))
        }
        for pair in ranked_pairs(real, simulated):
            yield {"figure": name, **pair._asdict()}


def _ranking(pairs: pl.DataFrame, figure: str) -> dict[str, Any]:
    of_figure = pairs.filter(pl.col("figure") == figure)
    tau = kendall_tau_of(of_figure)
    left_out = of_figure.filter(pl.col("relation") == "left out").height
    return {
        "figure": figure,
        "tau": tau,
        "counted": of_figure.height - left_out,
        "left_out": left_out,
        "discordant": of_figure.filter(pl.col("relation") == "discordant").height,
        "verdict": None if tau is None else tau_verdict(tau),
    }


def kendall_tau_of(pairs: pl.DataFrame) -> float | None:
    """τ from rows of `Assessment.pairs` of one figure."""
    return kendall_tau([Pair(**row) for row in pairs.drop("figure").iter_rows(named=True)])


def _policy(
    policy: PolicyRecord, record: Record, figures: pl.DataFrame, stages: pl.DataFrame, triggers: pl.DataFrame
) -> dict[str, Any]:
    error = missing(policy, record.repeats)
    makespan = figures.filter(pl.col("figure") == "makespan_s")
    promised = triggers.filter("is_promised")
    own = pl.concat([each.filter(pl.col("policy") == policy.label)["verdict"] for each in (makespan, stages, promised)])
    return {
        "policy": policy.label,
        "grade": "C" if error else worst(grade_of(each) for each in own),
        "done": len(policy.measured),
        "repeats": record.repeats,
        "calibrated_on": policy.prediction.calibrated_on,
        "error": error,
    }


def _targets(
    record: Record, figures: pl.DataFrame, stages: pl.DataFrame, triggers: pl.DataFrame, rankings: pl.DataFrame
) -> Iterator[dict[str, Any]]:
    lacking = sum(missing(policy, record.repeats) is not None for policy in record.policies)
    yield {
        "target": "policies without all their runs or a prediction",
        "value": float(lacking),
        "bound": "0",
        "note": f"of {len(record.policies)}",
        "grade": "C" if lacking else "A",
    }
    makespan = figures.filter(pl.col("figure") == "makespan_s")
    errors = _counted_errors(makespan)
    bare = makespan["error"].drop_nulls().abs()
    num_ties = makespan.filter(pl.col("verdict") == "tie").height
    for which, value, bound, counted in (
        ("median", median(errors) if errors else None, MEDIAN_MAKESPAN_ERROR, bare.median()),
        ("largest", max(errors, default=None), MAKESPAN_ERROR, bare.max()),
    ):
        note = f"{num_ties} of {len(errors)} are ties, and count as 0"
        if isinstance(counted, float):
            note += f"; with them it is {100 * counted:.1f}\N{NO-BREAK SPACE}%"
        yield _errors(f"error of the makespan, {which}", value, bound, note)
    large = stages.filter(pl.col("verdict") != "small")
    beyond = large.filter(pl.col("verdict").is_in(["near", "missed"])).height
    note = f"{beyond} of {large.height} stages of at least {100 * SMALL_SHARE:g} % of the makespan are beyond it"
    yield _errors("error of a stage's seconds, largest", max(_counted_errors(large), default=None), STAGE_ERROR, note)
    for row in rankings.iter_rows(named=True):
        yield {
            "target": f"rank τ by {row['figure']}",
            "value": row["tau"],
            "bound": f"≥\N{NO-BREAK SPACE}{TAU:g}",
            "note": f"{row['counted']} pairs, {row['left_out']} left out: no farther apart than the spread",
            "grade": None if row["verdict"] is None else grade_of(row["verdict"]),
        }
    promised = triggers.filter("is_promised")
    moved = promised.filter(pl.col("distance") > 0).height
    yield {
        "target": "policies with other trigger positions than promised",
        "value": float(moved) if promised.height else None,
        "bound": "0",
        "note": f"of {promised.height} that look at the data alone",
        "grade": ("C" if moved else "A") if promised.height else None,
    }


def _counted_errors(compared: pl.DataFrame) -> list[float]:
    """The size of each relative error, 0 for a tie; infinite where there is no real time to compare with."""
    rows = compared.select("error", "verdict").iter_rows()
    return [0.0 if told == "tie" else float("inf") if error is None else abs(error) for error, told in rows]


def _errors(target: str, value: float | None, bound: float, note: str) -> dict[str, Any]:
    grade = None if value is None else grade_of(within(value, bound))
    return {
        "target": target,
        "value": value,
        "bound": f"≤\N{NO-BREAK SPACE}{100 * bound:g}\N{NO-BREAK SPACE}%",
        "note": note,
        "grade": grade,
    }


def _frame(schema: dict[str, Any], rows: Iterator[dict[str, Any]] | Sequence[dict[str, Any]]) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema=schema, orient="row")


_COMPARED = {
    "real": pl.Float64, "spread": pl.Float64, "simulated": pl.Float64, "difference": pl.Float64, "error": pl.Float64,
}  # fmt: skip
_FIGURES = {"policy": pl.String, "figure": pl.String, **_COMPARED, "verdict": pl.String}
_STAGES = {
    "policy": pl.String, "stage": pl.String, "repeats_s": pl.List(pl.Float64), **_COMPARED, "share": pl.Float64,
    "mape": pl.Float64, "real_mape": pl.Float64, "start_off_s": pl.Float64, "num_matched": pl.Int64,
    "num_real": pl.Int64, "num_simulated": pl.Int64, "verdict": pl.String,
}  # fmt: skip
_TRIGGERS = {
    "policy": pl.String, "trigger": pl.String, "depends_on": pl.String, "is_promised": pl.Boolean,
    "num_real": pl.Float64, "num_simulated": pl.Int64, "distance": pl.Int64, "real_distance": pl.Int64,
    "verdict": pl.String,
}  # fmt: skip
_PAIRS = {
    "figure": pl.String, "policy": pl.String, "other": pl.String, "real_difference": pl.Float64, "spread": pl.Float64,
    "simulated_difference": pl.Float64, "relation": pl.String,
}  # fmt: skip
_RANKINGS = {
    "figure": pl.String, "tau": pl.Float64, "counted": pl.Int64, "left_out": pl.Int64, "discordant": pl.Int64,
    "verdict": pl.String,
}  # fmt: skip
_POLICIES = {
    "policy": pl.String, "grade": pl.String, "done": pl.Int64, "repeats": pl.Int64, "calibrated_on": pl.String,
    "error": pl.String,
}  # fmt: skip
_TARGETS = {
    "target": pl.String, "value": pl.Float64, "bound": pl.String, "note": pl.String, "grade": pl.String,
}  # fmt: skip
