"""When a step of synchronous replicas is complete, by policy, and who is told what."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any

import pytest

from flowmesh.core import errors
from flowmesh.core.cancellation import CancellationManager
from flowmesh.resources.replica_quorum import ReplicaQuorum, Rules


class Trial:
    """A quorum whose replicas a, b, c ... attend, and the chief's wait for its gradients."""

    def __init__(self, policy: str, total: int, required: int, minimum: int = 1) -> None:
        self.quorum = ReplicaQuorum("q", Rules(total, required, policy, minimum))
        self.quorum.reset("a", 0)
        self.life = {name: CancellationManager() for name in "abcd"[:total]}
        self.attendance = {n: self.quorum.attend(n, f"{n}:1", c) for n, c in self.life.items()}
        self.never = CancellationManager()
        self.step = 0

    def gather(self) -> Future[int]:
        return self.quorum.gather(self.never)

    def arrive(self, names: str, step: int | None = None) -> list[Future[int]]:
        at = self.step if step is None else step
        return [self.quorum.arrive(n, at, self.never) for n in names]

    def advance(self) -> None:
        self.step += 1
        self.quorum.advance(self.step)

    def lose(self, name: str) -> None:
        self.life[name].cancel(errors.UnavailableError(None, None, "connection reset"))


def test_all_must_come() -> None:
    trial = Trial("wait", 3, 3)
    gathered = trial.gather()
    waits = trial.arrive("ab")
    assert not gathered.done()
    waits += trial.arrive("c")
    assert gathered.result(0) == 3
    assert not any(w.done() for w in waits)
    trial.advance()
    assert [w.result(0) for w in waits] == [1, 1, 1]


def test_backup_replicas_are_late() -> None:
    trial = Trial("continue", 3, 2)
    gathered = trial.gather()
    waits = trial.arrive("ab")
    assert gathered.result(0) == 2
    trial.advance()
    assert [w.result(0) for w in waits] == [1, 1]
    trial.arrive("b")
    assert trial.arrive("c", step=0)[0].result(0) == 1, "it does not stand behind who waits"
    gathered = trial.gather()
    assert not gathered.done(), "the late gradient does not count for the next step"


def test_one_that_comes_while_the_update_is_made_waits_for_its_end() -> None:
    trial = Trial("continue", 3, 2)
    assert not trial.gather().done()
    trial.arrive("ab")
    late = trial.arrive("c")[0]
    assert not late.done()
    trial.advance()
    assert late.result(0) == 1


def test_more_gradients_than_replicas() -> None:
    trial = Trial("wait", 2, 3)
    gathered = trial.gather()
    first = trial.arrive("a")[0]
    assert first.result(0) == 0, "it gives another one of the same step"
    second, third = trial.arrive("ab")
    assert gathered.result(0) == 3
    assert not second.done() and not third.done()
    trial.advance()
    assert second.result(0) == third.result(0) == 1


def test_the_rest_gives_more_when_a_replica_is_lost() -> None:
    trial = Trial("continue", 2, 3)
    gathered = trial.gather()
    trial.arrive("a")
    waits = trial.arrive("a")[0]
    assert not waits.done()
    trial.lose("b")
    assert waits.result(0) == 0
    trial.arrive("a")
    assert gathered.result(0) == 3


def test_a_backup_takes_the_place_of_a_lost_replica() -> None:
    for policy in ("wait", "continue", "fail"):
        trial = Trial(policy, 3, 2)
        gathered = trial.gather()
        trial.lose("b")
        trial.arrive("a")
        assert not gathered.done()
        trial.arrive("c")
        assert gathered.result(0) == 2


def test_go_on_with_those_that_are_left() -> None:
    trial = Trial("continue", 3, 3)
    gathered = trial.gather()
    trial.arrive("ab")
    trial.lose("c")
    assert gathered.result(0) == 2


def test_the_gradient_of_one_that_died_counts() -> None:
    trial = Trial("continue", 2, 2)
    gathered = trial.gather()
    trial.arrive("b")
    trial.lose("b")
    assert not gathered.done(), "the living one is waited for"
    trial.arrive("a")
    assert gathered.result(0) == 2


def test_fewer_than_the_minimum_wait_for_a_lost_one_to_come_back() -> None:
    trial = Trial("continue", 3, 3, minimum=2)
    trial.lose("b")
    trial.lose("c")
    gathered = trial.gather()
    trial.arrive("a")
    assert not gathered.done()
    trial.quorum.attend("c", "c:2", CancellationManager())
    assert not gathered.done()
    trial.arrive("c")
    assert gathered.result(0) == 2


def test_a_minimum_that_cannot_be_reached_any_more_ends_the_training() -> None:
    trial = Trial("continue", 3, 3, minimum=2)
    gathered = trial.gather()
    waits = trial.arrive("a")[0]
    trial.quorum.finish("b", "no more data")
    assert not gathered.done()
    trial.quorum.finish("c", "no more data")
    for future in (gathered, waits):
        with pytest.raises(errors.OutOfRangeError, match=r"at least 2 of 3 .* c \(c:1\): finished"):
            future.result(0)
    assert trial.attendance["c"].result(0) is None


def test_fail_names_who_was_lost() -> None:
    trial = Trial("fail", 2, 2)
    gathered = trial.gather()
    waits = trial.arrive("a")[0]
    trial.lose("b")
    for future in (gathered, waits, *trial.arrive("a")):
        with pytest.raises(
            errors.FailedPreconditionError,
            match=r"step 0 needs 2 gradients .* 1 are left: b \(b:1\): lost .*: connection reset",
        ):
            future.result(0)
    with pytest.raises(errors.CancelledError):
        trial.attendance["b"].result(0)
    trial.quorum.reset("a", 0)
    assert not trial.gather().done(), "a new training may begin"


def test_fail_at_the_end_of_the_data_is_the_end() -> None:
    trial = Trial("fail", 2, 2)
    gathered = trial.gather()
    trial.quorum.finish("b", "no more data")
    with pytest.raises(errors.OutOfRangeError, match=r"b \(b:1\): finished .*: no more data"):
        gathered.result(0)


def test_a_restarted_chief_has_the_step_done_again() -> None:
    trial = Trial("continue", 2, 2)
    waits = trial.arrive("ab")
    assert trial.gather().result(0) == 2
    trial.lose("a")
    trial.quorum.reset("a", 0)
    trial.quorum.attend("a", "a:2", CancellationManager())
    assert [w.result(0) for w in waits] == [0, 0]
    gathered = trial.gather()
    trial.arrive("a")
    assert not gathered.done()
    trial.arrive("b")
    assert gathered.result(0) == 2


def test_gradients_that_came_before_the_chief_count() -> None:
    quorum = ReplicaQuorum("q", Rules(2, 2, "continue", 1))
    never = CancellationManager()
    for name in "ab":
        quorum.attend(name, "", never)
    waits = quorum.arrive("b", 0, never)
    quorum.reset("a", 0)
    assert not waits.done()
    quorum.arrive("a", 0, never)
    assert quorum.gather(never).result(0) == 2
    quorum.advance(1)
    assert waits.result(0) == 1


def test_who_has_finished_stays_away_when_the_chief_is_restarted() -> None:
    trial = Trial("continue", 3, 3)
    trial.quorum.finish("b", "")
    trial.lose("a")
    trial.quorum.reset("a", 0)
    trial.quorum.attend("a", "a:2", CancellationManager())
    gathered = trial.gather()
    trial.arrive("ac")
    assert gathered.result(0) == 2


def test_a_new_training_forgets_the_old_one() -> None:
    trial = Trial("continue", 2, 2, minimum=2)
    for name in "ab":
        trial.quorum.finish(name, "")
    trial.quorum.reset("a", 0)
    gathered = trial.gather()
    for name in "ab":
        trial.quorum.attend(name, f"{name}:2", CancellationManager())
    trial.arrive("ab")
    assert gathered.result(0) == 2


def test_the_chief_waits_until_no_other_trains() -> None:
    trial = Trial("continue", 3, 3)
    trial.quorum.finish("a", "")
    drained = trial.quorum.drained("a", trial.never)
    trial.lose("b")
    assert not drained.done()
    trial.quorum.finish("c", "")
    assert drained.done()


def test_the_report() -> None:
    trial = Trial("wait", 4, 4)
    assert trial.quorum.report().waits_for == ""
    trial.arrive("a")
    trial.lose("b")
    trial.quorum.finish("c", "no more data")
    report = trial.quorum.report()
    assert (report.step, report.given, report.required) == (0, 1, 4)
    assert [part.partition(" 0.")[0] for part in report.waits_for.split("; ")] == [
        "b (b:1): lost",
        "c (c:1): finished",
        "d (d:1): it has not given its gradient yet",
    ]


def test_cancelled_waits_and_the_end_of_the_resource() -> None:
    trial = Trial("wait", 2, 2)
    step = CancellationManager()
    waits = trial.quorum.arrive("a", 0, step)
    step.cancel(errors.CancelledError(None, None, "the step ended"))
    with pytest.raises(errors.CancelledError):
        waits.result(0)
    gathered: Any = trial.gather()
    trial.quorum.release()
    for future in (gathered, trial.attendance["a"]):
        with pytest.raises(errors.CancelledError, match="deleted"):
            future.result(0)
