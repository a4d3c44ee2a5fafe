"""What can be wrong with the policies of a configuration in the face of its data, found before anything runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from twinclock.config import Config
from twinclock.dataset import TableConfig, numeric_columns
from twinclock.durations import parse_duration
from twinclock.errors import UserError
from twinclock.folder import FolderConfig
from twinclock.policies.metrics import find_metric, metric_names
from twinclock.policies.needs import compares_all_features, each_trigger, features_named, metrics_needed
from twinclock.policies.observations import ERROR
from twinclock.policies.selection import NewDataConfig
from twinclock.policies.triggers import TriggerConfig, build_trigger, check_trigger
from twinclock.policies.triggers.cara import CaraTriggerConfig
from twinclock.policies.triggers.custom import CustomTriggerConfig
from twinclock.policies.triggers.drift import DetectorMetric, DriftTriggerConfig
from twinclock.policies.triggers.oracle import OracleTriggerConfig, different_training
from twinclock.policies.triggers.windows import AmountWindowsConfig
from twinclock.stream import Stream


def problems(config: Config, stream: Stream) -> list[str]:
    """Every problem, as `key: got …, expected …`. The stream has samples, unless they are still to come."""
    found: list[str] = []
    for key, trigger in each_trigger(config.trigger):
        if not isinstance(config.data, FolderConfig):
            found += _too_long(key, trigger, stream)
        found += _other_task(key, trigger, config)
        match trigger:
            case DriftTriggerConfig():
                found += _without_features(key, trigger, config)
            case CaraTriggerConfig():
                found += _not_alone(key, trigger.kind, config)
            case OracleTriggerConfig():
                found += _not_alone(key, trigger.kind, config)
                found += _unlike_the_earlier_run(key, trigger, config)
            case CustomTriggerConfig():
                found += _not_conforming(key, trigger)
            case _:
                pass
    return found


def _too_long(key: str, trigger: TriggerConfig, stream: Stream) -> Iterator[str]:
    """An interval, or a window, that no sample of the stream would ever come to the end of."""
    lengths: list[tuple[str, int | float | str | None]] = [("interval", getattr(trigger, "interval", None))]
    if isinstance(trigger, DriftTriggerConfig) and trigger.windows is not None:
        windows = trigger.windows
        limits: Sequence[int | str] = (
            (windows.ref, windows.cur)
            if isinstance(windows, AmountWindowsConfig)
            else (f"{windows.ref:.0f}s", f"{windows.cur:.0f}s")
        )
        lengths += list(zip(("windows.ref", "windows.cur"), limits, strict=True))
    for name, length in lengths:
        if isinstance(length, int) and length > stream.num_samples:
            yield f"{key}.{name}: got {length}, expected at most the {stream.num_samples} samples of the data"
        elif isinstance(length, str):
            # asked for only here: the last timestamp of a modelled stream costs a pass over all of it
            span_s = stream.timestamp(stream.num_samples - 1) - stream.timestamp(0)
            if parse_duration(length) > span_s:
                yield f"{key}.{name}: got {length}, expected at most the {span_s:g} s of data time that the data span"


def _other_task(key: str, trigger: TriggerConfig, config: Config) -> Iterator[str]:
    """Metrics that models of this task do not have; an evaluator of the user's own may have any."""
    if config.evaluation.evaluator is not None:
        return
    task = config.training.task
    for name in metrics_needed(trigger):
        metric = find_metric(name)
        if metric is not None and metric.task != task:
            yield f"{key}: got metric {name}, expected one for {task}: {', '.join(metric_names(task))}"
    watches = isinstance(trigger, DriftTriggerConfig) and any(
        isinstance(each, DetectorMetric) and each.value == ERROR for each in trigger.metrics.values()
    )
    if watches and task != "classification":
        yield f"{key}.metrics: a detector of {ERROR} counts wrong answers, which training.task {task} has not"


def _without_features(key: str, trigger: DriftTriggerConfig, config: Config) -> Iterator[str]:
    """A drift trigger that would look at columns that are not there, or no numbers."""
    named, compares_all = features_named(trigger), compares_all_features(trigger)
    if not named and not compares_all:
        return
    if not isinstance(config.data, TableConfig | FolderConfig):
        yield f"{key}: looks at features, but data.kind is {config.data.kind}, whose samples have none; expected table"
        return
    arrays = config.data.columns.features.arrays
    known = config.data.features.numeric if isinstance(config.data, FolderConfig) else numeric_columns(config.data)
    if compares_all and not known:
        otherwise = f"; expected {key}.of embeddings for arrays" if arrays else ""
        yield f"{key}.features: no feature of the data is numeric, and distances are between numbers{otherwise}"
    for name in named:
        if name in arrays:
            yield f"{key}: got feature {name!r}, which holds arrays; expected a numeric one, or {key}.of embeddings"
        elif name not in known:
            yield f"{key}: got feature {name!r}, expected a numeric one: {', '.join(known) or 'there is none'}"


def _not_alone(key: str, kind: str, config: Config) -> Iterator[str]:
    """Whose costs would depend on more than where the training is made."""
    why = f"{key}.kind: {kind} needs models that depend on nothing but where they are trained"
    if config.training.start_from != "scratch":
        yield f"{why}: training.start_from: got {config.training.start_from}, expected scratch"
    selection = config.selection
    if not isinstance(selection, NewDataConfig) or selection.tail is not None:
        yield f"{why}: selection: expected kind new_data with tail null (all data so far, or a window or limit of it)"
    if config.variant == "overlapped":
        yield f"{why}: variant: got overlapped, expected seed or sequential, where a model answers at once"


def _unlike_the_earlier_run(key: str, trigger: OracleTriggerConfig, config: Config) -> Iterator[str]:
    try:
        build_trigger(trigger)
        section = different_training(trigger, config)
    except UserError as error:
        yield f"{key}.run: {error}"
        return
    if section is not None:
        yield f"{key}.run: {trigger.run} has another section {section}, expected the same as here"


def _not_conforming(key: str, trigger: CustomTriggerConfig) -> Iterator[str]:
    try:
        check_trigger(lambda: build_trigger(trigger), batch_independent=trigger.batch_independent)
    except UserError as error:
        yield str(error)
    except Exception as error:  # whatever a user's class raises
        yield f"{key}.import: {trigger.import_} failed: {type(error).__name__}: {' '.join(str(error).split())}"
