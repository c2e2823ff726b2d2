"""Which programs are compiled with which options, and that XLA takes these."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import flowmesh as tf
from flowmesh.runtime import compile_options, xla
from flowmesh.runtime.compile_options import options_for
from flowmesh.runtime.device import load_jax

FUSION = "xla_cpu_experimental_ynn_fusion_type"
EIGEN = {FUSION: ""}
PRODUCTS = {FUSION: "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT"}


def ops_of(build: Callable[[], Any]) -> list[Any]:
    with tf.Graph().as_default() as graph:
        build()
        return graph.get_operations()


def network(rows: int | None = 100, units: int = 10) -> Any:
    return tf.matmul(tf.placeholder(tf.float32, [rows, 784]), tf.zeros([784, units]))


def embedding(rows: int | None = 64, units: int = 16, **kinds: Any) -> Any:
    table = tf.get_variable("table", [1000, 32], **kinds)
    found = tf.nn.embedding_lookup(table, tf.placeholder(tf.int32, [rows]))
    loss = tf.reduce_sum(tf.matmul(found, tf.zeros([32, units])))
    return tf.train.GradientDescentOptimizer(0.1).minimize(loss)


def convolution() -> Any:
    return tf.nn.conv2d(tf.zeros([1, 4, 4, 1]), tf.ones([3, 3, 1, 1]), [1, 1, 1, 1], "SAME")


@pytest.mark.parametrize(
    ("build", "platform", "wanted"),
    [
        (network, "cpu", None),
        (embedding, "cpu", EIGEN),
        (lambda: embedding(use_resource=True), "cpu", EIGEN),
        (lambda: embedding(rows=None), "cpu", None),
        (lambda: embedding(rows=1024, units=1024), "cpu", None),
        (lambda: (embedding(), network(units=1000)), "cpu", None),
        (convolution, "cpu", PRODUCTS),
        (lambda: (convolution(), embedding()), "cpu", PRODUCTS),
        (embedding, "gpu", None),
        (convolution, "gpu", None),
    ],
    ids=[
        "products",
        "rows",
        "rows of a resource",
        "open shapes",
        "large products",
        "one large product",
        "convolution",
        "convolution and rows",
        "rows on a GPU",
        "convolution on a GPU",
    ],
)
def test_the_options_follow_from_the_ops(build, platform, wanted):
    assert options_for(load_jax(), platform, ops_of(build)) == wanted


def test_an_option_that_this_version_does_not_know_is_not_given(monkeypatch):
    assert not compile_options._is_known(load_jax(), "xla_no_such_option", "1")
    monkeypatch.setattr(compile_options, "_YNNPACK", "xla_no_such_option")
    assert options_for(load_jax(), "cpu", ops_of(embedding)) is None


def test_a_batch_of_products_is_counted_by_its_matrices():
    (op,) = [
        op
        for op in ops_of(lambda: tf.matmul(tf.zeros([3, 4, 5]), tf.zeros([3, 5, 7])))
        if op.type.startswith("BatchMatMul")
    ]
    assert compile_options._multiplications(op) == pytest.approx(3 * 4 * 5 * 7)


def test_rows_are_updated_as_numpy_updates_them(monkeypatch):
    """The option goes with the program, and changes nothing of what it gives."""
    found, given = [], []

    def noted(*args: Any) -> Any:
        given.append(options_for(*args))
        return given[-1]

    monkeypatch.setattr(xla, "options_for", noted)
    for mode in ("numpy", "xla"):
        config = tf.ConfigProto()
        config.experimental.flowmesh.execution = mode
        with tf.Graph().as_default(), tf.Session(config=config) as session:
            table = tf.get_variable("table", initializer=np.ones((10, 4), np.float32))
            rows = tf.nn.embedding_lookup(table, tf.constant([1, 3, 3]))
            loss = tf.reduce_sum(tf.square(tf.matmul(rows, tf.ones([4, 2]))))
            step = tf.train.GradientDescentOptimizer(0.1).minimize(loss)
            session.run(tf.global_variables_initializer())
            for _ in range(2):
                session.run(step)
            found.append(session.run(table))
    assert EIGEN in given
    np.testing.assert_allclose(found[0], found[1], rtol=1e-6)
