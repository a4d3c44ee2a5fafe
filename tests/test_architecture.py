"""What the layers may know of each other, held against the source and against what a process really loads."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LAYERS = ("twinclock", "sim", "real", "experiments")
SOURCES = {str(file.relative_to(ROOT)): file for layer in LAYERS for file in sorted((ROOT / layer).rglob("*.py"))}

FORBIDDEN = {
    "twinclock": {"sim", "real", "experiments", "simpy", "torch", "safetensors", "ray"},
    "sim": {"real", "experiments", "torch", "safetensors", "ray"},
    "real": {"sim", "experiments", "simpy"},
    "experiments": set(),
}
"""Layer → what it must not import, not even inside a function."""

OUTSIDE = {
    "asyncio", "concurrent", "datetime", "io", "logging", "multiprocessing", "os", "pathlib", "random", "secrets",
    "shutil", "signal", "socket", "sqlite3", "subprocess", "sys", "tempfile", "threading", "time", "uuid",
}  # fmt: skip
"""Standard modules that reach the clock, the disk, other threads, or chance."""
PURE = (
    "twinclock/machine.py",
    "twinclock/_compile.py",
    "twinclock/_frame.py",
    "twinclock/_snapshot.py",
    "twinclock/messages.py",
    "twinclock/graph.py",
    "twinclock/check.py",
    "twinclock/_summary.py",
    "twinclock/allocator.py",
    "twinclock/stages.py",
    "twinclock/work.py",
    "twinclock/live.py",
    "twinclock/records.py",
    "twinclock/stream.py",
    *(name for name in SOURCES if name.startswith(("twinclock/pipeline/", "twinclock/policies/", "twinclock/drift/"))),
)
"""Modules whose answers depend on what they are given alone."""

CLOCKS = {
    "twinclock/monitoring/view.py": {"time.sleep"},  # how often a run is looked at
    "twinclock/progress.py": {"time.monotonic"},  # how often a bar is drawn
    "experiments/engines/ray.py": {"time.monotonic"},  # which run takes too long
    "experiments/job.py": {"time.perf_counter"},  # how long a run took, for whoever waits for the next
    "experiments/progress.py": {"time.monotonic"},  # how often a line is written, and what is left
    "sim/calibration/file.py": {"datetime.now"},  # the date of a fit
    "twinclock/run_folder.py": {"datetime.now"},  # dates in the header of a run
    "real/executor.py": {"time.monotonic"},  # the clock of a real run
    "real/training/clock.py": {"time.perf_counter"},  # when a checkpoint is due, and how long samples are waited for
    "real/usage.py": {"time.perf_counter", "time.process_time"},  # how busy a job keeps its device
    "real/worker.py": {"time.perf_counter"},  # seconds of a training, as the worker measures them
}
"""The only places that may ask what time it is."""

LARGE = {
    "twinclock/machine.py": 525,  # one interpreter, its rules, and a fast path
}
"""Modules above 400 lines, and how far they may go."""


@cache
def tree(name: str) -> ast.Module:
    return ast.parse(SOURCES[name].read_text(encoding="utf-8"), name)


def nodes(name: str, *kinds: type[ast.AST]) -> Iterator[ast.AST]:
    return (node for node in ast.walk(tree(name)) if isinstance(node, kinds))


def imported(name: str) -> Iterator[tuple[str, int]]:
    """Every module that a file imports, anywhere in it, by its full name."""
    for node in nodes(name, ast.Import, ast.ImportFrom):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        else:
            assert node.level == 0, f"{name}:{node.lineno}: a relative import"
            yield node.module or "", node.lineno


def dotted(node: ast.AST) -> str:
    """`a.b.c` as text; empty if it is something else."""
    if isinstance(node, ast.Attribute):
        inner = dotted(node.value)
        return f"{inner}.{node.attr}" if inner else ""
    return node.id if isinstance(node, ast.Name) else ""


every_module = pytest.mark.parametrize("name", SOURCES)


# Layers


@every_module
def test_imports_point_one_way(name):
    forbidden = FORBIDDEN[name.split("/")[0]]
    wrong = [f"{name}:{line} imports {module}" for module, line in imported(name) if module.split(".")[0] in forbidden]
    assert not wrong


@pytest.mark.parametrize("name", PURE)
def test_what_is_pure_imports_nothing_that_is_not(name):
    wrong = [f"{name}:{line} imports {module}" for module, line in imported(name) if module.split(".")[0] in OUTSIDE]
    assert not wrong


OF_THE_INTERPRETER = ("_compile", "_frame", "_snapshot", "errors", "graph", "messages")


def test_the_interpreter_imports_nothing_but_its_own_tables():
    for name in ("twinclock/machine.py", "twinclock/_compile.py", "twinclock/_frame.py", "twinclock/_snapshot.py"):
        modules = {module for module, _ in imported(name)}
        own = {module for module in modules if module.startswith("twinclock.")}
        assert own <= {f"twinclock.{module}" for module in OF_THE_INTERPRETER}
        assert modules - own <= {"__future__", "collections", "collections.abc", "dataclasses", "typing"}


# Which world it is


@pytest.mark.parametrize("name", [name for name in SOURCES if name.startswith("twinclock/")])
def test_shared_code_can_not_ask_whether_it_is_simulated(name):
    assert not list(questions_about_the_world(tree(name)))


def questions_about_the_world(module: ast.Module) -> Iterator[str]:
    """Comparisons with the name of a world, matches against one, and conditions on something called like one."""
    worlds = {"sim", "real", "simulated", "simulation", "simulator", "simpy", "torch"}
    for node in ast.walk(module):
        if isinstance(node, ast.Compare | ast.MatchValue | ast.Subscript):
            constants = [each for each in ast.walk(node) if isinstance(each, ast.Constant)]
            if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name):
                continue  # a type, or a value looked up by a variable's name
            yield from (f"line {each.lineno}: {each.value!r}" for each in constants if each.value in worlds)
        condition = getattr(node, "test", None)
        for each in ast.walk(condition) if isinstance(condition, ast.expr) else ():
            words = set((getattr(each, "attr", None) or getattr(each, "id", "")).lower().split("_"))
            if words & worlds:
                yield f"line {each.lineno}: a condition on {ast.unparse(each)}"


@pytest.mark.parametrize(
    "code",
    [
        "if on == 'sim': pass",
        "x = 1 if config.is_simulated else 2",
        "while not self.real: pass",
        "if header['executor'] in ('real', 'ray'): pass",
        "match on:\n case 'real': pass",
        "assert isinstance(executor, Sim) and simulated",
        "seconds = {'sim': 0.0, 'real': 1.0}['sim']",
    ],
)
def test_the_search_for_such_questions_finds_them(code):
    assert list(questions_about_the_world(ast.parse(code)))


# Clocks, chance, order


@every_module
def test_nobody_asks_the_time_but_those_who_may(name):
    asked = set(clock_calls(tree(name)))
    assert asked <= CLOCKS.get(name, set())


def test_everybody_who_may_ask_the_time_does():
    assert {name: set(clock_calls(tree(name))) for name in CLOCKS} == CLOCKS


def clock_calls(module: ast.Module) -> Iterator[str]:
    imports = {alias.name for node in ast.walk(module) if isinstance(node, ast.Import) for alias in node.names}
    for node in ast.walk(module):
        if isinstance(node, ast.ImportFrom) and node.module == "time":
            yield from (f"time.{alias.name}" for alias in node.names)
        if isinstance(node, ast.Attribute):
            owner, _, method = dotted(node).rpartition(".")
            owner = owner.split(".")[-1]
            if owner == "time" in imports or (owner in ("datetime", "date") and method in ("now", "utcnow", "today")):
                yield f"{owner}.{method}"


@every_module
def test_randomness_is_keyed_never_global(name):
    wrong = [
        f"line {line}: {module}" for module, line in imported(name) if module.split(".")[0] in ("random", "secrets")
    ]
    for node in nodes(name, ast.Attribute):
        called = dotted(node)
        keyed = ("default_rng", "SeedSequence", "Generator", "PCG64", "Philox")
        if called.startswith(("np.random.", "numpy.random.")) and called.split(".")[2] not in keyed:
            wrong.append(f"line {node.lineno}: {called}")
    calls = [node for node in nodes(name, ast.Call) if dotted(node.func).endswith("default_rng")]
    wrong += [f"line {node.lineno}: default_rng without a seed" for node in calls if not node.args]
    assert not wrong


@every_module
def test_nothing_is_hashed_with_the_salt_of_a_process(name):
    assert not [node.lineno for node in nodes(name, ast.Call) if dotted(node.func) == "hash"]


@every_module
def test_no_set_decides_an_order(name):
    assert not list(orders_by_set(tree(name)))


def orders_by_set(module: ast.Module) -> Iterator[str]:
    """Loops over sets, and lists made of them; what is sorted, counted or compared is fine."""
    for node in ast.walk(module):
        if isinstance(node, ast.For | ast.AsyncFor):
            looped = [node.iter]
        elif isinstance(node, ast.ListComp | ast.GeneratorExp | ast.DictComp):
            looped = [each.iter for each in node.generators]
        elif isinstance(node, ast.Call) and (
            dotted(node.func) in ("list", "tuple", "enumerate", "iter", "next", "dict.fromkeys")
            or (isinstance(node.func, ast.Attribute) and node.func.attr == "join")
        ):
            looped = node.args[:1]
        elif isinstance(node, ast.Starred) and isinstance(node.ctx, ast.Load):
            looped = [node.value]
        else:
            continue
        for each in looped:
            if isinstance(each, ast.Set | ast.SetComp) or (
                isinstance(each, ast.Call) and dotted(each.func) in ("set", "frozenset")
            ):
                yield f"line {each.lineno}: {ast.unparse(each)}"


# Shape


@every_module
def test_modules_are_small_and_say_what_they_are(name):
    documentation = ast.get_docstring(tree(name))
    assert documentation, f"{name} has no docstring"
    num_lines = len(SOURCES[name].read_text(encoding="utf-8").splitlines())
    assert num_lines <= LARGE.get(name, 400), f"{name} has {num_lines} lines"


# What a process loads


def loaded(code: str, *wanted: str) -> set[str]:
    """Which of some modules a fresh process has loaded after some code."""
    script = f"{code}\nimport sys\nprint(*[m for m in {wanted!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=True)
    return set(done.stdout.splitlines()[-1].split())


HEAVY = ("torch", "matplotlib", "simpy", "polars", "numpy", "real", "sim")


def test_importing_the_package_loads_next_to_nothing():
    assert loaded("import twinclock", *HEAVY) == set()


def test_a_simulated_run_loads_neither_torch_nor_matplotlib():
    code = """
import twinclock as tc
config = {"trigger": {"kind": "amount", "n": 5}, "data": {"kind": "uniform", "num_samples": 20, "every": 1}}
run = tc.run(config, on="sim")
run.summary, run.triggers, tc.load_config(config), tc.Run, tc.resume, tc.check_trigger
"""
    assert loaded(code, "torch", "matplotlib", "real", "simpy") == {"simpy"}


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["graph", "--help"]])
def test_help_waits_for_nothing_heavy(arguments):
    code = f"""
import sys
from twinclock.cli import main
sys.argv = ["twinclock", *{arguments!r}]
try:
    main()
except SystemExit as done:
    assert not done.code
"""
    assert loaded(code, *HEAVY) <= {"real", "sim"}  # whose modules of commands import nothing before it is needed


def test_folders_of_a_user_with_our_names_do_no_harm(tmp_path):
    for layer in LAYERS:
        (tmp_path / layer).mkdir()
        (tmp_path / layer / "__init__.py").write_text('raise RuntimeError("this is the user\'s own")\n')
    (tmp_path / "mine.yaml").write_text(
        "trigger: {kind: amount, n: 5}\ndata: {kind: uniform, num_samples: 20, every: 1}\n"
    )
    command = Path(sys.executable).parent / "twinclock"
    for arguments in (["run", "mine.yaml", "--on", "sim", "--out", "run"], ["graph"], ["show", "run"]):
        done = subprocess.run([command, *arguments], cwd=tmp_path, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        assert "user's own" not in done.stdout + done.stderr
