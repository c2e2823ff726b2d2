"""What a server does for those that are connected to it on the direct plane."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any

from flowmesh.core import errors
from flowmesh.core.cancellation import CancellationManager
from flowmesh.core.deadline import Deadline
from flowmesh.core.errors import OpError
from flowmesh.distributed.interfaces import RunGraphCall, RunGraphResult
from flowmesh.distributed.master import Master
from flowmesh.distributed.staged_part import StagedPart
from flowmesh.distributed.transport.direct import channel as channels, frames, records
from flowmesh.distributed.transport.direct.channel import Message
from flowmesh.distributed.transport.direct.frames import Kind
from flowmesh.distributed.transport.direct.link import Link, Transfer
from flowmesh.distributed.transport.thread_pool import ElasticPool
from flowmesh.distributed.worker import Worker
from flowmesh.proto import config_pb2

RUN = struct.Struct("<qdBxxxxxxx")
"""Step, seconds left (negative: no limit), flags; the names follow."""
CLEANS_UP = 1
"""Nobody comes for tensors of the step once it has succeeded."""
TRACES = 2
"""The answer's last tensor is a StepStats message."""
PIECE = 4
"""A piece of a partial run."""
LAST = 8
"""The last piece."""
STEP = struct.Struct("<dB7x")
"""Seconds that the step may take (0: no limit), flags; session and feeds, fetches, and targets follow."""
TELLS = 1
"""The last tensor is a RunOptions message, the answer's last a RunMetadata message."""
CONTINUES = 2
"""A piece of a partial run: the only target is its handle."""
RECV = struct.Struct("<q")

MAX_CALLS = 4096
"""Requests of one connection that are under way at a time; more are refused."""
_WAITING = frozenset({Kind.RUN_GRAPH, Kind.RECV_TENSOR, Kind.RUN_STEP})
_MAX_KNOWN = 4096
_MAX_STEPS = 4096
"""Steps of clients that run at a time; more wait."""


class DirectService:
    """Requests from links, handed to the master and the worker of this process."""

    def __init__(self, worker: Worker, master: Master):
        self._worker = worker
        self._master = master
        self._pool = ElasticPool(_MAX_STEPS, "flowmesh-direct-step")

    def close(self) -> None:
        """Ends the threads that run steps for clients."""
        self._pool.shutdown(wait=True)

    # -- what links call -----------------------------------------------------------------------------------

    def request(self, link: Link, message: Message) -> None:
        """See `Service.request`."""
        handler = _HANDLERS.get(message.kind)
        if handler is None:
            error = errors.UnimplementedError(None, None, f"Unknown message {message.kind}")
            link.reply_error(message.request, error)
            return
        if len(link.serving) >= MAX_CALLS and message.kind in _WAITING:
            text = f"{MAX_CALLS} requests of this connection are under way: wait for some of them"
            link.reply_error(message.request, errors.ResourceExhaustedError(None, None, text))
            return
        try:
            handler(self, link, message)
        except (frames.MalformedError, struct.error):
            raise
        except Exception as exc:
            link.reply_error(message.request, exc)

    def pushed(self, link: Link, step_id: int, transfers: Sequence[Transfer], size: int) -> None:
        """See `Service.pushed`."""
        self._worker.deliver_all(step_id, transfers, lambda: link.consumed(size))

    def found(self, link: Link) -> None:
        """See `Service.found`."""
        self._worker.peer_found(link.identity)

    def lost(self, link: Link, error: OpError) -> None:
        """See `Service.lost`."""
        self._worker.peer_lost(link.identity, error)
        self._worker.leases.lost(link)
        self._master.leases.lost(link)
        while link.steps:
            # Nobody is left who would clean up.
            self._worker.cleanup_graph(link.steps.pop())

    # -- steps ---------------------------------------------------------------------------------------------

    def _run_graph(self, link: Link, message: Message) -> None:
        step_id, seconds, flags = RUN.unpack_from(message.meta)
        prefix = message.meta[RUN.size : message.head_size]
        known = link.known.get(prefix)
        if known is None:
            known = _names(prefix, 2)
            _remember(link, prefix, known)
        (session, graph, *fetches), feeds = known
        if len(feeds) != len(message.tensors):
            raise frames.MalformedError("the feeds are not those that are named")
        values = {n: frames.decode(t) for n, t in zip(feeds, message.tensors)}
        if seconds < 0 and flags == CLEANS_UP:
            part = self._worker.staged(session, graph)
            if part is not None:
                self._start(part, link, message.request, step_id, values, fetches)
                return
        call = RunGraphCall(session, graph, step_id, values, fetches, at_home=False)
        call.cleans_up, call.trace = bool(flags & CLEANS_UP), bool(flags & TRACES)
        call.partial, call.last = bool(flags & PIECE), bool(flags & LAST)
        cancellation = CancellationManager()
        link.steps.add(step_id)
        deadline = Deadline.after(seconds if seconds >= 0 else None)
        future = self._worker.run_graph(call, cancellation, deadline)
        if future.done():
            self._ran(link, message.request, fetches, future, step_id)
            return
        number = message.request
        link.serving[number] = cancellation
        future.add_done_callback(lambda f: self._ran(link, number, fetches, f, step_id))
        if not link.alive:
            cancellation.cancel(errors.CancelledError(None, None, "The connection was lost"))

    def _start(
        self,
        part: StagedPart,
        link: Link,
        number: int,
        step_id: int,
        values: dict[str, Any],
        fetches: Sequence[str],
    ) -> None:
        """A run that goes on in the threads which read what it waits for."""

        def done(results: dict[str, Any] | None, error: OpError | None) -> None:
            link.serving.pop(number, None)
            if results is None:
                link.reply_error(number, error or errors.InternalError(None, None, "no results"))
            else:
                link.steps.discard(step_id)
                self._reply(link, number, fetches, results, b"\1")
                channels.afterwards(part.prepare)

        run = part.run(step_id, done)
        link.steps.add(step_id)
        link.serving[number] = run
        run.start(values, at_home=False)
        if not link.alive:
            run.cancel(errors.CancelledError(None, None, "The connection was lost"))
            self._end_step(link, step_id)

    def _ran(
        self,
        link: Link,
        number: int,
        fetches: Sequence[str],
        future: Future[RunGraphResult],
        step_id: int,
    ) -> None:
        try:
            self._answer(link, number, fetches, future, step_id)
        finally:
            link.serving.pop(number, None)

    def _answer(
        self,
        link: Link,
        number: int,
        fetches: Sequence[str],
        future: Future[RunGraphResult],
        step_id: int,
    ) -> None:
        try:
            result = future.result()
        except BaseException as exc:
            link.reply_error(number, exc)
            if not link.alive:
                self._end_step(link, step_id)
            return
        if result.cleaned:
            link.steps.discard(step_id)
        elif not link.alive:
            self._end_step(link, step_id)
        head = b"\1" if result.cleaned else b"\0"
        self._reply(link, number, fetches, result.tensors, head, result.step_stats)

    @staticmethod
    def _reply(
        link: Link,
        number: int,
        fetches: Sequence[str],
        results: Mapping[str, Any],
        head: bytes,
        stats: Any = None,
    ) -> None:
        try:
            tensors = []
            for name in fetches:
                if name not in results:
                    raise errors.InvalidArgumentError(
                        None, None, f"The registered graph has no fetch {name}"
                    )
                tensors.append(frames.encode(results[name]))
            if stats is not None:
                tensors.append(records.encode(stats))
        except Exception as exc:
            link.reply_error(number, exc)
            return
        link.reply(number, head, tensors)

    def _cleanup(self, link: Link, message: Message) -> None:
        self._end_step(link, RECV.unpack_from(message.meta)[0])

    def _end_step(self, link: Link, step_id: int) -> None:
        link.steps.discard(step_id)
        self._worker.cleanup_graph(step_id)

    def _recv_tensor(self, link: Link, message: Message) -> None:
        (step_id,) = RECV.unpack_from(message.meta)
        (key,), _ = frames.unpack_strings(message.meta, RECV.size)
        cancellation = CancellationManager()
        number = message.request
        link.serving[number] = cancellation

        def answer(future: Future[Any]) -> None:
            try:
                value, is_dead = future.result()
                link.reply(number, b"", (frames.encode(None if is_dead else value),))
            except BaseException as exc:
                link.reply_error(number, exc)
            finally:
                link.serving.pop(number, None)

        self._worker.recv_tensor(step_id, key, cancellation).add_done_callback(answer)

    def _session(self, link: Link, message: Message) -> None:
        texts, _ = frames.unpack_strings(message.meta, 0)
        handle, *pairs = texts
        peers = dict(zip(pairs[::2], pairs[1::2]))
        self._worker.use_direct(handle, peers).result()
        self._worker.leases.used(handle, link)
        link.reply(message.request, b"")

    def _run_step(self, link: Link, message: Message) -> None:
        number = message.request
        cancellation = link.serving[number] = CancellationManager()
        self._pool.submit(self._step, link, message, cancellation)

    def _step(self, link: Link, message: Message, cancellation: CancellationManager) -> None:
        """A step of a client, on a thread of its own."""
        number = message.request
        try:
            tensors = self._run(link, message, cancellation)
        except BaseException as exc:
            link.reply_error(number, exc)
        else:
            link.reply(number, b"", tensors)
        finally:
            link.serving.pop(number, None)

    def _run(
        self, link: Link, message: Message, cancellation: CancellationManager
    ) -> list[frames.Encoded]:
        seconds, flags = STEP.unpack_from(message.meta)
        prefix = message.meta[STEP.size : message.head_size]
        known = link.known.get(prefix)
        if known is None:
            known = _names(prefix, 3)
            _remember(link, prefix, known)
        (handle, *feeds), fetches, targets = known
        tensors: Sequence[frames.Descriptor] = message.tensors
        options = metadata = None
        if flags & TELLS:
            tensors, options = records.take(tensors, config_pb2.RunOptions)
            metadata = config_pb2.RunMetadata()
        elif seconds > 0:
            options = config_pb2.RunOptions(timeout_in_ms=max(1, round(seconds * 1000)))
        if len(feeds) != len(tensors):
            raise errors.InvalidArgumentError(None, None, "RunStep: feeds and names differ")
        values = [(n, frames.decode(t)) for n, t in zip(feeds, tensors)]
        session = self._master.session(handle)
        with self._master.leases.using(handle, link):
            if flags & CONTINUES:
                results = session.partial_run(targets[0] if targets else "", values, fetches)
            else:
                results = session.run_step(
                    values, fetches, targets, options, metadata, cancellation
                )
        encoded = [frames.encode(v) for v in results]
        return encoded if metadata is None else [*encoded, records.encode(metadata)]


_HANDLERS: dict[int, Callable[[DirectService, Link, Message], None]] = {
    Kind.RUN_GRAPH: DirectService._run_graph,
    Kind.CLEANUP: DirectService._cleanup,
    Kind.RECV_TENSOR: DirectService._recv_tensor,
    Kind.SESSION: DirectService._session,
    Kind.RUN_STEP: DirectService._run_step,
}


def _names(data: bytes, lists: int) -> tuple[list[str], ...]:
    found = []
    offset = 0
    for _ in range(lists):
        texts, offset = frames.unpack_strings(data, offset)
        found.append(texts)
    return tuple(found)


def _remember(link: Link, prefix: bytes, known: Any) -> None:
    if len(link.known) >= _MAX_KNOWN:
        link.known.clear()
    link.known[prefix] = known
