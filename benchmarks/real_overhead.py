"""What a real run costs on top of a bare torch loop that loads, trains and saves.

    python benchmarks/real_overhead.py [PAIRS]

Each pair is one training of some seconds as a stage of the pipeline (from the fire of its trigger to
the model being durable: recipe, journal, device, worker, store) and the same training as a plain loop in
a fresh process of its own, in turn. Imports and worker start are left out on both sides. Prints the
overhead in ms per training and in per cent, as the median of the pairs with a bootstrap interval. On a
machine whose speed drifts by more than the overhead, the time spent outside the worker is the better
figure: what the pipeline adds there does not depend on how fast torch was at the moment.

What the trainer adds inside the worker (looking at losses and at requests to stop, checkpoints, checks) is measured
besides, as CPU seconds of a step: some epochs by the trainer's loop and one by hand, in turn, in this process.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import sqlite3
import sys
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

import twinclock as tc

NUM_SAMPLES = 20_000
EPOCHS = 30
BATCH_SIZE = 64
HIDDEN = 64
EPOCHS_A_ROUND = 5
CONFIG: dict[str, Any] = {
    "name": "overhead",
    "data": {"kind": "table", "dataset": "portal_rodents", "limit": NUM_SAMPLES, "chunk": NUM_SAMPLES},
    "batching": {"kind": "fixed", "n": NUM_SAMPLES},
    "trigger": {"kind": "amount", "n": NUM_SAMPLES},
    "training": {
        "model": {"kind": "mlp", "hidden": [HIDDEN]},
        "epochs": EPOCHS,
        "batch_size": BATCH_SIZE,
        "optimizer": {"kind": "adam", "lr": 0.003},
    },
    "real": {"device": "cpu"},
}


def in_pipeline(folder: Path) -> tuple[float, float]:
    """Seconds from the trigger's fire to its model being stored; and those of them outside the worker."""
    run = tc.run(CONFIG, on="real", out=folder)
    seconds = float(run.models["stored_s"][0] - run.triggers["fired_s"][0])
    with contextlib.closing(sqlite3.connect(folder / "journal.sqlite")) as journal:
        ended = [json.loads(data) for (data,) in journal.execute("SELECT data FROM events WHERE kind = 'ended'")]
    (fit,) = (event["values"]["fit"] for event in ended if "fit" in event["values"])
    return seconds, seconds - fit["seconds"]


def bare_loop(connection: Connection, file: str) -> None:
    """The same training as one would write it by hand; sends its seconds."""
    import torch
    from safetensors.torch import save_file

    from real.encoding import fit_encoding
    from twinclock.dataset import load_table

    torch.set_num_threads(1)
    config = tc.load_config(CONFIG)
    table = load_table(config.data)  # type: ignore[arg-type]
    warm = torch.nn.Linear(1, 1)
    torch.optim.Adam(warm.parameters()).step()  # the first optimizer of a process imports for seconds
    begin_s = time.perf_counter()
    rows = table.rows([[0, NUM_SAMPLES]])
    encoding = fit_encoding(rows, table.columns)
    features, labels = torch.from_numpy(encoding.features(rows)), torch.from_numpy(encoding.labels(rows))
    torch.manual_seed(0)
    model = epochs_by_hand(features, labels, encoding.num_classes, EPOCHS)
    save_file(model.state_dict(), file)
    connection.send(time.perf_counter() - begin_s)


def step_s(rounds: int = 8) -> tuple[float, float]:
    """CPU seconds of a step by the trainer and by hand, the fastest of some rounds by each."""
    import torch

    from real import trainer
    from real.encoding import fit_encoding
    from twinclock.dataset import load_table

    torch.set_num_threads(1)
    config = tc.load_config({**CONFIG, "training": {**CONFIG["training"], "epochs": EPOCHS_A_ROUND}})
    table = load_table(config.data)  # type: ignore[arg-type]
    rows = table.rows([[0, NUM_SAMPLES]])
    encoding = fit_encoding(rows, table.columns)
    features, labels = torch.from_numpy(encoding.features(rows)), torch.from_numpy(encoding.labels(rows))
    context = trainer.TrainingContext(
        rows=rows,
        columns=table.columns,
        config=config.training,
        seed=0,
        device="cpu:0",
        start_from=None,
        report=lambda _: None,
        should_stop=lambda: False,
    )
    ours, theirs, descend = [], [], trainer.descend

    def timed(training: Any) -> None:
        begin_s = time.thread_time()
        descend(training)
        ours.append(time.thread_time() - begin_s)

    trainer.descend = timed
    try:
        for _ in range(rounds):
            trainer.TorchTrainer().fit(context)
            begin_s = time.thread_time()
            epochs_by_hand(features, labels, encoding.num_classes, EPOCHS_A_ROUND)
            theirs.append(time.thread_time() - begin_s)
    finally:
        trainer.descend = descend
    num_steps = EPOCHS_A_ROUND * -(-NUM_SAMPLES // BATCH_SIZE)
    return min(ours) / num_steps, min(theirs) / num_steps


def epochs_by_hand(features: Any, labels: Any, num_classes: int, epochs: int) -> Any:
    """The loop as one would write it; the model."""
    import torch

    model = torch.nn.Sequential(
        torch.nn.Linear(features.shape[1], HIDDEN), torch.nn.ReLU(), torch.nn.Linear(HIDDEN, num_classes)
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=0.003)
    for _ in range(epochs):
        for chosen in torch.randperm(NUM_SAMPLES).split(BATCH_SIZE):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(features[chosen]), labels[chosen]).backward()
            optimizer.step()
    return model


def by_hand(folder: Path) -> float:
    """Seconds of the bare loop in a fresh process."""
    ours, theirs = multiprocessing.Pipe()
    arguments = (theirs, str(folder / "model.safetensors"))
    process = multiprocessing.get_context("spawn").Process(target=bare_loop, args=arguments)
    process.start()
    seconds: float = ours.recv()
    process.join()
    return seconds


def main(num_pairs: int = 5) -> None:
    """Measure the pairs in turn and print what the pipeline adds."""
    pairs = []
    for number in range(num_pairs):
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            pairs.append((*in_pipeline(folder / "run"), by_hand(folder)))
        seconds, outside, hand_s = pairs[-1]
        told = f"pipeline {seconds:.2f} s, of which {outside * 1000:.0f} ms outside the worker"
        print(f"pair {number + 1}: {told}; by hand {hand_s:.2f} s", flush=True)
    pipeline, beside, hand = np.array(pairs).T
    rng = np.random.default_rng(0)
    drawn = rng.integers(0, num_pairs, (10_000, num_pairs))
    for name, values, unit in (
        ("outside the worker, per training", beside * 1000, "ms"),
        ("outside the worker", beside / pipeline * 100, "%"),
        ("overhead per training", (pipeline - hand) * 1000, "ms"),
        ("overhead", (pipeline / hand - 1) * 100, "%"),
    ):
        low, high = np.percentile(np.median(values[drawn], axis=1), [2.5, 97.5])
        print(f"{name}: {np.median(values):.1f} {unit} (95 % interval {low:.1f} to {high:.1f})")
    trainer_s, by_hand_s = step_s()
    added = f"{(trainer_s - by_hand_s) * 1e6:.0f} µs more, {(trainer_s / by_hand_s - 1) * 100:.1f} %"
    print(f"a step of the trainer: {trainer_s * 1e6:.0f} µs, by hand {by_hand_s * 1e6:.0f} µs: {added}")


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:]))
