"""What a traced step recorded, as the StepStats of RunMetadata."""

from __future__ import annotations

from typing import Any

import numpy as np

from flowmesh.core import dtypes
from flowmesh.proto import step_stats_pb2
from flowmesh.runtime.trace import NodeRecord, TraceCollector


def to_step_stats(trace: TraceCollector) -> Any:
    """The StepStats message of one task's trace."""
    stats = step_stats_pb2.StepStats()
    names = trace.thread_names()
    for device, records in trace.devices().items():
        per_device = stats.dev_stats.add(device=device)
        for record in records:
            _fill(per_device.node_stats.add(), record)
        for number in {r.thread_id for r in records}:
            per_device.thread_names[number] = names.get(number, "")
    return stats


def _fill(node: Any, record: NodeRecord) -> None:
    start = record.start
    node.node_name = record.name
    node.timeline_label = record.label
    node.thread_id = record.thread_id & 0xFFFFFFFF
    node.all_start_nanos = start
    node.all_start_micros = start // 1000
    node.scheduled_nanos = record.scheduled
    node.scheduled_micros = record.scheduled // 1000
    took = max(0, record.end - start)
    node.op_end_rel_nanos = node.all_end_rel_nanos = took
    node.op_end_rel_micros = node.all_end_rel_micros = max(1, took // 1000)
    for output in record.outputs:
        described = node.output.add(slot=output.slot).tensor_description
        described.dtype = _enum(output.dtype)
        described.shape.SetInParent()
        for size in output.shape:
            described.shape.dim.add(size=size)
        described.allocation_description.requested_bytes = output.nbytes
        described.allocation_description.allocated_bytes = output.nbytes


def _enum(dtype: Any) -> int:
    if np.dtype(dtype).kind == "O":
        return dtypes.string.as_datatype_enum
    try:
        return dtypes.as_dtype(dtype).as_datatype_enum
    except TypeError:
        return 0
