"""The graph that every task of the soak builds: records from a queue on the ps, each counted where it is applied."""

from __future__ import annotations

from typing import Any

import numpy as np

import flowmesh as tf

FEATURES = 16
CAPACITY = 256
PS = "/job:ps/task:0"


def truth() -> np.ndarray:
    """The weights that the records follow."""
    return np.linspace(-1.0, 1.0, FEATURES).astype(np.float32)


class Model:
    """A linear regression fed by a queue; `owner` and `seen` tell for each record who took it and how often it was applied."""

    def __init__(self, records: int, worker: str = PS, process: int = 0) -> None:
        with tf.device(PS):
            self.queue = tf.RandomShuffleQueue(
                CAPACITY,
                min_after_dequeue=0,
                dtypes=[tf.int32, tf.float32, tf.float32],
                shapes=[[], [FEATURES], []],
                names=["id", "x", "y"],
                seed=1,
                shared_name="records",
            )
            self.step = tf.train.get_or_create_global_step()
            self.weights = tf.get_variable(
                "weights", [FEATURES], initializer=tf.zeros_initializer()
            )
            self.seen = self._counts("seen", records)
            self.owner = self._counts("owner", records)
            record: Any = self.queue.dequeue()
            taken = tf.scatter_update(self.owner, record["id"], process).op
            with tf.control_dependencies([taken]):
                x = tf.identity(record["x"])
        with tf.device(worker):
            error = tf.reduce_sum(x * self.weights) - record["y"]
            self.loss = tf.square(error)
            optimizer = tf.train.GradientDescentOptimizer(0.01)
            pairs = optimizer.compute_gradients(self.loss, [self.weights])
        with tf.device(PS):
            applied = optimizer.apply_gradients(pairs, global_step=self.step)
            # One op marks the record when its gradient has come: a step that dies on the way marks nothing.
            marked = tf.scatter_add(
                self.seen, record["id"], 1 + 0 * tf.cast(pairs[0][0][0], tf.int32)
            )
            self.train = tf.group(applied, marked)
            self.size = self.queue.size()
            self.ids = tf.placeholder(tf.int32, [None], name="ids")
            self.xs = tf.placeholder(tf.float32, [None, FEATURES], name="xs")
            self.ys = tf.placeholder(tf.float32, [None], name="ys")
            self.enqueue = self.queue.enqueue_many({"id": self.ids, "x": self.xs, "y": self.ys})
            self.close = self.queue.close()
            self.forget = tf.group(
                tf.assign(self.seen, tf.zeros([records], tf.int32)),
                tf.assign(self.owner, tf.zeros([records], tf.int32)),
            )

    @staticmethod
    def _counts(name: str, records: int) -> Any:
        return tf.get_variable(
            name, [records], tf.int32, initializer=tf.zeros_initializer(), trainable=False
        )

    def feed(self, ids: np.ndarray, epoch: int) -> dict[Any, np.ndarray]:
        """Records of these numbers: the same for the same epoch and number."""
        xs = np.stack([np.random.RandomState((epoch, i)).randn(FEATURES) for i in ids])
        xs = xs.astype(np.float32)
        return {self.ids: ids, self.xs: xs, self.ys: xs @ truth()}
