"""Rows travel, not tables: sparse gradients and lookups in variables on parameter servers, whole and in shards."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import flowmesh as tf
from flowmesh.distributed.transport.direct import frames
from tests.distributed.clusters import cluster

ROWS, WIDTH, IDS = 20_000, 16, 32
TABLE = ROWS * WIDTH * 4
PICKED = IDS * WIDTH * 4
NUMBERS = IDS * 8


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of all tensors that leave for another task."""
    sizes: list[int] = []
    encode = frames.encode

    def counted(value: Any) -> Any:
        encoded = encode(value)
        sizes.append(encoded.size)
        return encoded

    monkeypatch.setattr(frames, "encode", counted)
    return sizes


def _whole() -> Any:
    with tf.device("/job:ps/task:0"):
        return tf.get_variable("table", initializer=tf.ones([ROWS, WIDTH]))


def _sharded() -> Any:
    with tf.device(tf.train.replica_device_setter(ps_tasks=2, worker_device="/job:worker/task:0")):
        return tf.get_variable(
            "table",
            [ROWS, WIDTH],
            initializer=tf.ones_initializer(),
            partitioner=tf.fixed_size_partitioner(4),
        )


@pytest.mark.parametrize("make", [_whole, _sharded])
@pytest.mark.parametrize("strategy", ["mod", "div"])
@pytest.mark.parametrize(
    "optimizer",
    [
        lambda: tf.train.GradientDescentOptimizer(0.5),
        lambda: tf.train.AdagradOptimizer(0.5),
        lambda: tf.train.AdamOptimizer(0.5),
    ],
    ids=["sgd", "adagrad", "adam"],
)
def test_a_lookup_and_its_update_send_rows(
    sent: list[int], make: Callable[[], Any], strategy: str, optimizer: Callable[[], Any]
) -> None:
    ids = np.random.RandomState(0).choice(ROWS, IDS, replace=False)
    with cluster(ps=2, worker=1) as servers, tf.Graph().as_default():
        table = make()
        wanted = tf.placeholder(tf.int64, [IDS])
        with tf.device("/job:worker/task:0"):
            rows = tf.nn.embedding_lookup(table, wanted, partition_strategy=strategy)
            loss = tf.reduce_sum(rows * rows)
        with tf.device(
            tf.train.replica_device_setter(ps_tasks=2, worker_device="/job:worker/task:0")
        ):
            train = optimizer().minimize(loss)
        with tf.Session(servers["worker:0"].target) as session:
            session.run(tf.global_variables_initializer())
            feed = {wanted: ids}
            sent.clear()
            found = session.run(rows, feed)
            assert found.shape == (IDS, WIDTH)
            _check(sent, PICKED, 2 * NUMBERS)
            session.run(train, feed)
            sent.clear()
            session.run(train, feed)
            # Rows there, gradients back; each with the numbers of the rows, whole and split by shards.
            _check(sent, 2 * PICKED, 12 * NUMBERS)
            after = session.run(rows, feed)
            assert (after != found).all()


def _check(sent: list[int], rows: int, more: int) -> None:
    """What travelled is the rows and little else."""
    total = sum(sent)
    assert rows <= total <= rows + more + 2048, sent
    assert total < TABLE / 50
