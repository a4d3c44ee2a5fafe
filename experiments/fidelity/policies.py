"""The policies of a study: what is run for real, and with whose costs each is simulated."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from experiments.study import Study
from experiments.variants import Variant, variants
from twinclock.config import load_config
from twinclock.errors import ConfigError, UserError
from twinclock.policies.triggers import build_trigger

_UNSAFE = re.compile(r"[^A-Za-z0-9._=+-]+")
_LONGEST = 60
_DIGITS = 6
_REPLACED = ("costs", "interference")
"""Keys of the section `sim` that a calibration takes the place of."""
_OF_A_RUN = ("matrix", "measured")
"""Kinds of `sim.quality` whose scores are those of a real run, which could be the very one to be predicted."""
_WITHOUT_NOISE = {"noise_sigma": 0.0, "evaluation_noise_sigma": 0.0}


@dataclass(frozen=True, slots=True)
class Policy:
    """One variant of a study."""

    label: str
    folder: str
    """What its folders begin with: the label, as far as a file may be called so."""
    config: Mapping[str, Any] | None
    """With the study's first seed, and unchecked; None if the changes can't be made at all, and `error` says why."""
    error: str | None
    calibrated_on: str
    """Label of the policy whose real runs give its costs; never its own."""

    def repeated(self, repeat: int) -> dict[str, Any]:
        """The configuration of a real repeat, from 1: each has a seed of its own, counted up from that of the first.

        So what one training is better by chance is part of what repeats differ by, as the machine's speed is. What it
        says of the simulator is left out: with other words there, the real runs are still the same.
        """
        config = {key: value for key, value in (self.config or {}).items() if key != "sim"}
        return config | {"seed": config["seed"] + repeat - 1} if config else {}

    def simulated(self, repeat: int, calibration: str) -> dict[str, Any]:
        """That of a simulated repeat, with the same seed, and the costs of a calibration, a file, in place of its own.

        The quality is the calibration's too, unless the policy says one that needs no run.
        Without noise, so that every time is its mean: a draw of the noise would be one more difference, of nobody's.
        """
        own = (self.config or {}).get("sim")
        kept = {key: value for key, value in own.items() if key not in _REPLACED} if isinstance(own, Mapping) else {}
        quality = kept.get("quality")
        if isinstance(quality, Mapping) and quality.get("kind") in _OF_A_RUN:
            del kept["quality"]
        return self.repeated(repeat) | {"sim": {**kept, "calibration": calibration, "costs": _WITHOUT_NOISE}}


@dataclass(frozen=True, slots=True)
class Facts:
    """What a policy is; empty where its configuration is wrong."""

    graph: str = ""
    mode: str = ""
    trigger: str = ""
    depends_on: str = ""
    num_devices: int = 0


def facts_of(policy: Policy) -> Facts:
    """What kind of policy it is."""
    try:
        config = load_config(policy.config or {})
        trigger = build_trigger(config.trigger, seed=config.seed, num_devices=config.training.devices)
    except UserError:
        return Facts()
    return Facts(config.variant, config.mode, config.trigger.kind, trigger.depends_on, config.cluster.devices)


def policies(study: Study) -> tuple[Policy, ...]:
    """Every variant of a study, with its first seed. ConfigError if there is one only, or none to calibrate on."""
    found = variants(study)
    if len(found) < 2:
        raise ConfigError(
            f"{study.name}: axes: got one variant, expected two or more: each is predicted from another one"
        )
    first = _wanted(study, found, "calibrate_on", found[0])
    second = _wanted(study, found, "calibrate_on_too", next(each for each in found if each is not first))
    if second is first:
        raise ConfigError(f"{study.name}: fidelity.calibrate_on_too: got {first.label!r}, expected another variant")
    return tuple(_policy(study, each, second if each is first else first) for each in found)


def _wanted(study: Study, found: Sequence[Variant], key: str, default: Variant) -> Variant:
    wanted = getattr(study.fidelity, key)
    if wanted is None:
        return default
    fitting = [each for each in found if _fits(each, wanted)]
    if len(fitting) != 1:
        labels = ", ".join(repr(each.label) for each in found)
        fits = f"got {wanted!r}, which fits {len(fitting)} variants"
        raise ConfigError(f"{study.name}: fidelity.{key}: {fits}, expected one of {labels}")
    return fitting[0]


def _fits(variant: Variant, wanted: str | Mapping[str, Any]) -> bool:
    if isinstance(wanted, str):
        return variant.label == wanted
    return all(name in variant.levels and variant.levels[name] == level for name, level in wanted.items())


def _policy(study: Study, variant: Variant, costs_of: Variant) -> Policy:
    config, error = None, None
    try:
        config = variant.values(study, study.all_seeds[0])
    except ConfigError as told:
        error = str(told)
    return Policy(variant.label, _folder(variant.label), config, error, costs_of.label)


def _folder(label: str) -> str:
    """The label where it can be part of a path; else what is left of it and a few digits, so that all differ."""
    plain = _UNSAFE.sub("-", label).strip("-.")[:_LONGEST]
    return plain if plain == label else f"{plain}-{hashlib.sha256(label.encode()).hexdigest()[:_DIGITS]}"
