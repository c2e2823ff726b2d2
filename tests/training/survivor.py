"""A worker of the tests of survival: each step adds one to w, which lives on the second ps, and to the global step on the first."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any


class _Log(logging.Handler):
    def __init__(self, say: Callable[..., None]) -> None:
        super().__init__(logging.INFO)
        self._say = say

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if "lost" in text or "alive" in text or "Restoring" in text:
            self._say(told=text[:300])


def work(say: Callable[..., None], spec: Any, index: int, last_step: int, folder: str) -> None:
    """Trains to `last_step` from a queue of its own; the chief saves every 10 steps."""
    import flowmesh as tf

    logging.getLogger("tensorflow").addHandler(_Log(say))
    tf.logging.set_verbosity(tf.logging.INFO)
    server = tf.train.Server(spec, "worker", index)
    with tf.device(f"/job:worker/task:{index}"):
        number = tf.train.range_input_producer(10, shuffle=False).dequeue()
    with tf.device("/job:ps/task:0"):
        step = tf.train.get_or_create_global_step()
    with tf.device(f"/job:ps/task:{len(spec['ps']) - 1}"):
        w = tf.get_variable("w", initializer=0.0)
    with tf.control_dependencies([number]):
        loss = -1.0 * tf.identity(w)
    train = tf.train.GradientDescentOptimizer(1.0).minimize(loss, global_step=step)
    # Without the filter a session needs all tasks of the cluster, those that have ended as well.
    config = tf.ConfigProto(device_filters=["/job:ps", f"/job:worker/task:{index}"])
    with tf.train.MonitoredTrainingSession(
        server.target,
        config=config,
        is_chief=index == 0,
        checkpoint_dir=folder,
        hooks=[tf.train.StopAtStepHook(last_step=last_step)],
        save_checkpoint_steps=10,
        save_summaries_steps=None,
        log_step_count_steps=None,
        stop_grace_period_secs=10,
    ) as session:
        say(ready=True)
        while not session.should_stop():
            _, now = session.run([train, step])
            say(step=int(now))
    say(finished=True)
    server.stop()
