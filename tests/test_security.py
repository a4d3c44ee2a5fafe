"""What a configuration, or a file that somebody else wrote, can't make the program do."""

from __future__ import annotations

import ast
import contextlib
import json
import os
from pathlib import Path

import pytest
from pydantic import BaseModel
from test_architecture import SOURCES, dotted, imported, nodes

import twinclock as tc
from twinclock.config import Config, load_config
from twinclock.errors import ConfigError
from twinclock.section import ImportPath

HOSTILE_NAMES = ["../escaped", "/tmp/escaped", "a/b", "..", ".", "a\\b", "a\nb", "a\0b", ".hidden", " "]
SMALL = {
    "data": {"kind": "uniform", "num_samples": 100, "every": 1.0},
    "trigger": {"kind": "amount", "n": 50},
}


# Writing only where one was told to


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_the_name_of_a_run_can_not_lead_out_of_the_folder_of_runs(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"name: got .*, expected"):
        tc.run({**SMALL, "name": name}, on="sim")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_nor_can_that_of_a_study_or_of_a_pipeline(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError):
        tc.sweep({"name": name, "base": SMALL})
    (tmp_path / "fleet.yaml").write_text(json.dumps({"name": "f", "fleet": {name: {"set": SMALL}}}))
    with pytest.raises(ConfigError):
        tc.run(tmp_path / "fleet.yaml", on="sim")
    assert [file.name for file in tmp_path.iterdir()] == ["fleet.yaml"]


def test_names_that_people_give_runs_are_fine():
    for name in ("demo", "retrain weekly, 3 GPUs", "naïve", "a.b", "x-1_2"):
        assert load_config({**SMALL, "name": name}).name == name


# YAML


@pytest.mark.parametrize(
    "text",
    [
        "name: !!python/object/apply:os.system ['touch {}']",
        "name: !!python/name:os.system",
        "name: !!python/module:os",
        "!!python/object/new:os.system ['touch {}']",
    ],
)
def test_a_configuration_runs_no_code(text, tmp_path):
    proof, file = tmp_path / "proof", tmp_path / "config.yaml"
    file.write_text(text.format(proof))
    with pytest.raises(ConfigError, match=r"config\.yaml"):
        load_config(file)
    assert not proof.exists()


def test_aliases_that_would_fill_the_memory_are_refused(tmp_path):
    """Nine levels of nine aliases each: as objects it is small, written out it would fill the memory."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 9)}]" for k in range(1, 10)]
    file = tmp_path / "config.yaml"
    file.write_text("\n".join(lines))
    with pytest.raises(ConfigError, match="its aliases stand for more than a million values"):
        load_config(file)


def test_so_is_one_that_holds_itself(tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text("name: &a [*a]")
    with pytest.raises(ConfigError, match=r"config\.yaml: its aliases stand for .* or for themselves"):
        load_config(file)


def test_aliases_as_people_use_them_are_fine(tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text(
        "data: {kind: uniform, num_samples: 100, every: 1s}\n"
        "trigger: {kind: amount, n: &n 50}\nbatching: {kind: fixed, n: *n}"
    )
    assert load_config(file).batching.n == 50


# Importing only what the configuration names as something to import


def keys_that_import(model: type[BaseModel], found: set[str], seen: set[type]) -> set[str]:
    """The keys, by model, whose value is the path of something to import."""
    if model in seen:
        return found
    seen.add(model)
    for name, field in model.model_fields.items():
        text = f"{field.annotation!r} {field.metadata!r}"
        if "A-Za-z_\\\\w.]*:" in text or "_][\\\\w.]" in text or str(ImportPath) in text:
            found.add(f"{model.__name__}.{name}")
        for inner in models_in(field.annotation):
            keys_that_import(inner, found, seen)
    return found


def models_in(annotation: object) -> list[type[BaseModel]]:
    inner = [each for part in getattr(annotation, "__args__", ()) for each in models_in(part)]
    is_model = isinstance(annotation, type) and issubclass(annotation, BaseModel)
    return [annotation, *inner] if is_model else inner


def test_nothing_but_these_keys_imports():
    found = keys_that_import(Config, set(), set())
    assert {"TrainingConfig.trainer", "EvaluationConfig.evaluator", "ImportedModelConfig.path"} <= found
    assert all(key.split(".")[1] in ("trainer", "evaluator", "path", "loss", "metric", "import_") for key in found)


def test_no_other_value_imports_anything(tmp_path, monkeypatch):
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'proof')!r}, 'w').close()")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    for key, value in [("name", "evil:Thing"), ("data.kind", "evil"), ("trigger.kind", "evil:Thing")]:
        section, _, last = key.rpartition(".")
        changed = {**SMALL, section: {**SMALL[section], last: value}} if section else {**SMALL, last: value}
        with contextlib.suppress(ConfigError):
            tc.run(changed, on="sim")
    assert not (tmp_path / "proof").exists()


# Nothing that runs code when it is read


@pytest.mark.parametrize("name", SOURCES)
def test_nothing_is_unpickled_from_disk_and_no_text_is_run_as_code(name):
    unsafe = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "jsonpickle"}
    assert not [module for module, _ in imported(name) if module.split(".")[0] in unsafe]
    calls = {dotted(node.func) for node in nodes(name, ast.Call)}
    assert not calls & {"torch.load", "np.load", "numpy.load", "eval", "exec", "compile", "os.system", "os.popen"}
    keywords = {word.arg for node in nodes(name, ast.Call) for word in node.keywords}
    assert "allow_pickle" not in keywords
    assert not [node for node in nodes(name, ast.keyword) if node.arg == "shell"]


# Secrets


def test_what_is_in_the_environment_is_not_in_the_records(tmp_path, monkeypatch):
    monkeypatch.setenv("TWINCLOCK_TEST_TOKEN", secret := "s3cr3t-0f-th3-envir0nment")
    run = tc.run({**SMALL, "name": "quiet"}, on="sim", out=tmp_path / "run")
    files = [file for file in run.folder.rglob("*") if file.is_file()]
    assert len(files) > 5
    assert not [file for file in files if secret.encode() in file.read_bytes()]
    assert os.environ["TWINCLOCK_TEST_TOKEN"] == secret


def test_a_folder_of_a_run_is_made_for_its_owner_s_umask(tmp_path):
    """No file is more open than the user's own files are."""
    before = os.umask(0o077)
    try:
        run = tc.run(SMALL, on="sim", out=tmp_path / "run")
    finally:
        os.umask(before)
    assert not [file for file in [run.folder, *run.folder.rglob("*")] if Path(file).stat().st_mode & 0o077]
