"""Timelines: step statistics as a trace for chrome://tracing and Perfetto (TensorFlow: `timeline.Timeline`)."""

from __future__ import annotations

import json
from typing import Any


class Timeline:
    """The trace of one step, from `run_metadata.step_stats`; one process row per device, one thread row per lane."""

    def __init__(self, step_stats: Any, graph: Any = None) -> None:
        self._step_stats = step_stats
        self._graph = graph

    def generate_chrome_trace_format(
        self, show_dataflow: bool = True, show_memory: bool = False
    ) -> str:
        """JSON in Chrome's trace event format; times in microseconds.

        `show_dataflow` draws arrows from the producers of a node's inputs; `show_memory` adds a counter of output bytes.
        """
        events: list[dict[str, Any]] = []
        producers: dict[str, tuple[int, int, int]] = {}
        flows = 0
        for pid, device in enumerate(self._step_stats.dev_stats, start=1):
            events.append(
                {
                    "name": "process_name",
                    "ph": "M",
                    "pid": pid,
                    "args": {"name": f"{device.device} Compute"},
                }
            )
            for node in device.node_stats:
                end = node.all_start_micros + max(node.all_end_rel_micros, 1)
                producers[node.node_name] = (pid, node.thread_id, end)
        for pid, device in enumerate(self._step_stats.dev_stats, start=1):
            live = 0
            for node in device.node_stats:
                events.append(_node_event(node, pid))
                if show_dataflow:
                    for source in _inputs_of(node.timeline_label):
                        if source in producers:
                            flows += 1
                            events.extend(_flow(flows, producers[source], node, pid))
                if show_memory:
                    live += sum(
                        o.tensor_description.allocation_description.requested_bytes
                        for o in node.output
                    )
                    events.append(
                        {
                            "name": f"{device.device} outputs", "ph": "C", "pid": pid, "cat": "Memory",
                            "ts": node.all_start_micros, "args": {"bytes": live},
                        }
                    )  # fmt: skip
        return json.dumps({"traceEvents": events}, indent=1)


def _op_type(node: Any) -> str:
    label = node.timeline_label
    if " = " in label:
        return label.split(" = ", 1)[1].split("(", 1)[0].strip()
    return node.node_name.rpartition("/")[2].rstrip("0123456789").rstrip("_") or node.node_name


def _inputs_of(label: str) -> list[str]:
    if "(" not in label or not label.endswith(")"):
        return []
    inner = label[label.index("(") + 1 : -1]
    return [part.strip().partition(":")[0].lstrip("^") for part in inner.split(",") if part.strip()]


def _node_event(node: Any, pid: int) -> dict[str, Any]:
    args: dict[str, Any] = {"name": node.node_name, "op": _op_type(node)}
    for i, source in enumerate(_inputs_of(node.timeline_label)):
        args[f"input{i}"] = source
    return {
        "name": _op_type(node), "cat": "Op", "ph": "X", "pid": pid, "tid": node.thread_id,
        "ts": node.all_start_micros, "dur": max(node.all_end_rel_micros, 1), "args": args,
    }  # fmt: skip


def _flow(number: int, producer: tuple[int, int, int], node: Any, pid: int) -> list[dict[str, Any]]:
    from_pid, from_tid, end = producer
    common = {"name": "dataflow", "cat": "DataFlow", "id": number}
    return [
        {**common, "ph": "s", "pid": from_pid, "tid": from_tid, "ts": end - 1},
        {
            **common,
            "ph": "t",
            "pid": pid,
            "tid": node.thread_id,
            "ts": max(node.all_start_micros, end - 1),
        },
    ]
