"""Pictures of several runs, and of studies, as matplotlib figures; `twinclock.plots.save` writes them.

Each policy or variant has the same colour, marker, dash and hatch in all pictures of the same ones; see `look`. What a
picture lacks it says, so that there is always one. matplotlib is loaded when a picture is drawn.
"""

from experiments.plots.accuracy import accuracy_by_policy
from experiments.plots.agreement import sim_against_real
from experiments.plots.costs import costs_by_policy
from experiments.plots.pareto import draw_pareto, pareto
from experiments.plots.response import draw_response, response

__all__ = [
    "accuracy_by_policy",
    "costs_by_policy",
    "draw_pareto",
    "draw_response",
    "pareto",
    "response",
    "sim_against_real",
]
