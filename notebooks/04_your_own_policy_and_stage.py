# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Your own policy, and your own stage
#
# A trigger policy of yours needs no change to twinclock: it is a class in a module that Python finds. A stage of yours can be added to the graph from a program, too. This notebook does both. `docs/extending.md` has more: models, evaluators, cost models, executors.

# %%
import os
import tempfile

scratch = tempfile.mkdtemp(prefix="twinclock-")
os.chdir(scratch)  # for the module below, and for what the study writes

# %% [markdown]
# ## A trigger policy
#
# It reads the stream in order, up to the first thing that it has to say: `Fire` (train, up to this position), `Observe` (tell me a score or a distance first), or `Quiet` (nothing in view). It may be made anew between any two calls, so all that it remembers goes through `state_dict` as JSON.
#
# This one fires when the data have grown by a share. Where each training is on all data so far, a policy by amount pays more for every training than for the one before; this one trains less and less often.
#
# Worker processes import it, so it has to be in a file. The working directory is searched.

# %%
# %%writefile my_triggers.py
"""Triggers of one's own."""

from twinclock.policies.triggers import Answer, Decision, DependsOn, Fire, Observation, Quiet, Samples


class Growth:
    """Fires at `first` samples, and then whenever there are `factor` times as many as at the last trigger."""

    depends_on: DependsOn = "data"

    def __init__(self, first: int, factor: float) -> None:
        if first < 1 or factor <= 1:
            raise ValueError("expected first of at least 1, and a factor above 1")
        self._factor = factor
        self._next = first

    def advance(self, samples: Samples, observation: Observation | None) -> Answer:
        if self._next > samples.stop:
            return Quiet()
        stop, reason = self._next, f"{self._next} samples"
        self._next = max(stop + 1, int(stop * self._factor))
        decision = Decision(first=samples.first, stop=stop, threshold=stop, verdict="fired", reason=reason)
        return Fire(position=stop - 1, reason=reason, decisions=(decision,))

    def on_fire(self, position: int) -> None:
        """Its fire became a trigger: nothing to learn."""

    def on_training_cost(self, num_samples: int, seconds: float) -> None:
        """A training took so long: nothing to learn."""

    def on_new_model(self, model: dict) -> None:
        """A model was stored: nothing to learn."""

    def next_deadline(self) -> None:
        """When it wants to be asked even if no sample comes: never."""

    def state_dict(self) -> dict:
        return {"next": self._next}

    def load_state_dict(self, state: dict) -> None:
        self._next = state["next"]


# %% [markdown]
# ## Is it right?
#
# `check_trigger` runs it over streams that are cut in many ways, makes it anew in between, and says where it breaks the protocol. It says nothing if all is well.

# %%
import my_triggers

import twinclock as tc
from twinclock.errors import ConfigError

tc.check_trigger(lambda: my_triggers.Growth(first=1000, factor=1.5))


# %% [markdown]
# A mistake that is easy to make: something that it remembers is missing from its state.


# %%
class Forgetful(my_triggers.Growth):
    """Its state does not survive."""

    def load_state_dict(self, state: dict) -> None:
        """Forgotten."""


try:
    tc.check_trigger(lambda: Forgetful(first=1000, factor=1.5))
except ConfigError as error:
    print(error)

# %% [markdown]
# Where would it fire? `fires` asks a policy about bare timestamps, without any pipeline:

# %%
growth = {"kind": "custom", "import": "my_triggers:Growth", "args": {"first": 1000, "factor": 1.5}}
tc.fires(growth, range(12_000))

# %% [markdown]
# ## Is it any good?
#
# In a configuration it stands like any other, so a study can hold it against the built-in ones. The base is that of the notebook on trigger policies, but each training is on all data so far.

# %%
from experiments.plots import accuracy_by_policy, pareto

base = {
    "name": "rodents",
    "data": {"kind": "table", "dataset": "portal_rodents", "limit": 12_000},
    "trigger": {"kind": "amount", "n": 1000},
    "selection": {"kind": "new_data", "tail": None},
    "training": {"model": {"kind": "logistic"}, "epochs": 3, "optimizer": {"kind": "adam", "lr": 0.01}},
    "evaluation": {"plans": [{"kind": "slicing", "every": "180d", "from": 347_155_200, "models": "active"}]},  # 1981
    "sim": {
        "costs": {"training": {"setup_s": 5.0, "samples_per_s": 1000}},
        "quality": {"kind": "proxy"},
    },
}
made = tc.sweep(
    {
        "name": "growth",
        "question": "Is it enough to train when the data have grown by half?",
        "base": base,
        "axes": [
            {
                "kind": "list",
                "name": "policy",
                "variants": {
                    "amount": {},
                    "amount, seldom": {"trigger.n": 2000},
                    "growth": {"trigger": growth},
                },
            }
        ],
        "seeds": 7,
    },
    out="growth",
)
made

# %%
pareto(made)

# %%
accuracy_by_policy({policy: made.run_of(policy) for policy in made.variants})

# %% [markdown]
# ## A stage
#
# The pipeline is a graph, and the graph is data: stages, and for each outcome of a stage an edge. Say that at the end of a run the model with the most samples is to be published, which takes a while. A program can put such a stage into the graph, without touching the package. `reads` are the values that it needs; each outcome has the values that it writes.

# %%
from twinclock.check import check
from twinclock.graph import Stage, from_json, to_json
from twinclock.pipeline import build_graph

publish_stage = Stage(
    kind="work", operation="PUBLISH", reads=("models",), outcomes={"published": ("published",), "nothing": ()}
)
data = to_json(build_graph())
data["steps"]["PUBLISH"] = to_json(publish_stage)
data["edges"]["post_evaluation"] = {"done": "PUBLISH"}
data["edges"]["PUBLISH"] = {"published": "DONE"}

[str(problem) for problem in check(from_json(data))]

# %% [markdown]
# The static check looks at a graph before anything runs. It is right: nobody said what comes after `nothing`. A graph draws itself in a notebook; what is purple runs beside something else until the black bar joins it. The new stage is near the bottom.

# %%
data["edges"]["PUBLISH"]["nothing"] = "DONE"  # with an edge for every outcome, the check has nothing to say
extended = from_json(data)
assert check(extended) == []
extended

# %% [markdown]
# What the stage *does* is up to the executor. In the simulator it is a function that says how many seconds it takes, with which outcome, and what values it writes. The rest of the pipeline has its functions in `bodies`.

# %%
from sim.config import SimConfig
from sim.executor import Effect, SimExecutor
from sim.operations import bodies
from twinclock.allocator import Allocator
from twinclock.dataset import load_table
from twinclock.executor import drive
from twinclock.machine import Machine
from twinclock.records import Recorder
from twinclock.stages import Context


def publish(start, executor):
    """Publish the model with the most samples; that takes three seconds."""
    models = start.inputs["models"]["items"]
    if not models:
        return Effect(0.0, "nothing", {})
    return Effect(3.0, "published", {"published": max(models, key=lambda model: model["num_samples"])["trigger"]})


config = tc.load_config({**base, "sim": {}})
context = Context(config, load_table(config.data).stream())
allocator = Allocator({"device": ("sim:0",), "training_slot": ("slot:0",), "admission": ("admission",)})
executor = SimExecutor({"main": {**bodies(context, SimConfig()), "PUBLISH": publish}}, allocator)
recorder = Recorder(context.stream.timestamp)
finishes = drive({"main": Machine(extended)}, executor, {"main": recorder})
executor.close()

stage_runs = recorder.take()["stage_runs"]
stage_runs.tail(5).select("stage", "started_s", "ended_s", "outcome")

# %%
assert finishes["main"].outcome == "done"
assert stage_runs.filter(stage_runs["stage"] == "PUBLISH")["outcome"].to_list() == ["published"]

# %% [markdown]
# This run was put together by hand. For a stage that `twinclock run` and studies know, under both clocks, the project's own files have to change: an entry in `twinclock/pipeline/`, a body in `sim/operations.py`, and one in `real/operations.py`. `docs/extending.md` shows such a change, some twenty lines, as a diff.
