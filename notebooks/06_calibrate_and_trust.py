# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Calibrate and trust
#
# A simulated run is as right about time as its costs are. This notebook takes them from a few short real runs, predicts policies that were never run, then runs those for real after all, and says how far off the predictions were. At the end stands a grade, and it can be bad.
#
# Everything here runs on this machine, in about a minute. Your figures will be others than anybody else's: that is the point.

# %%
import tempfile
from pathlib import Path

import polars as pl

import twinclock as tc

scratch = Path(tempfile.mkdtemp(prefix="twinclock-"))

config = {
    "name": "rodents",
    "seed": 1,
    "variant": "sequential",
    "data": {"kind": "table", "dataset": "portal_rodents", "limit": 10_000},
    "trigger": {"kind": "amount", "n": 1500},
    "selection": {"kind": "new_data", "tail": None},
    "training": {"model": {"kind": "mlp", "hidden": [32]}, "epochs": 1, "optimizer": {"kind": "adam", "lr": 0.003}},
    "evaluation": {"plans": [{"kind": "slicing", "every": "1y", "models": "active", "when": "after_training"}]},
    "real": {"device": "cpu"},
    "sim": {"quality": {"kind": "proxy"}},
}

# %% [markdown]
# ## Observe
#
# What does a training cost? A line: some seconds however small it is, some for each minibatch, some for each sample. To see the slopes one needs trainings of several sizes, and of two sizes of minibatches. `observe` makes such runs, as short as will do.

# %%
observed = tc.observe(config, out=scratch / "observed", training_s=2.0)
observed

# %% [markdown]
# ## Calibrate
#
# `calibrate` fits to these runs whatever the simulator wants to know. Each figure comes with its 95 % interval and with the number of observations behind it, and what the runs do not show is said, not guessed.

# %%
calibration = tc.calibrate(observed.folders)
calibration

# %% [markdown]
# The residuals say whether a line was the right thing to fit. Each point is a training or an evaluation; what lies far off was given little weight, and what warmed up a device none.

# %%
calibration.plot_residuals()

# %% [markdown]
# ## Predict
#
# The file of a calibration takes the place of the simulator's defaults. How good the models will be, no cost says: `quality: proxy` trains a small one in the place of each, on the samples that the real one would have. Three policies, none of which was run so far:

# %%
file = calibration.write(scratch / "costs.yaml")
predicted = {
    n: tc.run(config, on="sim", overrides=[f"trigger.n={n}", f"sim.calibration={file}"]) for n in (1000, 2000, 3000)
}
pl.DataFrame(
    {
        "n": list(predicted),
        "trainings": [run.summary["trainings"] for run in predicted.values()],
        "makespan_s": [run.summary["makespan_s"] for run in predicted.values()],
        "device_s": [run.summary["device_s"] for run in predicted.values()],
        "accuracy": [run.summary["accuracy"] for run in predicted.values()],
    }
)

# %% [markdown]
# ## Is the control flow right?
#
# A simulated run can be off for two reasons: its costs are wrong, or it does other things. `replay` tells them apart. It gives the simulator the very durations of a real run: whatever still differs then can't be the costs.

# %%
tc.replay(observed.folders[-1])

# %% [markdown]
# ## Trust, but verify
#
# `fidelity` does what one would do by hand: run each policy for real, more than once; take the costs from the runs of one of them; predict the others with those; and hold the two against each other, stage by stage, since errors cancel in a sum. A difference no larger than that between two real runs of the same policy is a tie.

# %%
study = {
    "name": "how-often",
    "base": config,
    "axes": [{"kind": "grid", "key": "trigger.n", "values": [1000, 2500]}],
}
graded = tc.fidelity(study, out=scratch / "fidelity", repeats=2)
graded

# %%
graded.plot.makespans()

# %% [markdown]
# Where the time of a policy went, and how far the simulation was off in each stage:

# %%
graded.table["stages"].filter(pl.col("verdict") != "small").select(
    "policy", "stage", "real", "spread", "simulated", "error", "verdict"
)

# %% [markdown]
# ## What to believe
#
# The grade holds for what was run here: this data set, this model, this machine, this load. It says nothing about a policy that does something none of these did, such as two trainings at once on two devices. Such a policy wants a calibration that has seen it, and a study with it in.
#
# `docs/calibration.md` says what is fitted and how, `docs/fidelity.md` what is compared and how it is graded, and shows the grades of the simulator on both bundled data sets.
