"""A stage graph as shapes on a plane: nested boxes, the lines between them, and their texts.

Knows nothing of matplotlib: `paint.py` paints what `lay_out` gives, and lends it `measure`.

A composite is a frame around its contents. What runs in parallel begins and ends at bold bars: a
`Spawn` is a bar with a broken line to the spawned frame, and from there on down to the bar at the end of
the `Scope` that joins it; a `ForEach` of more than one copy at a time is a stack of frames between two
bars. A `ForEach` of one copy at a time is a loop. A composite equal to one drawn before is a small box
that says where that is; the times of both are shown where the stages are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from twinclock._drawing.blocks import Drawing, Measure, box, fork, framed, joined, question, stacked, start, ways_out
from twinclock._drawing.lines import place
from twinclock._drawing.rows import Item, Link, slot_width
from twinclock._drawing.shapes import Block, Dot, Label, LineStyle, Shape
from twinclock.graph import (
    BUILT_IN_OUTCOMES,
    Flow,
    ForEach,
    Node,
    Scope,
    Spawn,
    Stage,
    children,
    exit_outcome,
    leave,
    results,
)
from twinclock.render import first_places, plain_name, repeat_of, repetition, spawns, terms

_START = "[*]"
_SPAWNED = "[+]"
_AGAIN = "[?]"
_EXIT = ":"
_BODY = "/[body]"


def lay_out(
    root: Node, measure: Measure, *, show_data: bool = False, time_spent: Mapping[str, float] | None = None
) -> Block:
    """The whole graph. `time_spent`: path of a stage → seconds; ValueError if there is no such stage."""
    places = first_places(root)
    spent = None if time_spent is None else _spent(root, places, time_spent)
    drawing = Drawing(measure=measure, places=places, show_data=show_data, spent=spent)
    content = _one(drawing, "root", root, "") if terms(root) else _inside(drawing, root, "")
    ends: list[Shape] = []
    for outcome, x in content.ports.items():
        ends += [Dot(x=x, y=content.height + 4, style="end"), Label(x=x + 8, y=content.height, text=outcome)]
    return replace(content, height=content.height + 10, shapes=(*content.shapes, *ends))


def _spent(root: Node, places: Mapping[str, str], time_spent: Mapping[str, float]) -> dict[str, float]:
    """Path → seconds at or below it. Time in a composite that is drawn elsewhere counts there too, and inside."""
    counts_for: dict[str, frozenset[str]] = {}

    def visit(node: Node, path: str, drawn_at: tuple[str, ...], above: frozenset[str]) -> None:
        first = repeat_of(node, path, places)
        if first is not None and first not in drawn_at:
            drawn_at = (*drawn_at, first)
        here = above | {path or "/", *drawn_at}
        if isinstance(node, Stage):
            counts_for[path or "/"] = here
        for segment, child in children(node):
            added = f"/{segment}" if segment else ""
            visit(child, path + added, tuple(each + added for each in drawn_at), here)

    visit(root, "", (), frozenset())
    spent: dict[str, float] = {}
    for path, spent_s in time_spent.items():
        if path not in counts_for:
            raise ValueError(f"time_spent: {path!r} is not the path of a stage of this graph")
        for each in counts_for[path]:
            spent[each] = spent.get(each, 0.0) + spent_s
    return spent


def _one(drawing: Drawing, name: str, node: Node, path: str, again: str = "") -> Block:
    """A node that no flow is around, as the one step of a flow."""
    row = {outcome: leave(outcome) for outcome in results(node)}
    return _steps(drawing, Flow(start=name, steps={name: node}, edges={name: row}), {name: path}, again)


def _inside(drawing: Drawing, body: Node, path: str, again: str = "") -> Block:
    """The body of a composite, without a frame: the steps of a flow, or the node itself."""
    if isinstance(body, Flow) and _is_merged(drawing, body, path):
        return _steps(drawing, body, {step: f"{path}/{step}" for step in body.steps}, again)
    return _one(drawing, plain_name(body), body, path, again)


def _is_merged(drawing: Drawing, body: Node, path: str) -> bool:
    return isinstance(body, Flow) and repeat_of(body, path, drawing.places) is None


def _block(
    drawing: Drawing, name: str, node: Node, path: str, row: Mapping[str, str], routed: Sequence[str], remark: str
) -> Block:
    """A step of a flow, as a box or a frame. `row`: its edges; `routed`: the outcomes that a line goes on from."""
    if isinstance(node, Stage) or repeat_of(node, path, drawing.places) is not None:
        return box(drawing, name, node, path, row, remark)
    notes = [terms(node), remark]
    match node:
        case ForEach(limit=1):
            notes.insert(0, repetition(node))
            notes.append(f"each {held}" if (held := _merged_terms(drawing, node.body, path + "/[]")) else "")
            content = _inside(drawing, node.body, path + "/[]", again=node.item)
        case ForEach():
            notes.insert(0, repetition(node))
            content = _copies(drawing, node.body, node.item, path + "/[]")
        case Scope():
            notes.append(_merged_terms(drawing, node.body, path))
            content = _inside(drawing, node.body, path)
            if content.spawned is not None:
                content = joined(drawing, content, content.spawned)
            if drawing.show_data:
                notes += [f"registers {', '.join(node.registers)}"] if node.registers else []
                notes += [f"exports {', '.join(node.exports)}"] if node.exports else []
        case _:
            content = _inside(drawing, node, path)
    return framed(drawing, content, name, [*notes, drawing.time(path)], routed)


def _spawned(drawing: Drawing, name: str, spawn: Spawn, path: str) -> Block:
    recorded = "" if spawn.on_failure == "record" else "a failure ends the scope"
    notes = ["runs beside what follows", _merged_terms(drawing, spawn.body, path), recorded, drawing.time(path)]
    content = _inside(drawing, spawn.body, path)
    return framed(
        drawing, content, f"{name}: spawned" if name else "spawned", notes, tuple(content.ports), style="spawned"
    )


def _merged_terms(drawing: Drawing, body: Node, path: str) -> str:
    return terms(body) if _is_merged(drawing, body, path) else ""


def _copies(drawing: Drawing, body: Node, item: str, path: str) -> Block:
    content = _inside(drawing, body, path)
    each = framed(drawing, content, item, [_merged_terms(drawing, body, path)], tuple(content.ports), style="stack")
    return stacked(drawing, each)


def _steps(drawing: Drawing, flow: Flow, paths: Mapping[str, str], again: str = "") -> Block:
    """The steps of a flow and the lines between them. `again`: the item of the loop whose body this is."""
    targets = [target for row in flow.edges.values() for target in row.values()]
    exits = dict.fromkeys(outcome for target in targets if (outcome := exit_outcome(target)) is not None)
    outer = dict.fromkeys(["done"]) if again else exits
    blocks: dict[str, Block] = {_START: start()}
    links = [Link(source=_START, target=_key(flow.start), port="")]

    def link(source: str, target: str, port: str, label: str = "", style: LineStyle = "plain") -> None:
        links.append(
            Link(
                source=source, target=target, port=port, label=label, label_width=drawing.small(label), style=style,
                arrow=target in blocks or target.startswith(_key("")),
            )
        )  # fmt: skip

    def beyond(outcome: str) -> str:
        return _AGAIN if again else _EXIT + outcome

    for step, node in flow.steps.items():
        row, key, path = flow.edges.get(step, {}), _key(step), paths[step]
        if isinstance(node, Spawn):
            blocks[key] = fork(drawing, row)
            blocks[key + _BODY] = body = _spawned(drawing, step, node, path)
            link(key, key + _BODY, _BODY, "spawned", "parallel")
            for outcome in body.ports:
                link(key + _BODY, _SPAWNED, outcome, outcome, "parallel")
            if body.spawned is not None:
                link(key + _BODY, _SPAWNED, _SPAWNED, style="parallel")
        else:
            remark = "finally: on every way out" if step == flow.finally_ else ""
            routed = results(node) if step == flow.finally_ else tuple(row)
            blocks[key] = _block(drawing, step, node, path, row, routed, remark)
            if spawns(node):
                link(key, _SPAWNED, _SPAWNED, style="parallel")
        for label, target in ways_out(row, joined=not blocks[key].ports):
            left_by = exit_outcome(target)
            failure = set(label.split(", ")) <= set(BUILT_IN_OUTCOMES)
            if left_by is None:
                goal = _key(target)
            else:
                goal = beyond(left_by) if flow.finally_ is None else _key(flow.finally_)
            link(key, goal, label, label, "failure" if failure else "plain")
    if flow.finally_ is not None:
        key = _key(flow.finally_)
        ended = next(iter(results(flow.steps[flow.finally_])), "")
        for i, outcome in enumerate(outer):
            if blocks[key].ports:
                link(key, beyond(outcome), ended, ended if i == 0 else "")
            else:
                label = outcome if len(outer) > 1 else ended
                link(key, beyond(outcome), label, label)
    if again:
        blocks[_AGAIN] = question(drawing, f"next {again}?")
        link(_AGAIN, _START, "yes", "yes")
        link(_AGAIN, _EXIT + "done", "no", "no")
    return _placed(drawing, blocks, links, outer)


def _placed(drawing: Drawing, blocks: Mapping[str, Block], links: Sequence[Link], exits: Iterable[str]) -> Block:
    items = {
        key: Item(
            width=block.width, height=block.height, entry=block.entry, exact=key == _START,
            ports=dict(block.ports) | ({} if block.spawned is None else {_SPAWNED: block.spawned}),
        )
        for key, block in blocks.items()
    }  # fmt: skip
    for outcome in exits:
        width = slot_width(drawing.small(outcome))
        items[_EXIT + outcome] = Item(width=width, height=0, entry=4, last=True, exact=True)
    joins = any(link.target == _SPAWNED for link in links)
    if joins:
        items[_SPAWNED] = Item(width=8, height=0, entry=4, last=True, exact=True, rightmost=True)
    placement = place(items, links, _START)
    labels = [
        Label(x=x + 3, y=y + 1, text=link.label, style="failure" if link.style == "failure" else "small")
        for (x, y), link in placement.labels
    ]
    inner = [shape for key, block in blocks.items() for shape in block.shapes_at(*placement.corners[key])]
    return Block(
        width=placement.width,
        height=placement.height,
        entry=placement.corners[_START][0] + blocks[_START].entry,
        shapes=(*inner, *placement.strokes, *labels),
        ports={outcome: placement.corners[_EXIT + outcome][0] + 4 for outcome in exits},
        spawned=placement.corners[_SPAWNED][0] + 4 if joins else None,
    )


def _key(step: str) -> str:
    return f"/{step}"
