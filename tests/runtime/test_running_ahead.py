"""The caller of a program that is far ahead of XLA waits once for many runs."""

from __future__ import annotations

import gc
from typing import Any

import numpy as np

import flowmesh as tf
from flowmesh.runtime.running_ahead import RunningAhead
from flowmesh.runtime.warm import WarmCluster


class _Mark:
    def __init__(self, number: int, waited: list[int]) -> None:
        self.number, self._waited = number, waited

    def block_until_ready(self) -> None:
        self._waited.append(self.number)


class _Jax:
    """Stands in for JAX: marks are numbered in the order in which they are made."""

    def __init__(self) -> None:
        self.waited: list[int] = []
        self.marked: list[Any] = []

    def jit(self, function: Any) -> Any:
        def mark(array: Any) -> _Mark:
            self.marked.append(array)
            return _Mark(len(self.marked), self.waited)

        return mark


def test_the_caller_waits_once_for_many_runs():
    jax = _Jax()
    ahead = RunningAhead(jax)
    small, large, empty = np.zeros(2), np.zeros(5), np.zeros(0)
    waits = []
    for _ in range(64):
        ahead.hold()
        waits.append(len(jax.waited))
        ahead.started((large, empty, small))
    assert all(array is small for array in jax.marked)
    assert len(jax.marked) == 8
    # Not before 24 runs are under way; then until 8 are left, so that 16 more can be started.
    assert waits == [0] * 24 + [1] * 16 + [2] * 16 + [3] * 8
    assert jax.waited == [2, 4, 6]


def _runners(size: int, fetches: bool) -> list[RunningAhead | None]:
    """Runs a step 100 times that multiplies matrices of a size and adds up what it is fed; how the program's runs are held back."""
    config = tf.ConfigProto()
    config.experimental.flowmesh.execution = "xla"
    with tf.Graph().as_default(), tf.Session(config=config) as session:
        x = tf.placeholder(tf.float32, [size, size])
        w = tf.Variable(tf.zeros([size, size]))
        session.run(w.initializer)
        identity = tf.eye(size)
        update = tf.assign_add(w, tf.matmul(tf.matmul(x, identity), identity))
        step = tf.reduce_sum(update) if fetches else update.op
        fed = np.empty((size, size), np.float32)
        for number in range(1, 101):
            fed[:] = number
            session.run(step, {x: fed})
        assert (session.run(w) == 5050).all()
        found = [o for o in gc.get_objects() if type(o) is WarmCluster and o._arrays]
        return [o._ahead for o in found if o._arrays[0][1] == (size, size) and o._written]


def test_work_that_keeps_all_cores_busy_is_started_many_runs_at_a_time():
    assert any(isinstance(ahead, RunningAhead) for ahead in _runners(224, fetches=False))


def test_small_steps_and_those_that_are_waited_for_are_not_held_back():
    assert _runners(20, fetches=False) == [None]
    assert _runners(225, fetches=True) == [None]
