"""Evaluation: which jobs are due, and each of them on a device."""

from __future__ import annotations

from twinclock.graph import YIELDED, Flow, ForEach, Node, leave
from twinclock.pipeline.kinds import decide, wait, work
from twinclock.pipeline.options import GraphOptions


def evaluate(evaluation_jobs: Node) -> Flow:
    """Plan, for a model that was just stored, and run what is due."""
    return Flow(
        start="EVALUATE",
        label="trigger",
        steps={
            "EVALUATE": decide(
                operation="EVALUATE",
                outcomes={"jobs": ("jobs",), "nothing": ()},
                reads=("trigger", "model"),
                reads_registers=("models",),
                writes_registers=("planned",),
            ),
            "evaluation_jobs": evaluation_jobs,
        },
        edges={
            "EVALUATE": {"jobs": "evaluation_jobs", "nothing": leave("done")},
            "evaluation_jobs": {"done": leave("done")},
        },
    )


def run_jobs(options: GraphOptions) -> ForEach:
    """Every job of a plan; one that fails is recorded and never stops the rest."""
    again = {YIELDED: "WAIT_FOR_EVALUATION_COMPLETION"} if options.evaluations_yield else {}
    return ForEach(
        over="jobs",
        item="evaluation_job",
        limit=options.evaluations_at_once,
        on_failure="record",
        body=Flow(
            start="WAIT_FOR_EVALUATION_COMPLETION",
            steps={
                "WAIT_FOR_EVALUATION_COMPLETION": wait(
                    operation="WAIT_FOR_EVALUATION_COMPLETION",
                    outcomes={"done": ("result",)},
                    reads=("evaluation_job",),
                    needs={"device": 1},
                    queue="evaluation",
                    work="evaluation_job",
                    yields=options.evaluations_yield,
                    timeout_s=options.evaluation_timeout_s,
                    retry=options.evaluation_retry,
                ),
                "EVALUATION_COMPLETED": decide(
                    operation="EVALUATION_COMPLETED", outcomes={"done": ("scores",)}, reads=("evaluation_job", "result")
                ),
                "STORE_EVALUATION_RESULTS": work(
                    operation="STORE_EVALUATION_RESULTS", reads=("evaluation_job", "scores")
                ),
            },
            edges={
                "WAIT_FOR_EVALUATION_COMPLETION": {"done": "EVALUATION_COMPLETED", **again},
                "EVALUATION_COMPLETED": {"done": "STORE_EVALUATION_RESULTS"},
                "STORE_EVALUATION_RESULTS": {"done": leave("done")},
            },
        ),
    )
