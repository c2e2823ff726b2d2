"""Compiled loops raise what loops by NumPy raise for wrong indices, labels and divisors, and end when something is wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import flowmesh as tf
from flowmesh.runtime.guards import Guards
from flowmesh.runtime.xla import statistics
from tests.runtime.test_guards import PARAMS, session_of, variable

Build = Callable[[Any], Any]
"""From the fed start to what is run."""


def counted(body: Callable[[Any, Any], Any], start: Any, rounds: int = 3, shape: Any = None) -> Any:
    """The sum of what `body(i, total)` adds while `i` runs on from the start."""
    total = tf.zeros([] if shape is None else shape)
    return tf.while_loop(
        lambda i, n, total: n < rounds,
        lambda i, n, total: (i + 1, n + 1, total + body(i, total)),
        [start, 0, total],
    )[2]


def rows(i: Any, total: Any) -> Any:
    return tf.gather(tf.constant(PARAMS), [i, 0])[0, 1]


def in_branch(i: Any, total: Any) -> Any:
    return tf.cond(
        i > 3,
        lambda: tf.reduce_sum(tf.gather(tf.constant(PARAMS), [i])),
        lambda: tf.constant(1.0),
    )


def inner(i: Any, total: Any) -> Any:
    return counted(lambda k, _: rows(k, total), i, 2)


def quotient(i: Any, total: Any) -> Any:
    return tf.cast(100 // (5 - i), tf.float32)


def labels(i: Any, total: Any) -> Any:
    loss = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=[i // 2], logits=[[1.0, 2.0]])
    return tf.reduce_sum(loss)


def elements(start: Any) -> Any:
    """A TensorArray is written beside."""
    _, found = tf.while_loop(
        lambda k, array: k < 3,
        lambda k, array: (k + 1, array.write(k, rows(start + k, None))),
        [0, tf.TensorArray(tf.float32, 3)],
    )
    return found.stack()


def scattered(start: Any) -> Any:
    v = variable()

    def body(i: Any) -> Any:
        with tf.control_dependencies([tf.scatter_add(v, [i], tf.ones([1, 2]))]):
            return i + 1

    return tf.while_loop(lambda i: i < start + 3, body, [start])


def gradient(start: Any) -> Any:
    x = tf.ones([3])
    return tf.gradients(counted(lambda i, total: x[0] * tf.gather(x, i), start), x)[0]


def asking(condition: Callable[[Any], Any], start: Any, body: Any = None) -> Any:
    """How far a loop comes that goes on while the condition holds, beside the sum of what `body(i)` gives; it ends after 20 rounds."""
    return tf.while_loop(
        lambda n, i, total: tf.logical_and(n < 20, condition(i)),
        lambda n, i, total: (n + 1, i + 1, total + (1.0 if body is None else body(i))),
        [0, start, 0.0],
    )[1:]


def table(i: Any) -> Any:
    return tf.gather(tf.constant([1, 1, 0]), i) > 0


def quotients(i: Any) -> Any:
    return 100 // (5 - i) < 60


def table_in_branch(i: Any) -> Any:
    return tf.cond(i > 1, lambda: table(i - 2), lambda: tf.constant(True))


def inner_table(i: Any) -> Any:
    """The condition is a loop of its own, whose condition looks at the table, too."""
    return asking(table, i)[0] > i


def nested(start: Any) -> Any:
    """The loop asks within another one, whose own condition is nothing special."""
    return counted(lambda i, total: asking(table, i)[1], start, 2)


def asked_gradient(start: Any) -> Any:
    x = tf.ones([3])
    total = asking(table, start, lambda i: x[0] * tf.gather(x, i))[1]
    return tf.gradients(total, x)[0]


def asked_elements(start: Any) -> Any:
    """A TensorArray is read in the condition."""
    array = tf.TensorArray(tf.int32, 4, clear_after_read=False).unstack([3, 4, 6, 5])
    return asking(lambda i: 100 // (array.read(i) - 5) < 0, start)


CASES: dict[str, tuple[Build, int, int, str]] = {
    "gather": (lambda s: counted(rows, s), 0, 1, r"indices\[0\] = 3 is not in \[0, 3\)"),
    "in a branch": (lambda s: counted(in_branch, s), 1, 2, r"= 4 is not in \[0, 3\)"),
    "in an inner loop": (lambda s: counted(inner, s, 2), 0, 1, r"= 3 is not in \[0, 3\)"),
    "division": (lambda s: counted(quotient, s), 1, 3, "Integer division by zero"),
    "labels": (lambda s: counted(labels, s), 1, 2, r"label value of 2 which is outside"),
    "arrays": (elements, 0, 1, r"= 3 is not in \[0, 3\)"),
    "scatter": (scattered, 0, 1, r"= 3 is not in \[0, 3\)"),
    "gradient": (gradient, 0, 1, r"= 3 is not in \[0, 3\)"),
    "condition": (lambda s: asking(table, s), 0, 3, r"indices = 3 is not in \[0, 3\)"),
    "condition, later": (lambda s: asking(lambda i: table(i - 3), s), 3, -1, "= -4 is not in"),
    "division in the condition": (lambda s: asking(quotients, s), 4, 5, "division by zero"),
    "division in the condition, later": (
        lambda s: asking(lambda i: 100 // (i - 5) < 0, s),
        6,
        3,
        "division by zero",
    ),
    "branch in the condition": (lambda s: asking(table_in_branch, s), 0, 5, r"= 3 is not in"),
    "loop as the condition": (lambda s: asking(inner_table, s), 0, 3, r"= 3 is not in \[0, 3\)"),
    "condition of an inner loop": (nested, 0, 2, r"= 3 is not in \[0, 3\)"),
    "gradient, condition": (asked_gradient, 0, 3, r"= 3 is not in \[0, 3\)"),
    "elements in the condition": (asked_elements, 0, 3, "division by zero"),
}


BY_NUMPY = {"loop as the condition", "elements in the condition"}
"""Conditions with state of their own: such loops are not compiled."""


@pytest.mark.parametrize("name", CASES)
def test_wrong_values_in_loops_raise_in_compiled_programs_as_in_numpy(name):
    build, right, wrong, message = CASES[name]
    found = {}
    for mode in ("numpy", "xla"):
        with tf.Graph().as_default(), session_of(mode) as session:
            start = tf.placeholder(tf.int32, [])
            wanted = build(start)
            session.run(tf.global_variables_initializer())
            before = statistics()["compiles"]
            texts = []
            for _ in range(2):
                value = session.run(wanted, {start: right})
                with pytest.raises(tf.errors.InvalidArgumentError, match=message) as caught:
                    session.run(wanted, {start: wrong})
                assert caught.value.op is not None
                texts.append((caught.value.op.type, caught.value.message.split("\n")[0]))
            assert texts[0] == texts[1]
            found[mode] = texts[0], value
            compiled = mode == "xla" and name not in BY_NUMPY
            assert (statistics()["compiles"] > before) is compiled
    assert found["numpy"][0] == found["xla"][0]
    if name != "scatter":  # its variable was changed by the step that failed
        np.testing.assert_allclose(found["numpy"][1], found["xla"][1], rtol=1e-6)


def test_a_loop_that_something_wrong_would_keep_going_ends():
    """What it waits for would never come: a row that does not exist is no number."""
    with tf.Graph().as_default(), session_of("xla") as session:
        start = tf.placeholder(tf.int32, [])
        table = tf.constant([0.5, 0.25])
        reached = tf.while_loop(
            lambda i, total: tf.logical_not(total >= 0.75),
            lambda i, total: (i + 1, total + tf.gather(table, i)),
            [start, 0.0],
        )
        assert tuple(session.run(reached, {start: 0})) == (2, 0.75)
        with pytest.raises(tf.errors.InvalidArgumentError, match=r"= 2 is not in \[0, 2\)"):
            session.run(reached, {start: 1})


@pytest.mark.parametrize("name", ["in a branch", "condition, later"])
def test_a_program_from_the_cache_tells_what_was_wrong_in_its_loop(folder, name):
    build, right, wrong, message = CASES[name]
    for loads in (False, True):
        with tf.Graph().as_default(), session_of("xla") as session:
            start = tf.placeholder(tf.int32, [])
            wanted = build(start)
            before = statistics()["loads"]
            session.run(wanted, {start: right})
            assert (statistics()["loads"] > before) is loads
            with pytest.raises(tf.errors.InvalidArgumentError, match=message):
                session.run(wanted, {start: wrong})


def test_a_condition_of_what_the_body_took_from_nowhere_is_not_blamed():
    """The body's row does not exist, and what the condition makes of it is no index, either."""
    with tf.Graph().as_default(), session_of("xla") as session:
        start = tf.placeholder(tf.int32, [])
        following, going = tf.constant([1, 2, 0, 7]), tf.constant([True, True, False])
        reached = tf.while_loop(
            lambda i: tf.gather(going, i), lambda i: tf.gather(following, i + 1), [start]
        )
        assert session.run(reached, {start: 0}) == 2
        with pytest.raises(tf.errors.InvalidArgumentError, match=r"= -6 is not in \[0, 4\)"):
            session.run(
                tf.while_loop(
                    lambda i: tf.gather(going, i), lambda i: tf.gather(following, i - 7), [start]
                ),
                {start: 1},
            )


def test_a_condition_is_looked_at_in_each_piece_of_a_long_loop():
    """Such a loop stops now and then, and asks once more where it goes on."""
    rounds = 200_000
    with tf.Graph().as_default(), session_of("xla") as session:
        last = tf.placeholder(tf.int32, [])
        reached = tf.while_loop(lambda i: 1000 // (last - i) < 1000, lambda i: i + 1, [0])
        before = statistics()["compiles"]
        assert session.run(reached, {last: rounds}) == rounds - 1
        assert statistics()["compiles"] > before
        endless = tf.while_loop(lambda i: 10 // (last - i) < 90, lambda i: i + 1, [0])
        with pytest.raises(tf.errors.InvalidArgumentError, match="Integer division by zero"):
            session.run(endless, {last: rounds})


def test_loops_with_nothing_to_look_at_are_not_waited_for(monkeypatch):
    programs = []
    monkeypatch.setattr(
        Guards, "collect", lambda self, jnp, out: programs.append((self, len(self.loops.found)))
    )
    with tf.Graph().as_default(), session_of("xla") as session:
        start = tf.placeholder(tf.float32, [])
        doubled = tf.while_loop(lambda x: x < 100.0, lambda x: 2.0 * x, [start])
        assert session.run(doubled, {start: 3.0}) == 192.0
    assert [(found, guards.waits) for guards, found in programs] == [(0, False)]
