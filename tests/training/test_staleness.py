"""StalenessAwareOptimizer: the age of gradients, what is scaled and dropped by it, the warm-up."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import pytest

import flowmesh as tf
from flowmesh.proto.summary_pb2 import Summary
from tests.distributed.clusters import cluster, in_thread


class Replica:
    """One worker: its gradient of w is `x`; a step waits at a gate when it has computed it."""

    def __init__(
        self, servers: Any, index: int, inner: Any, sparse: bool = False, **options: Any
    ) -> None:
        self.graph = tf.Graph()
        with self.graph.as_default():
            setter = tf.train.replica_device_setter(
                ps_tasks=1, worker_device=f"/job:worker/task:{index}"
            )
            with tf.device(setter):
                self.step = tf.train.get_or_create_global_step()
                self.w = tf.get_variable("w", initializer=tf.constant([0.0, 0.0]))
                self.x = tf.placeholder(tf.float32, [])
                loss = self.x * tf.reduce_sum(tf.gather(self.w, [1]) if sparse else self.w)
                self.optimizer = tf.train.StalenessAwareOptimizer(inner(), **options)
                pairs = self.optimizer.compute_gradients(loss, [self.w])
                self.direct = self.optimizer.apply_gradients(pairs, self.step)
            with tf.device(f"/job:worker/task:{index}"):
                there = tf.FIFOQueue(1, tf.bool, shapes=[[]], shared_name="there")
                gate = tf.FIFOQueue(1, tf.bool, shapes=[[]], shared_name="gate")
                grad, variable = pairs[0]
                values = grad.values if sparse else grad
                with tf.control_dependencies([values]):
                    arrived = there.enqueue(True)
                with tf.control_dependencies([arrived]):
                    opened = gate.dequeue()
                with tf.control_dependencies([opened]):
                    values = tf.identity(values)
                held = (
                    tf.IndexedSlices(values, grad.indices, grad.dense_shape) if sparse else values
                )
                self.arrival, self.open = there.dequeue(), gate.enqueue(True)
            with tf.device(setter):
                self.gated = self.optimizer.apply_gradients([(held, variable)], self.step)
            self.age = self.optimizer.staleness
            self.summaries = tf.summary.merge_all()
            init = tf.global_variables_initializer()
        self.session = tf.Session(servers[f"worker:{index}"].target, graph=self.graph)
        if index == 0:
            self.session.run(init)

    def train(self, x: float, times: int = 1) -> None:
        for _ in range(times):
            self.session.run(self.direct, {self.x: x})

    def state(self) -> tuple[int, list[float]]:
        step, w = self.session.run([self.step, self.w])
        return int(step), w.tolist()

    @contextmanager
    def late(self, x: float) -> Iterator[list[int]]:
        """A step whose gradient is computed before, and arrives after, what is done inside; then its staleness."""
        ages: list[int] = []
        end = in_thread(lambda: self.session.run([self.gated, self.age], {self.x: x})[1])
        self.session.run(self.arrival)
        yield ages
        self.session.run(self.open)
        ages.append(int(end()))


@contextmanager
def replicas(inner: Any = None, **options: Any) -> Iterator[list[Replica]]:
    inner = inner or (lambda: tf.train.GradientDescentOptimizer(1.0))
    with ExitStack() as stack:
        servers = stack.enter_context(cluster(ps=1, worker=2))
        made = [Replica(servers, i, inner, **options) for i in range(2)]
        for each in made:
            stack.callback(each.session.close)
        yield made


def test_the_age_is_the_number_of_updates_in_between() -> None:
    with replicas() as (first, second):
        first.train(1.0)
        with second.late(10.0) as ages:
            first.train(1.0, times=3)
        assert ages == [3]
        assert first.state() == (5, [-14.0, -14.0])
        recent, mean = first.session.run(
            [first.optimizer.recent_staleness, first.optimizer.mean_staleness]
        )
        assert sorted(recent) == [0, 0, 0, 0, 3]
        assert mean == pytest.approx(0.6)


def test_old_gradients_count_less() -> None:
    with replicas(scale="inverse") as (first, second):
        with second.late(9.0):
            first.train(1.0, times=3)
        assert first.state() == (4, [-6.0, -6.0])
        with second.late(9.0):
            first.train(1.0)
        assert first.state() == (6, [-16.0, -16.0])


def test_any_function_scales_and_rows_too() -> None:
    with replicas(scale=lambda age: tf.exp(-age), sparse=True) as (first, second):
        with second.late(1.0):
            first.train(1.0, times=2)
        step, w = first.state()
        assert step == 3
        assert w[0] == 0.0
        np.testing.assert_allclose(w[1], -2.0 - np.exp(-2.0), rtol=1e-6)


@pytest.mark.parametrize("sparse", [False, True])
def test_too_old_gradients_change_nothing(sparse: bool) -> None:
    with replicas(lambda: tf.train.MomentumOptimizer(1.0, 0.5), sparse=sparse, max_staleness=2) as (
        first,
        second,
    ):
        with second.late(100.0) as ages:
            first.train(1.0, times=3)
        assert ages == [3]
        slot = first.optimizer.get_slot(first.w, "momentum")
        assert first.state() == (3, [0.0 if sparse else -4.25, -4.25])
        assert first.session.run(slot)[1] == 1.75
        assert first.session.run(first.optimizer.dropped) == 1
        with second.late(100.0) as ages:
            first.train(1.0, times=2)
        assert ages == [2]
        step, w = first.state()
        assert step == 6
        assert w[1] < -100
        assert second.session.run(second.optimizer.dropped) == 1


def test_adam_has_its_powers_outside_of_the_branch() -> None:
    with replicas(lambda: tf.train.AdamOptimizer(0.1), max_staleness=0) as (first, second):
        with second.late(1.0):
            first.train(1.0)
        step, w = first.state()
        assert step == 1
        np.testing.assert_allclose(w, [-0.1, -0.1], rtol=1e-4)


def test_the_summaries_are_of_all_replicas() -> None:
    with replicas(window=4) as (first, second):
        summary = Summary.FromString(first.session.run(first.summaries))
        assert {v.tag: v.simple_value for v in summary.value}["staleness_aware/mean_staleness"] == 0
        first.train(1.0, times=2)
        with second.late(1.0):
            first.train(1.0, times=5)
        summary = Summary.FromString(second.session.run(second.summaries))
        values = {v.tag: v for v in summary.value}
        assert values["staleness_aware/staleness"].simple_value == 5.0
        assert values["staleness_aware/mean_staleness"].simple_value == 1.25
        assert values["staleness_aware/dropped"].simple_value == 0.0
        histogram = values["staleness_aware/staleness_histogram"].histo
        assert (histogram.num, histogram.max, histogram.sum) == (4.0, 5.0, 5.0)


def test_only_the_chief_trains_during_the_warm_up() -> None:
    with cluster(ps=1, worker=2) as servers, ExitStack() as stack:
        sessions = []
        trains = []
        for index in range(2):
            graph = stack.enter_context(tf.Graph().as_default()) if index == 0 else tf.Graph()
            with graph.as_default():
                setter = tf.train.replica_device_setter(
                    ps_tasks=1, worker_device=f"/job:worker/task:{index}"
                )
                with tf.device(setter):
                    step = tf.train.get_or_create_global_step()
                    w = tf.get_variable("w", initializer=0.0)
                    optimizer = tf.train.StalenessAwareOptimizer(
                        tf.train.GradientDescentOptimizer(1.0), warmup_steps=5
                    )
                    trains.append(optimizer.minimize((1.0 + 9.0 * index) * w, global_step=step))
                hooks = [optimizer.make_session_run_hook(index == 0)]
                session = tf.train.MonitoredTrainingSession(
                    servers[f"worker:{index}"].target, index == 0, hooks=hooks
                )
                sessions.append((session, w, step))
        waiting = in_thread(lambda: sessions[1][0].run(trains[1]))
        chief, w, step = sessions[0]
        for number in range(1, 6):
            assert chief.run([w, step]) == [1.0 - number, number - 1]
            chief.run(trains[0])
        waiting()
        assert chief.run([w, step]) == [-15.0, 6]
        for session, _, _ in reversed(sessions):
            session.close()


def test_arguments_are_checked() -> None:
    inner = tf.train.GradientDescentOptimizer(1.0)
    for wrong in ({"max_staleness": -1}, {"warmup_steps": -1}, {"window": 0}, {"scale": "twice"}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            tf.train.StalenessAwareOptimizer(inner, **wrong)
    with tf.Graph().as_default():
        optimizer = tf.train.StalenessAwareOptimizer(inner)
        w = tf.get_variable("w", initializer=0.0)
        with pytest.raises(ValueError, match="needs a global step"):
            optimizer.compute_gradients(w * w)
        with pytest.raises(ValueError, match="needs the global_step"):
            optimizer.apply_gradients([(tf.constant(1.0), w)])
        with pytest.raises(ValueError, match="No gradients provided"):
            optimizer.apply_gradients([(None, w)])
        with pytest.raises(ValueError, match="before apply_gradients"):
            _ = optimizer.staleness


@pytest.mark.parametrize("use_resource", [False, True], ids=["ref", "resource"])
@pytest.mark.parametrize("dtype", [tf.int64, tf.int32])
def test_alone_every_wrapper_is_the_optimizer_inside(dtype: Any, use_resource: bool) -> None:
    """One replica, in process: the numbers are those of the optimizer, whatever kind the variables and the step are of."""

    def run(wrap: Any) -> list[Any]:
        with tf.Graph().as_default():
            with tf.variable_scope("", use_resource=use_resource):
                step = tf.get_variable(
                    "global_step",
                    [],
                    dtype,
                    tf.zeros_initializer(),
                    trainable=False,
                    collections=[tf.GraphKeys.GLOBAL_VARIABLES, tf.GraphKeys.GLOBAL_STEP],
                )
                w = tf.get_variable("w", initializer=[1.0, 2.0])
                table = tf.get_variable("t", [4, 2], initializer=tf.zeros_initializer())
                loss = tf.reduce_sum(w * w) + tf.reduce_sum(tf.gather(table, [1, 1, 3]))
                optimizer, hooks = wrap(tf.train.AdamOptimizer(0.1))
                train = optimizer.minimize(loss, global_step=step)
            hooks = [hook(optimizer) for hook in hooks]
            with tf.train.MonitoredTrainingSession(hooks=hooks) as session:
                for _ in range(4):
                    session.run(train)
                return list(session.run([step, w, table]))

    hook = [lambda optimizer: optimizer.make_session_run_hook(True)]
    plain = run(lambda inner: (inner, []))
    stale = run(lambda i: (tf.train.StalenessAwareOptimizer(i, 3, "inverse"), hook))
    sync = run(lambda i: (tf.train.SyncReplicasOptimizer(i, 1, on_replica_loss="continue"), hook))
    for other in (stale, sync):
        for ours, theirs in zip(other, plain, strict=True):
            np.testing.assert_array_equal(ours, theirs)
