"""Tensors that travel with less precision: how much less travels, and how wrong they are then."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import flowmesh as tf
from flowmesh.distributed.transport.direct import frames
from flowmesh.distributed.transport.direct.plane import DirectOptions
from tests.distributed.clusters import cluster

SIZE = 100_000
BOUNDS = {"bfloat16": 2.0**-8, "float16": 2.0**-11, "int8": 1 / 254}
"""Error relative to the value; for int8 to the largest of them."""
SHARES = {"": 1.0, "bfloat16": 0.5, "float16": 0.5, "int8": 0.25}


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of all tensors that leave for another task; for client and server, nothing in this test is large."""
    sizes: list[int] = []
    encode = frames.encode

    def counted(value: Any) -> Any:
        encoded = encode(value)
        sizes.append(encoded.size)
        return encoded

    monkeypatch.setattr(frames, "encode", counted)
    return sizes


@pytest.fixture
def targets() -> Iterator[str]:
    with cluster(ps=1, worker=1) as servers:
        yield servers["worker:0"].target


def _values() -> np.ndarray:
    r = np.random.RandomState(3)
    values = (r.standard_normal(SIZE) * 10.0 ** r.uniform(-3, 3, SIZE)).astype(np.float32)
    values[:3] = 0.0, -60_000.0, 60_000.0
    return values


def _config(kind: str = "") -> Any:
    config = tf.ConfigProto()
    config.experimental.flowmesh.transfer_compression = kind
    return config


def _model(values: np.ndarray, compression: str | None = None) -> tuple[Any, Any, Any]:
    """A variable on the ps; what the worker sees of it, and an update that the worker sends."""
    with tf.device("/job:ps/task:0"):
        v = tf.Variable(values, name="v")
        if compression is not None:
            v.op._set_attr("_transfer_compression", compression.encode())
    with tf.device("/job:worker/task:0"):
        seen = tf.abs(v) * tf.sign(v)
        update = tf.random_shuffle(tf.zeros([SIZE])) + values
    with tf.device("/job:ps/task:0"):
        more = v.assign_add(update).op
    return v, seen, more


@pytest.mark.parametrize("kind", ["", "none", "bfloat16", "float16", "int8"])
def test_the_error_is_bounded_and_bytes_are_saved(targets: str, sent: list[int], kind: str) -> None:
    values = _values()
    with tf.Graph().as_default(), tf.Session(targets, config=_config(kind)) as session:
        v, seen, more = _model(values)
        session.run(v.initializer)
        sent.clear()
        pulled = session.run(seen)
        share = SHARES["" if kind == "none" else kind]
        assert sum(sent) == pytest.approx(share * values.nbytes, abs=100)
        _check(pulled, values, kind)
        sent.clear()
        session.run(more)
        assert sum(sent) == pytest.approx(share * values.nbytes, abs=100)
        _check(session.run(v) - values, values, kind, slack=np.abs(values) * 2.0**-22)


def _check(found: np.ndarray, values: np.ndarray, kind: str, slack: Any = 0.0) -> None:
    error = np.abs(found.astype(np.float64) - values)
    if kind in ("", "none"):
        assert (error <= slack).all()
        return
    size = np.abs(values).max() if kind == "int8" else np.maximum(np.abs(values), 2.0**-14)
    assert (error <= BOUNDS[kind] * size * 1.00001 + slack).all()
    assert error.max() > 0


def test_a_variable_says_for_itself(targets: str, sent: list[int]) -> None:
    values = _values()
    for kind, own, share in (("", "int8", 0.25), ("int8", "none", 1.0)):
        with tf.Graph().as_default(), tf.Session(targets, config=_config(kind)) as session:
            v, seen, more = _model(values, own)
            session.run(v.initializer)
            for op in (seen.op, more):
                sent.clear()
                session.run(op)
                assert sum(sent) == pytest.approx(share * values.nbytes, abs=100)


def test_resource_variables_too(targets: str, sent: list[int]) -> None:
    values = _values()
    with tf.Graph().as_default(), tf.Session(targets) as session:
        with tf.device("/job:ps/task:0"):
            v = tf.get_variable("v", initializer=values, use_resource=True)
            v.op._set_attr("_transfer_compression", b"bfloat16")
        with tf.device("/job:worker/task:0"):
            seen = -v
        session.run(v.initializer)
        sent.clear()
        session.run(seen.op)
        assert sum(sent) == pytest.approx(0.5 * values.nbytes, abs=100)


def test_tensorflows_own_switch(targets: str, sent: list[int]) -> None:
    config = tf.ConfigProto(graph_options=tf.GraphOptions(enable_bfloat16_sendrecv=True))
    values = _values()
    with tf.Graph().as_default(), tf.Session(targets, config=config) as session:
        v, seen, _ = _model(values)
        session.run(v.initializer)
        sent.clear()
        _check(session.run(seen), values, "bfloat16")
        assert sum(sent) == pytest.approx(0.5 * values.nbytes, abs=100)


def test_over_grpc(monkeypatch: pytest.MonkeyPatch) -> None:
    """The nodes are TensorFlow's own: any transport, any peer will do."""
    off = DirectOptions(enabled=False)
    monkeypatch.setattr(DirectOptions, "from_environment", classmethod(lambda cls: off))
    values = _values()
    with (
        cluster(ps=1, worker=1) as servers,
        tf.Graph().as_default(),
        tf.Session(servers["worker:0"].target, config=_config("int8")) as session,
    ):
        v, seen, _ = _model(values)
        session.run(v.initializer)
        _check(session.run(seen), values, "int8")


def test_what_is_small_or_no_fraction_is_left_alone(targets: str) -> None:
    with tf.Graph().as_default(), tf.Session(targets, config=_config("int8")) as session:
        with tf.device("/job:ps/task:0"):
            small = tf.Variable(tf.constant([0.123456789, 1000.0]))
            whole = tf.Variable(np.arange(1000, dtype=np.int64))
        with tf.device("/job:worker/task:0"):
            seen = -small, -whole
        session.run(tf.global_variables_initializer())
        a, b = session.run(seen)
        np.testing.assert_array_equal(a, -np.float32([0.123456789, 1000.0]))
        np.testing.assert_array_equal(b, -np.arange(1000))


def test_large_numbers_stay_finite_and_zeros_zero(targets: str) -> None:
    for kind, values in (
        ("float16", np.full(SIZE, 1e9, np.float32)),
        ("int8", np.zeros(SIZE, np.float32)),
    ):
        with tf.Graph().as_default(), tf.Session(targets, config=_config(kind)) as session:
            v, seen, _ = _model(values)
            session.run(v.initializer)
            expected = 65504 if kind == "float16" else 0
            np.testing.assert_array_equal(session.run(seen), np.full(SIZE, expected))


def test_a_kind_there_is_not(targets: str) -> None:
    with tf.Graph().as_default(), tf.Session(targets, config=_config("zip")) as session:
        v, _, _ = _model(_values())
        with pytest.raises(tf.errors.InvalidArgumentError, match="'zip': write one of none, bf"):
            session.run(v.initializer)
