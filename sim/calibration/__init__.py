"""Fitting the costs of the simulator to real runs.

| module | holds |
|---|---|
| calibrate | From the folders of runs to what came of it |
| likeness | Which runs may be fitted together |
| observations | What runs show, as tables: seconds, sizes, which were the first on their device |
| overlap | How much trainings on neighbouring devices slow each other down |
| durations | Setup and seconds a step, a sample, an interval, fitted to seconds |
| constants | Costs that are a mean |
| accuracy | The model of quality, fitted to the scores |
| figures | A fitted number with its interval |
| result | What came of it |
| file | Writing it, with all that belongs to it |
| picture, show | Looking at it |
"""

from __future__ import annotations

from sim.calibration.calibrate import calibrate
from sim.calibration.figures import Figure
from sim.calibration.result import Calibration

__all__ = ["Calibration", "Figure", "calibrate"]
