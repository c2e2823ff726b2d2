"""The replicas of a synchronous training: who takes part, who has given the gradient of the step, and when the step is complete.

A replica *attends* for as long as it trains; its attendance is a request that is cancelled when its process or its session ends,
so nobody has to ask. The gradients themselves add up elsewhere: a replica *arrives* here once they have. The chief *gathers*:
waits until the step is complete, applies the gradients, and *advances*, which lets go all replicas that wait.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from flowmesh.core import errors
from flowmesh.core.cancellation import CancellationManager
from flowmesh.resources.manager import Resource
from flowmesh.resources.waiting import NOT_YET, Line, Request

WAIT, CONTINUE, FAIL = "wait", "continue", "fail"
POLICIES = (WAIT, CONTINUE, FAIL)

_TRAINING, _FINISHED, _LOST = "training", "finished", "lost"


class Rules(NamedTuple):
    """How many replicas there are, how many gradients a step needs, and what is done when replicas have left.

    A step that can still have its gradients is complete with `required` of them. When too many replicas have left for that:
    "wait" waits for them to come back, "continue" goes on with the rest while there are `minimum`, "fail" fails.
    """

    total: int
    required: int
    policy: str
    minimum: int


class Report(NamedTuple):
    """How the step stands. `waits_for` names the replicas that it waits for; it is empty while nobody waits."""

    step: int
    given: int
    required: int
    seconds: float
    waits_for: str


@dataclass
class _Replica:
    name: str
    address: str
    state: str = _TRAINING
    reason: str = ""
    since: float = field(default_factory=time.monotonic)
    attendance: Future[None] = field(default_factory=Future)

    def says(self) -> str:
        where = f"{self.name} ({self.address})" if self.address else self.name
        if self.state == _TRAINING:
            return f"{where}: it has not given its gradient yet"
        ago = time.monotonic() - self.since
        reason = f": {self.reason}" if self.reason else ""
        return f"{where}: {self.state} {ago:.1f} s ago{reason}"


class ReplicaQuorum(Resource):
    """See the module. Thread-safe; what has to wait is a future."""

    type_name = "ReplicaQuorum"

    def __init__(self, name: str, rules: Rules) -> None:
        self.name = name
        self._rules = rules
        self._lock = threading.Lock()
        message = "The wait for the other replicas of the step was cancelled"
        self._gathering, self._waiting, self._passing, self._joining, self._draining = (
            Line(self._lock, message) for _ in range(5)
        )
        self._replicas: dict[str, _Replica] = {}
        self._given: dict[str, int] = {}
        self._extra = 0  # replicas that were sent back for another gradient of the same step
        self._step = 0
        self._round = 0  # steps and resets
        self._updating = False  # the gradients of the step are being taken and applied
        self._since: float | None = None  # when the first gradient of the step came
        self._aborted = ""  # why nobody is to wait any more

    # -- who takes part --------------------------------------------------------------------------------------

    def configure(self, rules: Rules) -> None:
        """Sets the rules, which are those of the latest graph."""
        if rules != self._rules:
            self._change(lambda: setattr(self, "_rules", rules))

    def attend(self, name: str, address: str, cancellation: CancellationManager) -> Future[None]:
        """Has a replica take part until it finishes, which completes the future, or until the cancellation: it is lost then."""
        replica = _Replica(name, address)

        def join() -> None:
            before = self._replicas.get(name)
            self._replicas[name] = replica
            if before is not None and before.state == _TRAINING:
                before.state = _LOST

        self._change(join)
        token = cancellation.register(lambda error: self._lose(replica, error))
        replica.attendance.add_done_callback(lambda _: cancellation.deregister(token))
        return replica.attendance

    def _lose(self, replica: _Replica, error: errors.OpError) -> None:
        def lose() -> None:
            if replica.state == _TRAINING:
                replica.state, replica.since = _LOST, time.monotonic()
                replica.reason = str(error.message)

        self._change(lose)
        if not replica.attendance.done():
            replica.attendance.set_exception(
                errors.CancelledError(
                    None, None, f"Replica {replica.name} does not attend any more"
                )
            )

    def joined(self, name: str, cancellation: CancellationManager) -> Future[None]:
        """Done as soon as the replica attends."""
        return self._joining.start(
            lambda: None if self._is_training(name) else NOT_YET, cancellation, self._joining.flush
        )

    def _is_training(self, name: str) -> bool:
        replica = self._replicas.get(name)
        return replica is not None and replica.state == _TRAINING

    def finish(self, name: str, reason: str) -> None:
        """Takes a replica out of the quorum for good: it has no more data, or has done its steps."""
        replica = self._replicas.get(name) or _Replica(name, "")

        def leave() -> None:
            self._replicas[name] = replica
            replica.state, replica.reason, replica.since = _FINISHED, reason, time.monotonic()

        self._change(leave)
        if not replica.attendance.done():
            replica.attendance.set_result(None)

    def drained(self, name: str, cancellation: CancellationManager) -> Future[None]:
        """Done as soon as no other replica trains."""

        def attempt() -> Any:
            return (
                NOT_YET if any(self._is_training(n) for n in self._replicas if n != name) else None
            )

        return self._draining.start(attempt, cancellation, self._draining.flush)

    # -- steps -------------------------------------------------------------------------------------------------

    def reset(self, name: str, step: int) -> None:
        """The chief `name` (re)starts the updates at `step`: gradients of that step count that have come already.

        When its former self died amid the update, some of them may be gone: then who waits computes its gradient again.
        When the chief's former self has finished, or there is none, this is a new training: who left the old one is forgotten.
        """

        def start() -> None:
            chief = self._replicas.get(name)
            if chief is None or chief.state == _FINISHED or self._rules.policy == FAIL:
                self._replicas = {n: r for n, r in self._replicas.items() if r.state == _TRAINING}
            self._aborted = ""
            if self._updating or step != self._step:
                self._begin(step)

        self._change(start)

    def _begin(self, step: int) -> None:
        self._step = step
        self._round += 1
        self._updating = False
        self._given, self._extra, self._since = {}, 0, None

    def arrive(self, name: str, local_step: int, cancellation: CancellationManager) -> Future[int]:
        """A replica has given a gradient of `local_step`: the step that its next one is to be of, as soon as that has begun."""
        with self._lock:
            round_ = self._round
            late = local_step < self._step
            if not late:
                self._given[name] = self._given.get(name, 0) + 1
                if self._since is None:
                    self._since = time.monotonic()

        def attempt() -> Any:
            self._raise_failure()
            if late or self._round != round_:
                return self._step
            if self._extra < self._extras():
                self._extra += 1
                return self._step
            return NOT_YET

        line = self._passing if late else self._waiting  # who is late stands behind nobody
        return line.start(attempt, cancellation, self._flush)

    def gather(self, cancellation: CancellationManager) -> Future[int]:
        """How many gradients the step has, as soon as it is complete."""

        def attempt() -> Any:
            self._raise_failure()
            given = self._total()
            if given < self._needed():
                return NOT_YET
            self._updating = True
            return given

        return self._gathering.start(attempt, cancellation, self._flush)

    def advance(self, step: int) -> None:
        """The gradients were applied, and `step` begins."""
        self._change(lambda: self._begin(step))

    def abort(self, message: str) -> None:
        """Fails all that wait, and all who come, with DeadlineExceededError until the chief starts anew."""

        def give_up() -> None:
            self._aborted = message

        self._change(give_up)

    def report(self) -> Report:
        """How the step stands."""
        with self._lock:
            given = self._total()
            waits = self._since is not None and bool(len(self._waiting))
            seconds = time.monotonic() - self._since if waits and self._since is not None else 0.0
            return Report(
                self._step, given, self._needed(), seconds, self._missing() if waits else ""
            )

    def _missing(self) -> str:
        who = [r.says() for n, r in sorted(self._replicas.items()) if n not in self._given]
        unknown = self._rules.total - len(self._replicas)
        if unknown > 0:
            known = ", ".join(sorted(self._replicas))
            who.append(f"{unknown} that never came (there are {known})")
        return "; ".join(who)

    # -- the rules, called with the lock held ----------------------------------------------------------------

    def _left(self, *states: str) -> list[_Replica]:
        return [r for r in self._replicas.values() if r.state in states]

    def _available(self) -> int:
        total = max(self._rules.total, len(self._replicas))
        return total - len(self._left(_FINISHED, _LOST))

    def _too_few(self) -> bool:
        """Whether so many have left that a step cannot have its gradients as planned."""
        return self._available() < min(self._rules.required, self._rules.total)

    def _farewell(self) -> int:
        """The gradients of this step from replicas that have left since."""
        return self._total(gone_only=True)

    def _total(self, gone_only: bool = False) -> int:
        """The gradients of this step. One that a replica gave again (in a new session) counts once where each gives one."""
        counts = [c for n, c in self._given.items() if not (gone_only and self._is_training(n))]
        return len(counts) if self._rules.required <= self._rules.total else sum(counts)

    def _needed(self) -> int:
        """The gradients that complete the step."""
        rules = self._rules
        if rules.policy != CONTINUE or rules.required > rules.total or not self._too_few():
            return rules.required
        if self._available() < rules.minimum:
            return rules.required
        return max(1, min(rules.required, self._available() + self._farewell()))

    def _extras(self) -> int:
        """How often a replica may give another gradient of the same step."""
        rules = self._rules
        if rules.required <= rules.total:
            return 0
        if rules.policy != CONTINUE:
            return rules.required - rules.total
        if self._available() < rules.minimum:
            return 0
        return max(0, rules.required - self._available() - self._farewell())

    def _raise_failure(self) -> None:
        """Raises when the training cannot go on under the rules."""
        if self._aborted:
            raise errors.DeadlineExceededError(None, None, self._aborted)
        rules = self._rules
        if rules.policy == FAIL and self._too_few():
            lost = self._left(_LOST)
            gone = "; ".join(r.says() for r in lost or self._left(_FINISHED))
            text = (
                f"Synchronous step {self._step} needs {rules.required} gradients of {rules.total} replicas, of which "
                f"{self._available()} are left: {gone}"
            )
            if lost:
                raise errors.FailedPreconditionError(
                    None, None, f"{text}. on_replica_loss='continue' goes on without them."
                )
            raise errors.OutOfRangeError(None, None, text)
        finished = self._left(_FINISHED)
        if rules.policy == CONTINUE and rules.total - len(finished) < rules.minimum:
            gone = "; ".join(r.says() for r in finished)
            raise errors.OutOfRangeError(
                None,
                None,
                f"Synchronous training goes on with at least {rules.minimum} of {rules.total} replicas, which cannot be "
                f"reached any more: {gone}",
            )

    # -- mechanics ---------------------------------------------------------------------------------------------

    def _change(self, change: Callable[[], None]) -> None:
        with self._lock:
            change()
            done = self._flush()
        for request in done:
            request.deliver()

    def _flush(self) -> list[Request]:
        return [request for line in self._lines() for request in line.flush()]

    def _lines(self) -> tuple[Line, ...]:
        return self._joining, self._gathering, self._waiting, self._passing, self._draining

    def release(self) -> None:
        gone: list[Request] = []
        error = errors.CancelledError(None, None, f"The quorum {self.name} was deleted")
        with self._lock:
            for line in self._lines():
                gone += line.fail_all(error)
            replicas = list(self._replicas.values())
        for request in gone:
            request.deliver()
        for replica in replicas:
            if not replica.attendance.done():
                replica.attendance.set_exception(error)
