"""Compiled programs on processors raise what NumPy's kernels raise for wrong indices, labels and divisors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import flowmesh as tf
from flowmesh.runtime.guards import Guards
from flowmesh.runtime.xla import statistics


def session_of(mode: str) -> Any:
    config = tf.ConfigProto()
    config.experimental.flowmesh.execution = mode
    return tf.Session(config=config)


PARAMS = np.arange(6, dtype=np.float32).reshape(3, 2)
Build = Callable[[Any], Any]
"""From the tensor of indices to what is run."""


def variable() -> Any:
    return tf.get_variable("v", initializer=PARAMS)


def sparse_step(indices: Any) -> Any:
    v = variable()
    loss = tf.reduce_sum(tf.nn.embedding_lookup(v, tf.reshape(indices, [-1])))
    return tf.train.AdagradOptimizer(0.1).minimize(loss)


CASES: dict[str, tuple[Build, list[int], list[int], str]] = {
    "gather": (
        lambda i: tf.gather(tf.constant(PARAMS), i),
        [0, 2],
        [0, 3],
        r"indices\[1\] = 3 is not in \[0, 3\)",
    ),
    "negative": (
        lambda i: tf.gather(tf.constant(PARAMS), i),
        [0, 2],
        [-1, 0],
        r"indices\[0\] = -1 is not in \[0, 3\)",
    ),
    "reshaped": (
        lambda i: tf.gather(tf.constant(PARAMS), tf.reshape(i, [2, 1])),
        [0, 2],
        [1, 7],
        r"indices\[1,0\] = 7 is not in \[0, 3\)",
    ),
    "joined": (
        lambda i: tf.gather(tf.constant(PARAMS), tf.concat([i[:, None], tf.reshape(i, [2, 1])], 1)),
        [0, 2],
        [1, 7],
        r"indices\[1,0\] = 7 is not in \[0, 3\)",
    ),
    "joined twice": (
        lambda i: tf.gather(
            tf.constant(PARAMS), tf.reshape(tf.concat([i, tf.identity(i)], 0), [2, 2])
        ),
        [0, 2],
        [1, -1],
        r"indices\[0,1\] = -1 is not in \[0, 3\)",
    ),
    "joined with a constant": (
        lambda i: tf.gather(tf.constant(PARAMS), tf.concat([[1], i], 0)),
        [0, 2],
        [0, 3],
        r"indices\[2\] = 3 is not in \[0, 3\)",
    ),
    "gather_nd": (
        lambda i: tf.gather_nd(tf.constant(PARAMS), tf.reshape(i, [1, 2])),
        [2, 1],
        [1, 2],
        r"indices\[0\] = \[1, 2\] does not index into param shape \[3,2\]",
    ),
    "scatter_nd": (
        lambda i: tf.scatter_nd(tf.reshape(i, [2, 1]), tf.ones([2]), [3]),
        [2, 1],
        [1, 3],
        r"= \[3\] does not index into shape \[3\]",
    ),
    "scatter": (
        lambda i: tf.scatter_add(variable(), i, tf.ones([2, 2])),
        [0, 2],
        [0, 3],
        r"indices\[1\] = 3 is not in \[0, 3\)",
    ),
    "segment": (
        lambda i: tf.unsorted_segment_sum(tf.ones([2]), i, 3),
        [-1, 2],
        [0, 3],
        r"segment_ids\[1\] = 3 is out of range \[0, 3\)",
    ),
    "labels": (
        lambda i: tf.nn.sparse_softmax_cross_entropy_with_logits(labels=i, logits=PARAMS),
        [0, 1, 1],
        [0, 1, 2],
        r"Received a label value of 2 which is outside the valid range of \[0, 2\)",
    ),
    "division": (lambda i: 7 // i, [1, 2], [1, 0], "Integer division by zero"),
    "remainder": (lambda i: 7 % i, [1, 2], [0, 1], "Integer division by zero"),
    "sparse_step": (sparse_step, [0, 2], [0, 3], r"3 is not in \[0, 3\)|Index 3 at offset 1"),
}


@pytest.mark.parametrize("computed", [False, True], ids=["fed", "computed"])
@pytest.mark.parametrize("name", CASES)
def test_wrong_values_raise_in_compiled_programs_as_in_numpy(name, computed):
    build, right, wrong, message = CASES[name]
    for mode in ("numpy", "xla"):
        with tf.Graph().as_default(), session_of(mode) as session:
            fed = tf.placeholder(tf.int32, [len(right)])
            wanted = build(fed + tf.identity(fed) - fed if computed else fed)
            session.run(tf.global_variables_initializer())

            def run(values: list[int], wanted: Any = wanted, fed: Any = fed) -> Any:
                return session.run(wanted, {fed: np.array(values, np.int32)})

            for _ in range(3):  # the long way, then the short one
                run(right)
                with pytest.raises(tf.errors.InvalidArgumentError, match=message) as caught:
                    run(wrong)
                assert caught.value.op is not None
            run(right)


def test_indices_that_are_joined_from_feeds_are_looked_at_before_the_run(monkeypatch):
    """Nothing has to be waited for then; what is looked at twice is looked at once."""
    programs = []
    collect = Guards.collect

    def spy(self: Guards, *args: Any) -> None:
        collect(self, *args)
        programs.append(self)

    monkeypatch.setattr(Guards, "collect", spy)
    with tf.Graph().as_default(), session_of("xla") as session:
        ids, more = tf.placeholder(tf.int64, [2, 1]), tf.placeholder(tf.int64, [3])
        v = variable()
        rows = tf.gather(v, tf.concat([tf.reshape(ids, [-1]), more], 0))
        step = tf.train.GradientDescentOptimizer(1.0).minimize(tf.reduce_sum(rows))
        session.run(tf.global_variables_initializer())
        programs.clear()
        for _ in range(3):
            session.run(step, {ids: [[0], [1]], more: [1, 1, 2]})
            with pytest.raises(tf.errors.InvalidArgumentError, match=r"indices\[4\] = 5 is not in"):
                session.run(step, {ids: [[0], [1]], more: [0, 1, 5]})
        (guards,) = programs
        assert not guards.waits and len(guards.outside) == 1
        np.testing.assert_array_equal(session.run(v), PARAMS - 3 * np.array([[1], [3], [1]]))


def test_a_wrong_feed_is_found_before_anything_changes():
    with tf.Graph().as_default(), session_of("xla") as session:
        ids = tf.placeholder(tf.int32, [2])
        v = variable()
        other = tf.Variable(1.0)
        step = tf.group(tf.scatter_add(v, ids, tf.ones([2, 2])), tf.assign_add(other, 1.0))
        session.run(tf.global_variables_initializer())
        for _ in range(2):
            session.run(step, {ids: [0, 1]})
        before = session.run([v, other])
        for _ in range(2):
            with pytest.raises(tf.errors.InvalidArgumentError):
                session.run(step, {ids: [0, 5]})
        for a, b in zip(before, session.run([v, other]), strict=True):
            np.testing.assert_array_equal(a, b)


def test_variables_stay_usable_after_a_computed_index_was_wrong():
    with tf.Graph().as_default(), session_of("xla") as session:
        ids = tf.placeholder(tf.int32, [2])
        v = variable()
        step = tf.scatter_add(v, ids * 2, tf.ones([2, 2])).op
        session.run(tf.global_variables_initializer())
        for _ in range(2):  # rows out of range are left out
            with pytest.raises(tf.errors.InvalidArgumentError):
                session.run(step, {ids: [1, 2]})
            session.run(step, {ids: [0, 0]})
        found = session.run(v)
        np.testing.assert_array_equal(found, PARAMS + [[4, 4], [0, 0], [2, 2]])


def test_right_values_cost_no_compilation_and_no_other_run():
    with tf.Graph().as_default(), session_of("xla") as session:
        ids = tf.placeholder(tf.int32, [2])
        rows = tf.gather(variable(), ids)
        session.run(tf.global_variables_initializer())
        session.run(rows, {ids: [0, 1]})
        before = statistics()
        for i in range(5):
            session.run(rows, {ids: [i % 3, 1]})
        after = statistics()
        assert after["compiles"] == before["compiles"]
        assert after["xla_runs"] - before["xla_runs"] == 5
        assert after["numpy_runs"] == before["numpy_runs"]
