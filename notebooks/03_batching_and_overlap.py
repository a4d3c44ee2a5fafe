# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Batching and overlap when samples come in bursts
#
# Live, a sample is there when its time comes, and it comes when it likes. Two decisions then say how long it takes until a model knows it: how samples are put into *batches* for the pipeline to look at, and what becomes of a trigger that fires *while a training runs*. This notebook looks at both, simulated, with arrivals that bunch.

# %%
import tempfile

import matplotlib.pyplot as plt
import numpy as np
import polars as pl

import twinclock as tc
from sim.plugin import open_stream

scratch = tempfile.mkdtemp(prefix="twinclock-")  # for what the study writes

# %% [markdown]
# ## A bursty stream
#
# Samples without features: here only the time counts. The gaps have a mean of one second, and a coefficient of variation (standard deviation over mean) that says how they bunch: 0 is a metronome, 1 is a Poisson process, and some traces of real clusters are above 10.
#
# `mode: live` lets data time run with the clock. A training takes minutes, about as long as it takes on average for the next trigger to fire, so that what happens meanwhile matters.

# %%
base = {
    "name": "bursty",
    "seed": 3,
    "mode": "live",
    "data": {"kind": "arrivals", "num_samples": 10_000, "every": "1s", "family": "gamma", "cv": 20},
    "batching": {"kind": "fixed", "n": 500},
    "trigger": {"kind": "amount", "n": 500},
    "selection": {"kind": "new_data", "tail": 2},
    "training": {"epochs": 1},
    "evaluation": {"plans": [{"kind": "slicing", "every": "10m", "models": "served"}]},
    "sim": {
        "costs": {"training": {"setup_s": 250, "samples_per_s": 10}},
        "quality": {"kind": "decay", "peak": 0.9, "floor": 0.3, "half_samples": 500, "half_life_s": 7200},
    },
}


def arrivals(config: tc.Config) -> np.ndarray:
    """When each sample comes, in seconds on the run's clock; live, that starts with the first sample."""
    stream = open_stream(config)
    times = stream.timestamps(0, stream.num_samples)
    return times - times[0]


arrived_s = arrivals(tc.load_config(base))
plt.figure(figsize=(9, 2.4), layout="constrained")
plt.hist(arrived_s / 60, bins=int(arrived_s[-1] // 60), color="0.35")
plt.xlabel("clock time (min)")
_ = plt.ylabel("samples a minute")

# %% [markdown]
# ## Batching
#
# The pipeline sees samples batch by batch, and a trigger can't fire before its batch is cut. Three ways to cut:
#
# - `fixed`: a batch is full when it is full, however long that takes;
# - `size_or_timeout`: full, or its first sample has waited long enough;
# - `adaptive`: grows while batches are handled in the target time, and shrinks when they are not.

# %%
batchings = {
    "fixed": {"kind": "fixed", "n": 500},
    "size_or_timeout": {"kind": "size_or_timeout", "n": 500, "seconds": 60},
    "adaptive": {"kind": "adaptive", "min": 50, "max": 500, "step": 50, "target": 30},
}
by_batching = {name: tc.run({**base, "batching": batching}, on="sim") for name, batching in batchings.items()}

# %% [markdown]
# From its arrival to the first model that knows it, a sample waits twice: until its batch is cut, and from then until a model with it is stored. The tables have what is needed to say both for every sample.


# %%
def waits(run: tc.Run) -> pl.DataFrame:
    """For every sample that a model has come to know: seconds until its batch was cut, and from then to the model."""
    arrived_s = arrivals(run.config)
    samples = pl.DataFrame({"position": range(len(arrived_s)), "arrived_s": arrived_s})
    cuts = run.batches.select(pl.col("first").alias("position"), "cut_s").sort("position")
    models = run.triggers.join(run.models, left_on="trigger", right_on="model").select("position", "stored_s")
    known = samples.join_asof(cuts, on="position").join_asof(models.sort("position"), on="position", strategy="forward")
    return known.drop_nulls().select(
        until_cut_s=pl.col("cut_s") - pl.col("arrived_s"),
        cut_to_model_s=pl.col("stored_s") - pl.col("cut_s"),
        in_all_s=pl.col("stored_s") - pl.col("arrived_s"),
    )


def percentiles(run: tc.Run) -> dict[str, float]:
    """Of each wait the median, and what 95 % of the samples stay below."""
    table = waits(run)
    return {f"{name}_p{percent}": table[name].quantile(percent / 100) for name in table.columns for percent in (50, 95)}


pl.DataFrame(
    [{"batching": name, "batches": run.batches.height, **percentiles(run)} for name, run in by_batching.items()]
).with_columns(pl.selectors.float().round(1))

# %% [markdown]
# Read the columns together. The data incorporation latency in a run's summary (`incorporation_p95_s`) is the second wait: it begins at the cut, so by itself it flatters a pipeline that lets samples wait *before* the cut. With a trigger by amount the model comes when the amount is there, so an earlier cut mostly moves waiting from the first column to the second. It helps where somebody looks at the batches, such as a trigger policy that watches for drift.
#
# ## Overlap
#
# In the variant `seed` a training stops ingestion: what comes meanwhile waits outside. `overlapped` takes it in, and then a trigger may fire while a training runs. `on_trigger` says what becomes of it:
#
# - `queue`: it waits for a training of its own;
# - `coalesce`: those that wait become one;
# - `drop`: it is forgotten, and its samples go to the next;
# - `preempt`: the running training stops, and the new one takes over its samples.
#
# Bursts differ from seed to seed, so one run says little. A study runs each with the same seeds. `served_accuracy` scores each sample by the model that was there when it arrived, which is what a late model costs.

# %%
overlaps = {
    "stop": {},
    **{
        rule: {"variant": "overlapped", "overlap.on_trigger": rule} for rule in ("queue", "coalesce", "drop", "preempt")
    },
}
made = tc.sweep(
    {
        "name": "overlap",
        "question": "What should become of a trigger that fires during a training?",
        "base": base,
        "axes": [{"kind": "list", "name": "overlap", "variants": overlaps}],
        "seeds": 9,
        "metrics": ["served_accuracy", "-device_s"],
    },
    out=f"{scratch}/overlap",
)
made

# %% [markdown]
# What happened to the triggers, and from arrival to model how long samples waited; means over the seeds. `run_of` simulates each run again, which is quick, and gives its tables.

# %%
rows = [
    {
        "overlap": overlap,
        **{key: run.summary[key] for key in ("trainings", "missed_triggers", "stopped_trainings")},
        **percentiles(run),
    }
    for overlap in made.variants
    for run in (made.run_of(overlap, seed) for seed in made.study.all_seeds)
]
shown = pl.DataFrame(rows).drop("until_cut_s_p50", "cut_to_model_s_p50")
shown.group_by("overlap", maintain_order=True).mean().with_columns(pl.selectors.float().round(1))

# %% [markdown]
# `stop` and `queue` do the same trainings; the samples wait outside in the one, in a queue in the other.
#
# ## The same burst, two ways
#
# Timelines of one seed. With `stop` the pipeline stands still while it trains; with `queue` it goes on, and triggers pile up in front of the device instead.

# %%
runs = {overlap: made.run_of(overlap, seed=3) for overlap in made.variants}
runs["stop"].plot.timeline()

# %%
runs["queue"].plot.timeline()

# %% [markdown]
# How many waited, and how busy the device was:

# %%
runs["queue"].plot.queue()

# %%
runs["preempt"].plot.queue()

# %% [markdown]
# Latency from the cut to the first model that knows a sample, and how old the data of the newest model were:

# %%
runs["queue"].plot.freshness()

# %%
runs["drop"].plot.freshness()

# %% [markdown]
# ## Which one?
#
# That depends on what you pay for and what you are asked for. `queue` trains on everything, also on what a newer training is about to make old. `coalesce` leaves out trainings that would be old by the time they begin. `drop` and `preempt` leave out more, and some samples wait longer for it: until the next trigger, or until a training is not stopped. Write what counts into `metrics`, and the verdict is about that.
#
# Two more knobs are worth a study of their own: `overlap.trainings_at_once` together with `cluster.devices`, and the trigger policy. `best_effort` fires whenever nothing trains, so no trigger ever finds the device taken; what it costs, a study says.
