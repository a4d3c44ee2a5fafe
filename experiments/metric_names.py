"""What the figures of a run are called where people read them, as `twinclock.show` calls them."""

from __future__ import annotations

from typing import NamedTuple

from twinclock.show import composite_label


class MetricName(NamedTuple):
    """The words for a metric."""

    label: str
    unit: str
    """Empty where the label says it."""
    lower: str
    """What a lower value is: `fewer device-seconds`."""
    higher: str

    @property
    def with_unit(self) -> str:
        """For an axis: `makespan (s)`."""
        return f"{self.label} ({self.unit})" if self.unit else self.label


def metric_name(metric: str) -> MetricName:
    """The words for a metric of `Run.summary`, or for a composite such as `active_log_loss`; else its own name."""
    if metric in _NAMES:
        return _NAMES[metric]
    models, _, scored = metric.partition("_")
    return _plain(composite_label(scored, models) if models in _MODELS and scored else metric)


def figure_text(value: float | None) -> str:
    """A figure in four digits: `0.7685`, `39.5`, `33,910`; a dash for none."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _plain(label: str, unit: str = "") -> MetricName:
    return MetricName(label, unit, f"a lower {label}", f"a higher {label}")


def _counted(label: str) -> MetricName:
    return MetricName(label, "", f"fewer {label}", f"more {label}")


def _measured(label: str, unit: str) -> MetricName:
    return MetricName(label, unit, f"less {label}", f"more {label}")


_MODELS = ("active", "trained", "served")
_NAMES = {
    "device_s": _counted("device-seconds"),
    "down_s": _counted("device-seconds down"),
    "makespan_s": MetricName("makespan", "s", "a shorter makespan", "a longer makespan"),
    "usd": _measured("money", "USD"),
    "busy_usd": _measured("money while held", "USD"),
    "joules": _measured("energy", "J"),
    "queued_s": _measured("queueing", "s"),
    "training_queued_s": _measured("queueing of trainings", "s"),
    "evaluation_queued_s": _measured("queueing of evaluations", "s"),
    "incorporation_p50_s": _plain("median time from data to model", "s"),
    "incorporation_p95_s": _plain("time from data to model, 95 %", "s"),
    "incorporation_p99_s": _plain("time from data to model, 99 %", "s"),
    "staleness_s": _measured("staleness", "s"),
    "staleness_max_s": _plain("largest staleness", "s"),
    "backlog": _plain("mean backlog", "samples"),
    "backlog_max": _plain("largest backlog", "samples"),
    "not_incorporated": _counted("samples never incorporated"),
    "missed_triggers": _counted("missed triggers"),
    **{
        name: _counted(name)
        for name in ("triggers", "trainings", "models", "evaluations", "faults", "samples", "batches")
    },
    "stopped_trainings": _counted("trainings stopped"),
    "failed_trainings": _counted("trainings failed"),
    "lost_evaluations": _counted("lost evaluations"),
    "lost_observations": _counted("lost observations"),
    "stage_runs": _counted("stage runs"),
}
