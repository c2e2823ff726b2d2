"""Training that checkpoints, writes summaries and recovers (TensorFlow: `tf.train.Supervisor`)."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

from flowmesh.core.dtypes import int32, int64
from flowmesh.core.platform import tf_logging
from flowmesh.frontend import meta_graph, variable_collections
from flowmesh.frontend.summary_merge import merge_all
from flowmesh.graph.collections import GraphKeys
from flowmesh.graph.graph import Graph, get_default_graph
from flowmesh.ops import control
from flowmesh.proto.event_pb2 import SessionLog
from flowmesh.training import graph_io
from flowmesh.training.coordinator import Coordinator, LooperThread
from flowmesh.training.global_step import global_step as global_step_of
from flowmesh.training.saver import Saver
from flowmesh.training.session_manager import SessionManager
from flowmesh.training.supervisor_threads import (
    SVStepCounterThread,
    SVSummaryThread,
    SVTimerCheckpointThread,
)

_writer_factory: Callable[[str], Any] | None = None


def set_summary_writer_factory(factory: Callable[[str], Any]) -> None:
    """Installs what makes the summary writer of a log directory (`tf.summary.FileWriter`)."""
    global _writer_factory
    _writer_factory = factory


def _new_writer(logdir: str) -> Any:
    if _writer_factory is None:
        raise RuntimeError(
            "no summary writer is installed: import flowmesh, or pass summary_writer to the Supervisor"
        )
    return _writer_factory(logdir)


def _first_of(graph: Graph, key: str) -> Any:
    """The first item of a collection, or None."""
    items = graph.get_collection(key)
    if len(items) > 1:
        tf_logging.info("Found %d %s operations. Returning the first one.", len(items), key)
    return items[0] if items else None


class Supervisor:
    """Wraps a training: makes its session ready (the chief initializes or restores, the others wait), runs queue runners
    and, on the chief with a `logdir`, threads that save checkpoints and summaries; stops all of it together.

    Arguments left at USE_DEFAULT are taken from the graph's collections or made; None leaves the thing out. The graph is
    finalized. Raises ValueError when a replica that is not the chief has a variable without a device.
    """

    USE_DEFAULT = 0

    def __init__(
        self,
        graph: Graph | None = None,
        ready_op: Any = USE_DEFAULT,
        ready_for_local_init_op: Any = USE_DEFAULT,
        is_chief: bool = True,
        init_op: Any = USE_DEFAULT,
        init_feed_dict: Any = None,
        local_init_op: Any = USE_DEFAULT,
        logdir: str | None = None,
        summary_op: Any = USE_DEFAULT,
        saver: Any = USE_DEFAULT,
        global_step: Any = USE_DEFAULT,
        save_summaries_secs: float = 120,
        save_model_secs: float = 600,
        recovery_wait_secs: float = 30,
        stop_grace_secs: float = 120,
        checkpoint_basename: str = "model.ckpt",
        session_manager: Any = None,
        summary_writer: Any = USE_DEFAULT,
        init_fn: Any = None,
        local_init_run_options: Any = None,
    ) -> None:
        self._graph = graph if graph is not None else get_default_graph()
        self._init_feed_dict = init_feed_dict
        with self._graph.as_default():
            self._take_or_make(
                ready_op, ready_for_local_init_op, init_op, local_init_op, saver, summary_op,
                global_step,
            )  # fmt: skip
        self._is_chief = is_chief
        self._coord = Coordinator()
        self._stop_grace_secs = stop_grace_secs
        self._init_fn = init_fn
        self._logdir: str | None = None
        self._save_summaries_secs: float | None = None
        self._save_model_secs: float | None = None
        self._save_path: str | None = None
        self._summary_writer: Any = None
        self._graph_added_to_summary = False
        if is_chief:
            self._save_summaries_secs = save_summaries_secs
            self._save_model_secs = save_model_secs
            self._init_files(logdir, checkpoint_basename, summary_writer)
        self._writer_is_open = self._summary_writer is not None
        self._session_manager = session_manager or SessionManager(
            local_init_op=self._local_init_op,
            ready_op=self._ready_op,
            ready_for_local_init_op=self._ready_for_local_init_op,
            graph=self._graph,
            recovery_wait_secs=recovery_wait_secs,
            local_init_run_options=local_init_run_options,
        )
        self._verify_setup()
        self._graph.finalize()

    def _take_or_make(
        self,
        ready_op: Any,
        ready_for_local_init_op: Any,
        init_op: Any,
        local_init_op: Any,
        saver: Any,
        summary_op: Any,
        global_step: Any,
    ) -> None:
        """Sets what the constructor was given; adds the nodes for what it was not."""
        self._ready_op = self._default(ready_op, GraphKeys.READY_OP, _report_uninitialized)
        self._ready_for_local_init_op = self._default(
            ready_for_local_init_op, GraphKeys.READY_FOR_LOCAL_INIT_OP, _nothing
        )
        self._init_op = self._default(
            init_op, GraphKeys.INIT_OP, variable_collections.global_variables_initializer
        )
        self._local_init_op = self._default(
            local_init_op, GraphKeys.LOCAL_INIT_OP, _local_initializers
        )
        self._saver = self._default(saver, GraphKeys.SAVERS, _new_saver)
        self._summary_op = self._default(summary_op, GraphKeys.SUMMARY_OP, merge_all)
        self._global_step = self._default(
            global_step, GraphKeys.GLOBAL_STEP, self._global_step_by_name
        )
        self._meta_graph_def = meta_graph.create_meta_graph_def(
            graph_def=self._graph.as_graph_def(add_shapes=True),
            saver_def=self._saver.saver_def if self._saver else None,
            graph=self._graph,
        )

    def _init_files(self, logdir: Any, checkpoint_basename: str, summary_writer: Any) -> None:
        """Where the chief writes checkpoints and summaries."""
        if logdir:
            self._logdir = os.fspath(logdir)
            self._save_path = os.path.join(self._logdir, checkpoint_basename)
        if summary_writer is not Supervisor.USE_DEFAULT:
            self._summary_writer = summary_writer
        elif self._logdir:
            self._summary_writer = _new_writer(self._logdir)

    # -- defaults ------------------------------------------------------------------------------------------

    def _default(self, value: Any, key: str, make: Callable[[], Any]) -> Any:
        """The value given, else the first of the collection, else a new one, which is added to the collection."""
        if value is not Supervisor.USE_DEFAULT:
            return value
        found = _first_of(self._graph, key)
        if found is None:
            found = make()
            if found is not None:
                self._graph.add_to_collection(key, found)
        return found

    def _global_step_by_name(self) -> Any:
        try:
            tensor = self._graph.get_tensor_by_name("global_step:0")
        except KeyError:
            return None
        if tensor.dtype.base_dtype in (int32, int64):
            return tensor
        tf_logging.warning(
            "Found 'global_step' but is not an int type: %s", tensor.dtype.base_dtype.name
        )
        return None

    def _verify_setup(self) -> None:
        if self._is_chief:
            return
        for op in self._graph.get_operations():
            if op.type in ("Variable", "VariableV2") and not op.device:
                raise ValueError(
                    f"When using replicas, all Variables must have their device set: {op}"
                )

    # -- properties ----------------------------------------------------------------------------------------

    @property
    def is_chief(self) -> bool:
        """Whether this is the chief."""
        return self._is_chief

    @property
    def session_manager(self) -> Any:
        """The SessionManager."""
        return self._session_manager

    @property
    def coord(self) -> Coordinator:
        """The Coordinator of all threads."""
        return self._coord

    @property
    def init_op(self) -> Any:
        """The operation that initializes the model."""
        return self._init_op

    @property
    def init_feed_dict(self) -> Any:
        """What `init_op` is fed."""
        return self._init_feed_dict

    @property
    def ready_op(self) -> Any:
        """The tensor that names uninitialized variables."""
        return self._ready_op

    @property
    def ready_for_local_init_op(self) -> Any:
        """The tensor that names variables which `local_init_op` needs."""
        return self._ready_for_local_init_op

    @property
    def local_init_op(self) -> Any:
        """The operation that every process runs in a new session."""
        return self._local_init_op

    @property
    def summary_writer(self) -> Any:
        """The summary writer, None unless this is the chief with a log directory."""
        return self._summary_writer

    @property
    def summary_op(self) -> Any:
        """The merged summaries, or None."""
        return self._summary_op

    @property
    def save_summaries_secs(self) -> float | None:
        """Seconds between summaries."""
        return self._save_summaries_secs

    @property
    def global_step(self) -> Any:
        """The global step, or None."""
        return self._global_step

    @property
    def saver(self) -> Any:
        """The Saver, or None."""
        return self._saver

    @property
    def save_model_secs(self) -> float | None:
        """Seconds between checkpoints."""
        return self._save_model_secs

    @property
    def save_path(self) -> str | None:
        """The prefix of the checkpoints' names."""
        return self._save_path

    # -- sessions and services -----------------------------------------------------------------------------

    def _write_graph(self) -> None:
        if self._logdir:
            graph_def = self._graph.as_graph_def(add_shapes=True)
            graph_io.write_graph(graph_def, self._logdir, "graph.pbtxt")
        if self._summary_writer is not None and not self._graph_added_to_summary:
            self._summary_writer.add_graph(self._graph)
            self._summary_writer.add_meta_graph(self._meta_graph_def)
            self._graph_added_to_summary = True

    def start_standard_services(self, sess: Any) -> list[threading.Thread] | None:
        """Starts the threads that write summaries and checkpoints, and returns them.

        Raises RuntimeError unless this is the chief.
        """
        if not self._is_chief:
            raise RuntimeError(
                "Only chief supervisor can start standard services. Because only chief supervisors can write events."
            )
        if not self._logdir:
            tf_logging.warning("Standard services need a 'logdir' passed to the SessionManager")
            return None
        if self._global_step is not None and self._summary_writer is not None:
            step = global_step_of(sess, self._global_step)
            self._summary_writer.add_session_log(SessionLog(status=SessionLog.START), step)
        threads: list[threading.Thread] = []
        if self._save_summaries_secs and self._summary_writer is not None:
            if self._summary_op is not None:
                threads.append(SVSummaryThread(self, sess))
            if self._global_step is not None:
                threads.append(SVStepCounterThread(self, sess))
        if self._saver is not None and self._save_model_secs:
            threads.append(SVTimerCheckpointThread(self, sess))
        for thread in threads:
            thread.start()
        return threads

    def prepare_or_wait_for_session(
        self,
        master: str = "",
        config: Any = None,
        wait_for_checkpoint: bool = False,
        max_wait_secs: float = 7200,
        start_standard_services: bool = True,
    ) -> Any:
        """A session in which the model is ready; the chief makes it so, the others wait up to `max_wait_secs` for it.

        Also starts the queue runners and the chief's services, unless `start_standard_services` is false.
        """
        self._coord.clear_stop()
        if self._summary_writer is not None:
            self._summary_writer.reopen()
            self._writer_is_open = True
        if self._is_chief:
            sess = self._session_manager.prepare_session(
                master,
                init_op=self._init_op,
                saver=self._saver,
                checkpoint_dir=self._logdir,
                wait_for_checkpoint=wait_for_checkpoint,
                max_wait_secs=max_wait_secs,
                config=config,
                init_feed_dict=self._init_feed_dict,
                init_fn=self._init_fn,
            )
            self._write_graph()
            if start_standard_services:
                tf_logging.info("Starting standard services.")
                self.start_standard_services(sess)
        else:
            sess = self._session_manager.wait_for_session(
                master, config=config, max_wait_secs=max_wait_secs
            )
        if start_standard_services:
            tf_logging.info("Starting queue runners.")
            self.start_queue_runners(sess)
        return sess

    def start_queue_runners(
        self, sess: Any, queue_runners: Iterable[Any] | None = None
    ) -> list[threading.Thread]:
        """Starts the threads of the given queue runners (those of the graph by default), and returns them."""
        if queue_runners is None:
            queue_runners = self._graph.get_collection(GraphKeys.QUEUE_RUNNERS)
        threads: list[threading.Thread] = []
        for runner in queue_runners:
            threads += runner.create_threads(sess, coord=self._coord, daemon=True, start=True)
        return threads

    def loop(
        self,
        timer_interval_secs: float | None,
        target: Callable[..., Any],
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
    ) -> LooperThread:
        """Starts a thread that calls `target` every `timer_interval_secs` seconds until the supervisor stops."""
        return LooperThread.loop(self._coord, timer_interval_secs, target, args, kwargs)

    @contextlib.contextmanager
    def managed_session(
        self,
        master: str = "",
        config: Any = None,
        start_standard_services: bool = True,
        close_summary_writer: bool = True,
    ) -> Iterator[Any]:
        """A context manager that gives a ready session, and at its end stops all threads and closes the session.

        An exception inside the `with`, or the first that a thread reported, is raised at the end, except a clean stop
        (OutOfRangeError).
        """
        sess: Any = None
        try:
            try:
                sess = self.prepare_or_wait_for_session(
                    master=master, config=config, start_standard_services=start_standard_services
                )
                yield sess
            except BaseException as error:
                clean = isinstance(error, Exception)
                self._coord.request_stop(error if clean else None)
                if (
                    sess is not None
                ):  # steps of other threads must not outlive a training that failed
                    with contextlib.suppress(Exception):
                        sess.close()
                if not clean:
                    raise
        finally:
            try:
                self.stop(close_summary_writer=close_summary_writer)
            finally:
                if sess is not None:
                    with contextlib.suppress(Exception):
                        sess.close()

    def stop(
        self,
        threads: Iterable[threading.Thread] | None = None,
        close_summary_writer: bool = True,
        ignore_live_threads: bool = False,
    ) -> None:
        """Stops all threads, waits for them up to `stop_grace_secs`, and closes the summary writer.

        Raises the first exception that one reported, else RuntimeError when threads are still running.
        """
        self._coord.request_stop()
        try:
            self._coord.join(
                threads,
                stop_grace_period_secs=self._stop_grace_secs,
                ignore_live_threads=ignore_live_threads,
            )
        finally:
            if close_summary_writer and self._writer_is_open:
                self._writer_is_open = False
                self._summary_writer.add_session_log(SessionLog(status=SessionLog.STOP))
                self._summary_writer.close()
                self._graph_added_to_summary = False

    # -- the coordinator -----------------------------------------------------------------------------------

    def request_stop(self, ex: Any = None) -> None:
        """Asks all threads to stop; `ex` is raised at the end."""
        self._coord.request_stop(ex=ex)

    def should_stop(self) -> bool:
        """Whether a stop was requested."""
        return self._coord.should_stop()

    def stop_on_exception(self) -> AbstractContextManager[None]:
        """Turns an exception inside the `with` into a request to stop."""
        return self._coord.stop_on_exception()

    def wait_for_stop(self) -> None:
        """Waits until a stop is requested."""
        self._coord.wait_for_stop()

    def summary_computed(self, sess: Any, summary: Any, global_step: Any = None) -> None:
        """Writes a serialized summary; raises RuntimeError without a summary writer."""
        if self._summary_writer is None:
            raise RuntimeError("Writing a summary requires a summary writer.")
        if global_step is None and self._global_step is not None:
            global_step = global_step_of(sess, self._global_step)
        self._summary_writer.add_summary(summary, global_step)

    PrepareSession = prepare_or_wait_for_session
    StartQueueRunners = start_queue_runners
    StartStandardServices = start_standard_services
    Stop = stop
    RequestStop = request_stop
    Loop = loop
    ShouldStop = should_stop
    StopOnException = stop_on_exception
    WaitForStop = wait_for_stop
    SummaryComputed = summary_computed


def _report_uninitialized() -> Any:
    return variable_collections.report_uninitialized_variables()


def _nothing() -> None:
    return None


def _local_initializers() -> Any:
    tables = get_default_graph().get_collection(GraphKeys.TABLE_INITIALIZERS)
    return control.group(
        variable_collections.local_variables_initializer(),
        control.group(*tables, name="init_all_tables"),
    )


def _new_saver() -> Any:
    return Saver() if variable_collections.global_variables() else None
