"""Variables are copied before a step asks for them, where steps have found them unchanged; what is sent is always what was read."""

from __future__ import annotations

import queue
import threading
from typing import Any

import numpy as np
import pytest

import flowmesh as tf
from flowmesh.core import dtypes
from flowmesh.core.shapes import TensorShape
from flowmesh.distributed import copies_ahead
from flowmesh.distributed.copies_ahead import MAX_BYTES, MESSAGE_TRUST, TRUST, CopiesAhead
from flowmesh.distributed.staged_part import StagedPart
from flowmesh.distributed.transport.direct.channel import Channel
from flowmesh.distributed.transport.direct.link import Link, Placed, Ready
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


class Message:
    """A message that is ready."""

    def __init__(self, link: FakeLink, tensors: list[tuple[str, Any]]) -> None:
        self.link = link
        self.copies = [value for _, value in tensors if type(value) is Copy]
        self.content = {
            key: (value.content if type(value) is Copy else value.copy()).tolist()
            for key, value in tensors
        }

    def send(self, step_id: int) -> bool:
        if not self.link.is_free:
            return False
        for copy in self.copies:
            copy.array = copy.content  # it is the other side's now
        self.link.messages.append((step_id, self.content))
        return True


class FakeLink:
    """Keeps copies and messages in this process."""

    def __init__(self) -> None:
        self.unused: list[np.ndarray] = []
        self.made = 0
        self.has_room = True
        self.large = 0
        """Bytes from which on a value is copied."""
        self.is_free = True
        self.messages: list[tuple[int, dict[str, Any]]] = []

    def ready(self, tensors: list[tuple[str, Any]]) -> Message | None:
        return Message(self, list(tensors))

    def place(self, value: np.ndarray) -> Copy | None:
        if not self.has_room or value.nbytes < self.large:
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
        if not self.ahead.is_resting():
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


def test_where_others_change_all_between_the_steps_it_is_looked_at_less_and_less(
    steps: Steps, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[int] = []
    look = copies_ahead._Entry.is_left

    def noted(self: Any, variable: Variable) -> int:
        looks.append(self.runs)
        return look(self, variable)

    monkeypatch.setattr(copies_ahead._Entry, "is_left", noted)
    for _ in range(1000):
        steps.add_in_place(1)
        assert type(steps.send()) is np.ndarray
        steps.end()
    assert len(looks) < 30, looks
    for _ in range(600):
        sent = steps.run()
    assert type(sent) is Copy, "it is still found out that they have stopped"


# -- a message that is ready ---------------------------------------------------------------------------------


class Messages:
    """The steps of a part that begins with one message: a large variable and a small one."""

    def __init__(self) -> None:
        self.target = Target()
        assert self.target.link is not None
        self.link = self.target.link
        self.link.large = 40
        self.variables = {
            "large": Variable("large", dtypes.float32, TensorShape([10])),
            "small": Variable("small", dtypes.float32, TensorShape([2])),
        }
        for variable in self.variables.values():
            variable.assign(np.zeros(tuple(variable.shape.as_list()), np.float32))
        targets = [(name, self.target) for name in self.variables]
        self.ahead = CopiesAhead(targets, is_message=True)  # type: ignore[arg-type]
        self.step = 0
        self.usual: list[Any] = []
        """What the latest step that had no message sent."""

    def begin(self) -> bool:
        """Whether a message was ready for the step."""
        self.step += 1
        if self.ahead.send(self.step):
            return True
        self.usual = list(
            self.ahead.use([(name, v.value, False) for name, v in self.variables.items()])
        )
        return False

    def end(self) -> None:
        for variable in self.variables.values():
            variable.assign(variable.value + np.float32(1))
        self.ahead.prepare(list(self.variables.items()))

    def run(self, count: int) -> list[bool]:
        found = []
        for _ in range(count):
            found.append(self.begin())
            self.end()
        return found


@pytest.fixture
def parts() -> Messages:
    return Messages()


def test_a_message_is_ready_once_all_its_variables_are_trusted(parts: Messages) -> None:
    assert parts.run(MESSAGE_TRUST + 4) == [False] * (MESSAGE_TRUST + 1) + [True] * 3
    assert parts.link.messages == [
        (number + 1, {"large": [number] * 10, "small": [number] * 2})
        for number in range(MESSAGE_TRUST + 1, MESSAGE_TRUST + 4)
    ]
    assert parts.link.made == MESSAGE_TRUST - TRUST + 4 and not parts.link.unused, (
        "three were sent, one is ready"
    )


def test_one_variable_that_others_change_keeps_the_message_back(parts: Messages) -> None:
    for _ in range(MESSAGE_TRUST + 4):
        parts.variables["small"].assign(np.ones(2, np.float32))
        assert not parts.begin()
        parts.end()
    assert [type(value) for _, value, _ in parts.usual] == [Copy, np.ndarray]
    assert not parts.link.messages


@pytest.mark.parametrize("name", ["large", "small"])
def test_a_message_that_has_become_wrong_is_not_sent(parts: Messages, name: str) -> None:
    parts.run(MESSAGE_TRUST + 1)
    parts.variables[name].assign(parts.variables[name].value + np.float32(5))
    assert not parts.begin()
    sent = {key: value for key, value, _ in parts.usual}
    assert sent[name] is parts.variables[name].value
    assert type(sent["large"]) is (np.ndarray if name == "large" else Copy)
    assert not parts.link.messages
    parts.end()
    again = parts.run(MESSAGE_TRUST + 2)
    assert again == [False] * MESSAGE_TRUST + [True] * 2, "all begins anew"


def test_a_variable_that_is_being_written_to_has_no_message(parts: Messages) -> None:
    """The lock is held: its value is read when that is over, and is another one."""
    parts.run(MESSAGE_TRUST + 1)
    variable = parts.variables["large"]
    with variable.lock:
        value = variable.take()
        begun = threading.Event()
        found: list[bool] = []

        def begin() -> None:
            begun.set()
            found.append(parts.ahead.send(99))

        thread = threading.Thread(target=begin)
        thread.start()
        assert begun.wait(10)
        variable.put(value + np.float32(1))
    thread.join(10)
    assert found == [False] and not parts.link.messages


def test_a_message_goes_to_the_connection_it_was_made_for_or_nowhere(parts: Messages) -> None:
    parts.run(MESSAGE_TRUST + 1)
    parts.target.link = FakeLink()
    assert not parts.begin()
    assert not parts.link.messages and not parts.target.link.messages
    parts.target.link = None
    parts.end()
    assert not parts.begin()


def test_what_cannot_leave_at_once_goes_the_usual_way_from_the_same_copy(parts: Messages) -> None:
    parts.run(MESSAGE_TRUST + 1)
    parts.link.is_free = False
    made = parts.link.made
    assert not parts.begin()
    assert [type(value) for _, value, _ in parts.usual] == [Copy, np.ndarray]
    assert parts.link.made == made and not parts.link.unused
    parts.end()
    parts.link.is_free = True
    assert parts.begin(), "nobody has changed anything"


def test_a_message_is_for_one_step(parts: Messages) -> None:
    parts.run(MESSAGE_TRUST + 1)
    assert parts.begin()
    assert not parts.begin(), "the step before is not over"
    assert [type(value) for _, value, _ in parts.usual] == [np.ndarray] * 2


def test_the_end_of_a_step_that_overlaps_takes_an_older_message_back(parts: Messages) -> None:
    """The second step to end cannot make a message: what is ready from the first is not what the variables hold."""
    parts.run(MESSAGE_TRUST + 1)
    for variable in parts.variables.values():
        variable.assign(variable.value + np.float32(1))
    parts.link.has_room = False
    parts.ahead.prepare(list(parts.variables.items()))
    parts.link.is_free = True
    parts.variables["small"].assign(parts.variables["small"].value)
    parts.ahead.prepare([("large", parts.variables["large"])])
    assert not parts.begin()
    assert not parts.link.messages


def test_a_message_that_no_step_uses_goes_back(
    parts: Messages, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[Any] = []
    now = 100.0
    monkeypatch.setattr(copies_ahead.time, "monotonic", lambda: now)
    monkeypatch.setattr(copies_ahead.timer, "schedule", lambda at, call: calls.append((at, call)))
    parts.run(MESSAGE_TRUST + 1)
    now = 105.0
    calls.pop()[1]()
    assert len(parts.link.unused) == 1
    assert not parts.begin()


@pytest.fixture
def pushed(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """For each message that was ready for a step: whether it was sent."""
    found: list[bool] = []
    send = Ready.send

    def noted(self: Ready, step_id: int) -> bool:
        found.append(send(self, step_id))
        return found[-1]

    monkeypatch.setattr(Ready, "send", noted)
    return found


def descent(values: list[float], feed: float, steps: int) -> list[float]:
    """Two numbers after so many steps of gradient descent on `(feed * w + b)^2`."""
    w, b = map(np.float32, values)
    x, rate = np.float32(feed), np.float32(0.25)
    for _ in range(steps):
        slope = np.float32(2) * (x * w + b)
        w, b = w - rate * slope * x, b - rate * slope
    return [float(w), float(b)]


def test_small_variables_are_a_message_by_themselves(placed: list[int], pushed: list[bool]) -> None:
    with tf.Graph().as_default(), cluster(ps=1, worker=1) as servers:
        with tf.device("/job:ps/task:0"):
            w, b = tf.Variable(1.0, name="w"), tf.Variable(0.5, name="b")
        with tf.device("/job:worker/task:0"):
            x = tf.placeholder(tf.float32, [])
            loss = tf.square(x * w + b)
            train = tf.train.GradientDescentOptimizer(0.25).minimize(loss)
        with tf.Session(servers["worker:0"].target) as session:
            session.run(tf.global_variables_initializer())
            steps = 0
            while sum(pushed) < 5:
                session.run(train, {x: 0.5})
                steps += 1
                assert steps < 100, "no message is ready"
            np.testing.assert_allclose(
                session.run([w, b]), descent([1.0, 0.5], 0.5, steps), rtol=1e-5
            )
            session.run([w.assign(3.0), b.assign(-1.0)])
            session.run(train, {x: 0.5})
            np.testing.assert_allclose(session.run([w, b]), descent([3.0, -1.0], 0.5, 1), rtol=1e-5)
    assert not placed


def test_a_part_that_writes_before_it_sends_has_no_message(pushed: list[bool]) -> None:
    """Each step reads what it has assigned itself, however often nobody else has changed it."""
    with tf.Graph().as_default(), cluster(ps=1, worker=1) as servers:
        with tf.device("/job:ps/task:0"):
            w = tf.Variable(0.0, name="w")
            value = tf.placeholder(tf.float32, [])
            with tf.control_dependencies([w.assign(value)]):
                read = tf.identity(w)
        with tf.device("/job:worker/task:0"):
            doubled = read * 2.0
        with tf.Session(servers["worker:0"].target) as session:
            session.run(w.initializer)
            for number in range(MESSAGE_TRUST + 6):
                assert session.run(doubled, {value: float(number)}) == 2.0 * number
    assert not pushed


def test_a_part_that_sends_more_than_variables_has_no_message(pushed: list[bool]) -> None:
    with tf.Graph().as_default(), cluster(ps=1, worker=1) as servers:
        with tf.device("/job:ps/task:0"):
            w = tf.Variable(2.0, name="w")
            value = tf.placeholder(tf.float32, [])
            square = tf.square(value)
        with tf.device("/job:worker/task:0"):
            product = w * square
        with tf.Session(servers["worker:0"].target) as session:
            session.run(w.initializer)
            for number in range(MESSAGE_TRUST + 6):
                assert session.run(product, {value: float(number)}) == 2.0 * number * number
    assert not pushed


def test_a_variable_that_is_fetched_and_sent_is_read_by_the_step(pushed: list[bool]) -> None:
    with tf.Graph().as_default(), cluster(ps=1, worker=1) as servers:
        with tf.device("/job:ps/task:0"):
            w = tf.Variable(2.0, name="w")
            read = tf.identity(w)
        with tf.device("/job:worker/task:0"):
            doubled = read * 2.0
        with tf.Session(servers["worker:0"].target) as session:
            session.run(w.initializer)
            for _ in range(MESSAGE_TRUST + 6):
                assert session.run([read, doubled]) == [2.0, 4.0]
    assert not pushed


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
    placed: list[int], left: list[Any], pushed: list[bool], use_resource: bool
) -> None:
    feed = np.random.default_rng(0).random((2, 400), np.float32)
    with tf.Graph().as_default(), cluster(ps=1, worker=1) as servers:
        x, w, train = regression(use_resource)
        with tf.Session(servers["worker:0"].target) as session:
            session.run(tf.global_variables_initializer())
            steps = 0
            while sum(pushed) < 3:  # the first steps may compile, in threads of their own
                session.run(train, {x: feed})
                steps += 1
                assert steps < 100, "nothing is sent from a copy"
            trained = session.run(w)
            session.run(w.assign(w + 1.0))
            session.run(train, {x: feed})
            moved = session.run(w)
    assert set(placed) == {400 * 300 * 4}
    assert len(left) > 4
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
