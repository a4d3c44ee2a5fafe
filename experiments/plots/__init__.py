"""Pictures of several runs, and of studies, as matplotlib figures; `twinclock.plots.save` writes them.

Each policy or variant has the same colour, marker, dash and hatch in all pictures of the same ones; see `look`. What a
picture lacks it says, so that there is always one. matplotlib is loaded when a picture is drawn.
"""

from experiments.plots.accuracy import accuracy_by_policy

__all__ = [
    "accuracy_by_policy",
    "sim_against_real",
]
