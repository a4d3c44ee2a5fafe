"""The configuration of a run: what a user writes in YAML, or says in Python with the same models.

Nothing is coerced and no unknown key is let through. Durations are seconds, or `<int>s|m|h|d|w|y`.
The sections `sim` and `real` belong to the executors, which validate them with `parse_section`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Field, ValidationError, model_validator

from twinclock.arrivals import ArrivalsConfig, RecordedConfig
from twinclock.cluster import ClusterConfig
from twinclock.dataset import TableConfig
from twinclock.durations import Delay, Duration
from twinclock.errors import ConfigError
from twinclock.faults import FaultsConfig
from twinclock.folder import FolderConfig
from twinclock.pipeline import Variant
from twinclock.policies.batching import BatchingConfig, FixedBatchingConfig
from twinclock.policies.evaluation import EvaluationPlan
from twinclock.policies.gate import metric_problem
from twinclock.policies.metrics import METRIC_NAMES, find_metric, metric_names
from twinclock.policies.overlap import OverlapConfig
from twinclock.policies.selection import NewDataConfig, SelectionConfig
from twinclock.policies.triggers import TriggerConfig
from twinclock.section import ImportPath, ListOf, Section, Title, WrongKeyError, parse_section, problems, shown
from twinclock.training import (
    ImportedModelConfig,
    LogisticConfig,
    MlpConfig,
    ModelConfig,
    OptimizerConfig,
    TrainingConfig,
    TrainingRetryConfig,
)
from twinclock.yaml_text import override, read_yaml, write_yaml

__all__ = [
    "Config",
    "ImportedModelConfig",
    "LogisticConfig",
    "MlpConfig",
    "ModelConfig",
    "OptimizerConfig",
    "TrainingConfig",
    "TrainingRetryConfig",
    "config_hash",
    "dump_yaml",
    "load_config",
    "parse_section",
]


class UniformDataConfig(Section):
    """Modelled samples at equal distances; they have no features, so only the simulator can use them."""

    kind: Literal["uniform"] = "uniform"
    num_samples: int = Field(gt=0)
    every: Duration
    """Data time from one sample to the next."""
    start: float = 0.0
    """Data time of the first sample."""
    chunk: int = Field(default=10_000, gt=0)
    """Samples ingested at a time."""
    label_delay: Delay = 0.0
    """Data time from a sample to the moment at which its label is known."""


class PoissonDataConfig(Section):
    """Modelled samples at random (exponential) distances; for the simulator only."""

    kind: Literal["poisson"] = "poisson"
    num_samples: int = Field(gt=0)
    every: Duration
    """Mean data time from one sample to the next."""
    start: float = 0.0
    """Data time before the first sample."""
    chunk: int = Field(default=10_000, gt=0)
    """Samples ingested at a time."""
    label_delay: Delay = 0.0
    """Data time from a sample to the moment at which its label is known."""


DataConfig: TypeAlias = Annotated[
    TableConfig | FolderConfig | UniformDataConfig | PoissonDataConfig | ArrivalsConfig | RecordedConfig,
    Field(discriminator="kind"),
]


class LiveConfig(Section):
    """Live mode: data time runs with the clock."""

    speed_up: float = Field(default=1.0, gt=0)
    """Seconds of data time per second of clock time."""


class RetryConfig(Section):
    """What happens when an evaluation or an observation fails or takes too long."""

    attempts: int = Field(default=2, gt=0)
    """How often it is tried in all."""
    backoff: Delay = 1.0
    """Clock seconds before the second attempt; doubled before each further one."""


class EvaluationConfig(Section):
    """What is evaluated, when, and how."""

    plans: ListOf[EvaluationPlan] = ()
    metrics: ListOf[str] = Field(default=("accuracy",), min_length=1)
    evaluator: ImportPath | None = None
    """A user's own evaluator, with its own metrics; None: the built-in one."""
    at_once: int | None = Field(default=None, gt=0)
    """Jobs of one plan that may run at the same time; None: as many as there are devices."""
    intervals_per_visit: int | None = Field(default=None, gt=0)
    """Intervals that one job scores, which holds a device once for one model and plan; None: all that are due."""
    memory_bytes: float = Field(default=0.0, ge=0)
    """Memory that an evaluation, or an observation, takes on its device."""
    timeout: Duration | None = None
    """Clock seconds from the grant of the device; None: no limit."""
    retry: RetryConfig = RetryConfig()

    @model_validator(mode="after")
    def _known_metrics(self) -> EvaluationConfig:
        unknown = [metric for metric in self.metrics if find_metric(metric) is None]
        if self.evaluator is None and unknown:
            expected = f"{', '.join(METRIC_NAMES)} (or an evaluator of your own)"
            raise WrongKeyError("metrics", f"got {', '.join(unknown)}, expected {expected}")
        return self


class ObservationConfig(Section):
    """How the scores and distances that a trigger asks for are come by."""

    on_device: bool | None = None
    """Do they queue for a device and hold it? None: if a model has to look at samples."""
    timeout: Duration | None = None
    """Clock seconds from the start, or the grant of the device; None: no limit."""
    retry: RetryConfig = RetryConfig()


class Config(Section):
    """All that decides a run, but for the executor that it runs on."""

    name: Title = "run"
    seed: int = Field(default=0, ge=0)
    variant: Variant = "seed"
    """Which stage graph: what happens beside what."""
    mode: Literal["replay", "live"] = "replay"
    """Data as fast as they are taken, or when their time comes."""
    data: DataConfig = TableConfig(dataset="portal_rodents")
    live: LiveConfig = LiveConfig()
    batching: BatchingConfig = FixedBatchingConfig()
    trigger: TriggerConfig
    selection: SelectionConfig = NewDataConfig()
    training: TrainingConfig = TrainingConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    observation: ObservationConfig = ObservationConfig()
    cluster: ClusterConfig = ClusterConfig()
    faults: FaultsConfig = FaultsConfig()
    overlap: OverlapConfig | None = None
    """Set in the variant `overlapped`, and only there."""
    sim: dict[str, Any] = Field(default_factory=dict)
    """For the simulator; its own model says what may stand here."""
    real: dict[str, Any] = Field(default_factory=dict)
    """For the torch executor; its own model says what may stand here."""

    @model_validator(mode="before")
    @classmethod
    def _default_overlap(cls, values: Any) -> Any:
        if isinstance(values, Mapping) and values.get("variant") == "overlapped" and values.get("overlap") is None:
            return {**values, "overlap": OverlapConfig()}
        return values

    @model_validator(mode="after")
    def _batches_can_be_cut(self) -> Config:
        if self.batching.kind == "time" and self.mode == "replay":
            expected = "expected fixed, size_or_timeout or adaptive in mode replay, where samples don't arrive in time"
            raise WrongKeyError("batching.kind", f"got time, {expected}")
        return self

    @model_validator(mode="after")
    def _comes_as_it_comes(self) -> Config:
        """What comes into a folder has no pace but its own."""
        if isinstance(self.data, FolderConfig):
            if self.mode != "live":
                raise WrongKeyError("mode", f"got {self.mode}, expected live for data.kind folder")
            if self.live.speed_up != 1.0:
                got = f"got {self.live.speed_up:g}, expected 1 for data.kind folder"
                raise WrongKeyError("live.speed_up", f"{got}, whose samples come when they come")
        return self

    @model_validator(mode="after")
    def _consistent(self) -> Config:
        if self.overlap is not None and self.variant != "overlapped":
            raise WrongKeyError("overlap", f"only for variant overlapped, got variant {self.variant}")
        self._ensure_there_is_room()
        task, metrics = self.training.task, self.evaluation.metrics
        of_another = [name for name in metrics if (known := find_metric(name)) is not None and known.task != task]
        if self.evaluation.evaluator is None and of_another:
            expected = f"expected {', '.join(metric_names(task))} for training.task {task}"
            raise WrongKeyError("evaluation.metrics", f"got {', '.join(of_another)}, {expected}")
        gate = self.training.gate
        if gate is not None and (wrong := metric_problem(gate, task, self.evaluation.evaluator is not None)):
            key, text = wrong
            raise WrongKeyError(f"training.gate.{key}", text)
        if self.mode == "replay" and self.variant == "overlapped":
            for number, plan in enumerate(self.evaluation.plans):
                if plan.models == "served":
                    expected = "expected mode live, or a variant in which training stops ingestion"
                    reason = "in this one nothing says what was stored when a sample came"
                    raise WrongKeyError(f"evaluation.plans.{number}.models", f"got served, {expected}; {reason}")
        return self

    def _ensure_there_is_room(self) -> None:
        """WrongKeyError if a job could never get its devices."""
        cluster, training = self.cluster, self.training
        if training.devices > cluster.most_at_once():
            most = "cluster.devices, which is" if cluster.pools is None else "the devices of the largest pool:"
            expected = f"expected at most {most} {cluster.most_at_once()}"
            raise WrongKeyError("training.devices", f"got {training.devices}, {expected}")
        for key, memory_bytes, num_devices in (
            ("training", training.memory_bytes, training.devices),
            ("evaluation", self.evaluation.memory_bytes, 1),
        ):
            if cluster.most_at_once(memory_bytes) < num_devices:
                rooms = [cluster.room_bytes(pool.device) for pool in cluster.pools or ()]
                most_bytes = max(rooms, default=cluster.room_bytes(cluster.device))
                expected = (
                    f"expected at most what {num_devices} device(s) have for a job, {most_bytes:g} on the largest"
                )
                raise WrongKeyError(f"{key}.memory_bytes", f"got {memory_bytes:g}, {expected}")


def load_config(source: str | Path | Mapping[str, Any] | Config, *, overrides: Sequence[str] = ()) -> Config:
    """A checked configuration from a YAML file, a mapping, or another configuration.

    `overrides` are `path.to.key=value`, the value in YAML, applied in order. A relative `data.path`
    is taken from the file's folder (in a mapping or an override: from the working directory), and is
    absolute in the result. ConfigError is one line: file, key, value got, what was expected; for
    several problems, all of them.
    """
    values, where = read_source(source)
    origins: dict[str, str] = {}
    for assignment in overrides:
        values, path = override(values, assignment)
        origins[path] = f"--set {assignment}"
    try:
        config = Config.model_validate(values)
    except ValidationError as error:
        found: dict[str, list[str]] = {}
        for path, text in problems(error, Config):
            found.setdefault(_origin(path, origins, where), []).append(text)
        raise ConfigError("; ".join(f"{place}: {'; '.join(texts)}" for place, texts in found.items())) from None
    return _with_absolute_path(config)


def config_hash(config: Config) -> str:
    """A fingerprint (hex) of everything that the configuration says."""
    text = json.dumps(_plain(config), sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def dump_yaml(config: Config) -> str:
    """The configuration with every default spelt out, as YAML that `load_config` takes."""
    return write_yaml(_plain(config))


def _plain(config: Config) -> dict[str, Any]:
    return config.model_dump(mode="json", by_alias=True)


def read_source(source: str | Path | Mapping[str, Any] | Config) -> tuple[Mapping[str, Any], str]:
    """What the user wrote, unchecked, and how to call its place. ConfigError if a file can't be read as a mapping."""
    if isinstance(source, Config):
        return _plain(source), "config"
    if isinstance(source, Mapping):
        return source, "config"
    file = Path(source)
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{file}: no such file, expected a YAML configuration") from None
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise ConfigError(f"{file}: can't be read ({reason}), expected a YAML configuration") from None
    values = read_yaml(text, str(file))
    if not isinstance(values, dict):
        raise ConfigError(f"{file}: got {shown(values)}, expected a mapping of sections such as data and trigger")
    data = values.get("data")
    if isinstance(data, dict) and isinstance(data.get("path"), str):
        values["data"] = {**data, "path": str(file.absolute().parent / data["path"])}
    return values, str(file)


def _origin(path: str, origins: Mapping[str, str], where: str) -> str:
    """Which override set the key at `path`, or something above or below it; else the file."""
    for overridden in reversed(list(origins)):
        if f"{path}.".startswith(f"{overridden}.") or f"{overridden}.".startswith(f"{path}."):
            return origins[overridden]
    return where


def _with_absolute_path(config: Config) -> Config:
    if not isinstance(config.data, TableConfig | FolderConfig | RecordedConfig) or config.data.path is None:
        return config
    data = config.data.model_copy(update={"path": str(Path(config.data.path).absolute())})
    return config.model_copy(update={"data": data})
