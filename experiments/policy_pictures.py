"""The pictures of docs/policies.md: where each trigger fires on the rodents of Portal, in a simulated run.

    python -m experiments.policy_pictures [KIND ...]

The configuration of a picture is the YAML of its section on that page, over `studies/demo.yaml`; the class of `custom`
is the one in docs/extending.md. Pictures are SVG files in docs/images/policies, and the same bytes whenever they
are drawn.
"""

from __future__ import annotations

import contextlib
import io
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import twinclock as tc
from twinclock.yaml_text import read_yaml

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "policies.md"
FOLDER = ROOT / "docs" / "images" / "policies"
DEMO = ROOT / "experiments" / "studies" / "demo.yaml"
EXTENDING = ROOT / "docs" / "extending.md"
_SECTION = re.compile(r"^### `(\w+)`\n(.*?)(?=^##)", re.MULTILINE | re.DOTALL)
_YAML = re.compile(r"^```yaml\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_OWN_TRIGGERS = re.compile(r"^```python file=my_triggers.py\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_OBSERVED = {"score": "the simulator's scores", "distance": "distances between the features"}
"""What triggers look at, as the table `observations` calls it → as a picture does."""
_EARLIER_RUN = {"evaluation": {"plans": [{"kind": "between_triggers", "models": "all"}]}}
_SECONDS_PER_YEAR = 31_556_952.0
_QUARTERS = 4


def configurations() -> dict[str, dict[str, Any]]:
    """Kind of trigger → the configuration that its section on the page shows."""
    sections = dict(_SECTION.findall(PAGE.read_text(encoding="utf-8")))
    demo = read_yaml(DEMO.read_text(encoding="utf-8"), str(DEMO))
    return {kind: {**demo, **read_yaml(_YAML.findall(text)[0], f"{PAGE}: {kind}")} for kind, text in sections.items()}


def picture(config: dict[str, Any]) -> bytes:
    """The picture of one configuration, as an SVG. It is run in memory, in a folder of its own."""
    from matplotlib import rc_context

    with _own_folder():
        if config["trigger"]["kind"] == "oracle":
            earlier = {**config, **_EARLIER_RUN, "trigger": {"kind": "amount", "n": 2000}}
            tc.run(earlier, on="sim", out=config["trigger"]["run"])
        run = tc.run(config, on="sim")
    drawn = io.BytesIO()
    with rc_context({"svg.hashsalt": "twinclock", "svg.fonttype": "none", "font.size": 8}):
        _drawn(run).savefig(drawn, format="svg", metadata={"Date": None})
    return drawn.getvalue()


@contextlib.contextmanager
def _own_folder() -> Iterator[None]:
    """Work in a new folder, in which the class of docs/extending.md can be imported."""
    (module,) = _OWN_TRIGGERS.findall(EXTENDING.read_text(encoding="utf-8"))
    path = list(sys.path)
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        Path("my_triggers.py").write_text(module, encoding="utf-8")
        try:
            yield
        finally:
            sys.path[:] = path
            sys.modules.pop("my_triggers", None)


def _title(run: tc.Run) -> str:
    """The kind of trigger, how many there are, and what it looked at."""
    looked_at = [text for kind, text in _OBSERVED.items() if kind in run.observations["kind"].unique()]
    by = f", by {' and '.join(looked_at)}" if looked_at else ""
    return f"{run.config.trigger.kind}: {run.triggers.height:,} triggers{by}"


def _drawn(run: tc.Run) -> Figure:
    """A line for each trigger over the number of samples in each quarter of a year."""
    from matplotlib.figure import Figure

    stream = _times(run)
    figure = Figure(figsize=(7.2, 0.9), layout="constrained")
    axes = figure.add_subplot()
    years = 1970 + stream / _SECONDS_PER_YEAR
    counts, edges = np.histogram(years, np.arange(np.floor(years[0]), np.ceil(years[-1]) + 0.01, 1 / _QUARTERS))
    axes.stairs(counts, edges, fill=True, color="0.8")
    positions = run.triggers["position"].to_numpy()
    axes.vlines(years[positions[positions >= 0]], 0, counts.max(), color="tab:blue", linewidth=1)
    axes.set(xlim=(edges[0], edges[-1]), yticks=[], title=_title(run))
    for side in ("left", "top", "right"):
        axes.spines[side].set_visible(False)
    return figure


def _times(run: tc.Run) -> np.ndarray[Any, np.dtype[np.float64]]:
    from twinclock.dataset import TableConfig, load_table

    assert isinstance(run.config.data, TableConfig)
    stream = load_table(run.config.data).stream()
    return stream.timestamps(0, stream.num_samples)


def main(*kinds: str) -> None:
    """Draw the pictures of these kinds of triggers, or of all."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for kind, config in configurations().items():
        if not kinds or kind in kinds:
            (FOLDER / f"{kind}.svg").write_bytes(picture(config))
            print(f"{kind}.svg")


if __name__ == "__main__":
    main(*sys.argv[1:])
