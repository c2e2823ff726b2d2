"""NumPy updates variables in their own memory where nobody else sees it, with the values that a new array would have."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import flowmesh as tf
from flowmesh.graph.registry import lookup
from flowmesh.resources.variable import Variable
from flowmesh.runtime import in_place

OPTIMIZERS = {
    "sgd": lambda: tf.train.GradientDescentOptimizer(0.1),
    "momentum": lambda: tf.train.MomentumOptimizer(0.1, 0.9, use_nesterov=True),
    "adagrad": lambda: tf.train.AdagradOptimizer(0.1),
    "adam": lambda: tf.train.AdamOptimizer(0.1),
    "ftrl": lambda: tf.train.FtrlOptimizer(0.1, l1_regularization_strength=0.01),
    "rmsprop": lambda: tf.train.RMSPropOptimizer(0.1, centered=True),
}


@pytest.fixture(autouse=True)
def small_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """Variables of a few kilobytes are written to in place."""
    monkeypatch.setattr(in_place, "SMALL", 4096)


@pytest.fixture
def numpy_session() -> Any:
    config = tf.ConfigProto()
    config.experimental.flowmesh.execution = "numpy"
    with tf.Graph().as_default(), tf.Session(config=config) as session:
        yield session


def held(session: Any, name: str) -> np.ndarray:
    """The array that a variable of a local session holds."""
    value: np.ndarray = session._master.worker.resources.lookup("", name, Variable).value
    return value


@pytest.mark.parametrize("resource", [False, True])
@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
def test_every_optimizer_gives_the_same_bits(
    name: str, sparse: bool, resource: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def trained() -> tuple[list[Any], int]:
        updates = 0
        update = in_place.update

        def counted(*args: Any) -> Any:
            nonlocal updates
            updates += 1
            return update(*args)

        config = tf.ConfigProto()
        config.experimental.flowmesh.execution = "numpy"
        with monkeypatch.context() as patch, tf.Graph().as_default():
            patch.setattr(in_place, "update", counted)
            start = np.random.default_rng(3).random((300, 150)).astype(np.float32)
            v = tf.get_variable("v", initializer=start, use_resource=resource)
            ids = tf.constant([1, 7, 7, 299, 1])
            loss = tf.reduce_sum(tf.square(tf.gather(v, ids) if sparse else v) * 0.5)
            step = OPTIMIZERS[name]().minimize(loss)
            with tf.Session(config=config) as session:
                session.run(tf.global_variables_initializer())
                for _ in range(6):
                    session.run(step)
                return session.run(tf.global_variables()), updates

    inside, some = trained()
    monkeypatch.setattr(in_place, "SMALL", 1 << 60)
    outside, none = trained()
    assert some >= 6
    assert not none
    for a, b in zip(inside, outside, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("kind", ["add", "sub", "mul", "div", "min", "max", "update"])
def test_rows_are_written_to_the_memory_of_the_variable(
    kind: str, numpy_session: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # An array that happens to be aligned as XLA's are would be copied once more.
    monkeypatch.setattr(in_place, "_ALIGNMENT", 1 << 62)
    start = np.random.default_rng(0).random((2000, 4)).astype(np.float32) + 1
    v = tf.Variable(start, name="v")
    rows = tf.placeholder(tf.float32, [3, 4])
    op = getattr(tf, f"scatter_{kind}")(v, [5, 1999, 5], rows)
    expected = start.copy()
    numpy_session.run(v.initializer)
    addresses = set()
    for n in range(8):
        feed = np.full((3, 4), n + 1.5, np.float32)
        numpy_session.run(op.op, {rows: feed})
        value = held(numpy_session, "v")
        assert not value.flags.writeable
        addresses.add(value.ctypes.data)
        del value
        if kind == "update":
            expected[[5, 1999, 5]] = feed
        else:
            ufunc = {
                "add": np.add,
                "sub": np.subtract,
                "mul": np.multiply,
                "div": np.divide,
                "min": np.minimum,
                "max": np.maximum,
            }[kind]
            ufunc.at(expected, [5, 1999, 5], feed)
    np.testing.assert_allclose(numpy_session.run(v), expected, rtol=1e-5)
    # The constant it began with is not the variable's own.
    assert len(addresses) <= 2


def test_who_has_the_old_value_keeps_it(numpy_session: Any) -> None:
    v = tf.Variable(tf.zeros([64, 64]), name="v")
    add = tf.scatter_add(v, [3], tf.ones([1, 64]))
    numpy_session.run(v.initializer)
    for _ in range(4):
        numpy_session.run(add.op)
    kept = held(numpy_session, "v")
    numpy_session.run(add.op)
    assert kept[3, 0] == 4
    assert held(numpy_session, "v")[3, 0] == 5
    before, _ = numpy_session.run([v.read_value(), add.op])
    assert before[3, 0] in (5, 6)
    after = numpy_session.run(v)
    after += 1
    assert held(numpy_session, "v")[3, 0] == 6


def test_what_is_invalid_changes_nothing(numpy_session: Any) -> None:
    v = tf.Variable(tf.ones([64, 64]), name="v")
    ids = tf.placeholder(tf.int32, [2])
    add = tf.scatter_add(v, ids, tf.ones([2, 64]))
    numpy_session.run(v.initializer)
    for _ in range(4):
        numpy_session.run(add.op, {ids: [0, 1]})
        with pytest.raises(tf.errors.InvalidArgumentError, match=r"indices\[1\] = 64"):
            numpy_session.run(add.op, {ids: [0, 64]})
    value = numpy_session.run(v)
    np.testing.assert_array_equal(value[:2], 5)
    np.testing.assert_array_equal(value[2:], 1)


def test_two_updates_of_one_variable_in_one_step(numpy_session: Any) -> None:
    v = tf.Variable(tf.ones([64, 64]), name="v")
    first = tf.scatter_add(v, [0], tf.ones([1, 64]))
    with tf.control_dependencies([first]):
        second = tf.scatter_mul(v, [0], 2 * tf.ones([1, 64]))
    numpy_session.run(v.initializer)
    expected = 1.0
    for _ in range(5):
        numpy_session.run(second.op)
        expected = 2 * (expected + 1)
    assert numpy_session.run(v)[0, 0] == expected


def test_a_table_that_is_updated_by_rows_is_never_copied() -> None:
    """Memory: neither the first runs nor later ones make a second table."""
    import tracemalloc

    rows = 1 << 16
    with tf.Graph().as_default(), tf.Session() as session:
        table = tf.Variable(tf.zeros([rows, 64]), name="table")
        ids = tf.placeholder(tf.int64, [None])
        step = tf.train.GradientDescentOptimizer(0.1).minimize(
            tf.reduce_sum(tf.square(tf.nn.embedding_lookup(table, ids) - 1.0))
        )
        session.run(table.initializer)
        tracemalloc.start()
        try:
            for n in range(6):
                session.run(step, {ids: [n, 5, 77]})
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak < rows * 64 * 4 // 4


def test_ops_that_say_so_can() -> None:
    for name in ("ScatterNdAdd", "Assign", "AssignAdd"):
        assert not lookup(name).in_place
    for name in ("ScatterAdd", "ResourceScatterUpdate", "ApplyAdam", "SparseApplyAdagrad"):
        assert lookup(name).in_place
