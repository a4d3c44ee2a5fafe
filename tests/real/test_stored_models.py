"""The models of one real run with a gate: beside the same run simulated, and under the command `models`."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
import typer
from typer.testing import CliRunner

import twinclock as tc
from real.active import active_trigger
from real.commands import models
from real.store import ENCODING, LINEAGE, WEIGHTS, ModelStore, load_model
from real.stored.checking import check_models
from real.stored.difference import common_scores, difference
from real.stored.export import export
from real.stored.listing import listed, newest_scores
from real.stored.pruning import prune
from real.stored.show import data_time_text, size_text
from twinclock.config import config_hash
from twinclock.errors import ConfigError, RunError
from twinclock.result import Run
from twinclock.run_folder import held, read_header
from twinclock.schemas import SCHEMAS

CONFIG = {
    "name": "guarded",
    "seed": 5,
    "variant": "sequential",
    "data": {"kind": "table", "dataset": "portal_rodents", "limit": 3000},
    "batching": {"kind": "fixed", "n": 250},
    "trigger": {"kind": "amount", "n": 600},
    "training": {
        "model": {"kind": "mlp", "hidden": [8]},
        "epochs": 1,
        "start_from": "active",
        "validation": {"share": 0.2},
        "gate": {"metric": "accuracy", "max_worse": 1.0},
    },
    "evaluation": {"plans": [{"kind": "between_triggers", "models": "all"}]},
    "real": {"device": "cpu"},
}


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("original") / "run"
    assert tc.run(CONFIG, on="real", out=folder).outcome == "done"
    return folder


@pytest.fixture
def run(original: Path, tmp_path: Path) -> Path:
    """A copy to change."""
    return shutil.copytree(original, tmp_path / "run", symlinks=True)


def call(*arguments: object) -> tuple[int, str]:
    """Exit code and what is said."""
    app = typer.Typer()
    app.command()(models)
    done = CliRunner(env={"COLUMNS": "130"}).invoke(app, list(map(str, arguments)))
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.output


# Both clocks


def test_both_executors_come_to_the_same_gate(original):
    real, simulated = Run.load(original), tc.run(CONFIG, on="sim")
    columns = ["model", "metric", "first", "stop", "active"]
    assert real.activations.select(columns).equals(simulated.activations.select(columns))
    assert real.activations["activated_s"].is_not_null().all()
    columns = ["id", "stage", "outcome"]
    ours, theirs = (each.stage_runs.select(columns).sort("id") for each in (real, simulated))
    assert ours.equals(theirs)
    assert real.activations["value"].is_between(0, 1).all()
    # the newest fifth of all samples so far, up to the trigger
    assert real.activations.select("first", "stop").rows() == [(600 * k * 4 // 5, 600 * k) for k in range(1, 6)]


def test_the_worker_scores_what_its_evaluator_would(original):
    from real.evaluator import EvaluationContext, TorchEvaluator
    from twinclock.dataset import load_table

    run = Run.load(original)
    row = run.activations.row(3, named=True)
    interval = {"start": 0.0, "end": 0.0, "first": row["first"], "stop": row["stop"]}
    for serial, value in ((row["model"], row["value"]), (row["active"], row["active_value"])):
        context = EvaluationContext(
            model=ModelStore(original / "models").load(serial),
            table=load_table(run.config.data),
            intervals=[interval],
            metrics=["accuracy"],
            device="cpu",
            should_stop=lambda: False,
        )
        (scored,) = TorchEvaluator().evaluate(context)
        assert scored["value"] == value


def test_a_simulation_may_take_the_scores_at_the_gate_from_the_real_run(original):
    measured = {"sim": {"quality": {"kind": "measured", "run": str(original)}}}
    real, simulated = Run.load(original), tc.run({**CONFIG, **measured}, on="sim")
    columns = ["model", "metric", "first", "stop", "value", "active", "active_value", "reason"]
    assert simulated.activations.select(columns).equals(real.activations.select(columns))
    other = {**CONFIG["training"], "gate": {"metric": "accuracy", "max_worse": 0.5}}
    with pytest.raises(ConfigError, match=r"training.gate: .* has another"):
        tc.run({**CONFIG, **measured, "training": other}, on="sim")


# The store


def test_a_lineage_says_where_a_model_is_from(original):
    run = Run.load(original)
    lineage = ModelStore(original / "models").load(2).lineage
    assert (lineage["trigger"], lineage["parent"], lineage["run"]) == (2, 1, "guarded")
    assert lineage["config_hash"] == config_hash(run.config) == read_header(original)["hashes"]["config"]
    assert lineage["ranges"] == [[0, 1800]]
    row = run.models.row(2, named=True)
    assert (lineage["first_ts"], lineage["last_ts"], lineage["loss"]) == (row["first_ts"], row["last_ts"], row["loss"])
    assert lineage["training"]["steps"] > 0
    assert lineage["training"]["seconds"] > 0
    assert "path" not in lineage["training"]
    assert {"torch", "safetensors", "python", "twinclock"} <= lineage["versions"].keys()
    assert lineage["sha256"].keys() == {WEIGHTS, ENCODING}
    assert load_model(original / "active").lineage["trigger"] == active_trigger(original) == 4


def test_models_are_listed_with_what_became_of_them(run):
    found = listed(run)
    assert [each.trigger for each in found] == [0, 1, 2, 3, 4]
    assert [each.state for each in found] == ["stored"] * 4 + ["active"]
    assert [each.parent for each in found] == [None, 0, 1, 2, 3]
    scores = Run.load(run).evaluations.filter(model=3).sort("end_ts")["value"]
    assert found[3].score == ("accuracy", scores[-1])
    code, said = call(run)
    assert code == 0
    assert "1977-07-16" in said
    (active,) = (line for line in said.splitlines() if "→" in line)
    assert active.split()[1] == "4"
    assert active.endswith("active   ") or "active" in active


def test_the_newest_score_is_that_on_the_latest_interval():
    rows = [(0, 1, 0.0, 5.0, "accuracy", 0.1, 9, 1.0), (0, 1, 5.0, 9.0, "accuracy", 0.2, 9, 2.0),
            (0, 1, 5.0, 9.0, "f1_macro", 0.3, 9, 2.0), (0, 1, 9.0, 12.0, "accuracy", None, 0, 3.0),
            (0, 2, 0.0, 5.0, "accuracy", 0.4, 9, 7.0)]  # fmt: skip
    table = pl.DataFrame(rows, schema=dict(SCHEMAS["evaluations"]), orient="row")
    assert newest_scores(table) == {1: ("accuracy", 0.2), 2: ("accuracy", 0.4)}


def test_a_difference_names_what_differs(run):
    found = difference(run, 2, 3)
    assert ("trigger", 2, 3) in found.lineage
    assert not {"format", "run", "architecture.model.kind"} & {key for key, *_ in found.lineage}
    one, other = (ModelStore(run / "models").load(each).weights for each in (2, 3))
    assert {each.name for each in found.tensors} == one.keys() | other.keys()
    for each in found.tensors:
        assert (each.norm is None) == (one[each.name].shape != other[each.name].shape)
        if each.norm is not None:
            assert each.norm == pytest.approx(float((other[each.name] - one[each.name]).double().norm()), rel=1e-5)
    (row,) = found.scores.rows(named=True)
    rows = Run.load(run).evaluations.filter(pl.col("value").is_not_null())
    means = [rows.filter(model=model)["value"].mean() for model in (2, 3)]
    assert (row["a"], row["b"]) == pytest.approx(tuple(means))
    code, said = call(run, "diff", 2, 3)
    assert code == 0
    assert "norm of 3 - 2" in said
    same = difference(run, 3, 3)
    assert same.lineage == []
    assert all(each.norm == 0.0 for each in same.tensors)


def test_scores_on_no_common_interval_are_not_compared():
    rows = [(0, 1, 0.0, 5.0, "accuracy", 0.1, 9, 1.0), (0, 2, 5.0, 9.0, "accuracy", 0.2, 9, 2.0)]
    table = pl.DataFrame(rows, schema=dict(SCHEMAS["evaluations"]), orient="row")
    assert common_scores(table, 1, 2).is_empty()


@pytest.mark.parametrize("name", [WEIGHTS, ENCODING, LINEAGE])
def test_a_damaged_model_is_named(run, name):
    assert call(run, "verify") == (0, "5 models: ok\n")
    file = ModelStore(run / "models").folder(3) / name
    file.write_bytes(file.read_bytes()[:-2])
    code, said = call(run, "verify")
    assert code == 1
    (problem,) = check_models(run).problems
    assert str(file) in problem
    assert problem in " ".join(said.split())


def test_a_model_that_is_gone_was_pruned_or_is_missed(run):
    shutil.rmtree(run / "models" / "00001")
    assert check_models(run).problems == (f"{run / 'models' / '00001'}: missing, and never pruned",)
    assert [each.state for each in listed(run)][1] == "missing"
    shutil.rmtree(run / "models" / "00004")
    assert "leads to model 4, which is not there" in check_models(run).problems[-1]


# Pruning


def test_pruning_keeps_the_newest_the_active_and_their_parents(run):
    (run / "active").unlink()
    (run / "active").symlink_to("models/00002")
    code, said = call(run, "prune", "--keep", 1)
    assert (code, said) == (0, "pruned: 0\n")  # 4 is newest, 3 its parent; 2 is active, 1 its parent
    assert ModelStore(run / "models").triggers() == [1, 2, 3, 4]
    (run / "active").unlink()
    (run / "active").symlink_to("models/00004")
    assert prune(run, 1) == [1, 2]
    assert prune(run, 1) == []
    assert [each.state for each in listed(run)] == ["pruned"] * 3 + ["stored", "active"]
    assert check_models(run).problems == ()
    with pytest.raises(RunError, match=r"models/00001: this model was pruned, so it can't be read any more"):
        load_model(run / "models" / "00001")


def test_what_a_run_that_is_not_finished_may_still_need_stays(run):
    header = {**read_header(run), "state": "running"}
    (run / "run.json").write_text(json.dumps(header))
    for file in (run / "tables" / "models").iterdir():
        pl.read_parquet(file).filter(pl.col("model").is_in([0, 3])).write_parquet(file)
    assert prune(run, 1) == [0]


def test_a_run_in_use_is_not_pruned(run):
    with held(run), pytest.raises(RunError, match="in use by another process"):
        prune(run, 1)
    assert len(ModelStore(run / "models").triggers()) == 5


def test_a_crash_while_pruning_leaves_no_half_of_a_model(run, monkeypatch):
    def crash(_folder: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", crash)
        with pytest.raises(KeyboardInterrupt):
            prune(run, 1)
    assert ModelStore(run / "models").triggers() == [1, 2, 3, 4]
    assert check_models(run).problems == ()
    assert prune(run, 1) == [1, 2]


# Exporting


def test_an_exported_model_says_the_same_without_twinclock(run, tmp_path):
    from real.models import restored_model
    from twinclock.dataset import load_table

    out = tmp_path / "exported"
    assert call(run, "export", 4, "--out", out) == (0, f"model 4: {out}\n")
    assert sorted(each.name for each in out.iterdir()) == sorted([WEIGHTS, ENCODING, LINEAGE, "README.md", "load.py"])
    stored = ModelStore(run / "models").load(4)
    table = load_table(Run.load(run).config.data)
    rows = table.rows([[2990, 2993]])
    model = restored_model(stored)
    import torch

    logits = model(torch.from_numpy(stored.encoding.features(rows)))
    meant = logits.double().softmax(dim=1).detach().numpy()
    code = f"""
import json, sys
sys.path.insert(0, {str(out)!r})
import load
print(json.dumps([load.predict(row) for row in json.load(sys.stdin)]))
print(load.load().__class__.__name__)
print(sorted(name for name in sys.modules if name.split(".")[0] in ("twinclock", "real", "sim", "polars")))
"""
    given = json.dumps(rows.select(pl.exclude(pl.Datetime, pl.Date)).to_dicts(), default=str)
    done = subprocess.run(
        [sys.executable, "-c", code], input=given, capture_output=True, text=True, check=True, cwd=tmp_path,
        env={key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
    )  # fmt: skip
    said, kind, imported = done.stdout.splitlines()
    assert kind == "Sequential"
    assert imported == "[]"
    for row, probabilities in zip(json.loads(said), meant, strict=True):
        assert list(row) == list(stored.encoding.classes)
        assert list(row.values()) == pytest.approx(probabilities.tolist(), abs=1e-6)


def test_the_readme_of_an_export_is_about_this_model(run, tmp_path):
    export(run, 3, tmp_path / "three")
    text = (tmp_path / "three" / "README.md").read_text()
    assert "# Model 3 of guarded" in text
    assert "mlp" in text


def test_an_export_overwrites_nothing_and_takes_nothing_damaged(run, tmp_path):
    (tmp_path / "there").mkdir()
    with pytest.raises(ConfigError, match="is there already, expected a new folder"):
        export(run, 4, tmp_path / "there")
    weights = run / "models" / "00004" / WEIGHTS
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(RunError, match="corrupted model file"):
        export(run, 4, tmp_path / "new")
    assert not (tmp_path / "new").exists()


# What can't be done


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["remove"], "models: got 'remove', expected one of list, verify, prune, diff, export"),
        (["diff", 1], "models diff: got 1 models, expected 2"),
        (["list", 1], "models list: got 1 models, expected 0"),
        (["prune"], "--keep: missing, expected with models prune"),
        (["prune", "--keep", 0], "--keep: got 0, expected at least 1"),
        (["verify", "--keep", 2], "--keep: only for models prune"),
        (["export", 1], "--out: missing, expected with models export"),
        (["export", 9, "--out", "new"], "00009: no such model, expected the folder of one"),
    ],
)
def test_a_wrong_call_is_told_in_one_line(original, arguments, told):
    with pytest.raises((ConfigError, RunError)) as error:
        call(original, *arguments)
    assert told in str(error.value)
    assert "\n" not in str(error.value)


def test_a_simulated_run_has_no_models_to_look_at(tmp_path):
    simulated = {**CONFIG, "evaluation": {}}
    tc.run(simulated, on="sim", out=tmp_path / "simulated")
    with pytest.raises(RunError, match="no stored models here"):
        listed(tmp_path / "simulated")
    with pytest.raises(RunError, match="no such folder"):
        listed(tmp_path / "nowhere")


def test_sizes_and_data_times_are_written_for_people():
    assert [size_text(each) for each in (12, 1234, 5_600_000)] == ["12 B", "1.2 kB", "5.6 MB"]
    assert data_time_text(250_000_000.0) == "1977-12-03 12:26"
    assert data_time_text(3600.0) == "3600"
