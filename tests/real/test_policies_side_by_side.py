"""Every trigger policy under both clocks: what it decides from the same data, or the same scores, is the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from inline_pool import InlinePool

import twinclock as tc
from twinclock.policies.cost_matrix import cost, oracle
from twinclock.policies.triggers import build_trigger
from twinclock.policies.triggers.oracle import OracleTriggerConfig, measured_costs
from twinclock.result import Run
from twinclock.show import compare_runs
from twinclock.summary import edit_distance

DATA: dict[str, dict[str, Any]] = {
    "rodents": {"kind": "table", "dataset": "portal_rodents", "limit": 6000},
    "flights": {"kind": "table", "dataset": "nycflights13", "limit": 6000},
}
PERIOD = {"rodents": "180d", "flights": "1d"}
FEATURE = {"rodents": "weight", "flights": "temp"}
DISTANCES = ("mmd", "ks", "cvm", "wasserstein", "hellinger", "js", "psi", "energy", "c2st")


def drift(metrics: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    windows = {"windows": {"kind": "amount", "ref": 800, "cur": 400}} if more.pop("compares", True) else {}
    return {"kind": "drift", "interval": 400, "metrics": dict(metrics), **windows, **more}


def by_mean(name: str) -> dict[str, Any]:
    """A metric that fires whenever its distance is above what it was lately, whatever its scale."""
    return {"kind": name, "rule": {"kind": "rolling", "window": 5, "deviation": 0.0, "absolute": True}}


def data_policies(data: str) -> dict[str, dict[str, Any]]:
    period, feature = PERIOD[data], FEATURE[data]
    every = {"kind": "time", "every": period}
    return {
        "never": {"kind": "never"},
        "always": {"kind": "always", "n": 750},
        "amount": {"kind": "amount", "n": 700},
        "time": every,
        "time, with the rest": {**every, "final": True},
        "on batch": {"kind": "on_batch"},
        **{f"drift by {name}": drift({"it": by_mean(name)}) for name in DISTANCES},
        "drift by quantile and mean": drift(
            {
                "a": {"kind": "ks", "rule": {"kind": "quantile", "q": 0.3}},
                "b": {"kind": "psi", "rule": {"kind": "rolling", "deviation": 0.2}},
            },
            aggregate="any",
        ),
        "drift by test, sampled": drift(
            {"it": {"kind": "energy", "rule": {"kind": "hypothesis_test", "p": 0.05}}}, sample=60
        ),
        "drift in data time": drift(
            {"it": by_mean("ks")},
            interval=period,
            windows={"kind": "time", "ref": period, "cur": period, "overlap": True},
        ),
        "detectors": drift(
            {name: {"kind": name, "value": feature} for name in ("adwin", "page_hinkley", "kswin")},
            aggregate={"kind": "at_least", "k": 2},
            compares=False,
        ),
        "ensemble": {
            "kind": "ensemble",
            "rule": {"kind": "at_least", "k": 2},
            "of": {
                "a": {"kind": "amount", "n": 500},
                "b": drift({"it": by_mean("hellinger")}, cooldown={"samples": 900}),
                "c": {"kind": "ensemble", "rule": "any", "of": {"d": every, "e": {"kind": "amount", "n": 1300}}},
            },
        },
        "budget": {"kind": "budget", "of": {"kind": "amount", "n": 300}, "limit": 4, "horizon": period, "pace": "even"},
        "top of drift": {
            "kind": "budget",
            "of": drift({"it": by_mean("ks")}),
            "limit": 2,
            "horizon": period,
            "pace": "top",
        },
    }


CASES = [(data, name) for data in DATA for name in data_policies(data)]


def config(data: str, trigger: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "name": "side",
        "seed": 5,
        "data": DATA[data],
        "batching": {"n": 250},
        "trigger": trigger,
        "selection": {"tail": 1},
        "training": {"epochs": 1},
        "real": {"device": "cpu"},
        **more,
    }


@pytest.mark.parametrize(("data", "name"), CASES)
def test_what_depends_on_data_fires_at_the_same_samples(data, name, tmp_path, monkeypatch):
    """Nothing is trained here: the policies can't tell, and the distances are computed as in any real run."""
    monkeypatch.setattr("real.pool.WorkerPool", InlinePool)
    trigger = data_policies(data)[name]
    assert build_trigger(tc.load_config(config(data, trigger)).trigger).depends_on == "data"
    simulated = tc.run(config(data, trigger), on="sim")
    real = tc.run(config(data, trigger), on="real", out=tmp_path / "real")
    assert simulated.outcome == real.outcome == "done"
    assert real.faults.is_empty()
    assert positions(simulated) == positions(real)
    columns = ["first", "stop", "observation", "threshold", "verdict", "reason"]
    assert simulated.decisions.select(columns).equals(real.decisions.select(columns))
    observed = ["decision", "member", "kind", "first", "stop", "model", "name", "value"]
    assert simulated.observations.select(observed).equals(real.observations.select(observed))
    if name not in ("never",):
        assert len(positions(simulated)) >= 2, "too few to be worth a comparison"
    if name.startswith(("drift", "detectors")):
        assert not simulated.observations.is_empty()


SCORED = {
    "kind": "ensemble",
    "rule": {"kind": "at_least", "k": 2},
    "of": {
        "static": {"kind": "performance", "interval": 400, "rules": [{"kind": "static", "threshold": 0.55}]},
        "others": {
            "kind": "performance",
            "interval": 500,
            "rules": [
                {"kind": "quantile", "metric": "log_loss", "q": 0.2},
                {"kind": "rolling", "metric": "f1_macro", "deviation": 0.05},
            ],
            "cooldown": {"samples": 700},
        },
        "misses": {
            "kind": "performance",
            "interval": 300,
            "rules": [{"kind": "avoidable_misclassifications", "threshold": 60, "mode": "lookahead"}],
            "warmup": {"intervals": 2, "trigger": {"kind": "never"}},
        },
        "errors": drift({"it": {"kind": "adwin"}}, compares=False),
        "embeddings": drift({"it": by_mean("wasserstein")}, of="embeddings"),
    },
}


@pytest.mark.parametrize(("data", "variant"), [("rodents", "sequential"), ("flights", "seed")])
def test_what_depends_on_scores_fires_at_the_same_samples_for_the_same_scores(data, variant, tmp_path):
    made = config(data, SCORED, variant=variant, evaluation={"plans": [{"kind": "between_triggers"}]})
    real = tc.run(made, on="real", out=tmp_path / "real")
    assert real.outcome == "done"
    assert real.faults.is_empty()
    measured = {"quality": {"kind": "measured", "run": str(tmp_path / "real")}}
    simulated = tc.run({**made, "sim": measured}, on="sim")
    assert simulated.faults.is_empty()
    assert len(positions(real)) > 2
    assert positions(simulated) == positions(real)
    scores = ["plan", "model", "start_ts", "end_ts", "metric", "value"]
    ours, theirs = (run.evaluations.select(scores).sort(scores[:5]) for run in (simulated, real))
    assert ours.equals(theirs)


def test_of_what_depends_on_the_clock_the_edit_distance_is_reported(tmp_path):
    trigger = {"kind": "cost", "interval": 300, "per_training_second": 1e12}
    simulated = tc.run(config("rodents", trigger), on="sim")
    real = tc.run(config("rodents", trigger), on="real", out=tmp_path / "real")
    apart = edit_distance(positions(real), positions(simulated))
    said = "identical" if apart == 0 else f"edit distance {apart}"
    assert said in printed([simulated, real])


@pytest.mark.parametrize(
    ("ours", "theirs", "apart"),
    [([], [], 0), ([1, 2], [1, 2], 0), ([1, 2], [1, 3], 2), ([2, 2, 2, 5], [2, 5, 7], 3), ([], [4, 4], 2)],
)
def test_the_edit_distance_counts_triggers_to_add_or_to_take_away(ours, theirs, apart):
    assert edit_distance(ours, theirs) == edit_distance(theirs, ours) == apart


def test_the_oracle_is_the_best_of_a_run_that_trained_everywhere(tmp_path, monkeypatch):
    monkeypatch.setattr("real.pool.WorkerPool", InlinePool)
    plans = {"plans": [{"kind": "between_triggers", "models": "all"}]}
    everywhere = config("rodents", {"kind": "amount", "n": 600}, selection={}, evaluation=plans)
    earlier = tc.run(everywhere, on="sim", out=tmp_path / "earlier")
    trigger = {"kind": "oracle", "run": str(tmp_path / "earlier"), "per_training_second": 40.0}
    matrix = measured_costs(earlier, per_training_second=40.0)
    best = oracle(matrix)
    assert 1 <= len(best.fires) < matrix.num_intervals == 10
    rng = np.random.default_rng(0)
    for _ in range(50):
        fires = np.flatnonzero(rng.random(10) < rng.random()).tolist()
        assert cost(matrix, fires) >= best.cost - 1e-9
    made = config("rodents", trigger, selection={})
    expected = [600 * (interval + 1) - 1 for interval in best.fires]
    assert positions(tc.run(made, on="sim")) == expected
    assert positions(tc.run(made, on="real", out=tmp_path / "real")) == expected
    assert build_trigger(OracleTriggerConfig.model_validate(trigger)).depends_on == "data"


def positions(run: Run) -> list[int]:
    return run.triggers.sort("trigger")["position"].to_list()


def printed(runs: list[Run]) -> str:
    from io import StringIO

    from rich.console import Console

    console = Console(file=StringIO(), width=160)
    compare_runs(runs, console)
    return console.file.getvalue()  # type: ignore[attr-defined]
