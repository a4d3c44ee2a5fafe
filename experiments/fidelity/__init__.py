"""How far a simulation is from the real runs that it stands for: measured, predicted, compared, and graded."""
