"""A stored model as a folder of its own, to be loaded without twinclock."""

from __future__ import annotations

import shutil
from pathlib import Path

from real.store import LINEAGE, MODELS, ModelStore, checked_files, new_folder, read_lineage, verify
from real.stored.listing import stored_run
from twinclock.errors import ConfigError
from twinclock.graph import Json
from twinclock.run_folder import told_as_run_error

_EXAMPLE = Path(__file__).with_name("load.py")
_README = """# Model {trigger} of {run}

| file | holds |
|---|---|
| model.safetensors | The weights: numbers and their shapes, no code |
| encoding.json | How a row becomes inputs, and outputs become classes or a number |
| lineage.json | Architecture, classes, checksums, and where the model is from |
| load.py | How to load it; it needs torch and safetensors, and nothing else |

{what}

```bash
python load.py
python load.py '{{"column": "value"}}'
```

The first prints the model, the second what it says of a row. Columns that a row lacks count as missing. In your own
code `load()` gives the torch module, `inputs(row)` what it takes, and `predict(row)` what it says. The files are whole
if `sha256sum` of the first two gives what stands under `sha256` in lineage.json.
"""


def export(folder: Path, trigger: int, out: Path) -> None:
    """Copy a model of a run, with a README and a script that loads it, into a new folder.

    RunError if the run, or the model, is not there or damaged; ConfigError if `out` holds something already.
    """
    stored_run(folder)
    source = ModelStore(folder / MODELS).folder(trigger)
    lineage = read_lineage(source)
    verify(source, lineage)
    if out.exists():
        raise ConfigError(f"--out {out}: is there already, expected a new folder")
    with told_as_run_error(out), new_folder(out) as unfinished:
        for name in (*checked_files(lineage), LINEAGE):
            shutil.copyfile(source / name, unfinished / name)
        shutil.copyfile(_EXAMPLE, unfinished / "load.py")
        (unfinished / "README.md").write_text(_readme(lineage), encoding="utf-8")
        verify(unfinished, lineage)


def _readme(lineage: Json) -> str:
    architecture = lineage["architecture"]
    config = architecture["model"]
    described = config["kind"] if config["kind"] != "import" else f"{config['path']} (to be importable)"
    what = f"Model: {described}, {architecture['num_inputs']} inputs, {architecture['num_classes']} outputs."
    if lineage["classes"]:
        what += f" Classes: {', '.join(lineage['classes'])}."
    return _README.format(trigger=lineage["trigger"], run=lineage.get("run", "a run"), what=what)
