"""The continual-training pipeline as a stage graph, in three variants.

The variants differ in one thing, what happens beside what:

* `seed`        training stops ingestion; evaluation runs beside what follows, joined before DONE
* `sequential`  training and evaluation both stop ingestion
* `overlapped`  ingestion never stops; trainings and evaluations run beside it

`build_graph` gives the graph for a set of options. Equal parts are the same subtree in all three.

Slots, in the order in which they come up:

| slot | holds |
|---|---|
| cluster | the devices found |
| batch_size | samples in an ingest batch |
| chunk, position | the samples just taken; the first position not yet taken |
| source | live, of a source that grows: how far it was read, and what of that has been told |
| taken_s | clock time at which taking in the last chunk began; None once batch_size is that of the time after it |
| batches, next_batch | the chunk cut into ingest batches; the serial of the next batch |
| batch | one of them |
| answers, decisions | how often the trigger policy has answered in this batch; what it decided |
| fire, request | the position it fired at; what it wants to have observed |
| observation | the score or distance that it asked for |
| trigger, training_set | serial, position, samples; the recipe of the training set |
| victim | serial of the trigger whose training is to stop |
| job | a training: its id, its recipe, the model that it starts from |
| checkpoint, fit | a training put aside; a training that ended |
| candidate, model | a trained model; the same once it is stored |
| gate_scores, verdict | with a gate: the scores of that model and of the active one; why it became active, or did not |
| jobs, evaluation_job | evaluations: one model, some intervals each |
| result, scores | what the evaluator measured; the rows for the records |
"""

from __future__ import annotations

from twinclock.pipeline.graph import build_graph
from twinclock.pipeline.options import RESOURCES, VARIANTS, GraphOptions, Variant

__all__ = ["RESOURCES", "VARIANTS", "GraphOptions", "Variant", "build_graph"]
