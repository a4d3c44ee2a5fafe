# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Which trigger policy?
#
# A *trigger policy* reads a stream and says when to train: every so many samples, every so often, or when something seems to have changed. More trainings cost more, and do not always give better models. This notebook puts five policies on the same data, repeats each with several random seeds, and asks which of them are worth their cost.

# %%
import tempfile

import polars as pl

import twinclock as tc
from experiments.plots import accuracy_by_policy, costs_by_policy, pareto
from experiments.statistics import compare_pairs, describe

scratch = tempfile.mkdtemp(prefix="twinclock-")  # for what the study writes

# %% [markdown]
# ## The base: what all runs have in common
#
# The data are rodents caught in Arizona, in the order in which they were caught; a model is to tell the species. A training takes the samples since the last trigger and those of the trigger before. The model in use is scored on one half-year after the other.
#
# The runs are simulated, so seconds come from a cost model. Accuracy does not: `quality: proxy` fits a small model on the samples of each trigger and scores it on the real ones. That is quick, and close enough to see how policies differ on *these* data. Scoring begins in 1981, when every policy has a model, so all are judged on the same years.

# %%
base = {
    "name": "rodents",
    "data": {"kind": "table", "dataset": "portal_rodents", "limit": 12_000},
    "trigger": {"kind": "amount", "n": 1000},
    "selection": {"kind": "new_data", "tail": 1},
    "training": {"model": {"kind": "logistic"}, "epochs": 3, "optimizer": {"kind": "adam", "lr": 0.01}},
    "evaluation": {"plans": [{"kind": "slicing", "every": "180d", "from": 347_155_200, "models": "active"}]},  # 1981
    "sim": {
        "costs": {"training": {"setup_s": 5.0, "samples_per_s": 1000}},
        "quality": {"kind": "proxy"},
    },
}

# %% [markdown]
# ## The study: what is varied
#
# An axis of kind `list` has a name for each variant, and what that variant changes in the base. `once` trains a single time, and is what the others have to beat.
#
# Every variant gets the same seeds, and a random number belongs to its purpose (the noise of training 3), not to the order of drawing. So with one seed all policies have the same luck, and what differs between them is theirs.

# %%
changed = {"kind": "ks", "rule": {"kind": "static", "threshold": 0.15}}  # distance of two distributions
bad = {"kind": "static", "metric": "accuracy", "threshold": 0.5}
study = {
    "name": "which-policy",
    "question": "When is another training worth it?",
    "base": base,
    "axes": [
        {
            "kind": "list",
            "name": "policy",
            "variants": {
                "once": {"trigger": {"kind": "budget", "of": {"kind": "amount", "n": 1000}, "limit": 1}},
                "amount": {"trigger": {"kind": "amount", "n": 1000}},
                "yearly": {"trigger": {"kind": "time", "every": "1y"}},
                "drift": {
                    "trigger": {
                        "kind": "drift",
                        "interval": 500,
                        "metrics": {"distance": changed},
                        "windows": {"kind": "amount", "ref": 2000, "cur": 500},
                    }
                },
                "performance": {"trigger": {"kind": "performance", "interval": 500, "rules": [bad]}},
            },
        }
    ],
    "seeds": 9,
    "metrics": ["accuracy", "-device_s"],
}
made = tc.sweep(study, out=f"{scratch}/which-policy")
made

# %% [markdown]
# The table has the means over the seeds. The sentences below it are the verdict: which policies lie on the *Pareto front* (no other is both better and cheaper), and what was shown about the rest. "Shown" means that a permutation test over the common seeds, corrected for the number of pairs, says so. `docs/statistics.md` has the details.
#
# ## The numbers behind it
#
# `wide` is a row for each run, with a column for each figure of its summary; from here on it is polars.

# %%
made.wide.group_by("policy", maintain_order=True).agg(
    pl.col("trainings", "accuracy", "device_s").mean(), pl.col("accuracy").std().alias("accuracy_std")
)

# %%
describe(made, metrics=["accuracy", "device_s"])

# %% [markdown]
# `compare_pairs` holds each policy against each other one, seed by seed. `relation` is what follows.

# %%
compare_pairs(made, "accuracy").select("variant", "other", "difference", "low", "high", "p_holm", "relation")

# %% [markdown]
# ## The front in a picture
#
# Up is better, left is cheaper. Bars are 95 % intervals over the seeds.

# %%
pareto(made)

# %% [markdown]
# ## Where the accuracy comes from
#
# A mean over years hides when a policy did well. `run_of` gives one run of a variant with all its tables; simulated runs are simulated again for that, which gives the same to the byte.

# %%
runs = {policy: made.run_of(policy, seed=0) for policy in made.variants}
accuracy_by_policy(runs)

# %% [markdown]
# The rows below the curves are the triggers. Here one sees what kind each policy is: the calendar's are even in time, those by amount follow the catches, and the other two look at the data.
#
# ## What each spends
#
# In replay data never keep a device waiting, so the upper lines lie on each other and end where the runs do. Live, where data come when they come, they part.

# %%
costs_by_policy(runs)

# %% [markdown]
# ## Why did it fire?
#
# Policies that look at the data leave every decision with what they saw, fired or not.

# %%
runs["drift"].decisions.select("first", "stop", "observation", "threshold", "verdict", "reason").head(8)

# %% [markdown]
# ## What this says, and what not
#
# - The verdict holds for these data, this model, and these costs. Seeds tell luck from policy; they do not stand for other data sets.
# - Accuracy is that of a stand-in model. Take what survives here to a real run (`on: real` in the study does that, with torch) before you believe a second decimal.
# - A policy has settings, and one setting is not the policy. Add an axis with `when: {policy: drift}` that varies the threshold, and run the cell again: what is done is not done twice.
