"""What users build on, held fast: a change here breaks somebody's script, so it is made on purpose or not at all."""

from __future__ import annotations

import inspect

import pytest
import typer

import twinclock
from twinclock.cli import add_commands, app
from twinclock.config import Config
from twinclock.result import Run
from twinclock.schemas import SCHEMAS

PUBLIC = [
    *("Config", "Run", "calibrate", "check_executor", "check_trigger", "critical_path", "fidelity"),
    *("fires", "load_config", "observe", "replay"),
    *("report", "resume", "run", "search", "sweep", "time_by_stage", "time_by_unit", "whatif", "write_trace"),
]

COMMANDS = {
    "run": ["CONFIG", "--on", "--out", "--seed", "--set", "--ray-address", "--quiet", "--debug"],
    "resume": ["RUN_DIR", "--ray-address", "--quiet", "--debug"],
    "watch": ["RUN_DIR", "--debug"],
    "show": ["RUN_DIR", "--debug"],
    "compare": ["RUN_DIR RUN_DIR…", "--debug"],
    "whatif": ["RUN_DIR", "--set", "--quiet", "--debug"],
    "trace": ["RUN_DIR", "-o", "--out", "--debug"],
    "graph": ["--variant", "--format", "-o", "--out", "--debug"],
    "check": ["CONFIG", "--debug"],
    "policies": ["NAME", "--debug"],
    "calibrate": ["RUN_DIR…", "-o", "--out", "--quiet", "--debug"],
    "fidelity": ["STUDY", "--repeats", "--out", "--quiet", "--debug"],
    "models": ["RUN_DIR", "list|diff|verify|prune|export", "MODEL…", "--keep", "--out", "--debug"],
    "observe": ["CONFIG", "--out", "--quiet", "--debug"],
    "replay": ["RUN_DIR", "--debug"],
    "report": ["DIR…", "-o", "--out", "--debug"],
    "search": [
        *("STUDY", "--objective", "--trials", "--at-most", "--confirm", "--prune", "--no-prune", "--batch", "--seed"),
        *("--out", "-j", "--quiet", "--debug"),
    ],
    "sweep": ["STUDY", "--out", "-j", "--engine", "--ray-address", "--quiet", "--debug"],
}
"""Command → its arguments and options, in the order in which its help shows them."""

TABLES = {
    "stage_runs": (
        "id stage parent trigger batch attempt queued_s started_s ended_s data_ts device outcome error registers"
    ),
    "batches": "batch first stop last_ts cut_s quarantined",
    "decisions": "batch first stop observation threshold verdict reason decided_s",
    "observations": "batch decision member kind first stop model name value observed_s",
    "triggers": "trigger position first stop num_samples first_ts last_ts training_samples fired_s",
    "trainings": (
        "id trigger outcome num_samples parent device queued_s granted_s started_s ended_s loss error lost_s "
        "wait_share peak_memory_bytes utilisation"
    ),
    "models": "model parent first_ts last_ts num_samples size_bytes loss path stored_s",
    "activations": "model activated_s metric first stop value active active_value reason decided_s",
    "evaluations": "plan model start_ts end_ts metric value num_samples evaluated_s",
    "faults": "id stage attempt outcome type message at_s",
    "devices": "resource unit holder requested_s granted_s released_s",
    "quarantine": "source line reason detail record records quarantined_s",
    "outages": "device cause noticed_s from_s until_s",
}

SECTIONS = (
    *("name", "seed", "variant", "mode", "data", "live", "batching", "trigger", "selection", "training", "evaluation"),
    *("observation", "cluster", "faults", "overlap", "sim", "real"),
)


def test_the_names_of_the_package():
    assert twinclock.__all__ == PUBLIC


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_is_there_and_says_what_it_is(name):
    assert inspect.getdoc(getattr(twinclock, name))


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'twinclock' has no attribute 'fly'"):
        _ = twinclock.fly


def test_the_command_line():
    add_commands()
    group = typer.main.get_command(app)
    found = {
        name: [text for parameter in command.params for text in shown(parameter)]
        for name, command in group.commands.items()
    }
    assert found == COMMANDS


def shown(parameter) -> list[str]:
    if parameter.param_type_name == "argument":
        return [parameter.metavar or parameter.name or ""]
    return [*parameter.opts, *parameter.secondary_opts]


def test_every_command_and_option_is_explained():
    group = typer.main.get_command(app)
    for name, command in group.commands.items():
        assert command.help, name
        for parameter in command.params:
            explained = getattr(parameter, "help", None) or getattr(parameter, "metavar", None)
            assert explained, f"{name} {parameter.name}"


def test_the_tables_and_their_columns():
    assert {name: " ".join(columns) for name, columns in SCHEMAS.items()} == TABLES
    for name in TABLES:
        assert inspect.getdoc(getattr(Run, name)), name


def test_the_sections_of_a_configuration():
    assert tuple(Config.model_fields) == SECTIONS
