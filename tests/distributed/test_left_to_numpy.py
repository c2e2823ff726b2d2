"""A part that waits for other tasks and mostly multiplies matrices is left to NumPy and its helper; all other work is still compiled."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import flowmesh as tf
from flowmesh.distributed.server import Server
from flowmesh.runtime import cluster_runner, cores, cost, helpers
from flowmesh.runtime.blas import SingleThread, single_thread
from flowmesh.runtime.helpers import Helper, Piece
from flowmesh.runtime.shaped import ShapedCluster
from flowmesh.runtime.xla import statistics
from tests.distributed.clusters import cluster
from tests.runtime.harness import note_shaped
from tests.runtime.helping import LIMIT, Team, happens

pytestmark = pytest.mark.skipif(
    not single_thread.is_known, reason="the threads of NumPy's matrix library cannot be held"
)

RUNS = 36
"""More than a part needs here until it is compiled."""
ROWS, INNER, COLUMNS = 128, 500, 400
"""Of the products: enough work to be compiled soon, and not too much for NumPy."""


@pytest.fixture
def servers() -> Iterator[dict[str, Server]]:
    with cluster(ps=1, worker=1) as running:
        yield running


@pytest.fixture(autouse=True)
def team(monkeypatch: pytest.MonkeyPatch) -> Iterator[Team]:
    """The helper of the process, which is there from the beginning and always wanted."""
    monkeypatch.setattr(cores, "available", lambda: 2)
    made = Team(helpers.make_gate)
    monkeypatch.setattr(helpers, "_shared", made.helper)
    made.helper.begin()
    happens(made.calls.awaited)
    yield made
    made.dismiss()


@pytest.fixture
def shared(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many pieces each large product had."""
    found: list[int] = []
    share = Helper.share

    def noted(self: Helper, pieces: list[Piece], is_last: bool = False) -> None:
        found.append(len(pieces))
        share(self, pieces, is_last)

    monkeypatch.setattr(Helper, "share", noted)
    return found


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[ShapedCluster]:
    """The short ways of NumPy that are made."""
    return note_shaped(monkeypatch)


def compiled(function: Callable[[], Any]) -> int:
    """How many XLA programs `function` makes."""
    before = statistics()["compiles"]
    function()
    return statistics()["compiles"] - before


def products(x: Any, w: Any) -> Any:
    """A loss whose work is that of two products, with its gradient."""
    return tf.reduce_mean(tf.square(tf.matmul(x, w) - 1.0))


def powers(x: Any, w: Any) -> Any:
    """A loss whose work is mostly not that of products."""
    return tf.reduce_mean(tf.tanh(tf.exp(-tf.square(tf.matmul(x[:, :60], w[:60])))))


def inputs(rows: int = ROWS) -> np.ndarray:
    return np.random.default_rng(3).standard_normal((rows, INNER)).astype(np.float32) / 8


def start() -> np.ndarray:
    return np.random.default_rng(5).standard_normal((INNER, COLUMNS)).astype(np.float32) / 8


def train(
    target: str,
    loss_of: Callable[[Any, Any], Any] = products,
    rows: int = ROWS,
    mode: str = "auto",
    runs: int = RUNS,
) -> list[np.ndarray]:
    """The loss, its gradient and the variable after so many steps; the variable is on the ps, the rest with the worker."""
    config = tf.ConfigProto()
    config.experimental.flowmesh.execution = mode
    ps, worker = ("/job:ps/task:0", "/job:worker/task:0") if target else (None, None)
    feed = inputs(rows)
    with tf.Graph().as_default():
        with tf.device(ps):
            w = tf.Variable(start(), name="w")
        with tf.device(worker):
            x = tf.placeholder(tf.float32, [None, INNER])
            loss = loss_of(x, w)
            (gradient,) = tf.gradients(loss, w)
        with tf.device(ps):
            step = tf.assign_sub(w, gradient * 10.0).op
        with tf.Session(target, config=config) as session:
            session.run(w.initializer)
            for _ in range(runs):
                session.run(step, {x: feed})
            return list(session.run([loss, gradient, w], {x: feed}))


def work_of(made: list[ShapedCluster]) -> int:
    return max(s.work for s in made)


def test_a_part_that_waits_and_multiplies_is_never_compiled(
    servers: dict[str, Server], made: list[ShapedCluster], shared: list[int]
) -> None:
    assert compiled(lambda: train(servers["worker:0"].target, runs=2 * RUNS)) == 0
    (left,) = [s for s in made if s.shares]
    assert cost.MINIMUM_FOR_XLA < left.work <= cost.SINGLE_THREAD
    assert cost.runs_before_compiling(left.work, 20) < RUNS
    assert len(shared) > 2 * (2 * RUNS - 4) and set(shared) == {2}


def test_its_numbers_are_those_of_one_process(servers: dict[str, Server]) -> None:
    there = train(servers["worker:0"].target)
    here = train("")
    for got, expected in zip(there, here, strict=True):
        assert got.shape == expected.shape and got.dtype == expected.dtype
        np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-6)
    x, w = inputs().astype(np.float64), there[2].astype(np.float64)
    expected = 2 * x.T @ (x @ w - 1) / (ROWS * COLUMNS)
    np.testing.assert_allclose(there[1], expected, rtol=1e-3, atol=1e-8)
    assert not np.allclose(there[2], start(), atol=1e-4)


def test_its_bits_are_the_same_with_and_without_help(
    servers: dict[str, Server], team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, share = servers["worker:0"].target, Helper.share

    def together(self: Helper, pieces: list[Piece], is_last: bool = False) -> None:
        barrier = threading.Barrier(2)

        def met(function: Any, arguments: Any) -> None:
            barrier.wait(LIMIT)
            function(*arguments)

        pieces = [(met, piece) for piece in pieces] if team.is_called else pieces
        share(self, pieces, is_last)

    team.helper._core = None  # one core is enough
    with monkeypatch.context() as patch:
        patch.setattr(Helper, "share", together)
        helped = train(target)
    before = team.helper.taken
    assert before > 0
    team.helper._wanted = lambda: False
    for got, expected in zip(train(target), helped, strict=True):
        np.testing.assert_array_equal(got, expected)
    assert team.helper.taken == before


def test_where_nobody_waits_it_is_compiled(made: list[ShapedCluster], shared: list[int]) -> None:
    assert compiled(lambda: train("")) >= 1
    assert cost.MINIMUM_FOR_XLA < work_of(made) <= cost.SINGLE_THREAD
    assert not any(s.shares for s in made)
    assert not shared


def test_a_session_that_asks_for_programs_has_them(
    servers: dict[str, Server], shared: list[int]
) -> None:
    assert compiled(lambda: train(servers["worker:0"].target, mode="xla", runs=3)) >= 1
    assert not shared


def test_a_session_that_asks_for_numpy_has_it_as_it_was(
    servers: dict[str, Server], shared: list[int]
) -> None:
    assert compiled(lambda: train(servers["worker:0"].target, mode="numpy")) == 0
    assert not shared


def test_much_work_is_compiled(
    servers: dict[str, Server], made: list[ShapedCluster], shared: list[int]
) -> None:
    rows = 2 * ROWS
    assert compiled(lambda: train(servers["worker:0"].target, rows=rows, runs=RUNS)) >= 1
    assert work_of(made) > cost.SINGLE_THREAD
    assert not shared


def test_what_mostly_does_something_else_is_compiled(
    servers: dict[str, Server], made: list[ShapedCluster], shared: list[int]
) -> None:
    assert compiled(lambda: train(servers["worker:0"].target, powers, runs=3 * RUNS)) >= 1
    assert cost.MINIMUM_FOR_XLA < work_of(made) <= cost.SINGLE_THREAD
    assert not any(s.shares for s in made)
    assert not shared


def test_where_the_matrix_library_is_not_known_it_is_compiled(
    servers: dict[str, Server], shared: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_runner, "single_thread", SingleThread(lambda: None))
    assert compiled(lambda: train(servers["worker:0"].target)) >= 1
    assert not shared


def on_a_worker(name: str) -> tuple[Any, Any, Any, Any]:
    """A feed of open size, a variable of this name on the ps, and on the worker a loss and its gradient."""
    with tf.device("/job:ps/task:0"):
        w = tf.Variable(start(), name=name)
    with tf.device("/job:worker/task:0"):
        x = tf.placeholder(tf.float32, [None, INNER])
        loss = products(x, w)
        (gradient,) = tf.gradients(loss, w)
    return x, w, loss, gradient


def test_each_shape_is_judged_by_itself(
    servers: dict[str, Server], made: list[ShapedCluster], shared: list[int]
) -> None:
    with tf.Graph().as_default():
        x, w, loss, gradient = on_a_worker("v")
        with tf.Session(servers["worker:0"].target) as session:
            session.run(w.initializer)

            def both(rows: int, runs: int) -> None:
                for _ in range(runs):
                    session.run([loss, gradient], {x: inputs(rows)})

            assert compiled(lambda: both(ROWS, RUNS)) == 0
            assert shared
            assert compiled(lambda: both(2 * ROWS, RUNS)) == 1
            shared.clear()
            assert compiled(lambda: both(ROWS, RUNS)) == 0
    large = {(s.work, s.shares) for s in made if s.work >= cost.MINIMUM_FOR_XLA}
    assert [shares for _, shares in sorted(large)] == [True, False]


def test_the_record_of_a_step_is_made_without_a_program(
    servers: dict[str, Server], shared: list[int]
) -> None:
    with tf.Graph().as_default():
        x, w, loss, gradient = on_a_worker("u")
        options = tf.RunOptions(trace_level=tf.RunOptions.FULL_TRACE)
        with tf.Session(servers["worker:0"].target) as session:
            session.run(w.initializer)

            def steps() -> None:
                for number in range(RUNS):
                    traced = (options, tf.RunMetadata()) if number % 3 == 2 else ()
                    session.run([loss, gradient], {x: inputs()}, *traced)

            assert compiled(steps) == 0
    assert shared


def test_another_shape_that_was_compiled_takes_no_help_away(made: Any, shared: Any) -> None:
    with tf.Graph().as_default(), cluster(ps=1, worker=1) as running:
        x, w, loss, gradient = on_a_worker("v")
        with tf.Session(running["worker:0"].target) as session:
            session.run(w.initializer)
            for rows in (ROWS, 2 * ROWS):
                for _ in range(RUNS):
                    session.run([loss, gradient], {x: inputs(rows)})
            shared.clear()
            before = len(made)
            for _ in range(20):
                session.run([loss, gradient], {x: inputs(ROWS)})
            assert len(made) == before
            assert len(shared) == 40


def test_with_many_cores_it_is_compiled(
    servers: dict[str, Server], shared: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cores, "available", lambda: 9)
    assert compiled(lambda: train(servers["worker:0"].target)) >= 1
    assert not shared
