"""Whatever is enqueued, dequeued, cancelled and closed in whatever order: no element is lost and none comes twice."""

from __future__ import annotations

import itertools
from collections import Counter
from concurrent.futures import Future
from typing import Any

import numpy as np
from hypothesis import HealthCheck, settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from flowmesh.core import dtypes, errors
from flowmesh.core.cancellation import CancellationManager
from flowmesh.core.shapes import TensorShape
from flowmesh.resources.queues import (
    FIFOQueue,
    PaddingFIFOQueue,
    PriorityQueue,
    Queue,
    RandomShuffleQueue,
)


def _made(kind: str, capacity: int, minimum: int) -> Queue:
    shapes = [TensorShape([])]
    if kind == "priority":
        return PriorityQueue("q", [dtypes.int64], shapes, capacity)
    if kind == "padding":
        return PaddingFIFOQueue("q", [dtypes.int64], shapes, capacity)
    if kind == "shuffle":
        words = (number * 2654435761 % 2**32 for number in itertools.count(1))
        return RandomShuffleQueue(
            "q",
            [dtypes.int64],
            shapes,
            capacity,
            min_after_dequeue=min(minimum, capacity - 1),
            seeds=(1, 2),
            words=words,
        )
    return FIFOQueue("q", [dtypes.int64], shapes, capacity)


class Operations(RuleBasedStateMachine):
    """Random operations on one queue, with a ledger of every element."""

    @initialize(
        kind=st.sampled_from(["fifo", "padding", "priority", "shuffle"]),
        capacity=st.integers(1, 6),
        minimum=st.integers(0, 3),
    )
    def begin(self, kind: str, capacity: int, minimum: int) -> None:
        self.kind = kind
        self.queue = _made(kind, capacity, minimum)
        self.numbers = itertools.count()
        self.enqueues: list[tuple[Future[Any], CancellationManager, list[int]]] = []
        self.dequeues: list[tuple[Future[Any], CancellationManager]] = []
        self.closed = False

    def _components(self, numbers: list[int], many: bool) -> list[Any]:
        values = np.asarray(numbers if many else numbers[0], np.int64)
        return [values, values] if self.kind == "priority" else [values]

    @rule(count=st.integers(1, 4))
    def enqueue(self, count: int) -> None:
        numbers, manager = list(itertools.islice(self.numbers, count)), CancellationManager()
        if count == 1:
            future = self.queue.enqueue(self._components(numbers, False), manager)
        else:
            future = self.queue.enqueue_many(self._components(numbers, True), manager)
        self.enqueues.append((future, manager, numbers))

    @rule(count=st.integers(0, 4), up_to=st.booleans())
    def dequeue(self, count: int, up_to: bool) -> None:
        manager = CancellationManager()
        if count == 0:
            future: Future[Any] = self.queue.dequeue(manager)
        elif up_to:
            future = self.queue.dequeue_up_to(count, manager)
        else:
            future = self.queue.dequeue_many(count, manager)
        self.dequeues.append((future, manager))

    @rule(which=st.integers(0, 50), of_enqueues=st.booleans())
    def cancel(self, which: int, of_enqueues: bool) -> None:
        line: list[Any] = self.enqueues if of_enqueues else self.dequeues
        waiting = [entry for entry in line if not entry[0].done()]
        if waiting:
            future, manager, *_ = waiting[which % len(waiting)]
            manager.cancel(errors.CancelledError(None, None, "the step was aborted"))
            assert future.done() and isinstance(future.exception(), errors.CancelledError)

    @rule(cancel_pending=st.booleans())
    def close(self, cancel_pending: bool) -> None:
        self.queue.close(cancel_pending)
        self.closed = True

    def _taken(self) -> list[int]:
        values: list[int] = []
        for future, _ in self.dequeues:
            if future.done() and future.exception() is None:
                values.extend(np.atleast_1d(future.result()[-1]).tolist())
        return values

    @invariant()
    def nothing_is_lost_or_doubled(self) -> None:
        taken = Counter(self._taken())
        assert max(taken.values(), default=1) == 1
        sure: set[int] = set()
        possible: set[int] = set()
        for future, _, numbers in self.enqueues:
            possible |= set(numbers)  # a cancelled enqueue of many may have added some
            if future.done() and future.exception() is None:
                sure |= set(numbers)
        assert set(taken) <= possible
        assert len(sure - set(taken)) <= self.queue.size() + self._held()

    def _held(self) -> int:
        """Elements that waiting dequeues have taken out so far."""
        return sum(len(attempt.elements) for attempt in self.queue._dequeues)

    def teardown(self) -> None:
        """In the end all that was surely added, and was not taken, is still there."""
        if not hasattr(self, "queue"):
            return
        for future, manager in self.dequeues:
            if not future.done():
                manager.cancel(errors.CancelledError(None, None, "end"))
        self.queue.close(cancel_pending=True)
        left: list[int] = []
        while self.queue.size():
            left.append(int(self.queue.dequeue().result(0)[-1]))
        everything = Counter(self._taken() + left)
        assert max(everything.values(), default=1) == 1
        for future, _, numbers in self.enqueues:
            if future.done() and future.exception() is None:
                assert set(numbers) <= set(everything)


TestOperations = Operations.TestCase
TestOperations.settings = settings(
    max_examples=80,
    stateful_step_count=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
