"""A stage graph as text: a Mermaid `stateDiagram-v2`, written from the graph and nothing else.

How the node types look:

* a stage is a state, coloured by kind; a choice is a stage with several labelled ways out
* a `Flow` is a composite; a `finally` step stands on every way out of it
* a `ForEach` is a composite whose label says over what, and how many copies at once
* a `Spawn` is a <<fork>> with two ways out, to the spawned composite and on; the `Scope` that waits
  for it has a <<join>> before its end. Only this edge, spawned work to join, crosses a border
* a composite equal to one drawn before is a single state that says where it is drawn

Ids are full paths joined by `__`: Mermaid's ids are global, and many names come up in more than one
place. `--` regions are not used, since Mermaid fails on edges between composites inside them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count

from twinclock.graph import Flow, ForEach, Node, Scope, Spawn, Stage, exit_outcome, graph_hash, results, stages, walk

_RESERVED = {
    "root", "state", "note", "default", "class", "classdef", "style", "click", "scale",
    "title", "direction", "end", "as", "hide", "fork", "join", "choice",
}  # fmt: skip
_CLASSES = {
    "decide": "fill:#fff6d6,stroke:#8a6d00,color:#000",
    "work": "fill:#a9cdec,stroke:#1f4e79,color:#000",
    "wait": "fill:#e6e6e6,stroke:#555,color:#000,stroke-dasharray:5 3",
}
_END = "[*]"


def mermaid(root: Node) -> str:
    """The graph as Mermaid text. It must be sound: an edge to a step that isn't there is a KeyError."""
    out = _Text(places=first_places(root))
    _inside(out, root, "", 1, _END)
    for kind, style in _CLASSES.items():
        if out.of_kind.get(kind):
            out.lines += [f"    classDef {kind} {style}", f"    class {','.join(out.of_kind[kind])} {kind}"]
    return "\n".join(["stateDiagram-v2", *out.lines]) + "\n"


def terms(node: Node) -> str:
    """What a node holds while it runs, for how long and how often it is tried; "" if nothing special."""
    if isinstance(node, Spawn):
        return ""
    parts = [f"holds {units} {resource}" for resource, units in node.needs.items()]
    if node.retry.max_attempts > 1:
        parts.append(f"up to {node.retry.max_attempts} attempts")
    if node.timeout_s is not None:
        parts.append(f"timeout {node.timeout_s:g} s")
    return ", ".join(parts)


def repetition(node: ForEach) -> str:
    """`for each item in slot`, and how many copies may run at once."""
    at_once = {None: "all at once", 1: "one at a time"}.get(node.limit, f"at most {node.limit} at once")
    return f"for each {node.item} in {node.over} ({at_once})"


def outgoing(row: Mapping[str, str]) -> dict[str, list[str]]:
    """The targets of a step's edges, each with the outcomes that lead to it."""
    merged: dict[str, list[str]] = {}
    for outcome, target in row.items():
        merged.setdefault(target, []).append(outcome)
    return merged


def spawns(node: Node) -> bool:
    """Whether the node spawns work that it doesn't join itself."""
    match node:
        case Spawn():
            return True
        case Scope() | Stage():
            return False
        case ForEach():
            return spawns(node.body)
        case Flow():
            return any(spawns(step) for step in node.steps.values())


def first_places(root: Node) -> dict[str, str]:
    """Where each composite of at least two stages comes up first: its hash → the path of that place."""
    places: dict[str, str] = {}
    for path, node in walk(root):
        if _worth_naming(node):
            places.setdefault(graph_hash(node), path)
    return places


def repeat_of(node: Node, path: str, places: Mapping[str, str]) -> str | None:
    """The path of the earlier composite that `node`, at `path`, is equal to; None if it is the first."""
    if not _worth_naming(node):
        return None
    first = places[graph_hash(node)]
    return None if first == (path or "/") else first


def plain_name(body: Node) -> str:
    """What to call a body that no step has given a name."""
    match body:
        case Stage():
            return body.operation
        case Scope():
            return "scope"
        case Flow():
            return "steps"
        case ForEach() | Spawn():
            return ""


def name_of(path: str) -> str:
    """The last step's name in a path; "the root" if there is none."""
    named = [segment for segment in path.split("/") if segment not in ("", "[]")]
    return named[-1] if named else "the root"


def _worth_naming(node: Node) -> bool:
    return isinstance(node, (Flow, ForEach)) and len(list(stages(node))) > 1


@dataclass
class _Text:
    lines: list[str] = field(default_factory=list)
    of_kind: dict[str, list[str]] = field(default_factory=dict)
    """Kind → the ids of its stages."""
    places: Mapping[str, str] = field(default_factory=dict)
    ids: set[str] = field(default_factory=set)
    spawned: list[str] = field(default_factory=list)
    """Ids of the spawned composites that the innermost scope around has yet to join."""

    def line(self, depth: int, text: str) -> None:
        self.lines.append("    " * depth + text)

    def edge(self, depth: int, source: str, target: str, label: str = "") -> None:
        self.line(depth, f"{source} --> {target}" + (f" : {_words(label)}" if label else ""))

    def new_id(self, path: str) -> str:
        """The path with `__` between its steps, kept apart from every other id and from reserved words."""
        segments = ["each" if segment == "[]" else segment for segment in path.split("/") if segment]
        base = re.sub(r"\W", "_", "__".join(segments), flags=re.ASCII) or "it"
        if base.lower() in _RESERVED:
            base += "_"
        new = next(name for name in _numbered(base) if name not in self.ids)
        self.ids.add(new)
        return new


def _place(out: _Text, name: str, node: Node, path: str, depth: int) -> tuple[str, str]:
    """Writes a node as a state; the ids that edges into it and out of it are to use."""
    match node:
        case Stage():
            _stage(out, id_ := out.new_id(path), name, node, depth)
            return id_, id_
        case Spawn():
            fork = out.new_id(path + "__fork")
            out.line(depth, f"state {fork} <<fork>>")
            entry, exit_ = _place(out, name or plain_name(node.body), node.body, path, depth)
            out.edge(depth, fork, entry, "spawned")
            out.spawned.append(exit_)
            return fork, fork
    id_ = out.new_id(path)
    first = repeat_of(node, path, out.places)
    if first is not None:
        out.line(depth, f'state "{_words(name)} (as in {_words(name_of(first.rpartition("/")[0]))})" as {id_}')
        return id_, id_
    out.line(depth, f'state "{_words(_title(name, node))}" as {id_} {{')
    _content(out, node, path, depth + 1)
    out.line(depth, "}")
    return id_, id_


def _inside(out: _Text, body: Node, path: str, depth: int, end: str) -> None:
    """Writes the body of a composite: a flow's steps directly, anything else as the one state inside."""
    if isinstance(body, Flow) and repeat_of(body, path, out.places) is None:
        _steps(out, body, path, depth, end)
    else:
        entry, exit_ = _place(out, plain_name(body), body, path, depth)
        out.edge(depth, "[*]", entry)
        out.edge(depth, exit_, end, " or ".join(results(body)))


def _content(out: _Text, node: Flow | ForEach | Scope, path: str, depth: int) -> None:
    match node:
        case Flow():
            _steps(out, node, path, depth, _END)
        case ForEach():
            _inside(out, node.body, path + "/[]", depth, _END)
        case Scope() if spawns(node.body):
            around, out.spawned = out.spawned, []
            join = out.new_id(path + "__join")
            out.line(depth, f"state {join} <<join>>")
            _inside(out, node.body, path, depth, join)
            for spawned in out.spawned:
                out.edge(depth, spawned, join, "joined")
            out.edge(depth, join, _END, " or ".join(results(node)))
            out.spawned = around
        case Scope():
            _inside(out, node.body, path, depth, _END)


def _steps(out: _Text, flow: Flow, path: str, depth: int, end: str) -> None:
    entries: dict[str, str] = {}
    exits: dict[str, str] = {}
    for step, node in flow.steps.items():
        shown = f"{step} (finally, on every way out)" if step == flow.finally_ else step
        entries[step], exits[step] = _place(out, shown, node, f"{path}/{step}", depth)
    leaving = end if flow.finally_ is None else entries[flow.finally_]
    out.edge(depth, "[*]", entries[flow.start])
    for step, row in flow.edges.items():
        for target, outcomes in outgoing(row).items():
            exit_ = exit_outcome(target)
            label = ", ".join(outcomes) + ("" if exit_ in (None, *outcomes[:1]) else f" (exit {exit_})")
            out.edge(depth, exits[step], entries[target] if exit_ is None else leaving, label)
    if flow.finally_ is not None:
        out.edge(depth, exits[flow.finally_], end, " or ".join(results(flow)))


def _stage(out: _Text, id_: str, name: str, stage: Stage, depth: int) -> None:
    held = terms(stage)
    label = _words(f"{name} ({held})" if held else name)
    out.line(depth, f'state "{label}" as {id_}')
    out.of_kind.setdefault(stage.kind, []).append(id_)


def _title(name: str, node: Flow | ForEach | Scope) -> str:
    parts = [name] if name else []
    match node:
        case ForEach():
            parts += [repetition(node), terms(node)]
            if isinstance(node.body, Flow) and terms(node.body):
                parts.append(f"each {terms(node.body)}")
        case Scope():
            parts += [terms(node), "ends when all it spawned has ended" if spawns(node.body) else ""]
        case Flow():
            parts.append(terms(node))
    return ", ".join(filter(None, parts))


def _words(text: str) -> str:
    """The text without the characters that mean something to Mermaid inside a label."""
    return re.sub(r"\s+", " ", re.sub(r'["#;:<>{}\\\\]', " ", text)).strip()


def _numbered(base: str) -> Iterator[str]:
    yield base
    for number in count(2):
        yield f"{base}_{number}"
