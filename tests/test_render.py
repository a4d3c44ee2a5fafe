from __future__ import annotations

import random
import re
from dataclasses import dataclass, field

import pytest
from strategies import sound_graph

from twinclock.graph import Flow, ForEach, Node, Register, Scope, Spawn, Stage, from_json, leave, stages, to_json
from twinclock.pipeline import VARIANTS, GraphOptions, build_graph
from twinclock.render import mermaid

RESERVED = {"root", "state", "note", "default", "class", "style", "click", "scale", "end", "title", "fork", "join"}


@dataclass
class Text:
    """What Mermaid text declares, and where: id → label, and id → ids of the composites around it."""

    labels: dict[str, str] = field(default_factory=dict)
    around: dict[str, tuple[str, ...]] = field(default_factory=dict)
    composites: set[str] = field(default_factory=set)
    pseudo: dict[str, str] = field(default_factory=dict)
    edges: list[tuple[str, str, str, tuple[str, ...]]] = field(default_factory=list)
    """Source, target, label, and the composites around the line."""
    classes: dict[str, str] = field(default_factory=dict)

    def one(self, label: str) -> str:
        """The id of the one state whose label starts with these words."""
        (found,) = [id_ for id_, text in self.labels.items() if re.match(rf"{re.escape(label)}\b", text)]
        return found

    def targets(self, source: str) -> dict[str, str]:
        return {label: target for start, target, label, _ in self.edges if start == source}


def parse(text: str) -> Text:
    """Reads Mermaid text, and fails on a line that it doesn't know, a second declaration, or open braces."""
    lines = text.splitlines()
    assert lines[0] == "stateDiagram-v2"
    parsed = Text()
    open_: list[str] = []
    for line in map(str.strip, lines[1:]):
        if line == "}":
            open_.pop()
        elif found := re.fullmatch(r'state "([^"]*)" as (\w+)( \{)?', line, re.ASCII):
            label, id_, opens = found.groups()
            assert id_ not in parsed.around
            parsed.labels[id_], parsed.around[id_] = label, tuple(open_)
            if opens:
                parsed.composites.add(id_)
                open_.append(id_)
        elif found := re.fullmatch(r"state (\w+) <<(fork|join)>>", line, re.ASCII):
            assert found[1] not in parsed.around
            parsed.pseudo[found[1]], parsed.around[found[1]] = found[2], tuple(open_)
        elif found := re.fullmatch(r"(\[\*\]|\w+) --> (\[\*\]|\w+)(?: : ([^:;#]+))?", line, re.ASCII):
            parsed.edges.append((found[1], found[2], found[3] or "", tuple(open_)))
        elif found := re.fullmatch(r"class ([\w,]+) (\w+)", line, re.ASCII):
            parsed.classes |= dict.fromkeys(found[1].split(","), found[2])
        else:
            assert re.fullmatch(r"classDef \w+ [\w:#,. -]+", line), f"not understood: {line!r}"
    assert not open_
    return parsed


def assert_sound(text: Text) -> None:
    assert not {id_.lower() for id_ in text.around} & RESERVED
    assert set(text.classes) <= set(text.labels) - text.composites
    for source, target, label, around in text.edges:
        assert not source == target == "[*]"
        for id_ in {source, target} - {"[*]"}:
            assert id_ in text.around, f"{id_} is used and not declared"
            crossing = label == "joined" and id_ == source and text.pseudo.get(target) == "join"
            assert crossing or text.around[id_] == around, f"{source} --> {target} crosses a border"


@pytest.mark.parametrize("variant", VARIANTS)
def test_text_of_a_pipeline_is_well_formed(variant: str) -> None:
    root = build_graph(GraphOptions(variant=variant))  # type: ignore[arg-type]  # parametrized over the literals
    text = parse(mermaid(root))
    assert_sound(text)
    drawn = {label.split(" ")[0] for id_, label in text.labels.items() if id_ in text.classes}
    assert drawn == {stage.operation for _, stage in stages(root)}
    assert text.classes["INIT"] == "decide"
    assert text.classes["INIT_CLUSTER_CONNECTION"] == "work"


@pytest.mark.parametrize("seed", range(60))
def test_text_of_any_sound_graph_is_well_formed(seed: int) -> None:
    graph = sound_graph(random.Random(seed))
    text = mermaid(graph)
    assert_sound(parse(text))
    assert mermaid(from_json(to_json(graph))) == text


def test_an_id_is_the_full_path() -> None:
    text = parse(mermaid(build_graph()))
    assert text.labels["pipeline__replay_data__new_data__HANDLE_NEW_DATA"] == "HANDLE_NEW_DATA"


def test_spawned_work_forks_off_and_is_joined_at_the_end_of_its_scope() -> None:
    text = parse(mermaid(build_graph(GraphOptions(variant="seed"))))
    fork, join = text.pseudo
    assert (text.pseudo[fork], text.pseudo[join]) in {("fork", "join"), ("join", "fork")}
    if text.pseudo[fork] == "join":
        fork, join = join, fork
    ways_on = text.targets(fork)
    assert ways_on["done"] == "[*]"
    assert ways_on["spawned"] in text.composites
    assert text.targets(ways_on["spawned"]) == {"joined": join}
    assert text.around[join] == ("pipeline",)
    assert {source for source, target, *_ in text.edges if target == join} > {"pipeline__replay_data"}
    assert text.targets(join) == {"done": "[*]"}


def test_what_is_not_parallel_has_neither_fork_nor_join() -> None:
    assert not parse(mermaid(build_graph(GraphOptions(variant="sequential")))).pseudo


def test_a_repetition_says_over_what_and_how_many_at_once() -> None:
    text = parse(mermaid(build_graph(GraphOptions(evaluations_at_once=3))))
    labels = [text.labels[id_] for id_ in sorted(text.composites)]
    assert sum(label.endswith("for each batch in batches (one at a time)") for label in labels) == 1
    assert sum(label.endswith("for each evaluation_job in jobs (at most 3 at once)") for label in labels) == 1


def test_a_finally_step_stands_on_the_way_out() -> None:
    text = parse(mermaid(build_graph()))
    exit_ = text.one("EXIT (finally")
    assert text.targets("DONE") == {"done": exit_}
    assert text.targets(exit_) == {"done": "[*]"}


def test_outcomes_with_the_same_target_share_an_arrow_and_exits_have_their_name() -> None:
    text = parse(mermaid(build_graph()))
    live = "pipeline__wait_for_new_data__"
    assert text.targets(live + "WAIT_FOR_NEW_DATA") == {
        "ready": live + "FETCH_NEW_DATA",
        "deadline": live + "new_data",
        "end, stop (exit done)": "[*]",
    }


def test_an_equal_composite_is_drawn_once_and_named_where_it_comes_up_again() -> None:
    text = parse(mermaid(build_graph()))
    assert text.labels["pipeline__wait_for_new_data__new_data"] == "new_data (as in replay_data)"
    assert "pipeline__wait_for_new_data__new_data" not in text.composites
    assert sum(label == "HANDLE_NEW_DATA" for label in text.labels.values()) == 1


def test_what_a_node_holds_is_in_its_label() -> None:
    text = parse(mermaid(build_graph(GraphOptions(devices_per_training=2, training_timeout_s=90))))
    assert text.one("on_device, holds 2 device, timeout 90 s") in text.composites


@pytest.mark.parametrize("name", sorted(RESERVED | {"Root", "a-b", "ä ö", "9", 'quo"te', "co:lon;#", "new\nline"}))
def test_no_name_breaks_the_text(name: str) -> None:
    twin = re.sub(r"\W", "_", name, flags=re.ASCII)
    other = twin if twin != name else name + "_"
    graph = Flow(
        start=name,
        steps={
            name: Stage(kind="work", operation=name, outcomes={name: (), "other": ()}),
            other: Flow(
                start=name,
                steps={name: Stage(kind="wait", operation="x")},
                edges={name: {"done": leave("done")}},
            ),
        },
        edges={name: {name: other, "other": leave(name)}, other: {"done": leave(name)}},
    )
    text = parse(mermaid(graph))
    assert_sound(text)
    assert len(text.around) == 3


STAGE = Stage(kind="work", operation="TRAIN", needs={"device": 2})


@pytest.mark.parametrize(
    "root",
    [
        STAGE,
        ForEach(over="xs", item="x", body=STAGE, limit=2),
        Scope(body=STAGE),
        Scope(body=Spawn(body=STAGE), registers={"r": Register()}),
        Scope(body=ForEach(over="xs", item="x", body=ForEach(over="ys", item="y", body=Spawn(body=STAGE)))),
        Scope(body=Scope(body=Spawn(body=Scope(body=Spawn(body=STAGE))))),
    ],
    ids=["stage", "for-each", "scope", "spawn", "nested", "scopes"],
)
def test_any_node_can_be_the_root(root: Node) -> None:
    text = parse(mermaid(root))
    assert_sound(text)
    assert sum(label == "TRAIN (holds 2 device)" for label in text.labels.values()) == 1
    forks = [kind for kind in text.pseudo.values() if kind == "fork"]
    assert sum(label == "joined" for _, _, label, _ in text.edges) == len(forks)
