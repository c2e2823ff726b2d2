"""Why an input pipeline stands still: which queue is empty or full, who fills it, and who waits for whom."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from flowmesh.core import errors
from flowmesh.core.platform import tf_logging
from flowmesh.graph.collections import GraphKeys
from flowmesh.graph.raw import raw
from flowmesh.proto.config_pb2 import RunOptions
from flowmesh.training.coordinator import Coordinator, LooperThread

_SOURCES = ("FIFOQueue", "PaddingFIFOQueue", "RandomShuffleQueue", "PriorityQueue")
_ASK_MS = 5000  # how long a task may take to say how full its queues are
_UNBOUNDED = 2**31 - 1


@dataclass
class QueueState:
    """One queue of a graph, as far as this process can tell."""

    name: str
    kind: str
    capacity: int
    size: int | None = None
    closed: bool | None = None
    threads: list[str] = field(default_factory=list)
    has_runner: bool = False
    upstream: list[str] = field(default_factory=list)

    @property
    def empty(self) -> bool:
        """Whether it is known to have nothing."""
        return self.size == 0

    @property
    def full(self) -> bool:
        """Whether it is known to have no room."""
        return self.size is not None and self.size >= self.capacity

    def described(self) -> str:
        """One line about the queue."""
        size = "?" if self.size is None else str(self.size)
        room = "any number" if self.capacity >= _UNBOUNDED else str(self.capacity)
        state = {None: "state unknown", True: "closed", False: "open"}[self.closed]
        if self.threads:
            filled = f"filled by {len(self.threads)} thread{'s' * (len(self.threads) > 1)}"
        elif self.has_runner:
            filled = "its queue runner has no running thread"
        else:
            filled = "no queue runner"
        after = f", from {', '.join(self.upstream)}" if self.upstream else ""
        return f"{self.name} ({self.kind}): {size} of {room} elements, {state}; {filled}{after}"


def _is_queue(op: Any) -> bool:
    return op.type.removesuffix("V2") in _SOURCES


def _behind(handle: Any) -> Any:
    """The operation that makes the queue behind a handle, through branches and identities."""
    op = getattr(handle, "op", handle)
    while not _is_queue(op) and op.inputs:
        op = op.inputs[0].op
    return op


def _taken_from(enqueue: Any) -> Iterator[str]:
    """The names of the queues that an operation takes elements or work items from."""
    seen, pending = set(), [getattr(enqueue, "op", enqueue)]
    while pending:
        op = pending.pop()
        if op in seen:
            continue
        seen.add(op)
        kind = op.type.removesuffix("V2")
        if kind.startswith("QueueDequeue"):
            yield _behind(op.inputs[0]).name
        elif kind in ("ReaderRead", "ReaderReadUpTo"):
            yield _behind(op.inputs[1]).name
        else:
            pending += [t.op for t in op.inputs]
            pending += op.control_inputs


def _states(graph: Any) -> dict[str, QueueState]:
    """The queues of a graph, with their runners and where those take from."""
    states = {}
    for op in graph.get_operations():
        if _is_queue(op):
            capacity = op.get_attr("capacity")
            room = _UNBOUNDED if capacity < 0 else capacity
            states[op.name] = QueueState(op.name, op.type, room)
    running = [t.name for t in threading.enumerate() if t.is_alive()]
    for runner in graph.get_collection(GraphKeys.QUEUE_RUNNERS):
        for op in runner.enqueue_ops:
            target = next(iter(_put_into(op)), None)
            state = states.get(target or runner.name)
            if state is None:
                continue
            state.has_runner = True
            thread = f"QueueRunnerThread-{runner.name}-{op.name}"
            state.threads += [name for name in running if name == thread][
                len([t for t in state.threads if t == thread]) :
            ]
            found = [n for n in _taken_from(op) if n not in (state.name, *state.upstream)]
            state.upstream += dict.fromkeys(found)
    return states


def _put_into(op: Any) -> Iterator[str]:
    """The queues that an operation puts elements into, through groups and branches."""
    seen, pending = set(), [getattr(op, "op", op)]
    while pending:
        op = pending.pop()
        if op in seen:
            continue
        seen.add(op)
        if op.type.startswith("QueueEnqueue"):
            yield _behind(op.inputs[0]).name
        elif op.type in ("NoOp", "Merge", "Identity", "Switch"):
            pending += [t.op for t in op.inputs]
            pending += op.control_inputs


def _questions(graph: Any, states: dict[str, QueueState]) -> dict[tuple[str, str], Any]:
    """The tensors that tell size and closing of each queue: those there are, and new ones unless the graph is final."""
    found: dict[tuple[str, str], Any] = {}
    for op in graph.get_operations():
        what = op.type.removesuffix("V2")
        if what in ("QueueSize", "QueueIsClosed"):
            found.setdefault((_behind(op.inputs[0]).name, what), op.outputs[0])
    if graph.finalized:
        return found
    with graph.as_default(), graph.control_dependencies(None):
        for name in states:
            handle = graph.get_operation_by_name(name).outputs[0]
            suffix = "" if handle.dtype._is_ref_dtype else "V2"
            for what in ("QueueSize", "QueueIsClosed"):
                if (name, what) not in found:
                    make = getattr(raw, what + suffix)
                    with graph.device(handle.device):
                        found[name, what] = make(handle, name=f"pipeline_report/{name}/{what}")
    return found


def pipeline_states(sess: Any) -> list[QueueState]:
    """The queues of the session's graph: sizes, who fills them and from where. Takes at most 5 seconds of a run.

    Sizes that cannot be had (the graph is final and has no `size` op, the task does not answer) are None.
    """
    graph = sess.graph
    states = _states(graph)
    questions = _questions(graph, states)
    keys = [key for key in questions if key[0] in states]
    try:
        options = RunOptions(timeout_in_ms=_ASK_MS)
        answers = sess.run([questions[key] for key in keys], options=options) if keys else []
    except errors.OpError as error:
        tf_logging.warning("No sizes of queues for the pipeline report: %s", error.message)
        answers = []
    for (name, what), value in zip(keys, answers):
        if what == "QueueSize":
            states[name].size = int(value)
        else:
            states[name].closed = bool(value)
    return list(states.values())


def _reasons(states: list[QueueState]) -> Iterator[str]:
    """Who waits on what, and the ends of those chains."""
    by_name = {s.name: s for s in states}
    for state in states:
        if state.closed:
            continue
        if state.full and state.threads:
            yield f"{state.name} is full: what fills it waits until somebody takes elements out."
        if not state.empty:
            continue
        for name in state.upstream:
            source = by_name.get(name)
            if source is not None and source.empty and not source.closed and state.threads:
                yield f"{state.name} is empty: what fills it waits for {name}."
        if state.threads:
            continue
        if state.has_runner:
            yield (
                f"Nobody enqueues into {state.name}: its queue runner has no running thread in this process. Start it with "
                "tf.train.start_queue_runners(sess, coord), or look at the error that ended it."
            )
        else:
            yield (
                f"Nobody is known to enqueue into {state.name}: it has no queue runner, so the elements must come from "
                "another client or another part of the program."
            )


def is_stuck(states: list[QueueState]) -> bool:
    """Whether some open queue is empty and nothing in this process can bring it elements."""
    by_name = {s.name: s for s in states}

    def starves(state: QueueState, above: tuple[str, ...] = ()) -> bool:
        if not state.empty or state.closed or state.name in above:
            return False
        if not state.threads:
            return True
        sources = [by_name[n] for n in state.upstream if n in by_name]
        return any(starves(s, (*above, state.name)) for s in sources)

    return any(starves(state) for state in states)


def pipeline_report(sess: Any) -> str:
    """The queues of the session's graph and why they stand still, as text for a person.

    One line per queue (size, capacity, open or closed, how many threads of this process fill it, from which queues), then one
    per reason: who waits on what, and which queue nobody enqueues into.
    """
    return _text(pipeline_states(sess))


def _text(states: list[QueueState]) -> str:
    if not states:
        return "The graph has no queues."
    lines = [f"Input pipeline with {len(states)} queue{'s' * (len(states) > 1)}:"]
    lines += [f"  {state.described()}" for state in states]
    reasons = list(_reasons(states))
    lines += [f"  -> {reason}" for reason in reasons] or ["  Nothing waits for ever."]
    return "\n".join(lines)


class Standstill:
    """Logs a `pipeline_report`, once, when the pipeline is stuck and its runners did nothing between two looks.

    `start_queue_runners` looks once a minute; a `PipelineWatch` is for programs that fill their queues otherwise.
    """

    def __init__(self, sess: Any) -> None:
        self._sess = sess
        self._before: Any = None
        self._reported = False

    def look(self) -> bool:
        """Compares with the last look; returns whether a standstill was reported now."""
        runners = self._sess.graph.get_collection(GraphKeys.QUEUE_RUNNERS)
        now = [getattr(runner, "enqueued", 0) for runner in runners]
        still, self._before = now == self._before, now
        if not still:
            self._reported = False
        if not still or self._reported:
            return False
        states = pipeline_states(self._sess)
        if is_stuck(states):
            self._reported = True
            tf_logging.warning("The input pipeline is stuck. %s", _text(states))
        return self._reported


class PipelineWatch(LooperThread):
    """Looks for a standstill every `after_secs` seconds.

        watch = PipelineWatch(sess, coord, after_secs=60)
        watch.start()

    It ends with the coordinator. Each standstill is reported once.
    """

    def __init__(self, sess: Any, coord: Coordinator, after_secs: float = 60.0) -> None:
        super().__init__(coord, after_secs)
        self.name = "PipelineWatch"
        self._standstill = Standstill(sess)

    def run_loop(self) -> None:
        """One look."""
        self._standstill.look()
