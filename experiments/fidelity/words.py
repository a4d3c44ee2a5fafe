"""How verdicts and figures are written for people, the same in the terminal, in notebooks and on the page."""

from __future__ import annotations

from experiments.fidelity.records import Record
from experiments.metric_names import figure_text, metric_name

GRADES = {
    "A": "every target is met",
    "B": "every figure is within twice its target",
    "C": "a figure is beyond twice its target, or a run or a prediction is missing",
}
VERDICTS = {
    "tie": "no farther from the real figure than two real runs are from each other",
    "met": "within the target",
    "near": "within twice the target",
    "missed": "farther off",
    "small": "less than 1 % of the makespan, so without a target",
}
SPREAD = (
    "Spread: the largest difference between two repeats of a policy, which differ by the machine and, as each has a "
    "seed of its own, by the chances of training."
)


def qualities(record: Record) -> str:
    """Where the simulated accuracies of a study are from, each way once."""
    said = dict.fromkeys(policy.prediction.quality for policy in record.policies if policy.prediction.quality)
    return ", ".join(said) or "nowhere, as there is no prediction"


def quality_line(record: Record) -> str:
    """The same as a sentence."""
    return f"Simulated accuracy is from: {qualities(record)}."


def figure_name(figure: str) -> str:
    """`makespan (s)`, for one of the figures that are compared."""
    return "accuracy of the active model" if figure == "accuracy" else metric_name(figure).with_unit


def target_name(target: str) -> str:
    """A target with the figure in it spelt out."""
    head, by, figure = target.rpartition(" by ")
    return f"{head}{by}{metric_name(figure).label}" if by else target


def percent(value: float | None, *, signed: bool = True) -> str:
    """A share in percent: `+3.2 %`; a dash for none."""
    if value is None:
        return "-"
    if value in (float("inf"), float("-inf")):
        return "no bound"
    return f"{100.0 * value:{'+' if signed else ''}.1f}\N{NO-BREAK SPACE}%"


def target_value(target: str, value: float | None) -> str:
    """The value of a target in its own unit."""
    if target.startswith("error"):
        return percent(value, signed=False)
    return figure_text(value)
