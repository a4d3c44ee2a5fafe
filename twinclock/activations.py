"""Which of the stored models became active, and when; without a gate all do, as they are stored."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

Tables = Mapping[str, pl.DataFrame]


def rejected_models(tables: Tables) -> list[int]:
    """The models that the gate turned away, in the order in which it did."""
    return tables["activations"].filter(pl.col("activated_s").is_null())["model"].to_list()


def activated_models(tables: Tables) -> pl.DataFrame:
    """The rows of `models` that became active, with a column `activated_s`, clock time.

    One that was stored and never came to the gate's decision, because the run broke off, is not among them.
    """
    models, decided = tables["models"], tables["activations"].select("model", "activated_s")
    if decided.is_empty():
        return models.with_columns(pl.col("stored_s").alias("activated_s"))
    return models.join(
        decided.filter(pl.col("activated_s").is_not_null()), on="model", how="inner", maintain_order="left"
    )
