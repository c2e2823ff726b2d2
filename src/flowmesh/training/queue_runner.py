"""Threads that fill queues (TensorFlow: `tf.train.QueueRunner`)."""

from __future__ import annotations

import contextlib
import threading
import warnings
import weakref
from collections.abc import Callable, Sequence
from typing import Any

from flowmesh.client.session import BaseSession
from flowmesh.core import errors
from flowmesh.core.platform import tf_logging
from flowmesh.frontend import collection_protos
from flowmesh.graph import default_stack
from flowmesh.graph.collections import GraphKeys
from flowmesh.graph.graph import get_default_graph
from flowmesh.graph.operation import Operation
from flowmesh.proto import queue_runner_pb2
from flowmesh.training.coordinator import Coordinator
from flowmesh.training.input_report import Standstill

_STILL_SECS = 60.0  # between two looks whether the pipeline stands still


class QueueRunner:
    """Enqueue operations of one queue, each to be run again and again by a thread of its own.

    When all have come to an end (`queue_closed_exception_types`, OutOfRangeError by default) the queue is closed; when the
    coordinator stops it is cancelled.
    """

    def __init__(
        self,
        queue: Any = None,
        enqueue_ops: Any = None,
        close_op: Any = None,
        cancel_op: Any = None,
        queue_closed_exception_types: Any = None,
        queue_runner_def: Any = None,
        import_scope: str | None = None,
    ) -> None:
        if queue_runner_def is not None:
            if queue is not None or enqueue_ops is not None:
                raise ValueError("queue_runner_def and queue are mutually exclusive.")
            self._init_from_proto(queue_runner_def, import_scope)
        else:
            if not queue or not enqueue_ops:
                raise ValueError("Must provide queue and enqueue_ops.")
            self._queue = queue
            self._enqueue_ops = list(enqueue_ops)
            self._close_op = queue.close() if close_op is None else close_op
            self._cancel_op = (
                queue.close(cancel_pending_enqueues=True) if cancel_op is None else cancel_op
            )
            self._closed_types = _checked_types(queue_closed_exception_types)
        self._lock = threading.Lock()
        self._runs_per_session: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()
        self._exceptions_raised: list[BaseException] = []
        self._standstill: Standstill | None = None
        self.enqueued = 0
        """How many runs of the enqueue operations have ended well: whether the runner moves."""

    def _init_from_proto(self, message: Any, import_scope: str | None) -> None:
        graph = get_default_graph()
        prefix = f"{import_scope.rstrip('/')}/" if import_scope else ""
        self._queue = graph.as_graph_element(prefix + message.queue_name)
        self._enqueue_ops = [graph.as_graph_element(prefix + n) for n in message.enqueue_op_name]
        self._close_op = graph.as_graph_element(prefix + message.close_op_name)
        self._cancel_op = graph.as_graph_element(prefix + message.cancel_op_name)
        codes = message.queue_closed_exception_types
        types = [errors.exception_type_from_error_code(code) for code in codes]
        self._closed_types = tuple(types) or (errors.OutOfRangeError,)

    @property
    def queue(self) -> Any:
        """The queue."""
        return self._queue

    @property
    def enqueue_ops(self) -> list[Any]:
        """The enqueue operations."""
        return self._enqueue_ops

    @property
    def close_op(self) -> Any:
        """The operation that closes the queue."""
        return self._close_op

    @property
    def cancel_op(self) -> Any:
        """The operation that closes the queue and cancels what waits to be enqueued."""
        return self._cancel_op

    @property
    def queue_closed_exception_types(self) -> tuple[Any, ...]:
        """The exceptions that mean the end of the input."""
        return self._closed_types

    @property
    def exceptions_raised(self) -> list[BaseException]:
        """The exceptions of threads that have no coordinator."""
        return self._exceptions_raised

    @property
    def name(self) -> str:
        """The name of the queue."""
        return str(self._queue.name)

    def was_started(self, sess: Any) -> bool:
        """Whether threads have been made for the session, running or ended."""
        return sess in self._runs_per_session

    def create_threads(
        self, sess: Any, coord: Coordinator | None = None, daemon: bool = False, start: bool = False
    ) -> list[threading.Thread]:
        """The threads that fill the queue in a session; none when they are running already."""
        with self._lock:
            if self._runs_per_session.get(sess, 0) > 0:
                return []
            self._runs_per_session[sess] = len(self._enqueue_ops)
            self._exceptions_raised = []
        threads = [
            threading.Thread(
                target=self._run,
                args=(sess, op, coord),
                name=f"QueueRunnerThread-{self.name}-{op.name}",
            )
            for op in self._enqueue_ops
        ]
        if coord is not None:
            threads.append(
                threading.Thread(
                    target=self._close_on_stop,
                    args=(sess, self._cancel_op, coord),
                    name=f"QueueRunnerThread-{self.name}-close_on_stop",
                )
            )
        for thread in threads:
            if coord is not None:
                coord.register_thread(thread)
            if daemon:
                thread.daemon = True
            if start:
                thread.start()
        return threads

    def _run(self, sess: Any, enqueue_op: Any, coord: Coordinator | None) -> None:
        ended = False
        try:
            enqueue = self._caller(sess, enqueue_op)
            while coord is None or not coord.should_stop():
                try:
                    self.enqueued += enqueue()
                except self._closed_types:
                    ended = True
                    self._end_one(sess)
                    return
        except Exception as error:
            if coord is not None:
                coord.request_stop(error)
                return
            tf_logging.error("Exception in QueueRunner: %s", error)
            with self._lock:
                self._exceptions_raised.append(error)
        finally:
            if not ended:
                with self._lock:
                    self._runs_per_session[sess] -= 1

    def _caller(self, sess: Any, enqueue_op: Any) -> Callable[[], int]:
        """What a thread calls again and again: runs of the operation, of which there were as many as it returns."""
        if isinstance(sess, BaseSession) and isinstance(enqueue_op, Operation):
            return sess._make_repeated(enqueue_op)
        return _counted(sess.make_callable(enqueue_op))

    def _end_one(self, sess: Any) -> None:
        with self._lock:
            self._runs_per_session[sess] -= 1
            last = self._runs_per_session[sess] == 0
        if last:
            try:
                sess.run(self._close_op)
            except Exception as error:
                tf_logging.info("Ignored exception: %s", error)

    def _close_on_stop(self, sess: Any, cancel_op: Any, coord: Coordinator) -> None:
        while not coord.wait_for_stop(timeout=_STILL_SECS):
            if self._standstill is not None:
                with contextlib.suppress(Exception):  # a report is no reason to fail
                    self._standstill.look()
        try:
            sess.run(cancel_op)
        except Exception as error:
            tf_logging.info("Ignored exception: %s", error)

    def to_proto(self, export_scope: str | None = None) -> Any:
        """The QueueRunnerDef message; None when the queue is outside of `export_scope`."""
        prefix = f"{export_scope.rstrip('/')}/" if export_scope else ""
        if not self._queue.name.startswith(prefix):
            return None

        def name(element: Any) -> str:
            return str(element.name.removeprefix(prefix))

        codes: Any = [errors.error_code_from_exception_type(cls) for cls in self._closed_types]
        return queue_runner_pb2.QueueRunnerDef(
            queue_name=name(self._queue),
            enqueue_op_name=[name(op) for op in self._enqueue_ops],
            close_op_name=name(self._close_op),
            cancel_op_name=name(self._cancel_op),
            queue_closed_exception_types=codes,
        )

    @staticmethod
    def from_proto(queue_runner_def: Any, import_scope: str | None = None) -> QueueRunner:
        """The queue runner that a QueueRunnerDef describes, in the default graph."""
        return QueueRunner(queue_runner_def=queue_runner_def, import_scope=import_scope)


class FeedingQueueRunner(QueueRunner):
    """A queue runner whose enqueue operations are each fed what a function of its own returns, a dict.

    A function ends its input with an exception of `queue_closed_exception_types`.
    """

    def __init__(
        self, queue: Any, enqueue_ops: Any, feed_fns: Sequence[Callable[[], Any]], **kwargs: Any
    ) -> None:
        super().__init__(queue, enqueue_ops, **kwargs)
        self._feed_fns = dict(zip(self._enqueue_ops, feed_fns, strict=True))

    def _caller(self, sess: Any, enqueue_op: Any) -> Callable[[], int]:
        feed = self._feed_fns[enqueue_op]
        return _counted(lambda: sess.run(enqueue_op, feed()))

    def to_proto(self, export_scope: str | None = None) -> Any:
        """None: functions cannot be written down."""
        return None


def _counted(run: Callable[[], Any]) -> Callable[[], int]:
    """The same as what does one run and says so."""

    def once() -> int:
        run()
        return 1

    return once


def _checked_types(types: Any) -> tuple[Any, ...]:
    if types is None:
        return (errors.OutOfRangeError,)
    if (
        not isinstance(types, tuple)
        or not types
        or not all(isinstance(t, type) and issubclass(t, errors.OpError) for t in types)
    ):
        raise TypeError(
            f"queue_closed_exception_types, when provided, must be a tuple of tf.error types, but saw: {types}"
        )
    return types


def add_queue_runner(qr: QueueRunner, collection: str = GraphKeys.QUEUE_RUNNERS) -> None:
    """Adds a queue runner to a collection of the default graph (TensorFlow: `tf.train.add_queue_runner`)."""
    get_default_graph().add_to_collection(collection, qr)


def start_queue_runners(
    sess: Any = None,
    coord: Coordinator | None = None,
    daemon: bool = True,
    start: bool = True,
    collection: str = GraphKeys.QUEUE_RUNNERS,
) -> list[threading.Thread]:
    """Starts the threads of all queue runners of a graph, and returns them (TensorFlow: `tf.train.start_queue_runners`).

    With a coordinator, a pipeline that comes to a standstill (nobody enqueues, everybody waits) is logged once, with who waits for
    what.

    Raises ValueError without a session, TypeError for what is none.
    """
    if sess is None:
        sess = default_stack.get_default_session()
        if sess is None:
            raise ValueError(
                "Cannot start queue runners: No default session is registered. Use `with sess.as_default()` or pass an "
                "explicit session to tf.start_queue_runners(sess=sess)"
            )
    if not isinstance(sess, BaseSession):
        if type(sess).__name__ in ("MonitoredSession", "SingularMonitoredSession"):
            return []  # these start them themselves
        raise TypeError(f"sess must be a `tf.Session` object. Given class: {type(sess)}")
    runners = get_default_graph().get_collection(collection)
    if not runners:
        warnings.warn(
            "`tf.train.start_queue_runners()` was called when no queue runners were defined. You can safely remove the "
            "call to this deprecated function.",
            stacklevel=2,
        )
    if runners and start and coord is not None:
        runners[0]._standstill = Standstill(sess)  # its thread waits for the stop anyway
    with sess.graph.as_default():
        threads = []
        for runner in get_default_graph().get_collection(collection):
            threads.extend(runner.create_threads(sess, coord=coord, daemon=daemon, start=start))
    return threads


collection_protos.register_proto_function(
    GraphKeys.QUEUE_RUNNERS,
    queue_runner_pb2.QueueRunnerDef,
    lambda runner, export_scope=None: runner.to_proto(export_scope),
    QueueRunner.from_proto,
)
