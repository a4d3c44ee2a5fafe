"""Runs on a watched folder for tests: rows of a bundled data set as files, and what came of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
from real_runs import small

from twinclock.dataset import TableConfig, load_table

FEATURES = {"numeric": ["hindfoot_length", "weight"], "categorical": ["month", "plot_id", "plot_type", "sex"]}


def rodents(num_rows: int) -> pl.DataFrame:
    """The first rows, as a file would have them."""
    table = load_table(TableConfig(dataset="portal_rodents", limit=num_rows))
    return table.frame.with_columns(t=pl.Series(table.timestamps), id=pl.int_range(num_rows))


def on_folder(folder: Path, **changes: Any) -> dict[str, Any]:
    """The small configuration, on a folder that is looked at all the time."""
    data = {
        "kind": "folder",
        "path": str(folder),
        "time": "t",
        "label": "species_id",
        "features": FEATURES,
        "poll": 0.002,
        "settle": 0.01,
        **changes.pop("data", {}),
    }
    return small(data=data, mode="live", **changes)


def write(rows: pl.DataFrame, file: Path) -> None:
    """Write a file as it should be done: it appears when it is whole."""
    unfinished = file.with_name(f"{file.name}.tmp")
    match file.suffix:
        case ".parquet":
            rows.write_parquet(unfinished)
        case ".csv":
            rows.write_csv(unfinished)
        case ".jsonl":
            rows.write_ndjson(unfinished)
    unfinished.rename(file)


def write_in_parts(rows: pl.DataFrame, folder: Path, num_files: int, suffixes: tuple[str, ...] = (".parquet",)) -> None:
    """All rows in as many files, and the end."""
    folder.mkdir(exist_ok=True)
    size = -(-rows.height // num_files)
    for number in range(num_files):
        suffix = suffixes[number % len(suffixes)]
        write(rows.slice(number * size, size), folder / f"{number:03d}{suffix}")
    (folder / "_END").touch()


def landed(run: Path) -> pl.DataFrame:
    """All rows that were handed over, in the order of their positions."""
    return pl.concat([pl.read_parquet(folder / "rows.parquet") for folder in landings(run)])


def landings(run: Path) -> list[Path]:
    """The folders of the landings, in order."""
    return sorted(folder for folder in (run / "samples").glob("*") if folder.name.isdigit())


def manifests(run: Path) -> list[dict[str, Any]]:
    """What the landings say of themselves; those still being written (`NNNNN.PID.tmp`) are none yet."""
    return [json.loads((folder / "manifest.json").read_text()) for folder in landings(run)]
