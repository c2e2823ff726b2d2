"""Synchronous replicas: TensorFlow's numbers over a cluster, dropped gradients, errors."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import flowmesh as tf
from tests.distributed.clusters import cluster
from tests.oracle import sync_replicas_cases as cases


@pytest.fixture(autouse=True)
def _no_threads_left() -> Iterator[None]:
    yield
    left = [t.name for t in threading.enumerate() if t.name.startswith(("QueueRunner", "SyncRep"))]
    assert not left


@pytest.mark.parametrize("case", cases.CASES)
def test_tensorflows_numbers(case: str) -> None:
    expected = json.loads(cases.FIXTURE.read_text())[case]
    with cluster(ps=1, worker=2) as servers:
        found = cases.run(tf, case, lambda i: servers[f"worker:{i}"].target)
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5)


def test_a_step_that_waits_is_bounded() -> None:
    with cluster(ps=1, worker=2) as servers:
        replica = cases.Replica(tf, "gradient_descent", servers["worker:0"].target, 0)
        options = tf.RunOptions(timeout_in_ms=200)
        feeds = {replica.x: [1.0, 1.0], replica.ids: [0, 1]}
        with pytest.raises(tf.errors.DeadlineExceededError):
            replica.session.run(replica.train, feeds, options=options)
        replica.session.close()


def _optimizer(aggregate: int = 2, total: int | None = None) -> Any:
    inner = tf.train.GradientDescentOptimizer(0.1)
    return tf.train.SyncReplicasOptimizer(inner, aggregate, total)


def test_a_stalled_step_is_reported_without_a_policy() -> None:
    told = threading.Event()

    class Log(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "Synchronous step 0 has not ended for" in record.getMessage():
                told.set()

    handler = Log()
    logging.getLogger("tensorflow").addHandler(handler)
    try:
        with tf.Graph().as_default():
            step = tf.train.get_or_create_global_step()
            w = tf.get_variable("w", initializer=1.0)
            inner = tf.train.GradientDescentOptimizer(0.1)
            opt = tf.train.SyncReplicasOptimizer(inner, 2, stall_report_secs=0.02)
            opt.minimize(w * w, global_step=step)
            hook = opt.make_session_run_hook(True, num_tokens=0)
            with (
                cluster(ps=1) as servers,
                tf.train.MonitoredTrainingSession(
                    servers["ps:0"].target, hooks=[hook], stop_grace_period_secs=10
                ),
            ):
                assert told.wait(60)
    finally:
        logging.getLogger("tensorflow").removeHandler(handler)


def test_errors_before_apply_gradients() -> None:
    with tf.Graph().as_default():
        opt = _optimizer()
        with pytest.raises(ValueError, match="Must supply at least one variable"):
            opt.apply_gradients([])
        with pytest.raises(ValueError, match="Global step is required to check staleness"):
            opt.apply_gradients([(1, 2)])
        with pytest.raises(ValueError, match="Should be called after apply_gradients"):
            opt.get_chief_queue_runner()
        with pytest.raises(ValueError, match="should be called after apply_gradients"):
            opt.get_init_tokens_op()
        with pytest.raises(ValueError, match="should be called before using the hook"):
            opt.make_session_run_hook(True).begin()


def test_init_tokens() -> None:
    with tf.Graph().as_default() as graph:
        step = tf.train.get_or_create_global_step()
        w = tf.get_variable("w", initializer=1.0)
        opt = _optimizer(3, 1)
        opt.minimize(w * w, global_step=step)
        with pytest.raises(ValueError, match=r"first step: 1 \(given\) vs 2 \(needed\)"):
            opt.get_init_tokens_op(1)
        assert opt.get_init_tokens_op().type == "QueueEnqueueManyV2"
        assert (
            graph.get_operation_by_name("sync_token_q").get_attr("shared_name") == b"sync_token_q"
        )
        assert graph.get_operation_by_name("sync_rep_local_step").colocation_groups() == [
            b"loc:@NoOp"
        ]
        assert opt.get_slot_names() == [] and opt.variables() == []
        backup = _optimizer(1, 2)
        backup.minimize(w * w, global_step=step)
        assert backup.get_init_tokens_op(0).name == "no_init_tokens"
