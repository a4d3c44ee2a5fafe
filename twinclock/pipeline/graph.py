"""The whole graph: connect, ingest to the end, evaluate what is left, exit."""

from __future__ import annotations

from collections.abc import Mapping

from twinclock.graph import Flow, Node, Register, Scope, leave
from twinclock.pipeline.evaluation import run_jobs
from twinclock.pipeline.ingest import ingest, new_data
from twinclock.pipeline.kinds import decide, work
from twinclock.pipeline.options import USUAL, VARIANTS, GraphOptions

_COSTS_KEPT = 1000


def build_graph(options: GraphOptions = USUAL) -> Node:
    """The pipeline's stage graph. ValueError if the variant is unknown."""
    if options.variant not in VARIANTS:
        raise ValueError(f"unknown variant {options.variant!r}; expected one of: {', '.join(VARIANTS)}")
    evaluation_jobs = run_jobs(options)
    pipeline = Scope(
        registers=_registers(options),
        exports=("models", "planned", "selector"),
        body=ingest(new_data(options, evaluation_jobs)),
    )
    return Flow(
        start="INIT",
        finally_="EXIT",
        steps={
            "INIT": decide(operation="INIT"),
            "INIT_CLUSTER_CONNECTION": work(operation="INIT_CLUSTER_CONNECTION", outcomes={"done": ("cluster",)}),
            "pipeline": pipeline,
            "post_evaluation": Flow(
                start="POST_EVALUATION",
                steps={
                    "POST_EVALUATION": decide(
                        operation="POST_EVALUATION",
                        outcomes={"jobs": ("jobs",), "nothing": ()},
                        reads=("models", "planned", "selector"),
                    ),
                    "evaluation_jobs": evaluation_jobs,
                },
                edges={
                    "POST_EVALUATION": {"jobs": "evaluation_jobs", "nothing": leave("done")},
                    "evaluation_jobs": {"done": leave("done")},
                },
            ),
            "DONE": decide(operation="DONE"),
            "EXIT": work(operation="EXIT"),
        },
        edges={
            "INIT": {"done": "INIT_CLUSTER_CONNECTION"},
            "INIT_CLUSTER_CONNECTION": {"done": "pipeline"},
            "pipeline": {"done": "post_evaluation"},
            "post_evaluation": {"done": "DONE"},
            "DONE": {"done": leave("done")},
        },
    )


def _registers(options: GraphOptions) -> Mapping[str, Register]:
    shared = {
        "active_model": Register(merge="newest", guard="activation" if options.gate else None),
        "models": Register(merge="append"),
        "costs": Register(merge="append", keep=_COSTS_KEPT),
        "trained": Register(merge="append"),
        "skipped": Register(merge="append"),
        "planned": Register(merge="append"),
        "selector": Register(),
        "policy": Register(),
    }
    overlapped = {"pending": Register(guard="admission"), "superseded": Register(merge="append")}
    return shared | (overlapped if options.variant == "overlapped" else {})
