"""One thread helps another: every piece is run once, whoever runs it, and nobody waits for a helper that has taken nothing."""

from __future__ import annotations

import ctypes
import gc
import os
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from flowmesh.runtime import cores, helpers
from flowmesh.runtime.helpers import Gate, Helper, Piece
from tests.runtime.helping import LIMIT, Pieces, Team, happens, in_time

ROUNDS = 2000


def spins() -> bool:
    """Whether the system has locks at which one waits by looking."""
    try:
        helpers.spinning_gate(ctypes.CDLL(None), ctypes.PyDLL(None))
    except (OSError, AttributeError, TypeError):
        return False
    return True


@pytest.fixture(params=[helpers.sleeping_gate, helpers.make_gate])
def gate(request: pytest.FixtureRequest) -> Callable[[], Gate]:
    """What makes a gate, of either kind."""
    if request.param is helpers.make_gate and not spins():
        pytest.skip("the system has no such gates")
    return request.param


@pytest.fixture
def team(gate: Callable[[], Gate]) -> Iterator[Team]:
    made = Team(gate)
    yield made
    made.dismiss()


class Notes:
    """Which pieces were run, and by which threads."""

    def __init__(self) -> None:
        self.numbers: list[int] = []
        self.threads: list[int] = []

    def piece(self, number: int) -> Piece:
        return self.note, (number,)

    def pieces(self, count: int) -> list[Piece]:
        return [self.piece(number) for number in range(count)]

    def note(self, number: int) -> None:
        self.numbers.append(number)
        self.threads.append(threading.get_ident())


def meeting() -> list[Piece]:
    """Two pieces that two threads have to run."""
    return [(threading.Barrier(2).wait, (LIMIT,))] * 2


def differing(caller: Callable[[], None], helper: Callable[[], None]) -> list[Piece]:
    """Two pieces of which one thread runs the first function and the other thread, at the same time, the second."""
    barrier, me = threading.Barrier(2), threading.get_ident()

    def piece() -> None:
        barrier.wait(LIMIT)
        if threading.get_ident() == me:
            caller()
        else:
            helper()

    return [(piece, ())] * 2


def nothing() -> None:
    """A piece without an effect."""


def held_after_each_piece(team: Team) -> threading.Semaphore:
    """Holds the helper's thread when it has told that it is through with a piece; each release lets it go on once."""
    told, go_on = team.helper._done.open, threading.Semaphore(0)

    def tell() -> None:
        told()
        assert go_on.acquire(timeout=LIMIT)

    team.helper._done = team.helper._done._replace(open=tell)
    return go_on


# -- gates ---------------------------------------------------------------------------------------------


def test_a_gate_lets_one_through_each_time_that_it_is_opened(gate: Callable[[], Gate]) -> None:
    made = gate()
    passed = threading.Semaphore(0)

    def pass_twice() -> None:
        for _ in range(2):
            made.wait()
            passed.release()

    thread = threading.Thread(target=pass_twice, daemon=True)
    thread.start()
    assert not passed.acquire(timeout=0.02)  # it is closed at first
    made.open()
    assert passed.acquire(timeout=LIMIT)
    assert not passed.acquire(timeout=0.02)
    made.open()
    assert passed.acquire(timeout=LIMIT)
    thread.join(LIMIT)
    assert not thread.is_alive()


def test_a_gate_that_was_opened_twice_lets_one_through(gate: Callable[[], Gate]) -> None:
    made = gate()
    made.open()
    made.open()
    in_time(made.wait)
    passed = threading.Event()

    def wait() -> None:
        made.wait()
        passed.set()

    threading.Thread(target=wait, daemon=True).start()
    assert not passed.wait(0.02)
    made.open()
    happens(passed)


def test_a_gate_can_be_closed_whether_it_is_open_or_not(gate: Callable[[], Gate]) -> None:
    made = gate()
    made.close()
    made.open()
    made.close()
    made.close()
    made.open()
    in_time(made.wait)


@pytest.mark.parametrize("error", [OSError, AttributeError, TypeError])
def test_where_there_are_no_gates_for_looking_one_sleeps(
    monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    def missing(_: object) -> None:
        raise error

    monkeypatch.setattr(helpers.ctypes, "CDLL", missing)
    made = helpers.make_gate()
    made.open()
    in_time(made.wait)


# -- who runs what -------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [0, 1, 2, 3, 50])
def test_all_pieces_are_run_once_without_help(team: Team, count: int) -> None:
    notes = Notes()
    pieces = notes.pieces(count)
    team.helper.share(pieces)
    assert pieces == []
    assert sorted(notes.numbers) == list(range(count))
    assert team.calls.thread is None


@pytest.mark.parametrize("count", [0, 1, 2, 3, 50])
def test_all_pieces_are_run_once_with_help(team: Team, count: int) -> None:
    notes = Notes()

    def work() -> None:
        with team.called() as helper:
            pieces = notes.pieces(count) + meeting()
            helper.share(pieces)
            assert pieces == []
            helper.share(notes.pieces(count))

    in_time(work)
    assert sorted(notes.numbers) == sorted([*range(count)] * 2)
    assert team.helper.taken >= 1


def test_the_helper_comes_to_each_offer(team: Team) -> None:
    def work() -> None:
        with team.called() as helper:
            for number in range(1, 20):
                helper.share(meeting())
                assert helper.taken == number

    in_time(work)


def test_a_single_piece_is_the_callers(team: Team) -> None:
    notes = Notes()

    def work() -> int:
        with team.called() as helper:
            for number in range(20):
                helper.share([notes.piece(number)])
        return threading.get_ident()

    assert {in_time(work)} == set(notes.threads)


def alone_without_a_call(team: Team) -> None:
    """Nobody has been called."""


def alone_when_not_wanted(team: Team) -> None:
    team.helper._wanted = lambda: False
    team.helper.begin()
    assert team.calls.thread is None


def alone_when_let_go(team: Team) -> None:
    team.call()
    team.helper.end()


def alone_at_the_first_call(team: Team) -> None:
    team.helper.begin()
    happens(team.calls.awaited)  # it has come meanwhile, but was not called


@pytest.mark.parametrize(
    "situation",
    [
        alone_without_a_call,
        alone_when_not_wanted,
        alone_when_let_go,
        alone_at_the_first_call,
    ],
)
def test_the_caller_does_everything_itself(team: Team, situation: Callable[[Team], None]) -> None:
    notes = Notes()

    def work() -> int:
        situation(team)
        assert not team.is_called
        team.helper.share(notes.pieces(20))
        team.helper.end()
        return threading.get_ident()

    assert {in_time(work)} == set(notes.threads)
    assert sorted(notes.numbers) == list(range(20))
    assert team.helper.taken == 0


def test_who_comes_second_does_everything_itself(team: Team) -> None:
    notes = Notes()
    came, went = threading.Event(), threading.Event()

    def first() -> None:
        with team.called() as helper:
            came.set()
            happens(went)
            helper.share(meeting())  # the other did not let it go

    def second() -> int:
        happens(came)
        team.helper.begin()
        assert not team.is_called
        team.helper.share(notes.pieces(20))
        team.helper.end()
        went.set()
        return threading.get_ident()

    thread = threading.Thread(target=lambda: in_time(first))
    thread.start()
    assert {in_time(second)} == set(notes.threads)
    thread.join(LIMIT)
    assert not thread.is_alive()
    assert team.helper.taken == 1


def test_what_the_helper_has_begun_is_waited_for(team: Team) -> None:
    ran = []

    def held_up() -> None:
        happens(team.ends_wait)
        ran.append(threading.get_ident())

    def work() -> None:
        with team.called() as helper:
            helper.share(differing(nothing, held_up))
            assert ran == [team.calls.thread.ident]  # type: ignore[union-attr]

    in_time(work)


def test_a_helper_that_takes_all_pieces_is_waited_for(team: Team) -> None:
    notes = Notes()
    last_is_taken = threading.Event()

    class Held(Pieces):
        """Pieces that the caller comes to when there are none left."""

        def pop(self, *where: Any) -> Piece:
            if threading.current_thread() is not team.calls.thread:
                happens(last_is_taken)
                return super().pop(*where)
            piece = super().pop(*where)
            if not self:
                last_is_taken.set()
            return piece

    def last() -> None:
        happens(team.ends_wait)
        notes.note(5)

    def work() -> None:
        with team.called() as helper:
            helper.share(Held([(last, ()), *notes.pieces(5)]))
            assert sorted(notes.numbers) == list(range(6))

    in_time(work)
    assert set(notes.threads) == {team.calls.thread.ident}  # type: ignore[union-attr]
    assert team.helper.taken == 6


def test_nobody_waits_for_a_helper_that_does_not_come(team: Team) -> None:
    notes = Notes()

    class Withheld(Pieces):
        """Pieces that the helper comes to when there are none left."""

        def pop(self, *where: Any) -> Piece:
            if threading.current_thread() is team.calls.thread:
                happens(self.are_gone)
            return super().pop(*where)

    def work() -> int:
        with team.called() as helper:
            for _ in range(3):
                helper.share(Withheld(notes.pieces(4)))
        return threading.get_ident()

    assert {in_time(work)} == set(notes.threads)
    assert not team.ends_wait.is_set()
    assert team.helper.taken == 0


# -- begin and end -------------------------------------------------------------------------------------


def test_an_end_without_a_beginning_does_nothing(team: Team) -> None:
    def work() -> None:
        team.helper.end()
        with team.called() as helper:
            helper.share(meeting())
        helper.end()
        with team.called() as helper:
            helper.share(meeting())

    in_time(work)
    assert team.helper.taken == 2


def test_to_begin_twice_is_to_begin_once(team: Team) -> None:
    def work() -> None:
        with team.called() as helper:
            helper.begin()
            helper.share(meeting())
            helper.begin()
            helper.share(meeting())
        assert not team.is_called
        happens(team.calls.awaited)

    in_time(work)
    assert team.helper.taken == 2


def test_many_rounds_of_two_threads(team: Team) -> None:
    def add(found: np.ndarray, place: int, number: int) -> None:
        found[place] += number

    def work() -> tuple[list[int], int]:
        found, helped = np.zeros(4, np.int64), 0
        for number in range(ROUNDS):
            if number % 4 == 0:
                team.calls.awaited.wait(0.01)  # if the other lets it
            team.helper.begin()
            try:
                for part in (0, 2):
                    pieces = [(add, (found, place, number)) for place in (part, part + 1)]
                    if team.is_called:
                        pieces += meeting()
                        helped += 1
                    team.helper.share(pieces)
            finally:
                team.helper.end()
        return found.tolist(), helped

    results: list[Any] = []
    threads = [threading.Thread(target=lambda: results.append(in_time(work))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(4 * LIMIT)
    total = ROUNDS * (ROUNDS - 1) // 2
    assert [found for found, _ in results] == [[total] * 4] * 2
    assert 0 < sum(helped for _, helped in results) <= team.helper.taken


# -- errors --------------------------------------------------------------------------------------------


def fail(message: str) -> None:
    raise ValueError(message)


def test_an_error_without_help_leaves_out_the_rest(team: Team) -> None:
    notes = Notes()
    pieces = [*notes.pieces(3), (fail, ("alone",)), notes.piece(9)]
    with pytest.raises(ValueError, match="alone"):
        team.helper.share(pieces)
    assert notes.numbers == [9]
    assert pieces == []


def test_an_error_of_the_caller_leaves_out_the_rest(team: Team) -> None:
    notes = Notes()

    def work() -> None:
        with team.called() as helper:
            pieces = Pieces(notes.pieces(5))
            pieces += differing(lambda: fail("caller's"), lambda: happens(pieces.are_gone))
            with pytest.raises(ValueError, match="caller's"):
                helper.share(pieces)
            assert notes.numbers == []
            helper.share(meeting())
        with team.called() as helper:
            helper.share(meeting())

    in_time(work)
    assert team.helper.taken == 3


def test_an_error_of_the_helper_is_the_callers(team: Team) -> None:
    def work() -> None:
        with team.called() as helper:
            with pytest.raises(ValueError, match="helper's"):
                helper.share(differing(nothing, lambda: fail("helper's")))
            helper.share(meeting())
        with team.called() as helper:
            helper.share(meeting())

    in_time(work)
    assert team.helper.taken == 3


def test_of_two_errors_the_callers_own_is_raised(team: Team) -> None:
    def work() -> None:
        with team.called() as helper:
            with pytest.raises(ValueError, match="caller's"):
                helper.share(differing(lambda: fail("caller's"), lambda: fail("helper's")))
            helper.share(meeting())

    in_time(work)


def test_even_an_exit_ends_no_helper(team: Team) -> None:
    def leave() -> None:
        raise SystemExit(3)

    def work() -> None:
        with team.called() as helper:
            with pytest.raises(SystemExit):
                helper.share(differing(nothing, leave))
            helper.share(meeting())

    in_time(work)


def test_numbers_that_are_none_are_no_warnings_of_the_helper(team: Team) -> None:
    found = []

    def divide() -> None:
        found.append(np.float32(1) / np.float32(0))

    def work() -> None:
        with team.called() as helper, np.errstate(all="ignore"):
            helper.share(differing(divide, divide))

    in_time(work)
    assert found == [np.inf, np.inf]


# -- the thread ----------------------------------------------------------------------------------------


def test_the_thread_ends_when_idle_and_comes_back(team: Team) -> None:
    team.helper._idle = 0.01
    team.helper.begin()
    happens(team.calls.awaited)
    first = team.calls.thread
    assert first is not None and first.name == "flowmesh-helper" and first.daemon
    first.join(LIMIT)
    assert not first.is_alive()
    team.helper._idle = 60.0
    team.calls.awaited.clear()

    def work() -> None:
        with team.called() as helper:
            helper.share(meeting())

    in_time(work)
    assert team.calls.thread is not first
    assert team.helper.taken == 1


def test_a_call_that_comes_when_the_thread_is_about_to_end_is_heard(team: Team) -> None:
    get, late = team.calls.get, []

    def empty_at_first(timeout: float) -> None:
        if late:
            return get(timeout)
        late.append(threading.current_thread())
        team.calls.awaited.set()
        happens(called)
        raise helpers.Empty

    called = threading.Event()
    team.calls.get = empty_at_first  # type: ignore[method-assign]

    def work() -> None:
        with team.called() as helper:
            called.set()
            helper.share(meeting())

    in_time(work)
    assert late == [team.calls.thread]


def test_there_may_be_no_more_threads(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    notes = Notes()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        team.helper.begin()
        team.helper.share(notes.pieces(3))
        team.helper.end()
    assert sorted(notes.numbers) == [0, 1, 2]

    def work() -> None:
        with team.called() as helper:
            helper.share(meeting())

    in_time(work)


def test_nothing_is_kept(team: Team) -> None:
    checked = held_after_each_piece(team)

    def look(array: np.ndarray, piece: Piece) -> None:
        piece[0](*piece[1])

    def share(helper: Helper) -> list[weakref.ref[np.ndarray]]:
        arrays = [np.ones(3), np.ones(3)]
        helper.share([(look, (array, piece)) for array, piece in zip(arrays, meeting())])
        return [weakref.ref(array) for array in arrays]

    def work() -> None:
        with team.called() as helper:
            for _ in range(2):
                kept = share(helper)
                assert [ref() for ref in kept] == [None, None]
                checked.release()
        happens(team.calls.awaited)
        assert team.helper._offer is None

    in_time(work)


def test_an_error_keeps_nothing_once_it_is_forgotten(team: Team) -> None:
    ended = held_after_each_piece(team)

    def share(helper: Helper) -> weakref.ref[np.ndarray]:
        array = np.ones(3)

        def wrong(array: np.ndarray = array) -> None:
            fail("helper's")

        with pytest.raises(ValueError, match="helper's"):
            helper.share(differing(nothing, wrong))
        return weakref.ref(array)

    def work() -> weakref.ref[np.ndarray]:
        with team.called() as helper:
            return share(helper)

    kept = in_time(work)
    ended.release()
    happens(team.calls.awaited)
    gc.collect()
    assert kept() is None


# -- cores ---------------------------------------------------------------------------------------------

needs_affinity = pytest.mark.skipif(
    cores.teller() is None, reason="threads cannot be kept off a core here"
)


@pytest.fixture
def core(monkeypatch: pytest.MonkeyPatch) -> int:
    """The core on which all callers seem to run."""
    found = min(os.sched_getaffinity(0))
    monkeypatch.setattr(cores, "teller", lambda: lambda: found)
    return found


@needs_affinity
def test_without_another_core_nobody_is_called(
    core: int, gate: Callable[[], Gate], monkeypatch: pytest.MonkeyPatch
) -> None:
    team = Team(gate, stays_away=True)
    notes = Notes()

    def work() -> int:
        team.helper.begin()
        happens(team.calls.awaited)
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: {core})
        team.helper.begin()
        assert not team.is_called
        team.helper.share(notes.pieces(20))
        team.helper.end()
        return threading.get_ident()

    assert {in_time(work)} == set(notes.threads)
    assert team.helper.taken == 0
    assert team.calls.awaited.is_set()  # it has not been woken
    team.dismiss()


@needs_affinity
def test_the_helper_keeps_off_the_callers_core(core: int, gate: Callable[[], Gate]) -> None:
    everywhere = os.sched_getaffinity(0)
    if len(everywhere) < 2:
        pytest.skip("there is one core")
    team = Team(gate, stays_away=True)
    where: list[set[int]] = []

    def work() -> None:
        with team.called() as helper:
            helper.share(differing(nothing, lambda: where.append(os.sched_getaffinity(0))))
            assert os.sched_getaffinity(0) == everywhere

    in_time(work)
    assert where == [everywhere - {core}]
    assert os.sched_getaffinity(0) == everywhere
    team.dismiss()


@needs_affinity
def test_a_system_that_moves_no_threads_has_helpers(
    core: int, gate: Callable[[], Gate], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(number: int, cores: set[int]) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "sched_setaffinity", refuse)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {core, core + 1})
    team = Team(gate, stays_away=True)

    def work() -> None:
        with team.called() as helper:
            helper.share(meeting())

    in_time(work)
    team.dismiss()


@pytest.mark.parametrize(("seconds", "wanted"), [(1e-4, True), (0, False)])
def test_it_is_wanted_where_a_thread_may_look(
    monkeypatch: pytest.MonkeyPatch, seconds: float, wanted: bool
) -> None:
    monkeypatch.setattr(cores, "looking_time", lambda: seconds)
    assert Helper()._wanted() == wanted


def test_a_process_has_one() -> None:
    assert helpers.helper() is helpers.helper()


def test_an_error_of_the_helper_leaves_out_the_rest(team: Team) -> None:
    notes = Notes()

    def work() -> None:
        with team.called() as helper:
            pieces = Pieces(notes.pieces(5))
            pieces += differing(lambda: happens(pieces.are_gone), lambda: fail("helper's"))
            with pytest.raises(ValueError, match="helper's"):
                helper.share(pieces)
            assert notes.numbers == []

    in_time(work)


def test_a_call_that_comes_as_the_time_is_over_is_nobody_elses(team: Team) -> None:
    get = team.calls.get
    first_time = [True]
    called, second, again = threading.Event(), threading.Event(), threading.Event()

    def empty_at_first(timeout: float) -> None:
        if not first_time:
            again.set()
            return get(timeout)
        first_time.clear()
        team.calls.awaited.set()
        happens(called)
        raise helpers.Empty

    team.calls.get = empty_at_first  # type: ignore[method-assign]

    def first() -> None:
        with team.called():
            called.set()
            happens(again)
            happens(second)
            assert team.is_called

    def other() -> None:
        happens(again)
        team.helper.begin()
        try:
            assert not team.is_called
        finally:
            second.set()
            team.helper.end()

    thread = threading.Thread(target=lambda: in_time(other))
    thread.start()
    in_time(first)
    thread.join(20)


def test_after_its_last_offer_it_is_nobody_elses_before_the_caller_has_ended(team: Team) -> None:
    def work() -> None:
        with team.called() as helper:
            helper.share(meeting(), is_last=True)
            happens(team.calls.awaited)  # it has gone
            others: list[int] = []

            def other() -> None:
                team.helper.begin()
                others.append(team.helper._caller)
                team.helper.end()

            thread = threading.Thread(target=other)
            thread.start()
            thread.join(LIMIT)
            assert others == [threading.get_ident()]
            helper.share(alone := Pieces([(nothing, ()), (nothing, ())]))
            assert not alone
        with team.called() as helper:
            helper.share(meeting())

    in_time(work)


def test_a_thread_that_ends_before_its_caller_comes_back(team: Team) -> None:
    get = team.calls.get

    def none(timeout: float) -> None:
        raise helpers.Empty

    def work() -> None:
        with team.called() as helper:
            team.calls.get = none  # type: ignore[method-assign]
            helper.share(meeting(), is_last=True)
            assert team.calls.thread is not None
            team.calls.thread.join(LIMIT)
            assert not team.calls.thread.is_alive()
            team.calls.get = get  # type: ignore[method-assign]
            team.calls.awaited.clear()
        with team.called() as helper:
            helper.share(meeting())

    in_time(work)


def test_what_it_does_is_no_crowd(team: Team) -> None:
    def work() -> None:
        before = cores.crowd.own
        with team.called() as helper:
            assert cores.crowd.own == before + 1
            helper.share(meeting(), is_last=True)
        assert cores.crowd.own == before
        with team.called() as helper:
            helper.share(meeting())
        happens(team.calls.awaited)
        assert cores.crowd.own == before

    in_time(work)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_process_has_a_helper_of_its_own() -> None:
    before = helpers.helper()
    try:
        helpers._forget()  # as in the child
        assert helpers.helper() is not before
    finally:
        helpers._shared = before
