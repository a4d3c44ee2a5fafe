"""The stored models of a run, for people: listed, compared, checked, pruned, exported."""
