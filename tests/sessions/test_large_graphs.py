"""A graph of over 2 GB is refused when it would have to be written, with its biggest constants named."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import flowmesh as tf
from flowmesh.graph.raw import raw
from tests.distributed.clusters import cluster, config

GIGABYTE = 1 << 30


def _virtual(size: int) -> np.ndarray:
    """So many bytes of float32 that take one row of memory."""
    row = np.arange(1 << 10, dtype=np.float32)
    return np.broadcast_to(row, (size // row.nbytes, row.size))


def _constant(size: int, name: str) -> Any:
    return raw.Const(value=_virtual(size), dtype=tf.float32, name=name)


def test_one_constant_is_refused_when_it_is_made() -> None:
    with tf.Graph().as_default() as graph:
        with pytest.raises(
            ValueError, match=r"larger than 2GB\. The constant 'huge' would take 2,147"
        ):
            tf.constant(_virtual(2 * GIGABYTE), name="huge")
        assert graph.get_operations() == []


def test_the_biggest_constants_are_named() -> None:
    with tf.Graph().as_default() as graph:
        sizes = {"a": 200, "b": 700, "c": 300, "d": 100, "e": 600, "f": 150, "g": 1 / 1024}
        for name, megabytes in sizes.items():
            _constant(int(megabytes * (1 << 20)), name)
        with pytest.raises(ValueError, match="GraphDef cannot be larger than 2GB") as caught:
            graph.as_graph_def()
        text = str(caught.value)
        places = [text.index(f"{name} (") for name in "becaf"]
        assert places == sorted(places)
        assert "b (734,003,200 bytes)" in text
        assert "d (" not in text
        with pytest.raises(ValueError, match="larger than 2GB"):
            tf.train.export_meta_graph()


def test_one_element_repeated_takes_no_room() -> None:
    with tf.Graph().as_default() as graph:
        for _ in range(3):
            tf.constant(1.0, shape=[GIGABYTE // 4])
        assert graph.as_graph_def().ByteSize() < 10_000


def test_a_session_on_a_server_says_so() -> None:
    with cluster(ps=1) as servers, tf.Graph().as_default():
        small = tf.constant(1.0)
        with tf.Session(servers["ps:0"].target, config=config(rpc=True)) as session:
            assert session.run(small) == 1.0
            for index in range(3):
                _constant(GIGABYTE, f"big_{index}")
            with pytest.raises(ValueError, match=r"big_2 \(1,073,741,824 bytes\), big_1"):
                session.run(small)
