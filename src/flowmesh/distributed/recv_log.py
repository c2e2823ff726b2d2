"""The log of the tensors that other tasks fetched from this one (TensorFlow: the worker's `Logging` method)."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from flowmesh.proto import step_stats_pb2
from flowmesh.runtime.rendezvous import parse_key

_MAX_STEPS = 1000


class RecvLog:
    """StepStats by step, kept while logging is on. Thread-safe."""

    def __init__(self, task: str):
        self.enabled = False
        self._task = task
        self._lock = threading.Lock()
        self._steps: OrderedDict[int, Any] = OrderedDict()

    @staticmethod
    def now() -> int:
        """Microseconds since the epoch."""
        return time.time_ns() // 1000

    def record(self, step_id: int, key: str, started: int, value: Any) -> None:
        """Notes that a tensor was handed out."""
        source, _, destination, name, _ = parse_key(key)
        took = max(1, self.now() - started)
        with self._lock:
            stats = self._steps.get(step_id)
            if stats is None:
                stats = self._steps[step_id] = step_stats_pb2.StepStats()
                if len(self._steps) > _MAX_STEPS:
                    self._steps.popitem(last=False)
            device = next((d for d in stats.dev_stats if d.device == source), None)
            if device is None:
                device = stats.dev_stats.add(device=source)
            size = int(getattr(value, "nbytes", 0))
            device.node_stats.add(
                node_name="RecvTensor",
                timeline_label=f"[{size}B] {name} from {source} to {destination}",
                all_start_micros=started,
                op_end_rel_micros=took,
                all_end_rel_micros=took,
            )

    def control(
        self, enable: bool, disable: bool, clear: bool, fetch_step_ids: Sequence[int]
    ) -> list[tuple[int, Any]]:
        """Switches the log on or off, returns the stats of some steps, empties it."""
        if enable:
            self.enabled = True
        if disable:
            self.enabled = False
        with self._lock:
            found = [(i, self._steps[i]) for i in fetch_step_ids if i in self._steps]
            if clear:
                self._steps.clear()
        return found
