"""The diagram that the pipeline was first drawn as, held against our graph: nothing of it was lost unnoticed.

`fixtures/seed.mmd` is that diagram. Each of its stages must be in our graph, and each of its transitions
too, or stand in `CORRECTIONS` with the reason why it is not and what is there instead.

A transition A --> B is there if some way through our graph leads from the end of A to the start of B with no
stage between, and crosses the borders of the diagram's composites exactly as it is drawn: an arrow that the
diagram draws out of one composite into another, while in our graph both ends stand inside, is another arrow.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from twinclock.graph import Flow, ForEach, Node, Scope, Spawn, Stage, exit_outcome, results, stages
from twinclock.pipeline import VARIANTS, GraphOptions, build_graph
from twinclock.render import mermaid

SEED = Path(__file__).parent / "fixtures" / "seed.mmd"
EDGE = "[*]"
WHOLE = ""
BODY = "the body of a ForEach, a Scope or a Spawn"

OUR_NAMES = {
    "post_train": "fork of evaluation",  # the <<fork>> is the Spawn of that body
}


@dataclass(frozen=True)
class Transition:
    source: str
    target: str
    within: str = WHOLE
    """The composite in which an arrow from or to [*] is drawn."""

    def __str__(self) -> str:
        return f"{self.source} --> {self.target}" + (f" in {self.within}" if self.within else "")


@dataclass(frozen=True)
class Correction:
    drawn: tuple[Transition, ...]
    instead: tuple[Transition, ...]
    reason: str


CORRECTIONS = (
    Correction(
        drawn=(
            Transition("GET_SELECTOR_BATCH_SIZE", "fork_state"),
            Transition("fork_state", "replay_data"),
            Transition("fork_state", "wait_for_new_data"),
        ),
        instead=(
            Transition("GET_SELECTOR_BATCH_SIZE", "replay_data"),
            Transition("GET_SELECTOR_BATCH_SIZE", "wait_for_new_data"),
        ),
        reason="a run replays or is live, never both: a fork of the two would never join, so it is a choice by outcome",
    ),
    Correction(
        drawn=(
            Transition("replay_data", "join_state"),
            Transition("wait_for_new_data", "join_state"),
            Transition("join_state", "DONE"),
        ),
        instead=(
            Transition("replay_data", "POST_EVALUATION"),
            Transition("wait_for_new_data", "POST_EVALUATION"),
            Transition("POST_EVALUATION", "DONE"),
        ),
        reason="the other end of that choice; what is joined there is spawned work, and then the evaluations planned "
        "for after the pipeline come before DONE",
    ),
    Correction(
        drawn=(Transition("evaluation", EDGE, "train_and_eval"),),
        instead=(Transition("evaluation", "POST_EVALUATION"),),
        reason="train_and_eval is left when training ends, while evaluation still runs, and nothing joined it: it is "
        "spawned, and joined by the scope that ends before DONE",
    ),
    Correction(
        drawn=(Transition("new_data", "REPLAY_DATA_DONE"),),
        instead=(Transition("new_data", "REPLAY_DATA"), Transition("REPLAY_DATA", "REPLAY_DATA_DONE")),
        reason="as drawn, replay ends after its first chunk and nothing inside replay_data leads to REPLAY_DATA_DONE: "
        "the next chunk is asked for, until there is none",
    ),
    Correction(
        drawn=(Transition("REPLAY_DATA", "new_data"),),
        instead=(Transition("REPLAY_DATA", "new_data"),),
        reason="crosses the border of replay_data: new_data is a step inside it",
    ),
    Correction(
        drawn=(Transition("FETCH_NEW_DATA", "new_data"), Transition("new_data", "FETCH_NEW_DATA")),
        instead=(Transition("FETCH_NEW_DATA", "new_data"), Transition("new_data", "FETCH_NEW_DATA")),
        reason="cross the border of wait_for_new_data: new_data is a step inside it too",
    ),
    Correction(
        drawn=(
            Transition("INFORM_SELECTOR_AND_TRIGGER", "train_and_eval"),
            Transition("train_and_eval", "HANDLE_TRIGGERS_WITHIN_BATCH"),
        ),
        instead=(
            Transition("INFORM_SELECTOR_AND_TRIGGER", "train_and_eval"),
            Transition("train_and_eval", "HANDLE_TRIGGERS_WITHIN_BATCH"),
        ),
        reason="cross the borders of new_data_batch and new_data: train_and_eval is a step of the batch",
    ),
    Correction(
        drawn=(Transition("INFORM_SELECTOR_AND_TRIGGER", "INFORM_SELECTOR_REMAINING_DATA"),),
        instead=(
            Transition("INFORM_SELECTOR_AND_TRIGGER", "HANDLE_TRIGGERS_WITHIN_BATCH"),
            Transition("train_and_eval", "HANDLE_TRIGGERS_WITHIN_BATCH"),
            Transition("HANDLE_TRIGGERS_WITHIN_BATCH", "INFORM_SELECTOR_REMAINING_DATA"),
        ),
        reason="a batch may hold several triggers: the policy is asked again after each, and what remains is told "
        "when it has no more",
    ),
)


WITH_GATE = Correction(
    drawn=(Transition("STORE_TRAINED_MODEL", EDGE, "training"),),
    instead=(
        Transition("STORE_TRAINED_MODEL", "SCORE_CANDIDATE"),
        Transition("SCORE_CANDIDATE", "ACTIVATE_MODEL"),
        Transition("ACTIVATE_MODEL", EDGE, "training"),
    ),
    reason="with `training.gate` a stored model has to have its verdict before the training is over",
)
"""What is different besides where there is a gate, which the diagram does not have."""


@dataclass
class Diagram:
    """What a `stateDiagram-v2` says: states, each with the composites around it, outermost first, and arrows."""

    around: dict[str, tuple[str, ...]] = field(default_factory=dict)
    composites: set[str] = field(default_factory=set)
    pseudo: set[str] = field(default_factory=set)
    transitions: list[Transition] = field(default_factory=list)

    @property
    def stages(self) -> set[str]:
        return set(self.around) - self.composites - self.pseudo


def parse(text: str) -> Diagram:
    """Reads the little of Mermaid that the diagram uses. A state belongs to the innermost composite that names it."""
    diagram = Diagram()
    open_: list[str] = []

    def mention(name: str) -> None:
        if name != EDGE and len(open_) >= len(diagram.around.get(name, ())):
            diagram.around[name] = tuple(open_)

    for line in map(str.strip, text.splitlines()):
        if not line or line.startswith("%%") or line == "stateDiagram-v2":
            continue
        if line == "}":
            open_.pop()
        elif found := re.fullmatch(r"state (\w+) \{", line):
            mention(found[1])
            diagram.composites.add(found[1])
            open_.append(found[1])
        elif found := re.fullmatch(r"state (\w+) <<(?:fork|join)>>", line):
            mention(found[1])
            diagram.pseudo.add(found[1])
        elif found := re.fullmatch(r"(\[\*\]|\w+) --> (\[\*\]|\w+)", line):
            mention(found[1])
            mention(found[2])
            within = open_[-1] if open_ and EDGE in found.groups() else WHOLE
            diagram.transitions.append(Transition(found[1], found[2], within))
        else:
            raise AssertionError(f"not understood: {line!r}")
    assert not open_
    return diagram


Mark = tuple[str, str]
"""("start" or "end", the name of a stage, a composite or a fork)."""
Way = tuple[Mark, ...]
"""What happens between two stages, in order: what ends, what starts."""


@dataclass(frozen=True)
class Place:
    """A node of our graph, and where it is."""

    name: str
    node: Node
    up: Place | None = None


def ways(root: Node) -> Iterator[Way]:
    """Every way from the end of a stage, or from the start of the graph, to the start of a stage, or to its end."""
    top = Place(WHOLE, root)
    yield from entering(top)
    for place in places(top):
        if isinstance(place.node, Stage):
            yield from leaving_any(place)


def places(place: Place) -> Iterator[Place]:
    yield place
    match place.node:
        case Flow(steps=steps):
            for name, node in steps.items():
                yield from places(Place(name, node, place))
        case ForEach(body=body) | Scope(body=body) | Spawn(body=body):
            yield from places(Place(BODY, body, place))
        case Stage():
            pass


def entering(place: Place) -> Iterator[Way]:
    first: Way = (("start", place.name),)
    match place.node:
        case Stage():
            yield first
        case Flow(start=start, steps=steps):
            yield from after(first, entering(Place(start, steps[start], place)))
        case ForEach(body=body):
            yield from after(first, entering(Place(BODY, body, place)))
            yield from after(first, leaving("done", place))  # no items
        case Scope(body=body):
            yield from after(first, entering(Place(BODY, body, place)))
        case Spawn(body=body):
            fork: Way = (("start", f"fork of {place.name}"),)
            yield from after(fork + first, entering(Place(BODY, body, place)))
            yield from after(fork, onwards("done", place))


def leaving_any(place: Place) -> Iterator[Way]:
    routed = place.up.node.edges.get(place.name, {}) if place.up and isinstance(place.up.node, Flow) else {}
    for outcome in dict.fromkeys((*results(place.node), *routed)):
        yield from leaving(outcome, place)


def leaving(outcome: str, place: Place) -> Iterator[Way]:
    yield from after((("end", place.name),), onwards(outcome, place))


def onwards(outcome: str, place: Place) -> Iterator[Way]:
    """What comes after a node that ended with an outcome."""
    up = place.up
    if up is None:
        yield ()
        return
    match up.node:
        case Flow(steps=steps, edges=edges, finally_=finally_):
            if place.name == finally_:
                for way_out in results(up.node):
                    yield from leaving(way_out, up)
                return
            target = edges.get(place.name, {}).get(outcome)
            left_by = outcome if target is None else exit_outcome(target)
            if target is not None and left_by is None:
                yield from entering(Place(target, steps[target], up))
            elif finally_ is not None:
                yield from entering(Place(finally_, steps[finally_], up))
            elif left_by is not None:
                yield from leaving(left_by, up)
        case ForEach(body=body):
            yield from entering(Place(BODY, body, up))
            yield from leaving("done", up)
        case Scope():
            yield from leaving(outcome, up)
        case Spawn():
            scope: Place | None = up
            while scope is not None and not isinstance(scope.node, Scope):
                scope = scope.up
            assert scope is not None
            yield from after((("end", up.name),), leaving_any(scope))
        case Stage():
            raise AssertionError("a stage has no body")


def after(first: Way, rest: Iterator[Way]) -> Iterator[Way]:
    return (first + way for way in rest)


class Graph:
    """Our graph, asked in the words of the diagram."""

    def __init__(self, root: Node, diagram: Diagram) -> None:
        self.diagram = diagram
        self.known = {OUR_NAMES.get(name, name) for name in diagram.around}
        self.ways = set(ways(root))

    def leads(self, transition: Transition, *, as_drawn: bool) -> bool:
        """Whether the transition is there; `as_drawn`: across the same borders."""
        source, target, within = transition.source, transition.target, transition.within
        first = self._mark("start", within) if source == EDGE else self._mark("end", source)
        last = self._mark("end", within) if target == EDGE else self._mark("start", target)
        around_source = () if EDGE in (source, target) else self.diagram.around.get(source, ())
        around_target = () if EDGE in (source, target) else self.diagram.around.get(target, ())
        crossed = [self._mark("end", name) for name in reversed(around_source) if name not in around_target]
        crossed += [self._mark("start", name) for name in around_target if name not in around_source]
        for way in self.ways:
            if first in way and last in way[way.index(first) + 1 :]:
                between = way[way.index(first) + 1 : way.index(last, way.index(first) + 1)]
                if not as_drawn or [mark for mark in between if mark[1] in self.known] == crossed:
                    return True
        return False

    def _mark(self, event: str, name: str) -> Mark:
        if name in self.diagram.pseudo:
            event = "start"  # a fork takes no time
        return event, OUR_NAMES.get(name, name)


@pytest.fixture(scope="module")
def diagram() -> Diagram:
    return parse(SEED.read_text())


@pytest.fixture(scope="module")
def graph(diagram: Diagram) -> Graph:
    return Graph(build_graph(GraphOptions(variant="seed")), diagram)


def corrected() -> list[Transition]:
    return [transition for correction in CORRECTIONS for transition in correction.drawn]


def test_the_diagram_is_read_whole(diagram: Diagram) -> None:
    assert len(diagram.stages) == 22
    assert diagram.composites == {
        "replay_data", "wait_for_new_data", "new_data", "new_data_batch", "train_and_eval", "training", "evaluation"
    }  # fmt: skip
    assert diagram.pseudo == {"fork_state", "join_state", "post_train"}
    assert len(diagram.transitions) == SEED.read_text().count("-->")
    assert diagram.around["RUN_TRAINING"] == ("train_and_eval", "training")


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_stage_of_the_diagram_is_in_the_graph(diagram: Diagram, variant: str) -> None:
    root = build_graph(GraphOptions(variant=variant))  # type: ignore[arg-type]  # parametrized over the literals
    assert diagram.stages <= {stage.operation for _, stage in stages(root)}


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_composite_of_the_diagram_is_drawn_as_one(diagram: Diagram, variant: str) -> None:
    text = mermaid(build_graph(GraphOptions(variant=variant)))  # type: ignore[arg-type]  # as above
    for name in sorted(diagram.composites):
        assert re.search(rf'state "{OUR_NAMES.get(name, name)}\b[^"]*" as \w+ {{', text), name


def test_every_transition_of_the_diagram_is_in_the_graph_or_corrected(diagram: Diagram, graph: Graph) -> None:
    missing = [
        str(transition)
        for transition in diagram.transitions
        if transition not in corrected() and not graph.leads(transition, as_drawn=True)
    ]
    assert missing == []


def test_no_correction_is_stale(diagram: Diagram, graph: Graph) -> None:
    assert len(set(corrected())) == len(corrected())
    for transition in corrected():
        assert transition in diagram.transitions, f"{transition}: is not in the diagram"
        assert not graph.leads(transition, as_drawn=True), f"{transition}: is in the graph after all"


@pytest.mark.parametrize("correction", CORRECTIONS, ids=lambda correction: str(correction.drawn[0]))
def test_what_stands_for_a_corrected_transition_is_in_the_graph(graph: Graph, correction: Correction) -> None:
    for transition in correction.instead:
        assert graph.leads(transition, as_drawn=False), f"{transition}: is not in the graph"


def test_a_gate_changes_what_comes_after_the_store_and_nothing_else(diagram: Diagram) -> None:
    graph = Graph(build_graph(GraphOptions(variant="seed", gate=True)), diagram)
    asked = [each for each in diagram.transitions if each not in corrected()]
    assert tuple(each for each in asked if not graph.leads(each, as_drawn=True)) == WITH_GATE.drawn
    for transition in WITH_GATE.instead:
        assert graph.leads(transition, as_drawn=False), f"{transition}: is not in the graph"


def test_a_lost_transition_is_noticed(diagram: Diagram) -> None:
    root = build_graph(GraphOptions(variant="seed"))
    assert isinstance(root, Flow)
    skips_the_cluster = replace(root, edges={**root.edges, "INIT": {"done": "pipeline"}})
    lost = Transition("INIT", "INIT_CLUSTER_CONNECTION")
    assert not Graph(skips_the_cluster, diagram).leads(lost, as_drawn=True)
    assert Graph(root, diagram).leads(lost, as_drawn=True)
