# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Plan a GPU budget
#
# A model has to keep up with a stream, and there are so many GPU-hours a week for it. How many GPUs should a training have? How often should it be trained? Pay for the hours used, or reserve the machines? This notebook answers with a study, and the last cell computes a recommendation from it. Put your own figures into the next cells and run it again.

# %%
import tempfile

import polars as pl
from IPython.display import Markdown

import twinclock as tc
from experiments.plots import pareto, response
from experiments.statistics import compare_pairs

pl.Config.set_tbl_rows(20)
scratch = tempfile.mkdtemp(prefix="twinclock-")  # for what the study writes

# %% [markdown]
# ## What is given

# %%
budget_gpu_h = 40.0  # for the week
max_staleness_h = 9.5  # mean age of the newest data that the newest model knows
usd_per_gpu_h = 2.5  # on demand: paid while a GPU is held
usd_per_reserved_gpu_h = 0.9  # reserved: paid for every hour of the week

# %% [markdown]
# ## The pipeline
#
# A week of samples that come and go with the hours of the day. A training takes the last two days, runs beside ingestion, and one that can't start waits together with those after it (`coalesce`). Samples are scored by the model that served them.
#
# Here two things are made up: the throughput of a training and how accuracy fades. With figures of your own a study like this is worth something: `sim.costs.training` can be `fitted` to a run of yours, or taken from a `profile` of published throughputs; `sim.quality` can be `measured`.

# %%
base = {
    "name": "week",
    "mode": "live",
    "variant": "overlapped",
    "overlap": {"on_trigger": "coalesce"},
    "data": {"kind": "arrivals", "num_samples": 60_000, "every": "10s", "cv": 4, "daily": {"max_over_min": 4}},
    "trigger": {"kind": "amount", "n": 5000},
    "selection": {"kind": "new_data", "window": "2d"},
    "training": {"epochs": 3},
    "evaluation": {"plans": [{"kind": "slicing", "every": "1h", "from": 172_800, "models": "served"}]},  # from day 2 on
    "cluster": {"device": {"usd_per_hour": usd_per_gpu_h}},
    "sim": {
        "costs": {
            "training": {"setup_s": 120, "samples_per_s": 5},
            "evaluation": {"setup_s": 5, "samples_per_s": 2000},
            "scaling_efficiency": 0.8,  # what each GPU beyond the first adds to a training
        },
        "quality": {"kind": "decay", "peak": 0.9, "floor": 0.3, "half_samples": 3000, "half_life_s": 172_800},
    },
}

# %% [markdown]
# ## The study
#
# Two axes, and every level of one meets every level of the other: how many GPUs a training has, and when to train. Nine variants are 36 pairs; `docs/statistics.md` says how many seeds it takes to show a difference among so many. The last policy is a `budget`: it would train often, and lets a trigger through only as far as its limit reaches, spread evenly over the week. It is charged for trainings alone, so it gets a little less than there is, and evaluations get the rest.

# %%
gpu_counts = (1, 2, 4)
study = {
    "name": "gpu-budget",
    "question": f"What is the best use of {budget_gpu_h:g} GPU-hours a week?",
    "base": base,
    "axes": [
        {
            "kind": "list",
            "name": "gpus",
            "variants": {f"{n} GPU": {"cluster.devices": n, "training.devices": n} for n in gpu_counts},
        },
        {
            "kind": "list",
            "name": "policy",
            "variants": {
                **{f"each {n:,}": {"trigger.n": n} for n in (2000, 5000)},
                "budget": {
                    "trigger": {
                        "kind": "budget",
                        "of": {"kind": "amount", "n": 2000},
                        "limit": 0.95 * budget_gpu_h * 3600,
                        "unit": "gpu_seconds",
                        "horizon": "7d",
                        "pace": "even",
                    }
                },
            },
        },
    ],
    "seeds": 11,
    "metrics": ["served_accuracy", "-busy_usd", "-staleness_s"],
}
made = tc.sweep(study, out=f"{scratch}/gpu-budget")
made

# %% [markdown]
# ## What more GPUs buy
#
# A training on more GPUs ends sooner, so models are fresher. It also takes more GPU-hours, as no job scales perfectly.

# %%
response(made, x="gpus", y="policy", metric="served_accuracy")

# %%
response(made, x="gpus", y="policy", metric="device_s")

# %%
response(made, x="gpus", y="policy", metric="staleness_s")

# %% [markdown]
# ## Cost against accuracy

# %%
pareto(made, quality="served_accuracy", cost="busy_usd")

# %% [markdown]
# ## What fits
#
# A budget has to hold in every week, so it is held against the most that any seed took; staleness is a mean.

# %%
plans = (
    made.wide.group_by("variant", "gpus", "policy", maintain_order=True)
    .agg(
        gpu_h=pl.col("device_s").max() / 3600,
        staleness_h=pl.col("staleness_s").mean() / 3600,
        accuracy=pl.col("served_accuracy").mean(),
        usd=pl.col("busy_usd").mean(),
        utilisation=pl.col("utilisation").mean(),
    )
    .with_columns(fits=(pl.col("gpu_h") <= budget_gpu_h) & (pl.col("staleness_h") <= max_staleness_h))
)
plans.drop("gpus", "policy").with_columns(pl.selectors.float().round(3))

# %% [markdown]
# ## The recommendation
#
# Of the plans that fit, take the most accurate one, and then the cheapest of those that are not shown to differ from it by more than what matters (`compare_pairs` calls that `equal`: a margin of 0.01 for an accuracy).

# %%
fitting = plans.filter("fits").sort("accuracy", descending=True)
if fitting.is_empty():
    told = "No plan fits. Raise the budget, or let models be older."
else:
    best = fitting.row(0, named=True)
    alike = compare_pairs(made, "served_accuracy").filter(
        pl.col("relation").is_in(["equal", "identical"])
        & ((pl.col("variant") == best["variant"]) | (pl.col("other") == best["variant"]))
    )
    as_good = {best["variant"], *alike["variant"], *alike["other"]}
    chosen = fitting.filter(pl.col("variant").is_in(list(as_good))).sort("usd").row(0, named=True)
    break_even = usd_per_gpu_h * chosen["utilisation"]
    cheaper = "reserve" if usd_per_reserved_gpu_h < break_even else "pay on demand"
    told = (
        f"**{chosen['variant']}**: accuracy {chosen['accuracy']:.3f}, at most {chosen['gpu_h']:.1f} of "
        f"{budget_gpu_h:g} GPU-hours, models {chosen['staleness_h']:.1f} h old on average, {chosen['usd']:.0f} USD "
        f"a week on demand. The GPUs are held {chosen['utilisation']:.0%} of the time, so reserving them would be "
        f"cheaper below {break_even:.2f} USD an hour; at {usd_per_reserved_gpu_h:g}: **{cheaper}**."
    )
Markdown(told)

# %% [markdown]
# ## What that week looks like
#
# The picture charges every hour of every GPU; the dark part of it is what is held, and paid for on demand.

# %%
week = made.run_of(chosen["variant"] if not fitting.is_empty() else made.variants[0])
week.plot.cost()

# %%
week.plot.timeline()

# %% [markdown]
# ## What would change it
#
# The prices: no run depends on them, so a change in the second cell needs no new sweep, only the cells below it. The budget: it is a part of one policy, so those runs are done again and all others are not. The rest is a matter of what you know about your trainings; if you know a range and not a figure, make it an axis and see whether the recommendation survives.
