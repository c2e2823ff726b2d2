"""Variables are copied before a step asks for them, where steps have found them unchanged; what is sent is always what was read."""

from __future__ import annotations

import queue
from typing import Any

import numpy as np
import pytest

import flowmesh as tf
from flowmesh.core import dtypes
from flowmesh.core.shapes import TensorShape
from flowmesh.distributed import copies_ahead
from flowmesh.distributed.copies_ahead import MAX_BYTES, TRUST, CopiesAhead
from flowmesh.distributed.staged_part import StagedPart
from flowmesh.distributed.transport.direct.channel import Channel
from flowmesh.distributed.transport.direct.link import Link, Placed
from flowmesh.resources.variable import Variable
from tests.distributed.clusters import cluster

KEY = "w"


class Copy:
    """A copy that is noted when it goes back."""

    def __init__(self, link: FakeLink, value: np.ndarray) -> None:
        self.link = link
        self.array: Any = None
        self.content = value.copy()

    def give_back(self) -> None:
        """`__del__` notes it."""

    def __del__(self) -> None:
        if self.array is None:
            self.link.unused.append(self.content)


class FakeLink:
    """Keeps copies in this process."""

    def __init__(self) -> None:
        self.unused: list[np.ndarray] = []
        self.made = 0
        self.has_room = True

    def place(self, value: np.ndarray) -> Copy | None:
        if not self.has_room:
            return None
        self.made += 1
        return Copy(self, value)


class Target:
    """Another task."""

    def __init__(self) -> None:
        self.link: FakeLink | None = FakeLink()


class Steps:
    """The steps of a part that sends one variable."""

    def __init__(self) -> None:
        self.target = Target()
        self.link = self.target.link
        assert self.link is not None
        self.variable = Variable("w", dtypes.float32, TensorShape([3]))
        self.variable.assign(np.zeros(3, np.float32))
        self.ahead = CopiesAhead([(KEY, self.target)])  # type: ignore[list-item]

    def send(self) -> Any:
        """What one step sends."""
        ((_, sent, _),) = self.ahead.use([(KEY, self.variable.value, False)])
        return sent

    def end(self) -> None:
        self.ahead.prepare([(KEY, self.variable)])

    def run(self, count: int = 1) -> Any:
        """Steps that send the variable, each of which changes it afterwards; what the last one sent."""
        sent = None
        for _ in range(count):
            sent = self.send()
            self.add_in_place(1)
            self.end()
        return sent

    def add_in_place(self, amount: float) -> None:
        with self.variable.lock:
            value = self.variable.take()
            value.flags.writeable = True
            value += amount
            value.flags.writeable = False
            self.variable.put(value)


@pytest.fixture
def steps() -> Steps:
    return Steps()


def test_a_value_is_copied_ahead_once_steps_have_found_it_unchanged(steps: Steps) -> None:
    sent = steps.run(TRUST)
    assert steps.link.made == 0 and type(sent) is np.ndarray
    steps.run()
    assert steps.link.made == 1
    for number in range(3):
        sent = steps.run()
        assert type(sent) is Copy
        assert sent.content.tolist() == [TRUST + 1 + number] * 3
    assert steps.link.made == 4 and not steps.link.unused


def test_a_value_that_somebody_else_has_changed_is_not_taken_from_the_copy(steps: Steps) -> None:
    steps.run(TRUST + 1)
    steps.add_in_place(10)  # the same array, with other numbers
    sent = steps.send()
    assert sent is steps.variable.value and sent.tolist() == [TRUST + 11] * 3
    assert len(steps.link.unused) == 1
    steps.end()
    made = steps.link.made
    steps.run(TRUST - 1)
    assert steps.link.made == made, "it has to be found unchanged a few times again"
    steps.run()
    assert steps.link.made == made + 1


def test_a_step_that_begins_before_the_last_one_is_looked_at_tells_nothing(steps: Steps) -> None:
    steps.run(TRUST - 1)
    for _ in range(3):
        steps.send()
    steps.add_in_place(1)
    steps.end()
    assert type(steps.send()) is np.ndarray
    steps.end()
    assert type(steps.send()) is Copy


def test_a_new_array_is_not_taken_from_the_copy(steps: Steps) -> None:
    steps.run(TRUST + 1)
    steps.variable.assign(np.full(3, 7, np.float32))
    assert steps.send() is steps.variable.value
    assert len(steps.link.unused) == 1


def test_a_step_that_read_before_another_one_ended_sends_what_it_read(steps: Steps) -> None:
    steps.run(TRUST + 1)
    read = steps.variable.value.copy()
    steps.run()
    ((_, sent, _),) = steps.ahead.use([(KEY, read, False)])
    assert sent is read


def test_values_for_a_new_connection_are_sent_as_they_are(steps: Steps) -> None:
    steps.run(TRUST + 1)
    steps.target.link = FakeLink()
    assert steps.send() is steps.variable.value
    steps.end()
    assert type(steps.send()) is Copy, "the copy is the new one's"
    steps.target.link = None
    steps.end()
    assert steps.send() is steps.variable.value


def test_nothing_is_copied_where_there_is_no_room(steps: Steps) -> None:
    steps.link.has_room = False
    assert type(steps.run(TRUST + 3)) is np.ndarray


def test_a_part_has_so_much_copied_ahead_and_no_more() -> None:
    target = Target()
    names = ["a", "b", "c"]
    ahead = CopiesAhead((name, target) for name in names)  # type: ignore[misc]
    variables = []
    for name in names:
        variable = Variable(name, dtypes.uint8, TensorShape([MAX_BYTES // 2]))
        variable.assign(np.zeros(MAX_BYTES // 2, np.uint8))
        variables.append((name, variable))
    for _ in range(TRUST + 2):
        sent = ahead.use([(name, variable.value, False) for name, variable in variables])
        ahead.prepare(variables)
    assert [type(value) for _, value, _ in sent] == [Copy, Copy, np.ndarray]


def test_what_no_step_uses_goes_back(steps: Steps, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []
    now = 100.0
    monkeypatch.setattr(copies_ahead.time, "monotonic", lambda: now)
    monkeypatch.setattr(copies_ahead.timer, "schedule", lambda at, call: calls.append((at, call)))
    steps.run(TRUST + 1)
    now = 103.0
    steps.run()
    assert [at for at, _ in calls] == [105.0]
    now = 105.0
    calls.pop()[1]()
    assert [at for at, _ in calls] == [108.0] and not steps.link.unused
    now = 108.0
    calls.pop()[1]()
    assert len(steps.link.unused) == 1 and not calls
    assert type(steps.run()) is np.ndarray
    assert type(steps.run()) is Copy and len(calls) == 1


@pytest.fixture
def placed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of what was copied ahead."""
    found: list[int] = []
    place = Channel.place

    def noted(self: Channel, tensor: Any) -> bool:
        found.append(tensor.size)
        return place(self, tensor)

    monkeypatch.setattr(Channel, "place", noted)
    return found


@pytest.fixture
def left(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Copies that were sent in the place of values."""
    found: list[Any] = []
    leave = Placed.leave

    def noted(self: Placed, link: Link) -> Any:
        encoded = leave(self, link)
        found.append(encoded.segment)
        return encoded

    monkeypatch.setattr(Placed, "leave", noted)
    return found


def regression(use_resource: bool) -> tuple[Any, Any, Any]:
    """A matrix on the ps, and a worker that moves it towards ones."""
    with tf.device("/job:ps/task:0"):
        w = tf.get_variable(
            "w", [400, 300], initializer=tf.zeros_initializer(), use_resource=use_resource
        )
    with tf.device("/job:worker/task:0"):
        x = tf.placeholder(tf.float32, [2, 400])
        loss = tf.reduce_sum(tf.square(tf.matmul(x, w) - 1.0))
        train = tf.train.GradientDescentOptimizer(0.01).minimize(loss)
    return x, w, train


@pytest.mark.parametrize("use_resource", [False, True])
def test_training_gives_the_same_numbers(
    placed: list[int], left: list[Any], use_resource: bool
) -> None:
    feed = np.random.default_rng(0).random((2, 400), np.float32)
    with tf.Graph().as_default(), cluster(ps=1, worker=1) as servers:
        x, w, train = regression(use_resource)
        with tf.Session(servers["worker:0"].target) as session:
            session.run(tf.global_variables_initializer())
            steps = 0
            while len(left) < 4:  # the first steps may compile, in threads of their own
                session.run(train, {x: feed})
                steps += 1
                assert steps < 100, "nothing is sent from a copy"
            trained = session.run(w)
            session.run(w.assign(w + 1.0))
            session.run(train, {x: feed})
            moved = session.run(w)
    assert set(placed) == {400 * 300 * 4}
    expected = np.zeros((400, 300), np.float64)
    wide = feed.astype(np.float64)
    for step in range(steps + 1):
        if step == steps:
            np.testing.assert_allclose(trained, expected, rtol=1e-4, atol=1e-6)
            expected += 1
        expected -= 0.01 * wide.T @ (2 * (wide @ expected - 1))
    np.testing.assert_allclose(moved, expected, rtol=1e-4, atol=1e-6)


def test_what_is_prepared_does_not_bring_back_a_variable_that_was_deleted(
    left: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare = StagedPart.prepare
    prepared: queue.Queue[StagedPart] = queue.Queue()

    def noted(self: StagedPart) -> None:
        prepare(self)
        if self.plan.sends:
            prepared.put(self)

    monkeypatch.setattr(StagedPart, "prepare", noted)
    feed = np.ones((2, 400), np.float32)
    with tf.Graph().as_default(), cluster(ps=1, worker=1) as servers:
        x, _, train = regression(False)
        with tf.Session(servers["worker:0"].target) as session:
            session.run(tf.global_variables_initializer())
            while not left:
                session.run(train, {x: feed})
                part = prepared.get(timeout=20)  # which is after the answer
            resources = part.plan._resources
            assert resources.names() == ["w"]
            resources.clear()
            prepare(part)
            assert resources.names() == []
            with pytest.raises(tf.errors.FailedPreconditionError, match="uninitialized value w"):
                session.run(train, {x: feed})


def test_small_variables_are_none_of_its_business(placed: list[int]) -> None:
    with tf.Graph().as_default(), cluster(ps=1, worker=1) as servers:
        with tf.device("/job:ps/task:0"):
            w = tf.Variable(tf.zeros([100]))
        with tf.device("/job:worker/task:0"):
            total = tf.reduce_sum(w)
        with tf.Session(servers["worker:0"].target) as session:
            session.run(tf.global_variables_initializer())
            for _ in range(TRUST + 4):
                session.run(total)
    assert not placed
