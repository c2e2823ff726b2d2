"""The service threads of a supervisor: summaries, step rate, checkpoints."""

from __future__ import annotations

import time
from typing import Any

from flowmesh.core.platform import tf_logging
from flowmesh.proto.event_pb2 import SessionLog
from flowmesh.proto.summary_pb2 import Summary
from flowmesh.training import coordinator
from flowmesh.training.global_step import global_step as global_step_of


class SVSummaryThread(coordinator.LooperThread):
    """Writes the merged summaries every `save_summaries_secs` seconds."""

    def __init__(self, sv: Any, sess: Any) -> None:
        super().__init__(sv.coord, sv.save_summaries_secs)
        self._sv = sv
        self._sess = sess

    def run_loop(self) -> None:
        """See LooperThread."""
        sv = self._sv
        step = None
        if sv.global_step is not None:
            summary, step = self._sess.run([sv.summary_op, sv.global_step])
        else:
            summary = self._sess.run(sv.summary_op)
        if sv.summary_writer is not None:
            tf_logging.info("Recording summary at step %s.", step)
            sv.summary_writer.add_summary(summary, step)


class SVStepCounterThread(coordinator.LooperThread):
    """Writes the steps per second as the summary `<global step>/sec` every `save_summaries_secs` seconds."""

    def __init__(self, sv: Any, sess: Any, step_counter: Any = None) -> None:
        super().__init__(sv.coord, sv.save_summaries_secs)
        self._sv = sv
        self._sess = sess
        self._last_time = 0.0
        self._last_step = 0
        counter = sv.global_step if step_counter is None else step_counter
        self._step_counter = counter
        self._summary_tag = f"{counter.op.name}/sec"

    def start_loop(self) -> None:
        """See LooperThread."""
        self._last_time = time.time()
        self._last_step = global_step_of(self._sess, self._step_counter)

    def run_loop(self) -> None:
        """See LooperThread."""
        step = global_step_of(self._sess, self._step_counter)
        now = time.time()
        added, elapsed = step - self._last_step, now - self._last_time
        self._last_step, self._last_time = step, now
        rate = added / elapsed if elapsed > 0.0 else float("inf")
        summary = Summary(value=[Summary.Value(tag=self._summary_tag, simple_value=rate)])
        if self._sv.summary_writer is not None:
            self._sv.summary_writer.add_summary(summary, step)
        tf_logging.info("%s: %g", self._summary_tag, rate)


class SVTimerCheckpointThread(coordinator.LooperThread):
    """Saves a checkpoint every `save_model_secs` seconds."""

    def __init__(self, sv: Any, sess: Any) -> None:
        super().__init__(sv.coord, sv.save_model_secs)
        self._sv = sv
        self._sess = sess

    def run_loop(self) -> None:
        """See LooperThread."""
        sv = self._sv
        tf_logging.info("Saving checkpoint to path %s", sv.save_path)
        sv.saver.save(self._sess, sv.save_path, global_step=sv.global_step)
        if sv.summary_writer is not None and sv.global_step is not None:
            step = global_step_of(self._sess, sv.global_step)
            log = SessionLog(status=SessionLog.CHECKPOINT, checkpoint_path=sv.save_path)
            sv.summary_writer.add_session_log(log, step)
