"""Replay: the simulator, driven with the durations of a real run, has to reproduce its clock.

A simulation can be wrong in two ways: something takes another time than was assumed (a cost error), or something
else happens (a control-flow error). Here nothing is assumed: how long each stage run took, how long a grant was on
its way, and when a timer ran out are those of the run, and so are the answers of the world: scores, losses,
arrivals. All that decides is done again. So what differs is an error in the control flow.
"""
