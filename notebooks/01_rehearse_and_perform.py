# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Rehearse and perform
#
# You train a model again and again on a stream of data. When should it be trained, on what, and what will that cost? twinclock describes such a pipeline as one graph of stages, from taking in samples to evaluating models, and runs it under either of two clocks: *simulated*, where a training takes the seconds that a cost model says, or *real*, where torch trains in a worker process.
#
# This notebook runs one configuration both ways, lays the two side by side, and says what the simulation knew and what it could not know.

# %%
import tempfile

import polars as pl

import twinclock as tc
from experiments.plots import sim_against_real

scratch = tempfile.mkdtemp(prefix="twinclock-")  # for the folder of the real run

# %% [markdown]
# ## A configuration
#
# The data come with twinclock: rodents caught in Arizona, one row for each, in the order in which they were caught. The model is to tell the species. It is trained after every 2,000 samples on all samples so far, and the model in use is scored on one half-year after the other.
#
# The same keys in a YAML file do for the command `twinclock run`. All keys that are not here have defaults (`docs/configuration.md`).

# %%
config = {
    "name": "rodents",
    "seed": 1,
    "data": {"kind": "table", "dataset": "portal_rodents", "limit": 12_000},
    "trigger": {"kind": "amount", "n": 2000},
    "selection": {"kind": "new_data", "tail": None},
    "training": {"model": {"kind": "logistic"}, "epochs": 8, "optimizer": {"kind": "adam", "lr": 0.01}},
    "evaluation": {"plans": [{"kind": "slicing", "every": "180d", "models": "active"}]},
    "cluster": {"devices": 1},
}

# %% [markdown]
# ## Simulated

# %%
simulated = tc.run(config, on="sim")
simulated

# %% [markdown]
# The figures above are `simulated.summary`. The note below them is to be taken seriously: nobody has measured these costs and this accuracy, they are defaults.
#
# Everything that happened is in tables, each a polars frame: `stage_runs`, `batches`, `decisions`, `triggers`, `trainings`, `models`, `evaluations`, `faults`, `devices` and a few more.

# %%
simulated.triggers.select("trigger", "position", "num_samples", "training_samples", "fired_s").head(3)

# %%
simulated.plot.timeline()

# %% [markdown]
# A change is one override away. Random numbers belong to what they are for, so another trigger policy does not shift the luck of the trainings that both have.

# %%
often = tc.run(config, on="sim", overrides=["trigger.n=1000"])
pl.DataFrame(
    [
        {"n": run.config.trigger.n, **{key: run.summary[key] for key in ("trainings", "device_s", "makespan_s")}}
        for run in (simulated, often)
    ]
)

# %% [markdown]
# ## Real
#
# The same configuration, with torch in a worker process. Most of what the cell takes is that process getting ready. A real run has a folder, with a journal from which it goes on after a crash.

# %%
real = tc.run(config, on="real", out=f"{scratch}/real")
real

# %%
real.plot.timeline()

# %% [markdown]
# ## Side by side
#
# The trigger policy looks at nothing but the number of samples, and in replay such policies fire at the same samples under both clocks. That is a promise, so it can be asserted:

# %%
assert simulated.triggers["position"].equals(real.triggers["position"])
assert simulated.summary["trainings"] == real.summary["trainings"]

# %% [markdown]
# So each stage run of the one has its partner in the other, under the same id, and can be compared with it.

# %%
partners = simulated.stage_runs.join(real.stage_runs, on="id", suffix="_real")
assert partners.height == simulated.stage_runs.height == real.stage_runs.height
sim_against_real(simulated, real)

# %%
simulated.plot.accuracy()

# %%
real.plot.accuracy()

# %% [markdown]
# ## What the simulation could say
#
# It was right about everything that follows from graph, policy and seeds: how many trainings there are, each on which samples, and which stages run how often. It was right about seconds as far as its cost model is, and that one was not made for this machine. Its accuracy came from a formula of age and amount of data that knows nothing of rodents.
#
# Both can be had from the real run. `fitted` takes the costs of trainings from it, `measured` its scores; what is simulated next begins where this run ended.

# %%
measured = {
    "costs": {"training": {"kind": "fitted", "run": f"{scratch}/real"}},
    "quality": {"kind": "measured", "run": f"{scratch}/real"},
}
informed = tc.run({**config, "sim": measured}, on="sim")


def figures(name: str, run: tc.Run) -> dict:
    trainings = run.trainings.filter(pl.col("outcome") == "trained")
    return {
        "run": name,
        "triggers": run.triggers.height,
        "training_s": (trainings["ended_s"] - trainings["started_s"]).sum(),
        "makespan_s": run.summary["makespan_s"],
        "accuracy": run.summary["accuracy"],
    }


pl.DataFrame([figures("simulated", simulated), figures("with measured figures", informed), figures("real", real)])

# %%
informed.header["cost_notes"]

# %% [markdown]
# The seconds of the trainings now come from this machine (the note says how well the fit describes them), and the scores are those that were measured. What was not taken from the real run is still a default: how long the workers take to start, and what an evaluation costs. They are keys under `sim.costs` too.
#
# What a simulation can't know is how good a model is that nobody has trained. For policies that were not run, `quality` has other kinds, from a formula to a small model that is really fitted; the next notebook uses that one.
