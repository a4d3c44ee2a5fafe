"""Runs in a Ray cluster of two nodes on this machine: as without it, also when a node, a worker or the driver dies."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from light_worker import light_worker
from real_runs import PATIENCE_S, Command, Gate, end_state, gated, small, until

from real.config import RayConfig
from real.executor import Ending, RealExecutor
from real.ray import cluster
from real.ray.pool import RayPool
from twinclock import launch
from twinclock.allocator import Allocator
from twinclock.errors import ConfigError
from twinclock.graph import Stage
from twinclock.messages import Cancel, Ended, Start
from twinclock.result import Run
from twinclock.stream import ClockTime
from twinclock.watch import UNWATCHED

pytest.importorskip("ray")


class Nodes(NamedTuple):
    """A head without CPUs, and two nodes with one CPU each."""

    cluster: Any
    gate: Path

    @property
    def address(self) -> str:
        return self.cluster.address

    def hosting(self, process: int) -> Any:
        """The node that a worker runs on: that of the raylet that is its parent."""
        parent = int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])
        (node,) = [node for node in self.cluster.worker_nodes if node.all_processes["raylet"][0].process.pid == parent]
        return node


@pytest.fixture(scope="module")
def nodes(tmp_path_factory) -> Iterator[Nodes]:
    from ray.cluster_utils import Cluster

    gate = tmp_path_factory.mktemp("ray") / "gate"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TWINCLOCK_GATE", str(gate))  # the workers' environment is that of their node
        patch.setenv("RAY_AUTH_MODE", "disabled")
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        soon = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 500, "health_check_failure_threshold": 4}
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "_system_config": soon})
        try:
            cluster.add_node(num_cpus=1, wait=False)
            cluster.add_node(num_cpus=1, wait=False)
            yield Nodes(cluster, gate)
        finally:
            cluster.shutdown()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> dict[str, Any]:
    """What the same run comes to without Ray, and without anything happening to it."""
    out = tmp_path_factory.mktemp("undisturbed") / "run"
    launch.run(small(), on="real", out=out)
    return end_state(out)


def on_ray(nodes: Nodes, gate: Gate, command: str, *arguments: str | Path) -> Command:
    return Command(gate, command, *arguments, "--ray-address", nodes.address, "--quiet")


def fresh_gate(nodes: Nodes) -> Gate:
    if nodes.gate.exists():
        for file in nodes.gate.iterdir():
            file.unlink()
        nodes.gate.rmdir()
    return Gate(nodes.gate)


def configured(tmp_path: Path, config: dict[str, Any]) -> Path:
    file = tmp_path / "config.yaml"
    file.write_text(json.dumps(config))
    return file


def test_a_run_whose_driver_was_killed_goes_on_in_the_cluster(nodes, tmp_path, undisturbed):
    gate, out = fresh_gate(nodes), tmp_path / "run"
    command = on_ray(nodes, gate, "run", configured(tmp_path, gated()), "--on", "ray", "--out", out)
    gate.open(500)
    worker = gate.await_start(1000)
    command.kill()
    until(lambda: not Path(f"/proc/{worker}").exists(), "the cluster ends the worker of a driver that is gone")
    gate.open()
    assert on_ray(nodes, gate, "resume", out).end() == (0, "")
    assert end_state(out) == undisturbed
    assert not (out / "ray-token").exists()


def test_jobs_are_heard_stopped_and_killed_as_in_a_process(nodes, tmp_path, monkeypatch):
    """In this process, with a worker that needs no torch."""
    monkeypatch.setenv(cluster.ADDRESS, nodes.address)
    before = signal.getsignal(signal.SIGTERM)
    leave, log = cluster.join(1), tmp_path / "log"
    assert signal.getsignal(signal.SIGTERM) is before
    needs = RayConfig()
    pool = RayPool(light_worker, ["cpu:0"], (str(log), "ready"), folder=tmp_path, needs=needs, at_end=leave)
    bodies = {"CONNECT": lambda start, executor: executor.connect(start, {}), "JOB": job}
    executor = RealExecutor({"main": bodies}, Allocator({}), pool, UNWATCHED, ClockTime(0.0), 0.2)

    def start(id_: int, operation: str, do: str = "") -> None:
        inputs = {"job": {"do": do, "id": f"job {id_}", "say": id_}}
        stage = Stage(kind="work", operation=operation)
        executor.perform(Start("main", id_, None, stage, inputs, {}, {}, {"device": ("cpu:0",)}, {}))

    def worker(line: str) -> int:
        lines = until(lambda: [each for each in read(log) if each.endswith(f" {line}")], f"{line!r} is noted")
        return int(lines[-1].split()[0])

    try:
        start(0, "CONNECT")
        start(1, "JOB", "echo")
        assert [executor.next(), executor.next()] == [
            ("main", Ended(0, "done", {})),
            ("main", Ended(1, "done", {"said": 1})),
        ]
        start(2, "JOB", "listen")
        first = worker("begin job 2")
        executor.perform(Cancel("main", 2))
        assert executor.next() == ("main", Ended(2, "cancelled", {}))
        start(3, "JOB", "ignore")
        assert worker("begin job 3") == first
        executor.perform(Cancel("main", 3))
        assert executor.next() == ("main", Ended(3, "cancelled", {}))
        start(4, "JOB", "ignore")
        second = worker("begin job 4")
        assert second != first
        os.kill(second, signal.SIGKILL)
        _, died = executor.next()
        assert (died.id, died.outcome, died.values["error"]["type"]) == (4, "failed", "WorkerDied")
        assert died.values["error"]["message"].startswith("the worker of cpu:0 died: The actor is dead because")
        assert "\n" not in died.values["error"]["message"]
        start(5, "JOB", "echo")
        assert executor.next() == ("main", Ended(5, "done", {"said": 5}))
        assert executor.next() is None
        third = worker("begin job 5")
    finally:
        executor.close()
        executor.close()
    until(lambda: not Path(f"/proc/{third}").exists(), "the worker is gone")
    assert not cluster.imported().is_initialized()


def job(start: Start, executor: RealExecutor) -> None:
    executor.launch(start, start.placement["device"], start.inputs["job"])
    executor.await_job(start, start.inputs["job"]["id"], lambda result: Ending("done", {"said": result}))


def read(log: Path) -> list[str]:
    return log.read_text().splitlines() if log.exists() else []


def test_what_the_cluster_does_not_have_is_said_in_one_line(nodes, tmp_path):
    config, out = small(), tmp_path / "run"
    config["real"]["ray"] = {"wait": "1s", "cpus_per_device": 3.0}
    command = on_ray(nodes, fresh_gate(nodes), "run", configured(tmp_path, config), "--on", "ray", "--out", out)
    told = "the worker of cpu:0 found no place in the Ray cluster within 1 s (real.ray.wait): it needs 3 CPU, and"
    assert command.end() == (1, f"the run failed: {told} the cluster has 2 CPU, 2 of them free\n")
    assert Run.load(out).faults["stage"].to_list() == ["INIT_CLUSTER_CONNECTION"]


def test_a_folder_that_a_node_does_not_see_is_said_in_one_line(nodes, tmp_path, monkeypatch):
    monkeypatch.setenv(cluster.ADDRESS, nodes.address)
    leave = cluster.join(1)
    pool = RayPool(light_worker, ["cpu:0"], (), folder=tmp_path, needs=RayConfig(), at_end=leave)
    try:
        (tmp_path / "ray-token").write_text("of another folder")
        pool.start("cpu:0")
        (source,) = pool.sources()
        assert source.poll(PATIENCE_S)
        (died,) = pool.take(source)
        assert (died.device, died.error["type"]) == ("cpu:0", "RunError")
        assert died.error["message"].startswith(f"{tmp_path}: not the run's folder on node ")
        assert died.error["message"].endswith("expected a folder on a file system that all nodes share")
        assert not pool.are_starting
    finally:
        pool.close()


def test_a_node_that_dies_in_mid_training_is_a_fault_like_any_other(nodes, tmp_path, undisturbed):
    """The last of the tests that share the cluster, for one of its nodes is gone afterwards."""
    gate, out = fresh_gate(nodes), tmp_path / "run"
    gate.open(500)
    command = on_ray(nodes, gate, "run", configured(tmp_path, gated()), "--on", "ray", "--out", out)
    killed = nodes.hosting(gate.await_start(1000))
    gate.forget(1000)
    nodes.cluster.remove_node(killed, allow_graceful=False)
    assert nodes.hosting(gate.await_start(1000)) is not killed
    gate.open()
    assert command.end()[0] == 0
    assert end_state(out) == undisturbed
    (fault,) = Run.load(out).faults.rows(named=True)
    assert (fault["stage"], fault["attempt"], fault["type"]) == ("WAIT_FOR_TRAINING_COMPLETION", 1, "WorkerDied")
    assert fault["message"].startswith("the worker of cpu:0 died: The actor")
    # Which one it is depends on who is heard first: the node's health check, or the connection that breaks.
    assert any(cause in fault["message"] for cause in ("because its node has died", "is unavailable"))


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("127.0.0.1:1", "expected the address of a Ray cluster ([Errno 111] Connection refused)"),
        ("nowhere", "expected the address of a Ray cluster (expected HOST:PORT, or auto for the one on this machine)"),
    ],
)
def test_where_no_cluster_is_one_line_says_so(tmp_path, monkeypatch, address, told):
    monkeypatch.setenv(cluster.ADDRESS, address)
    with pytest.raises(ConfigError) as raised:
        cluster.join(1)
    assert str(raised.value) == f"--ray-address, or RAY_ADDRESS: got {address!r}, {told}"


WITHOUT_RAY = """
import sys
sys.modules["ray"] = None
from twinclock.cli import main
main()
"""


def test_without_ray_only_runs_on_ray_are_refused(tmp_path):
    file = configured(tmp_path, small())

    def command(*arguments: str | Path) -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, "-c", WITHOUT_RAY, *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
        )
        return done.returncode, done.stderr

    assert command("check", file) == (0, "")
    code, said = command("run", file, "--on", "ray", "--out", tmp_path / "run", "--quiet")
    told = "error: --on ray: Ray is not installed; expected pip install 'twinclock[ray]'; go on with: twinclock resume"
    assert (code, said) == (2, f"{told} {tmp_path / 'run'}\n")
    code, said = command("run", file, "--on", "sim", "--ray-address", "auto", "--quiet")
    assert (code, said) == (2, "error: --ray-address: the executor of this run has no use for it\n")
