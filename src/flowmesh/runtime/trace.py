"""What ran when: the record of one traced step, as plain objects."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass
class OutputRecord:
    """One output of a node."""

    slot: int
    dtype: Any
    shape: tuple[int, ...]
    nbytes: int


@dataclass
class NodeRecord:
    """One node in one step (TensorFlow: `NodeExecStats`). Times are in nanoseconds since the epoch."""

    name: str
    label: str
    scheduled: int
    start: int
    end: int
    thread_id: int
    outputs: list[OutputRecord] = field(default_factory=list)


class TraceCollector:
    """Collects the records of a step, by device. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._records: dict[str, list[NodeRecord]] = {}
        self._threads: dict[int, str] = {}
        self._offset = time.time_ns() - time.perf_counter_ns()

    def now(self) -> int:
        """Nanoseconds since the epoch, monotonic."""
        return time.perf_counter_ns() + self._offset

    def record(
        self,
        device: str,
        name: str,
        label: str,
        start: int,
        end: int,
        outputs: Sequence[Any] = (),
        scheduled: int | None = None,
    ) -> None:
        """Adds one node; `outputs` are its runtime values."""
        described = [
            OutputRecord(i, v.dtype, tuple(v.shape), int(getattr(v, "nbytes", 0)))
            for i, v in enumerate(outputs)
            if hasattr(v, "shape") and hasattr(v, "dtype") and hasattr(v, "nbytes")
        ]
        thread = threading.current_thread()
        number = threading.get_native_id()
        node = NodeRecord(
            name, label, start if scheduled is None else scheduled, start, end, number, described
        )
        with self._lock:
            self._records.setdefault(device, []).append(node)
            self._threads[number] = thread.name

    def devices(self) -> dict[str, list[NodeRecord]]:
        """The records of each device, by start."""
        with self._lock:
            return {
                device: sorted(records, key=lambda r: (r.start, r.name))
                for device, records in sorted(self._records.items())
            }

    def thread_names(self) -> dict[int, str]:
        """The names of the threads that ran something."""
        with self._lock:
            return dict(self._threads)
