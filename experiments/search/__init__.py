"""Searching a study for the variants that nothing beats, by Optuna, where running all of them is too much."""
