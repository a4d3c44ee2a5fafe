"""One stage graph of a continual-training pipeline, run under either of two clocks."""

from __future__ import annotations
