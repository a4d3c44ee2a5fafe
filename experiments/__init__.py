"""Studies over runs: the demo, and the configurations that come with the project."""
