"""How long a training waits for its samples: an MLP on the flights, by size of the minibatches.

    python benchmarks/data_waiting.py [samples] [epochs]

The share is that of the time of all steps, as a run reports it (`wait_share`): cutting minibatches and gathering their
samples. Beside it, as a share of the whole training: making tensors of the rows, which comes before the first step.
"""

from __future__ import annotations

import sys
import time

import torch

from real.encoding import fit_encoding
from real.trainer import TorchTrainer, TrainingContext
from twinclock.dataset import TableConfig, load_table
from twinclock.training import TrainingConfig

BATCH_SIZES = (256, 1024, 4096, 16_384)
HIDDEN = ([64], [256, 128])


def main(num_samples: int = 300_000, epochs: int = 3) -> None:
    """Print a line for each model and size of minibatch."""
    torch.set_num_threads(1)
    table = load_table(TableConfig(dataset="nycflights13", limit=num_samples))
    rows = table.rows([[0, table.num_samples]])
    began_s = time.perf_counter()
    encoding = fit_encoding(rows, table.columns)
    encoding.features(rows)
    encoding_s = time.perf_counter() - began_s
    device = "cuda:0" if torch.cuda.is_available() else "cpu:0"
    print(f"{table.num_samples} samples, {encoding.num_inputs} inputs, {encoding.num_classes} classes, {device}")
    for hidden in HIDDEN:
        for batch_size in BATCH_SIZES:
            training = {"model": {"kind": "mlp", "hidden": hidden}, "batch_size": batch_size, "epochs": epochs}
            began_s = time.perf_counter()
            result = TorchTrainer().fit(
                TrainingContext(
                    rows=rows,
                    columns=table.columns,
                    config=TrainingConfig.model_validate(training),
                    seed=0,
                    device=device,
                    start_from=None,
                    report=lambda progress: None,
                    should_stop=lambda: False,
                )
            )
            whole_s = time.perf_counter() - began_s
            waited = f"waits {100 * (result.wait_share or 0.0):5.2f} % of its steps"
            encoded = f"encoding {100 * encoding_s / whole_s:4.1f} % of {whole_s:.1f} s"
            print(f"hidden {hidden!s:10} minibatches of {batch_size:6}: {waited}, {encoded}", flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
