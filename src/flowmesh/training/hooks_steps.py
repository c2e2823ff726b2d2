"""Hooks that watch the steps: counting, stopping, waiting, logging, looking for NaN, feeding, final values."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from flowmesh.core import errors
from flowmesh.core.platform import tf_logging
from flowmesh.graph.graph import get_default_graph
from flowmesh.proto.summary_pb2 import Summary
from flowmesh.training.global_step import get_global_step
from flowmesh.training.hooks_support import (
    HookTimer,
    NeverTriggerTimer,
    SecondOrStepTimer,
    read_of_global_step,
    writer_of,
)
from flowmesh.training.session_run_hook import SessionRunArgs, SessionRunHook

_STUCK_STEPS = 5
_POLL_SECS = 0.2
_LOG_EVERY_STEPS = 1000


class StepCounterHook(SessionRunHook):
    """Logs the steps in a second, and writes them as the summary `global_step/sec`, every `every_n_steps` steps or
    `every_n_secs` seconds. ValueError unless exactly one of them is given.
    """

    def __init__(
        self,
        every_n_steps: int | None = 100,
        every_n_secs: float | None = None,
        output_dir: str | None = None,
        summary_writer: Any = None,
    ) -> None:
        if (every_n_steps is None) == (every_n_secs is None):
            raise ValueError("exactly one of every_n_steps and every_n_secs should be provided.")
        self._timer = SecondOrStepTimer(every_steps=every_n_steps, every_secs=every_n_secs)
        self._summary_writer = summary_writer
        self._output_dir = output_dir
        self._last_global_step: int | None = None
        self._stuck_for = 0
        self._global_step_tensor: Any = None
        self._summary_tag = ""

    def begin(self) -> None:
        """Finds the global step and the writer; RuntimeError for a graph without a global step."""
        self._global_step_tensor = read_of_global_step("StepCounterHook")
        if self._summary_writer is None and self._output_dir:
            self._summary_writer = writer_of(self._output_dir)
        self._summary_tag = get_global_step().op.name + "/sec"

    def before_run(self, run_context: Any) -> SessionRunArgs:
        """Asks for the global step."""
        return SessionRunArgs(self._global_step_tensor)

    def after_run(self, run_context: Any, run_values: Any) -> None:
        """Logs the rate when it is time, and warns when the global step stands still."""
        stale = int(run_values.results)
        if self._timer.should_trigger_for_step(stale + 1):
            step = int(run_context.session.run(self._global_step_tensor))
            if self._timer.should_trigger_for_step(step):
                seconds, steps = self._timer.update_last_triggered_step(step)
                if seconds is not None and steps is not None:
                    self._log_and_record(steps, seconds, step)
        self._warn_when_stuck(stale)
        self._last_global_step = stale

    def _log_and_record(self, elapsed_steps: int, elapsed_time: float, global_step: int) -> None:
        rate = elapsed_steps / max(elapsed_time, 1e-9)
        if self._summary_writer is not None:
            value = Summary.Value(tag=self._summary_tag, simple_value=rate)
            self._summary_writer.add_summary(Summary(value=[value]), global_step)
        tf_logging.info("%s: %g", self._summary_tag, rate)

    def _warn_when_stuck(self, stale: int) -> None:
        if self._last_global_step != stale:
            self._stuck_for = 0
            return
        self._stuck_for += 1
        if self._stuck_for == _STUCK_STEPS:
            tf_logging.warning(
                "It seems that global step (tf.train.get_global_step) has not been increased. Current value (could be "
                "stable): %s vs previous value: %s. You could increase the global step by passing "
                "tf.train.get_global_step() to Optimizer.apply_gradients or Optimizer.minimize.",
                stale,
                self._last_global_step,
            )


class StopAtStepHook(SessionRunHook):
    """Stops when the global step has reached `last_step`, or has grown by `num_steps` since the first session.

    ValueError unless exactly one of them is given.
    """

    def __init__(self, num_steps: int | None = None, last_step: int | None = None) -> None:
        if num_steps is None and last_step is None:
            raise ValueError("One of num_steps or last_step must be specified.")
        if num_steps is not None and last_step is not None:
            raise ValueError("Only one of num_steps or last_step can be specified.")
        self._num_steps = num_steps
        self._last_step = last_step
        self._global_step_tensor: Any = None

    def begin(self) -> None:
        """Finds the global step; RuntimeError for a graph without one."""
        self._global_step_tensor = read_of_global_step("StopAtStepHook")

    def after_create_session(self, session: Any, coord: Any) -> None:
        """Sets the last step, in the first session only: a recovery does not move it."""
        if self._last_step is None and self._num_steps is not None:
            self._last_step = int(session.run(self._global_step_tensor)) + self._num_steps

    def before_run(self, run_context: Any) -> SessionRunArgs:
        """Asks for the global step."""
        return SessionRunArgs(self._global_step_tensor)

    def after_run(self, run_context: Any, run_values: Any) -> None:
        """Stops at the last step."""
        last = self._last_step
        if last is None or int(run_values.results) + 1 < last:
            return
        if int(run_context.session.run(self._global_step_tensor)) >= last:
            run_context.request_stop()


class NanLossDuringTrainingError(RuntimeError):
    """The loss is NaN (TensorFlow: `tf.train.NanLossDuringTrainingError`)."""

    def __str__(self) -> str:
        return "NaN loss during training."


class NanTensorHook(SessionRunHook):
    """Raises NanLossDuringTrainingError when `loss_tensor` is NaN, or only stops without `fail_on_nan_loss`."""

    def __init__(self, loss_tensor: Any, fail_on_nan_loss: bool = True) -> None:
        self._loss_tensor = loss_tensor
        self._fail_on_nan_loss = fail_on_nan_loss

    def before_run(self, run_context: Any) -> SessionRunArgs:
        """Asks for the loss."""
        return SessionRunArgs(self._loss_tensor)

    def after_run(self, run_context: Any, run_values: Any) -> None:
        """Looks at the loss."""
        if not np.isnan(run_values.results):
            return
        failure = "Model diverged with loss = NaN."
        if self._fail_on_nan_loss:
            tf_logging.error("%s", failure)
            raise NanLossDuringTrainingError
        tf_logging.warning("%s", failure)
        run_context.request_stop()


class GlobalStepWaiterHook(SessionRunHook):
    """Holds the first step back until the global step has reached `wait_until_step`: a staggered start of workers."""

    def __init__(self, wait_until_step: int) -> None:
        self._wait_until_step = wait_until_step
        self._worker_is_started = False
        self._global_step_tensor: Any = None
        self._pause = threading.Event()

    def begin(self) -> None:
        """Finds the global step; RuntimeError for a graph without one."""
        self._worker_is_started = False
        self._global_step_tensor = read_of_global_step("_GlobalStepWaiterHook")

    def before_run(self, run_context: Any) -> None:
        """Waits, before the first step only."""
        if self._worker_is_started:
            return
        if self._wait_until_step > 0:
            tf_logging.info(
                "Waiting for global step %d before starting training.", self._wait_until_step
            )
            self._wait(run_context.session)
        self._worker_is_started = True

    def _wait(self, session: Any) -> None:
        last_logged = 0
        while True:
            step = int(session.run(self._global_step_tensor))
            if step >= self._wait_until_step:
                return
            if step - last_logged > _LOG_EVERY_STEPS:
                tf_logging.info(
                    "Waiting for global step %d before starting training. Current step is %d.",
                    self._wait_until_step,
                    step,
                )
                last_logged = step
            self._pause.wait(_POLL_SECS)


class FinalOpsHook(SessionRunHook):
    """Runs `final_ops` at the end; their values are `final_ops_values`."""

    def __init__(self, final_ops: Any, final_ops_feed_dict: Any = None) -> None:
        self._final_ops = final_ops
        self._final_ops_feed_dict = final_ops_feed_dict
        self._final_ops_values: Any = None

    @property
    def final_ops_values(self) -> Any:
        """The values of the final ops, None before the end."""
        return self._final_ops_values

    def end(self, session: Any) -> None:
        """Runs the final ops; the end of an input inside them is logged and raised."""
        if self._final_ops is None:
            return
        try:
            self._final_ops_values = session.run(self._final_ops, self._final_ops_feed_dict)
        except (errors.OutOfRangeError, StopIteration):
            tf_logging.warning(
                "FinalOpsHook: the final ops came to the end of an input. They are meant to read variables only: ops that "
                "read another batch belong into the steps."
            )
            raise


class FeedFnHook(SessionRunHook):
    """Feeds each step what `feed_fn` returns: a dict from tensors to values."""

    def __init__(self, feed_fn: Callable[[], Any]) -> None:
        self.feed_fn = feed_fn

    def before_run(self, run_context: Any) -> SessionRunArgs:
        """Feeds the step."""
        return SessionRunArgs(fetches=None, feed_dict=self.feed_fn())


def _tensor_of(element: Any) -> Any:
    """The tensor that a name means ("loss" is "loss:0"), or the graph element itself.

    Raises ValueError for an element of another graph and for the name of an operation with several outputs.
    """
    graph = get_default_graph()
    if not isinstance(element, str):
        if getattr(element, "graph", None) is not graph:
            raise ValueError(
                f"Passed {element} should have graph attribute that is equal to current graph {graph}."
            )
        return element
    if ":" in element:
        return graph.as_graph_element(element)
    found = graph.as_graph_element(element + ":0")
    if len(found.op.outputs) > 1:
        raise ValueError(
            f"Name {element} is ambiguous, as this `Operation` has multiple outputs (at least 2)."
        )
    return found


class LoggingTensorHook(SessionRunHook):
    """Logs tensors (names, tensors, or a dict from tags to them) every `every_n_iter` steps of this session or
    `every_n_secs` seconds, and at the end with `at_end`; `formatter` makes the line from the dict of values.
    """

    def __init__(
        self,
        tensors: Any,
        every_n_iter: int | None = None,
        every_n_secs: float | None = None,
        at_end: bool = False,
        formatter: Callable[[Mapping[Any, Any]], str] | None = None,
    ) -> None:
        only_at_end = at_end and every_n_iter is None and every_n_secs is None
        if not only_at_end and (every_n_iter is None) == (every_n_secs is None):
            raise ValueError(
                "either at_end and/or exactly one of every_n_iter and every_n_secs must be provided."
            )
        if every_n_iter is not None and every_n_iter <= 0:
            raise ValueError(f"invalid every_n_iter={every_n_iter}.")
        self._tag_order: Sequence[Any]
        if isinstance(tensors, dict):
            self._tag_order = sorted(tensors)
            self._tensors = dict(tensors)
        else:
            self._tag_order = list(tensors)
            self._tensors = {item: item for item in self._tag_order}
        self._formatter = formatter
        self._timer: HookTimer = (
            NeverTriggerTimer()
            if only_at_end
            else SecondOrStepTimer(every_secs=every_n_secs, every_steps=every_n_iter)
        )
        self._log_at_end = at_end
        self._iter_count = 0
        self._should_trigger = False
        self._current_tensors: dict[Any, Any] = {}

    def begin(self) -> None:
        """Finds the tensors in the default graph."""
        self._timer.reset()
        self._iter_count = 0
        self._current_tensors = {tag: _tensor_of(tensor) for tag, tensor in self._tensors.items()}

    def before_run(self, run_context: Any) -> SessionRunArgs | None:
        """Asks for the tensors when it is time."""
        self._should_trigger = self._timer.should_trigger_for_step(self._iter_count)
        return SessionRunArgs(self._fetches()) if self._should_trigger else None

    def after_run(self, run_context: Any, run_values: Any) -> None:
        """Logs the tensors."""
        if self._should_trigger:
            self._log_tensors(run_values.results)
        self._iter_count += 1

    def end(self, session: Any) -> None:
        """Logs the tensors for the last time."""
        if self._log_at_end:
            self._log_tensors(session.run(self._fetches()))

    def _fetches(self) -> list[Any]:
        return [self._current_tensors[tag] for tag in self._tag_order]

    def _log_tensors(self, values: Sequence[Any]) -> None:
        by_tag = dict(zip(self._tag_order, values, strict=True))
        seconds, _ = self._timer.update_last_triggered_step(self._iter_count)
        with np.printoptions(suppress=True):
            if self._formatter:
                tf_logging.info("%s", self._formatter(by_tag))
                return
            line = ", ".join(f"{tag} = {by_tag[tag]}" for tag in self._tag_order)
        if seconds is not None:
            tf_logging.info("%s (%.3f sec)", line, seconds)
        else:
            tf_logging.info("%s", line)
