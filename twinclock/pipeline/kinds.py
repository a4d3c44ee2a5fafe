"""The three kinds of stages, by short names."""

from __future__ import annotations

from functools import partial

from twinclock.graph import Stage

decide = partial(Stage, kind="decide")
work = partial(Stage, kind="work")
wait = partial(Stage, kind="wait")
