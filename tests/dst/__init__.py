"""Deterministic simulation testing: whole simulated pipelines, drawn from one number each, held to what has to be true.

`draw` makes a case from a seed, `witness` runs it and keeps all that happens, `invariants` says what is wrong with it,
`fuzz` does so for many seeds, `shrink` makes a failing case smaller, `mutants` holds defects that have to be found.
"""
