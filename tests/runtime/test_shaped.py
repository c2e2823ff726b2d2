"""Clusters that NumPy runs the short way: the same bits, fewer kernels, and the long way for whatever is different."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import flowmesh as tf
from flowmesh.runtime.cluster_runner import MAX_SHAPED, ClusterRunner
from flowmesh.runtime.shaped import ShapedCluster
from tests.runtime.harness import note_shaped


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[ShapedCluster]:
    """The short ways that are made."""
    return note_shaped(monkeypatch)


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch) -> list[ShapedCluster]:
    """The short ways that were tried and refused."""
    found: list[ShapedCluster] = []
    run = ShapedCluster.run

    def tried(self: ShapedCluster, inputs: Any, rooms: Any = None) -> Any:
        outputs = run(self, inputs, rooms)
        if outputs is None:
            found.append(self)
        return outputs

    monkeypatch.setattr(ShapedCluster, "run", tried)
    return found


def regression() -> tuple[Any, Any, Any, Any]:
    """Inputs, training op and variables of a linear regression."""
    x, y = tf.placeholder(tf.float32), tf.placeholder(tf.float32)
    w, b = tf.Variable(0.5, name="w"), tf.Variable(0.0, name="b")
    loss = tf.square(x * w + b - y)
    train = tf.train.AdagradOptimizer(0.1).minimize(loss)
    return x, y, train, [w, b]


def train(steps: int, shape: tuple[int, ...] = ()) -> list[np.ndarray]:
    """The variables after so many steps from a fixed start."""
    rng = np.random.default_rng(7)
    with tf.Graph().as_default():
        x, y, step, variables = regression()
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            for _ in range(steps):
                feed = rng.random(shape).astype(np.float32)
                session.run(step, {x: feed, y: 2 * feed + 1})
            return list(session.run(variables))


@pytest.mark.parametrize("shape", [(), (5,), (3, 4)])
def test_the_bits_are_those_of_the_long_way(
    shape: tuple[int, ...], made: list[ShapedCluster], monkeypatch: pytest.MonkeyPatch
) -> None:
    short = train(30, shape)
    assert made
    monkeypatch.setattr(ClusterRunner, "_is_to_be_recorded", lambda self, entry: False)
    made.clear()
    long = train(30, shape)
    assert not made
    for a, b in zip(short, long):
        np.testing.assert_array_equal(a, b)


def test_what_follows_from_shapes_is_not_computed_again(made: list[ShapedCluster]) -> None:
    train(10)
    (cluster,) = made
    kinds = [step[4].op.type for step in cluster._steps]
    assert kinds == ["Mul", "AddV2", "Sub", "Mul", "Mul", "Mul", "ApplyAdagrad", "ApplyAdagrad"]


def test_another_shape_has_a_way_of_its_own(made: list[ShapedCluster]) -> None:
    x = tf.placeholder(tf.float32)
    y = tf.reduce_sum(x * 2.0, axis=tf.range(tf.rank(x))) + tf.cast(tf.size(x), tf.float32)
    with tf.Session() as session:
        for _ in range(3):
            for n in (1, 2, 3):
                assert session.run(y, {x: np.ones(n)}) == 3 * n
    assert sorted(c.shapes for c in made) == [((1,),), ((2,),), ((3,),)]


def test_there_is_a_limit(made: list[ShapedCluster]) -> None:
    x = tf.placeholder(tf.float32, [None])
    y = tf.reduce_sum(x) + 1.0
    with tf.Session() as session:
        for n in range(MAX_SHAPED + 10):
            for _ in range(4):
                assert session.run(y, {x: np.ones(n)}) == n + 1
    assert len(made) == MAX_SHAPED


def test_another_dtype_or_value_of_a_variable_goes_the_long_way(
    made: list[ShapedCluster], refused: list[ShapedCluster]
) -> None:
    v = tf.Variable([1.0, 2.0], validate_shape=False, name="v")
    value = tf.placeholder(tf.float32)
    change = tf.assign(v, value, validate_shape=False)
    total = tf.reduce_sum(v) + tf.cast(tf.size(v), tf.float32)
    with tf.Session() as session:
        session.run(v.initializer)
        for _ in range(5):
            assert session.run(total) == 5
        assert made
        assert not refused
        session.run(change.op, {value: np.ones(4)})
        assert session.run(total) == 8
        assert refused


def test_an_uninitialized_variable_is_an_error_after_all(made: list[ShapedCluster]) -> None:
    with tf.Graph().as_default():
        v = tf.Variable(3.0, name="v")
        doubled = v * 2.0
        with tf.Session() as session:
            session.run(v.initializer)
            for _ in range(4):
                assert session.run(doubled) == 6
            assert made
            session._master.worker.resources.clear()
            with pytest.raises(tf.errors.FailedPreconditionError, match="uninitialized value v"):
                session.run(doubled)


def test_an_error_names_its_node(made: list[ShapedCluster]) -> None:
    x = tf.placeholder(tf.int32, [None])
    picked = tf.gather([1, 2, 3], x, name="picked")
    with tf.Session() as session:
        for _ in range(4):
            session.run(picked, {x: [0]})
        assert made
        with pytest.raises(tf.errors.InvalidArgumentError, match=r"(?s)indices\[0\] = 7.*picked"):
            session.run(picked, {x: [7]})


def test_constants_that_are_fetched_stay_as_they_are(made: list[ShapedCluster]) -> None:
    x = tf.placeholder(tf.float32)
    ones = tf.ones_like(x)
    with tf.Session() as session:
        for _ in range(5):
            got = session.run(ones, {x: np.zeros(3)})
            got += 1
            np.testing.assert_array_equal(got, [2, 2, 2])
    assert made


DEPENDS_ON_VALUES = {
    "reshape": lambda x, sizes, n: tf.shape(tf.reshape(x, sizes)),
    "reshape twice": lambda x, sizes, n: tf.reshape(tf.reshape(x, sizes), sizes[::-1]),
    "fill": lambda x, sizes, n: tf.shape(tf.fill(sizes, 1.0)),
    "range": lambda x, sizes, n: tf.size(tf.range(n)),
    "tile": lambda x, sizes, n: tf.shape(tf.identity(tf.tile(x, [n]))),
    "ones": lambda x, sizes, n: tf.ones_like(tf.tile(x, [n])),
    "mask": lambda x, sizes, n: tf.size(tf.boolean_mask(x, x > 0)),
    "strings": lambda x, sizes, n: tf.size(
        tf.string_split(
            [tf.reduce_join(tf.as_string(tf.boolean_mask(x, x > 0)), 0, separator=" ")]
        ).values
    ),
}


@pytest.mark.parametrize("name", DEPENDS_ON_VALUES)
def test_shapes_that_depend_on_values_are_not_remembered(name):
    def run(session, number):
        x = np.array([1] * number + [-1] * (12 - number), np.float32)
        return session.run(
            wanted, {inputs[0]: x, inputs[1]: [number, 12 // number], inputs[2]: number}
        )

    with tf.Graph().as_default():
        inputs = (
            tf.placeholder(tf.float32, [None]),
            tf.placeholder(tf.int32, [2]),
            tf.placeholder(tf.int32, []),
        )
        wanted = DEPENDS_ON_VALUES[name](*inputs)
        with tf.Session() as session:
            numbers = [6, 6, 6, 1, 2, 3, 4, 12, 6, 4]
            found = [run(session, number) for number in numbers]
        for number, value in zip(numbers, found):
            with tf.Session() as session:
                np.testing.assert_array_equal(value, run(session, number))
