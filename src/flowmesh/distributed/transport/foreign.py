"""Parts of graphs as TensorFlow's masters send them, in terms of the ops that there are here."""

from __future__ import annotations

from typing import Any

_START, _UPDATE = "_ParallelConcatStart", "_ParallelConcatUpdate"


def in_our_terms(graph_def: Any) -> Any:
    """The same part, without updates in place: a ParallelConcat has become a buffer, writes to its rows, and an Identity of
    the buffer that waits for them; they are made one op again."""
    starts = {node.name: node for node in graph_def.node if node.op == _START}
    if not starts:
        return graph_def
    updates = {node.name: node for node in graph_def.node if node.op == _UPDATE}
    kept = type(graph_def)(versions=graph_def.versions, library=graph_def.library)
    for node in graph_def.node:
        source = node.input[0].partition(":")[0] if node.input else ""
        if source in starts and node.op == "Identity":
            _join(kept.node.add(), node, starts[source], updates)
        elif node.name not in starts and node.name not in updates:
            kept.node.add().CopyFrom(node)
    return kept


def _join(joined: Any, identity: Any, start: Any, updates: dict[str, Any]) -> None:
    waits = [text[1:] for text in identity.input if text.startswith("^")]
    rows = sorted(
        (updates[name] for name in waits if name in updates), key=lambda n: n.attr["loc"].i
    )
    joined.name, joined.op, joined.device = identity.name, "ParallelConcat", identity.device
    joined.input.extend(row.input[1] for row in rows)
    others = [f"^{name}" for name in waits if name not in updates]
    others += [text for node in (start, *rows) for text in node.input if text.startswith("^")]
    joined.input.extend(dict.fromkeys(others))
    joined.attr["N"].i = len(rows)
    joined.attr["T"].type = start.attr["dtype"].type
    joined.attr["shape"].CopyFrom(start.attr["shape"])
