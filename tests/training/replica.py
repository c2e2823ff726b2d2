"""A worker of the tests of synchronous replicas: its gradient is a constant of its own, so that every sum is known."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable
from typing import Any

GRADIENTS = (1.0, 3.0, 5.0)


class _Log(logging.Handler):
    def __init__(self, say: Callable[..., None]) -> None:
        super().__init__(logging.INFO)
        self._say = say

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if "Synchronous step" in text:
            self._say(warning=text)
        elif " was lost " in text or "Error reported" in text or "joins again" in text:
            self._say(told=text)


def work(say: Callable[..., None], spec: Any, index: int, options: dict[str, Any]) -> None:
    """Trains until `last_step`, or until `batches[index]` batches are over; kills itself after `die_after[index]` steps."""
    import flowmesh as tf

    logging.getLogger("tensorflow").addHandler(_Log(say))
    tf.logging.set_verbosity(tf.logging.INFO)
    config = tf.ConfigProto()
    config.experimental.flowmesh.heartbeat_timeout_in_ms = options.get("heartbeat_ms", 12_000)
    server = tf.train.Server(spec, "worker", index, config=config)
    device = tf.train.replica_device_setter(worker_device=f"/job:worker/task:{index}", cluster=spec)
    batches = options.get("batches", {}).get(index, 1000)
    with tf.device(
        f"/job:worker/task:{index}"
    ):  # the queue and its count of epochs are the worker's own
        batch = tf.train.range_input_producer(batches, num_epochs=1, shuffle=False).dequeue()
    with tf.device(device):
        step = tf.train.get_or_create_global_step()
        w = tf.get_variable("w", initializer=0.0)
        with tf.control_dependencies([batch]):
            loss = GRADIENTS[index] * tf.identity(w)
        optimizer = tf.train.SyncReplicasOptimizer(
            tf.train.GradientDescentOptimizer(1.0), **options["optimizer"]
        )
        train = optimizer.minimize(loss, global_step=step)
    hooks = [optimizer.make_session_run_hook(index == 0)]
    if "last_step" in options:
        hooks.append(tf.train.StopAtStepHook(last_step=options["last_step"]))
    done = 0
    with tf.train.MonitoredTrainingSession(
        server.target,
        is_chief=index == 0,
        checkpoint_dir=options.get("folder"),
        hooks=hooks,
        config=config,
        stop_grace_period_secs=10,
    ) as session:
        say(ready=True)
        while not session.should_stop():
            session.run(train)
            done += 1
            say(done=done)
            if done == options.get("die_after", {}).get(index):
                os.kill(os.getpid(), signal.SIGKILL)
    say(finished=done)
    server.stop()
