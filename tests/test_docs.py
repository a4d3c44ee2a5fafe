"""The documentation does what it says: commands and snippets run, tables and pictures are those of the code.

How a fenced block is taken:

* `bash`         run line by line as one script; lines that build an environment are checked without building
* `console`      each `$ command` is run, and prints what stands below it
* `python`       run as a script, or written to the file named by `file=…`
* `diff`         applied to the project's files
* `yaml`         a valid configuration, study or profile table, written to `file=…` if there is one
* `toml`         written to `file=…`; as a `pyproject.toml` its entry points are installed

All of it happens in a fresh copy of the project, one for each page, and in `extending.md` one for each section.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel

import twinclock as tc
from experiments.axes import Axis
from experiments.study import FidelityConfig, Study, load_study
from experiments.variants import variants
from real.config import RealConfig
from sim.config import SimConfig
from sim.quality import QualityConfig
from sim.quality.formula import DriftConfig
from sim.quality.knowledge import WarmStart
from sim.quality.learning import LearningConfig
from sim.throughput.config import TrainingSource
from sim.throughput.table import built_in_names, load_table
from twinclock.arrivals import PRESETS, ArrivalsConfig, DailyConfig, RecordedConfig
from twinclock.cli import add_commands, app
from twinclock.cluster import SpotConfig
from twinclock.config import Config, PoissonDataConfig, UniformDataConfig, load_config
from twinclock.dataset import FeatureColumns, TableConfig
from twinclock.faults import NodesConfig
from twinclock.fleet import is_fleet, load_fleet
from twinclock.folder import FolderConfig
from twinclock.graph import Register, Scope, stages, walk
from twinclock.pipeline import VARIANTS, GraphOptions, build_graph
from twinclock.policies.batching import BatchingConfig
from twinclock.policies.downsampling import DownsamplingConfig
from twinclock.policies.evaluation import EvaluationPlan
from twinclock.policies.metrics import Task, metric_names
from twinclock.policies.overlap import OverlapConfig
from twinclock.policies.selection import FreshnessConfig, PresampleConfig
from twinclock.policies.triggers import TriggerConfig
from twinclock.render import mermaid
from twinclock.schemas import SCHEMAS
from twinclock.show import _composites, _figures
from twinclock.training import ModelConfig, ScheduleConfig
from twinclock.yaml_text import read_yaml

ROOT = Path(__file__).resolve().parents[1]
PAGES = tuple(
    path.relative_to(ROOT).as_posix()
    for path in (
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        ROOT / "CHANGELOG.md",
        *sorted((ROOT / "docs").glob("*.md")),
    )
)
COPIED = ("twinclock", "sim", "real", "experiments", "tests/fixtures", "Makefile", "pyproject.toml", "docs/images")
GRAPHS = {variant: build_graph(GraphOptions(variant=variant)) for variant in VARIANTS}
GATED = build_graph(GraphOptions(gate=True))


@dataclass(frozen=True)
class Block:
    """A fenced block."""

    language: str
    file: str | None
    text: str
    section: str
    """The `##` heading above it."""


def page(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def blocks(name: str) -> list[Block]:
    found, section, fence = [], "", re.compile(r"```(\w*)(?: file=(\S+))?$")
    lines = iter(page(name).splitlines())
    for line in lines:
        if line.startswith("## "):
            section = line[3:]
        elif opened := fence.match(line):
            inside = []
            for text in lines:
                if text == "```":
                    break
                inside.append(text)
            found.append(Block(opened[1], opened[2], "\n".join(inside) + "\n", section))
    return found


def rows(name: str, first_cell: str, under: str = "") -> Iterator[list[str]]:
    """The rows of the tables of a page whose heading row begins with `first_cell`, below the heading `under`."""
    heading, inside = "", False
    for line in page(name).splitlines():
        if line.startswith("#"):
            heading = line.lstrip("# ")
        cells = [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if not cells:
            inside = False
        elif cells[0] == first_cell and heading.startswith(under):
            inside = True
        elif inside and not set(line) <= set("|-: "):
            yield cells


def plain(cell: str) -> str:
    return cell.replace("`", "").replace("**", "")


# Everything that can be run


def sections() -> list[Any]:
    """(page, section, blocks): what is run in one copy of the project."""
    cases = []
    for name in PAGES:
        by_section: dict[str, list[Block]] = {}
        for block in blocks(name):
            by_section.setdefault(block.section if name.endswith("extending.md") else "", []).append(block)
        cases += [pytest.param(name, each, id=f"{name} {section}".strip()) for section, each in by_section.items()]
    return cases


@pytest.mark.parametrize(("name", "each"), sections())
def test_what_the_page_shows_can_be_done(name: str, each: Sequence[Block], tmp_path: Path) -> None:
    place = copied_project(tmp_path)
    for block in each:
        RUNNERS[block.language](place, block)
    for folder in tmp_path.glob("runs/*"):
        pages = pages_of(folder)
        known = {file for page_of_it in pages for file in documented_files(page_of_it)}
        assert {path.name for path in folder.iterdir()} <= known, f"a file is in none of {pages}"


def pages_of(folder: Path) -> tuple[str, ...]:
    """Those that say what is in a folder below `runs/`."""
    if (folder / "study.yaml").exists():
        return "docs/experiments.md", "docs/search.md"
    if (folder / "fidelity.json").exists():
        return ("docs/fidelity.md",)
    return ("docs/runs.md",) if (folder / "config.yaml").exists() else ("docs/calibration.md",)


def copied_project(place: Path) -> Path:
    ignored = shutil.ignore_patterns("nycflights13.parquet")
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, place / name, ignore=ignored)
        else:
            shutil.copyfile(source, place / name)
    return place


def called(place: Path, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run a command in a copy of the project; its packages are those that are imported."""
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith(("PYTEST", "COV"))},
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(place),
        "COLUMNS": "120",
    }
    return subprocess.run(
        command, cwd=place, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=240
    )


def run_bash(place: Path, block: Block) -> None:
    script = "".join(f"{line}\n" for line in block.text.splitlines() if not builds_environment(place, line))
    done = called(place, ["bash", "-euo", "pipefail", "-c", script])
    assert done.returncode == 0, f"{script}{done.stdout}"


def builds_environment(place: Path, line: str) -> bool:
    """Check a line that makes or enters an environment without doing so. False: an ordinary line."""
    words = shlex.split(line, comments=True)
    if words[:1] == ["make"]:
        done = called(place, ["make", "--dry-run", *words[1:]])
        assert done.returncode == 0, f"{line}\n{done.stdout}"
        return True
    if words[:1] == ["source"]:
        assert words[1] == f"{makefile_variables()['VENV']}/bin/activate"
        return True
    if words == ["pre-commit", "install"]:
        assert any(each.startswith("pre-commit") for each in project()["optional-dependencies"]["dev"])
        return True
    return False


def run_console(place: Path, block: Block) -> None:
    for told in block.text.split("$ ")[1:]:
        command, _, expected = told.partition("\n")
        output = called(place, ["bash", "-c", command]).stdout
        assert [line.rstrip() for line in output.splitlines()] == expected.splitlines(), command


def run_python(place: Path, block: Block) -> None:
    if block.file is not None:
        write(place, block)
        return
    done = called(place, [sys.executable, "-W", "error", "-c", block.text])
    assert done.returncode == 0, f"{block.text}{done.stdout}"


def write(place: Path, block: Block) -> None:
    assert block.file is not None
    (place / block.file).write_text(block.text, encoding="utf-8")


def run_yaml(place: Path, block: Block) -> None:
    values = read_yaml(block.text, block.section)
    if "rows" in values:
        write(place, block)
        load_table(str(place / str(block.file)))
    elif "base" in values:
        with contextlib.chdir(place):
            variants(load_study(values))
    elif is_fleet(values):
        with contextlib.chdir(place):
            load_fleet(values)
    else:
        load_config(values)
    if block.file is not None:
        write(place, block)


def run_toml(place: Path, block: Block) -> None:
    """What `pip install` leaves behind for the entry points to be found."""
    declared = tomllib.loads(block.text)["project"]
    write(place, block)
    info = place / f"{declared['name'].replace('-', '_')}-{declared['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {declared['name']}\nVersion: {declared['version']}\n")
    lines = []
    for group, points in declared["entry-points"].items():
        lines += [f"[{group}]", *(f"{key} = {value}" for key, value in points.items())]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")


def run_diff(place: Path, block: Block) -> None:
    """Each hunk's old lines must be there exactly once; line numbers are not looked at."""
    for change in re.split(r"^--- a/", block.text, flags=re.MULTILINE)[1:]:
        head, *hunks = re.split(r"^@@\n", change, flags=re.MULTILINE)
        file = place / head.splitlines()[0]
        text = file.read_text(encoding="utf-8")
        for hunk in hunks:
            lines = hunk.splitlines()
            old = "".join(f"{line[1:]}\n" for line in lines if line[:1] != "+")
            new = "".join(f"{line[1:]}\n" for line in lines if line[:1] != "-")
            assert text.count(old) == 1, f"{file}: {text.count(old)} times\n{old}"
            text = text.replace(old, new)
        file.write_text(text, encoding="utf-8")


def skip(_place: Path, _block: Block) -> None:
    pass


RUNNERS: Mapping[str, Callable[[Path, Block], None]] = {
    "bash": run_bash,
    "console": run_console,
    "python": run_python,
    "yaml": run_yaml,
    "toml": run_toml,
    "diff": run_diff,
    "text": skip,
    "mermaid": skip,  # see the test of the drawings
}


def project() -> dict[str, Any]:
    declared: dict[str, Any] = tomllib.loads(page("pyproject.toml"))["project"]
    return declared


def makefile_variables() -> dict[str, str]:
    return dict(re.findall(r"^(\w+) \?= (.*)$", page("Makefile"), flags=re.MULTILINE))


def documented_files(name: str) -> set[str]:
    headings = ("path", "path in the study's folder", "path in the folder")
    paths = [cells[0] for heading in headings for cells in rows(name, heading)]
    cells = [path for cell in paths for path in plain(cell).split(", ")]
    return {cell.split("/")[0] for cell in cells} | {"announced.txt"}


# Links and drawings


@pytest.mark.parametrize("name", [*PAGES, "twinclock/data/README.md"])
def test_links_and_pictures_are_there(name: str) -> None:
    text = re.sub(r"^```.*?^```$", "", page(name), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'src="([^"]+)"', text):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        file = (ROOT / name).parent / path if path else ROOT / name
        assert file.exists(), f"{name}: {target}"
        if anchor:
            headings = re.findall(r"^#+ (.*)$", file.read_text(encoding="utf-8"), flags=re.MULTILINE)
            anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert anchor in anchors, f"{name}: {target}"


@pytest.mark.parametrize("variant", VARIANTS)
def test_pictures_of_the_graphs_are_up_to_date(variant: str, tmp_path: Path) -> None:
    from twinclock.picture import save_graph

    committed = (ROOT / "docs" / "images" / f"graph-{variant}.svg").read_text(encoding="utf-8")
    save_graph(GRAPHS[variant], tmp_path / "graph.svg", "svg")
    drawn = (tmp_path / "graph.svg").read_text(encoding="utf-8")
    again = f"twinclock graph --variant {variant} --format svg -o docs/images/graph-{variant}.svg"
    assert texts(committed) == texts(drawn), f"draw it again: {again}"
    if drawn_by(committed) == drawn_by(drawn):  # another matplotlib may draw the same picture in other bytes
        assert committed == drawn, f"draw it again: {again}"


def texts(svg: str) -> list[str]:
    """The texts in a picture, which are outlines; matplotlib says in a comment what each spells."""
    return re.findall(r"<!-- (.*?) -->", svg, flags=re.DOTALL)


def drawn_by(svg: str) -> list[str]:
    return re.findall(r"Matplotlib v\S+", svg)


def test_mermaid_in_the_design_is_the_graph() -> None:
    whole, training = (each for each in blocks("docs/design.md") if each.language == "mermaid")
    assert whole.text == mermaid(GRAPHS["seed"])
    with_gate = next(node for path, node in walk(GATED) if path.endswith("/training"))
    assert training.text == mermaid(with_gate)


# Stages, registers, rules


def test_table_of_stages_is_that_of_the_graphs() -> None:
    declared, homes = {}, {}
    for variant, graph in {**GRAPHS, "gate": GATED}.items():
        for _, stage in stages(graph):
            declared[stage.operation] = (stage.kind, ", ".join(stage.outcomes))
            homes.setdefault(stage.operation, set()).add(variant)
    listed = {}
    for cells in rows("README.md", "stage"):
        name, _, note = cells[0].partition(" ")
        assert name not in listed, f"{name} stands in the table twice"
        listed[name] = (cells[1], cells[2])
        assert ("new" in note) == (name not in page("tests/fixtures/seed.mmd")), name
        assert ("`overlapped`" in note) == (homes.get(name) == {"overlapped"}), name
        assert ("gate" in note) == (homes.get(name) == {"gate"}), name
    assert listed == declared


def test_costs_named_in_the_table_of_stages_exist() -> None:
    fields = SimConfig.model_fields["costs"].annotation.model_fields
    for name in re.findall(r"`costs\.(\w+)`", page("README.md")):
        assert name in fields


def test_table_of_registers_is_that_of_the_graphs() -> None:
    declared: dict[str, tuple[str, set[str]]] = {}
    for graph in (GATED, *GRAPHS.values()):
        registers = {
            name: each for _, node in walk(graph) if isinstance(node, Scope) for name, each in node.registers.items()
        }
        for name, register in registers.items():
            writers = {stage.operation for _, stage in stages(graph) if name in stage.writes_registers}
            declared[name] = (how_merged(register), declared.get(name, ("", set()))[1] | writers)
    listed = {
        plain(name): (plain(merge), set(by.split(", "))) for name, _, merge, by in rows("docs/design.md", "register")
    }
    assert listed == declared


def how_merged(register: Register) -> str:
    return register.merge if register.guard is None else f"guard {register.guard}"


def test_rules_of_the_check_are_all_there() -> None:
    in_code = set(re.findall(r'Problem\("([a-z-]+)"', page("twinclock/check.py")))
    in_page = {name for cells in rows("docs/design.md", "rule") for name in plain(cells[0]).split(", ")}
    assert in_page == in_code


# Configuration


def test_keys_and_defaults_of_the_configuration() -> None:
    listed = {plain(key): default for key, default, *_ in rows("docs/configuration.md", "key")}
    expected = dict(leaves(Config, "", skip=("data", "trigger", "sim", "real", "overlap", "live")))
    expected |= dict(leaves(SimConfig, "sim.")) | dict(leaves(RealConfig, "real."))
    expected |= dict(leaves(OverlapConfig, "overlap.")) | dict(leaves(Config.model_fields["live"].annotation, "live."))
    plan_keys = {"models", "when"}
    models = (TableConfig, FolderConfig, UniformDataConfig, ArrivalsConfig, RecordedConfig)
    data_keys = {name for model in models for name in model.model_fields}
    for key, default in expected.items():
        assert key in listed, f"{key} is not in docs/configuration.md"
        assert read_yaml(plain(listed[key]), key) == default, key
    assert listed.keys() - expected.keys() <= plan_keys | data_keys, "a key that is none"


def leaves(model: type[BaseModel] | BaseModel, prefix: str, skip: Sequence[str] = ()) -> Iterator[tuple[str, Any]]:
    """Key → default as YAML would have it; a section inside is walked through, unless it is one of several kinds."""
    fields = model.model_fields if isinstance(model, type) else type(model).model_fields
    for name, declared in fields.items():
        if name in skip:
            continue
        default = declared.get_default(call_default_factory=True) if isinstance(model, type) else getattr(model, name)
        if isinstance(default, BaseModel) and name not in ("model", "optimizer", "schedule"):
            yield from leaves(default, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", as_yaml(default)


def as_yaml(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    return list(value) if isinstance(value, tuple) else value


@pytest.mark.parametrize(
    ("heading", "models"),
    [
        ("`data: {kind: table}`", (TableConfig,)),
        ("`data: {kind: folder}`", (FolderConfig,)),
        ("`data: {kind: uniform}`", (UniformDataConfig, PoissonDataConfig)),
        ("`data: {kind: arrivals}`", (ArrivalsConfig,)),
        ("`data: {kind: recorded}`", (RecordedConfig,)),
    ],
)
def test_keys_of_the_data(heading: str, models: Sequence[type[BaseModel]]) -> None:
    listed = {plain(key): plain(default) for key, default, _ in rows("docs/configuration.md", "key", under=heading)}
    for model in models:
        assert list(listed) == [name for name in model.model_fields if name != "kind"]
        for name, declared in model.model_fields.items():
            if name != "kind":
                expected = "required" if declared.is_required() else declared.default
                assert read_yaml(listed[name], name) == expected, name


def test_keys_of_a_study() -> None:
    listed = {plain(key): plain(default) for key, default, _ in rows("docs/experiments.md", "key", under="A study")}
    assert list(listed) == list(Study.model_fields)
    for name, declared in Study.model_fields.items():
        default = declared.get_default(call_default_factory=True)
        assert (
            listed[name] == "required"
            if declared.is_required()
            else (read_yaml(listed[name], name) == as_yaml(default))
        ), name


def test_keys_of_a_fidelity() -> None:
    listed = {plain(key): plain(default) for key, default, _ in rows("docs/fidelity.md", "key of a study")}
    fields = FidelityConfig.model_fields
    assert listed == {f"fidelity.{name}": "null" for name in fields}
    assert all(declared.default is None for declared in fields.values())


def test_kinds_of_axes() -> None:
    kinds = {plain(kind): example for kind, _, example in rows("docs/experiments.md", "kind", under="Axes")}
    for kind, example in kinds.items():
        axis = read_yaml(example.strip("`"), kind)
        assert axis["kind"] == kind
        variants(load_study({"name": "one", "base": {}, "axes": [axis]}))
    assert kinds.keys() == {get_args(each.model_fields["kind"].annotation)[0] for each in get_args(get_args(Axis)[0])}


def test_keys_of_a_daily_rhythm() -> None:
    listed = {plain(key): plain(default) for key, default, _ in rows("docs/configuration.md", "key of daily")}
    assert list(listed) == list(DailyConfig.model_fields)
    for name, declared in DailyConfig.model_fields.items():
        assert read_yaml(listed[name], name) == ("required" if declared.is_required() else declared.default)


def test_keys_of_a_schedule() -> None:
    kinds = get_args(get_args(ScheduleConfig)[0])
    listed = {plain(key): plain(default) for key, default, _ in rows("docs/configuration.md", "key of a schedule")}
    assert listed.keys() == {key for kind in kinds for key in kind.model_fields}
    for kind in kinds:
        for name, declared in kind.model_fields.items():
            if name != "kind":
                assert read_yaml(listed[name], name) == declared.default, name


@pytest.mark.parametrize(("first_cell", "model"), [("key of spot", SpotConfig), ("key of nodes", NodesConfig)])
def test_keys_of_what_comes_and_goes(first_cell: str, model: type[BaseModel]) -> None:
    listed = {plain(key): plain(default) for key, default, _ in rows("docs/configuration.md", first_cell)}
    assert list(listed) == list(model.model_fields)
    for name, declared in model.model_fields.items():
        assert read_yaml(listed[name], name) == ("required" if declared.is_required() else declared.default)


def test_presets_of_arrivals() -> None:
    listed = {plain(name): rest for name, *rest in rows("docs/simulator.md", "preset")}
    assert listed.keys() == PRESETS.keys()
    for name, (rate, cv, ratio, source, collected) in listed.items():
        published = PRESETS[name]
        number, unit = rate.split("/")
        assert float(number) / {"h": 3600, "s": 1}[unit] == pytest.approx(published.per_s)
        assert float(cv) == published.cv
        assert read_yaml(plain(ratio), name) == published.max_over_min
        assert (source, collected) == (published.source, published.collected)


def test_kinds_and_keys_of_triggers_and_plans() -> None:
    plans = {model.model_fields["kind"].default: model for model in get_args(get_args(EvaluationPlan)[0])}
    triggers = {model.model_fields["kind"].default: model for model in get_args(get_args(TriggerConfig)[0])}
    listed = {
        plain(kind): set(re.findall(r"`(\w+)`", keys)) - {"null"}
        for kind, keys, _ in rows("docs/configuration.md", "kind")
    }
    assert listed.keys() == plans.keys() | triggers.keys()
    common = {plain(cells[0]) for cells in rows("docs/configuration.md", "key of a plan")}
    for kind, model in (plans | triggers).items():
        keys = {declared.alias or name for name, declared in model.model_fields.items()} - {"kind"}
        assert listed[kind] == keys - (common if kind in plans else set()), kind


def test_kinds_and_keys_of_models() -> None:
    listed = {
        plain(kind): re.findall(r"`(\w+)`", keys) for kind, keys, _ in rows("docs/configuration.md", "kind of model")
    }
    models = {get_args(each.model_fields["kind"].annotation)[0]: each for each in get_args(get_args(ModelConfig)[0])}
    assert listed.keys() == models.keys()
    for kind, model in models.items():
        assert [name for name in listed[kind] if name in model.model_fields] == list(model.model_fields)[1:], kind


def test_kinds_of_features() -> None:
    listed = [plain(kind) for kind, *_ in rows("docs/configuration.md", "kind of features")]
    assert listed == list(FeatureColumns.model_fields)


def test_kinds_and_keys_of_batching() -> None:
    union = get_args(get_args(BatchingConfig)[0])
    declared = {each.model_fields["kind"].default: set(each.model_fields) - {"kind"} for each in union}
    listed = {
        plain(kind): set(re.findall(r"`(\w+)`", keys))
        for kind, keys, _ in rows("docs/configuration.md", "kind of batching")
    }
    assert listed == declared


def test_kinds_and_keys_of_downsampling() -> None:
    kinds = get_args(get_args(DownsamplingConfig)[0])
    listed = {plain(kind): plain(tasks) for kind, _, tasks in rows("docs/configuration.md", "downsampling")}
    assert listed == {kind.model_fields["kind"].default: ", ".join(kind.tasks) for kind in kinds}
    defaults = {
        plain(key): plain(default) for key, default, _ in rows("docs/configuration.md", "key of a downsampling")
    }
    assert defaults.keys() == {key for kind in kinds for key in kind.model_fields} - {"kind"}
    for kind in kinds:
        for name, declared in kind.model_fields.items():
            if name != "kind":
                expected = "required" if declared.is_required() else declared.default
                assert read_yaml(defaults[name], name) == expected, name


def test_metrics_are_all_there() -> None:
    listed = [
        (name, task) for names, task, _ in rows("docs/configuration.md", "metric") for name in plain(names).split(", ")
    ]
    tasks: tuple[Task, ...] = ("classification", "regression")
    assert sorted(listed) == sorted((name, task) for task in tasks for name in metric_names(task))


def test_kinds_and_keys_of_the_selection() -> None:
    def listed(first_cell: str) -> dict[str, str]:
        return {plain(key): plain(rest[0]) for key, *rest in rows("docs/configuration.md", first_cell)}

    presamples = {model.model_fields["kind"].default: model for model in get_args(get_args(PresampleConfig)[0])}
    assert listed("kind of presample").keys() == presamples.keys()
    for model, first_cell in [
        (FreshnessConfig, "key of freshness"),
        *((m, "key of a presample") for m in presamples.values()),
    ]:
        keys = listed(first_cell)
        assert list(keys) == [name for name in model.model_fields if name != "kind"]
        for name, default in keys.items():
            declared = model.model_fields[name]
            assert read_yaml(default, name) == ("required" if declared.is_required() else declared.default), name


def test_kinds_and_keys_of_the_quality() -> None:
    def kinds(union: Any) -> dict[str, type[BaseModel]]:
        return {model.model_fields["kind"].default: model for model in get_args(get_args(union)[0])}

    listed = {
        plain(kind): set(re.findall(r"`(\w+)`", keys))
        for kind, keys, _ in rows("docs/configuration.md", "kind of quality")
    }
    qualities = kinds(QualityConfig)
    assert listed == {kind: set(model.model_fields) - {"kind"} for kind, model in qualities.items()}
    models = {kind: model for kind, model in qualities.items() if kind != "decay"}  # whose keys stand above
    models |= {f"learning.{kind}": model for kind, model in kinds(LearningConfig).items()}
    models |= {f"drift.{kind}": model for kind, model in kinds(DriftConfig).items()} | {"warm_start": WarmStart}
    defaults = {plain(key): plain(default) for key, default, _ in rows("docs/configuration.md", "key of a quality")}
    expected = {
        f"{prefix}.{name}": "required" if declared.is_required() else as_yaml(declared.default)
        for prefix, model in models.items()
        for name, declared in model.model_fields.items()
        if name != "kind"
    }
    assert {key: read_yaml(default, key) for key, default in defaults.items()} == expected


def test_kinds_and_keys_of_the_costs() -> None:
    kinds = {model.model_fields["kind"].default: model for model in get_args(get_args(TrainingSource)[0])}
    listed = {
        plain(kind): set(re.findall(r"`(\w+)`", keys))
        for kind, keys, _ in rows("docs/configuration.md", "kind of cost")
    }
    assert listed == {kind: set(model.model_fields) - {"kind"} for kind, model in kinds.items()}
    defaults = {plain(key): plain(default) for key, default, _ in rows("docs/configuration.md", "key of a cost")}
    expected = {
        f"{kind}.{name}": "required" if declared.is_required() else declared.default
        for kind, model in kinds.items()
        for name, declared in model.model_fields.items()
        if name != "kind" and kind != "formula"  # whose keys stand above
    }
    assert {key: read_yaml(default, key) for key, default in defaults.items()} == expected


def test_published_tables_are_all_there() -> None:
    listed = {plain(name): source for name, _, source in rows("docs/simulator.md", "built-in table")}
    assert sorted(listed) == built_in_names()
    for name, source in listed.items():
        assert re.search(r"20\d\d(-\d\d)?", load_table(name).date)[0] in source


# Records and command


@pytest.mark.parametrize("table", SCHEMAS)
def test_columns_of_the_tables(table: str) -> None:
    listed = [plain(column) for column, _ in rows("docs/runs.md", "column", under=f"`{table}`")]
    assert listed == list(SCHEMAS[table])


def test_keys_of_the_summary() -> None:
    data = {"kind": "uniform", "num_samples": 100, "every": 1}
    run = tc.run({"data": data, "trigger": {"kind": "amount", "n": 50}}, on="sim")
    listed = {name for keys, *_ in rows("docs/runs.md", "key") for name in plain(keys).split(", ")}
    assert listed == run.summary.keys()


def test_rows_of_show_are_joined_with_the_keys_of_the_summary() -> None:
    plans = [{"kind": "slicing", "every": 10, "models": models} for models in ("active", "trained", "served")]
    data = {"kind": "uniform", "num_samples": 100, "every": 1}
    run = tc.run({"data": data, "trigger": {"kind": "amount", "n": 50}, "evaluation": {"plans": plans}}, on="sim")
    summary = run.summary
    shown = {row.label.strip() for row in _figures(summary, _composites([summary]))}
    listed = {name for _, cell, _ in rows("docs/runs.md", "key") for name in re.findall(r"`([^`]+)`", cell)}
    assert listed == shown


def test_the_id_shown_is_one_of_the_demo() -> None:
    (shown,) = (block.text.strip() for block in blocks("docs/runs.md") if block.language == "text")
    run = tc.run(ROOT / "experiments" / "studies" / "demo.yaml", on="sim")
    assert run.stage_runs.filter(run.stage_runs["id"] == shown)["stage"].to_list() == ["RUN_TRAINING"]


def test_commands_and_options() -> None:
    listed = {}
    for cell, text in rows("README.md", "command"):
        name = plain(cell).split()[1]
        listed[name] = set(re.findall(r"(?<![\w-])(--?[a-z]+)", f"{cell} {text}"))
    add_commands()
    typer_commands = {each.callback.__name__: each.callback for each in app.registered_commands if each.callback}
    assert listed.keys() == typer_commands.keys()
    for name, options in listed.items():
        shown = called(ROOT, ["twinclock", name, "--help"]).stdout
        known = set(re.findall(r"(?<![\w-])(--?[a-z]+)", shown))
        assert options <= known, name
        assert known - options <= {"--help", "--debug", "--quiet"} | ({"--out"} if "-o" in options else set()), name


def test_targets_of_the_makefile() -> None:
    listed = {plain(cells[0]).removeprefix("make ") for cells in rows("CONTRIBUTING.md", "target")}
    phony = re.search(r"^\.PHONY: (.*)$", page("Makefile"), flags=re.MULTILINE)
    assert phony is not None
    assert listed == set(phony[1].split())


def test_hooks_use_the_environment_of_the_makefile() -> None:
    hooks = read_yaml(page(".pre-commit-config.yaml"), "hooks")["repos"]
    assert [repository["repo"] for repository in hooks] == ["local"]
    for hook in hooks[0]["hooks"]:
        assert hook["language"] == "system"
        assert hook["entry"].startswith(f"{makefile_variables()['VENV']}/bin/")


def test_default_torch_is_named_in_the_readme() -> None:
    assert f"`{makefile_variables()['TORCH']}`" in page("README.md")
    assert "torch>=2.4" in project()["optional-dependencies"]["real"]
    (needed_mb,) = re.findall(r"^NEEDED_MB := (\d+)$", page("Makefile"), flags=re.MULTILINE)
    assert f"{int(needed_mb) // 1000} GB of disk" in page("README.md")


def test_version_is_in_the_changelog() -> None:
    assert re.search(rf"^## \[.*{re.escape(project()['version'])}", page("CHANGELOG.md"), flags=re.MULTILINE)
