"""Several pipelines on one cluster: alone nothing changes, together they contend, and nothing is lost or held twice."""

from __future__ import annotations

import json
import sys

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal
from simulated import configs

import twinclock as tc
from twinclock import cli, progress
from twinclock.errors import ConfigError, RunError
from twinclock.fleet import Fleet, is_fleet, load_fleet, run_fleet
from twinclock.messages import Ended

CONFIG = {
    "data": {"kind": "uniform", "num_samples": 100, "every": 1.0},
    "trigger": {"kind": "amount", "n": 20},
    "selection": {"tail": 0},
    "training": {"epochs": 1},
    "sim": {"costs": {"training": {"setup_s": 2.0, "samples_per_s": 10.0}, "noise_sigma": 0.0}},
}
DEVICE = {"usd_per_hour": 3600.0, "idle_watts": 10.0, "busy_watts": 100.0}


def fleet(cluster=None, **members):
    return {"name": "test", "fleet": members, **({} if cluster is None else {"cluster": cluster})}


def same(run, other) -> None:
    for name, table in run.tables.items():
        assert_frame_equal(table, other.tables[name])
    assert run.header["makespan_s"] == other.header["makespan_s"]


@settings(max_examples=25, derandomize=True, deadline=None)
@given(configs())
def test_a_fleet_of_one_is_a_run(config):
    cluster = config.get("cluster")
    alone = tc.run({**config, "name": "only"}, on="sim")
    same(run_fleet(fleet(cluster, only={"config": config})).runs["only"], alone)


def test_pipelines_that_never_meet_run_as_if_alone():
    """Each has a device of its own as soon as it asks, so only the names of the devices can tell."""
    made = run_fleet(
        fleet({"devices": 9}, a={"config": CONFIG}, b={"config": {**CONFIG, "trigger": {"kind": "amount", "n": 30}}})
    )
    for name, n in (("a", 20), ("b", 30)):
        alone = tc.run({**CONFIG, "trigger": {"kind": "amount", "n": n}}, on="sim")
        assert made.runs[name].summary["makespan_s"] == alone.summary["makespan_s"]
        assert made.runs[name].summary["positions"] == alone.summary["positions"]
        assert made.runs[name].summary["queued_s"] == 0


def test_pipelines_that_meet_wait_for_each_other():
    alone = tc.run(CONFIG, on="sim").summary
    made = run_fleet(fleet(a={"config": CONFIG, "copies": 3}))
    rows = made.pipelines
    assert rows["pipeline"].to_list() == ["a-0", "a-1", "a-2"]
    assert rows["device_s"].to_list() == pytest.approx([alone["device_s"]] * 3)
    assert rows["queued_s"].min() > 0
    assert rows["makespan_s"].max() > 2 * alone["makespan_s"]
    assert made.fairness > 0.9
    assert rows["share"].to_list() == pytest.approx([1 / 3] * 3)


def test_copies_differ_in_name_and_seed_only():
    _, pipelines = load_fleet(fleet(a={"config": {**CONFIG, "seed": 5}, "copies": 3}, b={"config": CONFIG}))
    assert [(name, config.name, config.seed) for name, config in pipelines.items()] == [
        ("a-0", "a-0", 5),
        ("a-1", "a-1", 6),
        ("a-2", "a-2", 7),
        ("b", "b", 0),
    ]


@settings(max_examples=30, derandomize=True, deadline=None)
@given(st.lists(configs(), min_size=2, max_size=4), st.integers(2, 3))
def test_devices_are_shared_and_their_time_is_all_accounted_for(members, num_devices):
    members = [{**each, "training": {**each.get("training", {}), "devices": 1}} for each in members]
    named = {f"p{number}": {"config": each} for number, each in enumerate(members)}
    made = run_fleet(fleet({"devices": num_devices, "device": DEVICE}, **named))
    held = pl.concat([run.devices for run in made.runs.values()]).filter(pl.col("resource") == "device")
    for (_,), unit in held.group_by("unit"):
        in_order = unit.sort("granted_s", "released_s")
        assert (in_order["granted_s"][1:] >= in_order["released_s"][:-1]).all(), "no device is held twice at once"
    used = made.usage
    capacity_s = num_devices * made.makespan_s
    assert used["busy_s"].sum() + used["idle_s"].sum() == pytest.approx(capacity_s)
    assert made.pipelines["device_s"].sum() == pytest.approx(used["busy_s"].sum())
    assert used["busy_usd"].sum() + used["idle_usd"].sum() == pytest.approx(capacity_s)
    if used["busy_s"].sum() > 0:
        assert made.pipelines["usd"].sum() == pytest.approx(capacity_s)
    joules = used["busy_joules"].sum() + used["idle_joules"].sum()
    assert joules == pytest.approx(100 * used["busy_s"].sum() + 10 * used["idle_s"].sum())
    assert made.makespan_s == max(run.header["makespan_s"] for run in made.runs.values())
    for run in made.runs.values():
        assert run.stage_runs["ended_s"].max() <= run.header["makespan_s"]


def test_fairness_by_hand():
    """Served 1 and 1/3: (4/3)² / (2 · 10/9) = 0.8."""
    made = Fleet("x", tc.load_config(CONFIG).cluster, {})
    made.__dict__["pipelines"] = pl.DataFrame({"served": [1.0, 1 / 3, None]})
    assert made.fairness == pytest.approx(0.8)


def test_a_folder_holds_a_run_for_each_pipeline(tmp_path):
    made = run_fleet(fleet({"device": DEVICE}, a={"config": CONFIG}, b={"config": CONFIG}), out=tmp_path / "fleet")
    loaded = Fleet.load(tmp_path / "fleet")
    assert_frame_equal(loaded.pipelines, made.pipelines)
    assert_frame_equal(loaded.usage, made.usage)
    same(tc.Run.load(tmp_path / "fleet" / "a"), made.runs["a"])
    with pytest.raises(RunError, match="not empty; expected a new folder for the fleet"):
        run_fleet(fleet(a={"config": CONFIG}), out=tmp_path / "fleet")
    with pytest.raises(RunError, match=r"fleet\.json: can't be read"):
        Fleet.load(tmp_path)
    (tmp_path / "file").write_text("something else")
    with pytest.raises(RunError, match="file: can't be written"):
        run_fleet(fleet(a={"config": CONFIG}), out=tmp_path / "file")


def test_two_runs_of_a_fleet_are_the_same():
    source = fleet(a={"config": {**CONFIG, "variant": "overlapped"}, "copies": 3}, b={"config": CONFIG})
    first, second = run_fleet(source), run_fleet(source)
    for name, run in first.runs.items():
        same(run, second.runs[name])


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (fleet(), "config: fleet: got {}, expected"),
        (fleet(a={}), "config: fleet.a.config: missing"),
        (fleet(a={"config": {}}), "config: fleet.a: config: trigger: missing"),
        (fleet(a={"config": "none.yaml"}), "config: fleet.a: none.yaml: no such file"),
        (fleet(a={"config": CONFIG, "copies": 0}), "config: fleet.a.copies: got 0, expected a number > 0"),
        (
            fleet(a={"config": CONFIG, "set": {"trigger.m": 3}}),
            "config: fleet.a: --set trigger.m=3: trigger.m: unknown key",
        ),
        (
            fleet(**{"a-0": {"config": CONFIG}, "a": {"config": CONFIG, "copies": 2}}),
            "config: fleet.a: there are two pipelines a-0",
        ),
        (fleet({"devices": 0}, a={"config": CONFIG}), "config: cluster.devices: got 0"),
        (fleet(**{"../../x": {"config": CONFIG}}), 'config: fleet.../../x: got "../../x", expected a name of letters'),
        (fleet(**{"": {"config": CONFIG}}), 'config: fleet.: got "", expected a name of letters'),
        ("none.yaml", "none.yaml: no such file"),
        (
            fleet({"devices": 1}, a={"config": CONFIG, "set": {"training.devices": 2}}),
            "training.devices: got 2, expected at most cluster.devices, which is 1",
        ),
    ],
)
def test_what_is_no_fleet(source, message):
    with pytest.raises(ConfigError) as raised:
        run_fleet(source)
    assert message in str(raised.value)
    assert len(str(raised.value).splitlines()) == 1


def test_fleets_are_not_real():
    with pytest.raises(ConfigError, match="fleet: can't run on real, where one pipeline has all devices; expected sim"):
        run_fleet(fleet(a={"config": CONFIG}), on="real")


def test_the_command_runs_checks_and_shows_a_fleet(tmp_path, monkeypatch, capsys):
    (tmp_path / "one.yaml").write_text(json.dumps(CONFIG))
    file = tmp_path / "fleet.yaml"
    file.write_text(json.dumps(fleet({"device": DEVICE}, a={"config": "one.yaml", "set": {"trigger.n": 25}})))
    assert is_fleet(file)
    assert not is_fleet(tmp_path / "one.yaml")

    def said(*arguments) -> str:
        monkeypatch.setattr(sys, "argv", ["twinclock", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert ended.value.code == 0
        return capsys.readouterr().out

    assert said("check", file) == "sim: ok\n"
    told = said("run", file, "--on", "sim", "--out", tmp_path / "out")
    assert "test: 1 pipelines" in told
    assert "energy" in told
    assert said("show", tmp_path / "out") == told
    assert said("run", file, "--on", "sim", "--quiet") == ""
    assert tc.Run.load(tmp_path / "out" / "a").summary["positions"] == [24, 49, 74, 99]


@pytest.mark.parametrize(
    "command", [["whatif", "--set", "seed=2"], ["trace"], ["compare"], ["resume"]], ids=lambda command: command[0]
)
def test_what_is_about_one_run_names_the_runs_of_a_fleet(tmp_path, monkeypatch, capsys, command):
    run_fleet(fleet(a={"config": CONFIG, "copies": 7}), out=tmp_path / "many")
    folders = [str(tmp_path / "many")] * (2 if command == ["compare"] else 1)
    monkeypatch.setattr(sys, "argv", ["twinclock", command[0], *folders, *command[1:]])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == cli.USER_ERROR
    runs = ", ".join(str(tmp_path / "many" / f"a-{number}") for number in range(5))
    expected = f"error: {tmp_path / 'many'}: this is a fleet, expected one of its runs: {runs} and 2 more\n"
    assert capsys.readouterr().err == expected


def test_a_fleet_that_did_not_finish_names_its_runs_too(tmp_path, monkeypatch, capsys):
    run_fleet(fleet(a={"config": CONFIG}), out=tmp_path / "cut")
    (tmp_path / "cut" / "fleet.json").unlink()
    monkeypatch.setattr(sys, "argv", ["twinclock", "show", str(tmp_path / "cut")])
    with pytest.raises(SystemExit):
        cli.main()
    told = f"no run.json here; expected the folder of a run, such as {tmp_path / 'cut' / 'a'}\n"
    assert capsys.readouterr().err.endswith(told)


@pytest.mark.parametrize("columns", [None, "60", "80"])
def test_the_table_is_not_cut_in_a_pipe_nor_on_a_narrow_terminal(tmp_path, monkeypatch, capsys, columns):
    file = tmp_path / "fleet.yaml"
    members = {"short": {"config": CONFIG}, "a-pipeline-with-quite-a-long-name": {"config": CONFIG}}
    file.write_text(json.dumps(fleet({"device": {"usd_per_hour": 0.002}}, **members)))
    monkeypatch.delenv("COLUMNS", raising=False)
    if columns is not None:
        monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setattr(sys, "argv", ["twinclock", "run", str(file), "--on", "sim"])
    with pytest.raises(SystemExit):
        cli.main()
    told = capsys.readouterr().out
    assert "…" not in told
    assert columns is not None or "a-pipeline-with-quite-a-long-name" in told
    row = run_fleet(file).pipelines.row(0, named=True)
    (line,) = (line.split() for line in told.splitlines() if "short" in line)
    assert line[1] == f"{row['makespan_s']:,.1f}"
    assert float(line[7]) == pytest.approx(row["usd"], rel=0.005), "small sums are not rounded away"


class Watching:
    """Notes what it is told of each pipeline."""

    def __init__(self) -> None:
        self.told: dict[str, list[object]] = {}

    def of(self, pipeline):
        return Pipeline(self.told.setdefault(pipeline, []))


class Pipeline:
    def __init__(self, told) -> None:
        self.told = told

    def begin(self, num_samples):
        self.told.append(num_samples)

    def event(self, now, event, commands):
        self.told.append(event)


def test_each_pipeline_is_watched_from_its_beginning():
    watching = Watching()
    made = run_fleet(fleet(a={"config": CONFIG, "copies": 2}), watcher=watching)
    assert list(watching.told) == ["a-0", "a-1"]
    for pipeline, told in watching.told.items():
        assert told[0] == CONFIG["data"]["num_samples"]
        assert sum(isinstance(each, Ended) for each in told[1:]) == made.runs[pipeline].stage_runs.height


def test_progress_adds_up_the_pipelines(monkeypatch, capsys):
    monkeypatch.setattr(progress, "_LINE_EVERY_S", 0.0)
    with progress.watching(quiet=False) as watcher:
        made = run_fleet(fleet(a={"config": CONFIG, "copies": 3}), watcher=watcher)
    last = capsys.readouterr().err.splitlines()[-1]
    samples, triggers = 3 * CONFIG["data"]["num_samples"], sum(run.triggers.height for run in made.runs.values())
    assert last.startswith(f"{samples} of {samples} samples, {triggers} triggers, {triggers} models, clock ")


def test_one_run_after_another_is_counted_anew(monkeypatch, capsys):
    monkeypatch.setattr(progress, "_LINE_EVERY_S", 0.0)
    with progress.watching(quiet=False) as watcher:
        for _ in range(2):
            tc.run(CONFIG, on="sim", watcher=watcher)
            samples = CONFIG["data"]["num_samples"]
            assert (
                capsys.readouterr().err.splitlines()[-1].startswith(f"{samples} of {samples} samples, 5 triggers, 5 ")
            )
