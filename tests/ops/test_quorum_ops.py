"""The ops ReplicaQuorum, ReplicaQuorumReset, ReplicaQuorumAttend, ReplicaQuorumJoined, ReplicaQuorumFinish, ReplicaQuorumDrained,
ReplicaQuorumArrive, ReplicaQuorumGather, ReplicaQuorumAdvance, ReplicaQuorumAbort and ReplicaQuorumReport in a session."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import flowmesh as tf
from flowmesh.core.dtypes import int64, string
from flowmesh.graph.raw import raw
from tests.distributed.clusters import in_thread


class Ops:
    """The ops of one quorum."""

    def __init__(self, policy: str = "continue", total: int = 2, required: int = 2) -> None:
        handle = raw.ReplicaQuorum(
            total=total, required=required, policy=policy, minimum=1, shared_name="q"
        )
        self.name = raw.Placeholder(dtype=string, shape=tf.TensorShape([]))
        self.text = raw.Placeholder(dtype=string, shape=tf.TensorShape([]))
        self.step = raw.Placeholder(dtype=int64, shape=tf.TensorShape([]))
        self.reset = raw.ReplicaQuorumReset(handle, self.name, self.step)
        self.attend = raw.ReplicaQuorumAttend(handle, self.name, self.text)
        self.joined = raw.ReplicaQuorumJoined(handle, self.name)
        self.finish = raw.ReplicaQuorumFinish(handle, self.name, self.text)
        self.drained = raw.ReplicaQuorumDrained(handle, self.name)
        self.arrive = raw.ReplicaQuorumArrive(handle, self.name, self.step)
        self.gather = raw.ReplicaQuorumGather(handle)
        self.advance = raw.ReplicaQuorumAdvance(handle, self.step)
        self.abort = raw.ReplicaQuorumAbort(handle, self.text)
        self.report = raw.ReplicaQuorumReport(handle)
        self.session = tf.Session()

    def run(self, what: str, name: str = "", step: int = 0, text: str = "") -> Any:
        feeds = {self.name: name, self.text: text, self.step: step}
        return self.session.run(getattr(self, what), feeds)

    def start(self, what: str, **arguments: Any) -> Any:
        return in_thread(lambda: self.run(what, **arguments))

    def attending(self, name: str) -> Any:
        """Has a replica attend; what is returned waits for the end of that."""
        end = self.start("attend", name=name, text="there:1")
        self.run("joined", name)
        return end


@pytest.fixture
def ops() -> Iterator[Ops]:
    with tf.Graph().as_default():
        made = Ops()
        yield made
        made.session.close()


def test_a_step_from_start_to_end(ops: Ops) -> None:
    ops.run("reset", "a", 4)
    ends = [ops.attending(name) for name in "ab"]
    gathered = ops.start("gather")
    arrived = [ops.start("arrive", name=name, step=4) for name in "ab"]
    assert gathered() == 2
    ops.run("advance", step=5)
    assert [wait() for wait in arrived] == [5, 5]
    assert ops.run("arrive", "b", step=4) == 5, "a late replica goes on at once"
    ops.run("finish", "b", text="no more data")
    assert ends[1]() is None
    ops.run("drained", "a")
    gathered = ops.start("gather")
    arrived = [ops.start("arrive", name="a", step=5)]
    assert gathered() == 1, "the other one has left"
    ops.run("advance", step=6)
    assert arrived[0]() == 6
    ops.run("finish", "a", text="")
    assert ends[0]() is None


def test_a_report_names_who_is_missing(ops: Ops) -> None:
    ops.run("reset", "a", 0)
    end = ops.attending("a")
    step, given, required, seconds, text = ops.run("report")
    assert (step, given, required, seconds, text) == (0, 0, 2, 0.0, b"")
    arrived = ops.start("arrive", name="a")
    while not text:
        step, given, required, seconds, text = ops.run("report")
    assert (step, given, required) == (0, 1, 2)
    assert seconds.dtype == np.float32
    assert text == b"1 that never came (there are a)"
    ops.run("abort", text="enough")
    with pytest.raises(tf.errors.DeadlineExceededError, match="enough"):
        arrived()
    ops.run("finish", "a")
    end()


def test_rules_must_fit() -> None:
    with (
        tf.Graph().as_default(),
        pytest.raises(ValueError, match="policy"),
    ):
        Ops(policy="hope")
