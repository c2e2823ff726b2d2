"""The pieces on their own: which error is the cause, the table of steps, why an address does not answer, thread pools."""

from __future__ import annotations

import socket
import threading
from concurrent.futures import Future

import pytest

from flowmesh.core import errors
from flowmesh.core.cancellation import CancellationManager
from flowmesh.core.deadline import Deadline
from flowmesh.distributed import discovery, failure, futures
from flowmesh.distributed.discovery import Patience, contact, diagnose
from flowmesh.distributed.interfaces import DeviceAttributes
from flowmesh.distributed.peers import Peers, addresses_of, signed
from flowmesh.distributed.routes import Routes, source_task
from flowmesh.distributed.step_ids import new_step_id, owner, owner_of
from flowmesh.distributed.steps import StepTable
from flowmesh.distributed.transport import inproc
from flowmesh.distributed.transport.thread_pool import ElasticPool
from flowmesh.proto import config_pb2
from flowmesh.runtime.failures import annotate
from flowmesh.runtime.rendezvous import make_key
from tests.distributed.clusters import free_ports

OWN = "/job:a/replica:0/task:0"


def _error(code: int, text: str = "") -> errors.OpError:
    return errors.make(code, text)


def test_the_cause_comes_before_its_consequences() -> None:
    cancelled = failure.mark_derived(_error(errors.CANCELLED))
    derived = failure.mark_derived(_error(errors.INVALID_ARGUMENT))
    aborted, real = _error(errors.ABORTED), _error(errors.OUT_OF_RANGE)
    gone = _error(errors.UNAVAILABLE)
    assert failure.root_cause([cancelled, derived, aborted, real]) is real
    assert failure.root_cause([cancelled, aborted, gone]) is gone
    assert failure.root_cause([derived, aborted]) is aborted
    assert failure.root_cause([cancelled, derived]) is derived
    assert failure.root_cause([real, _error(errors.INTERNAL)]) is real


def test_a_derived_error_stays_one_on_its_way() -> None:
    derived = failure.mark_derived(_error(errors.ABORTED, "why"))
    assert failure.mark_derived(derived) is derived
    code, text = failure.to_wire(derived)
    assert (code, text) == (errors.ABORTED, "[_Derived_]why")
    back = failure.from_wire(code, text)
    assert isinstance(back, errors.AbortedError)
    assert failure.is_derived(back)
    assert back.message == "why"

    class Op:
        name, type, defined_at = "n", "NoOp", ""

    assert failure.is_derived(annotate(Op(), back))  # type: ignore[arg-type]


def test_long_messages_are_cut_for_a_status() -> None:
    _, text = failure.to_wire(_error(errors.INTERNAL, "ä" * 4000), short=True)
    assert len(text.encode()) < 3200
    assert text.endswith("ä ... [truncated]")


def test_exceptions_become_errors() -> None:
    assert isinstance(failure.of_exception(ValueError("x")), errors.InvalidArgumentError)
    future: Future[None] = Future()
    future.cancel()
    assert isinstance(futures.error_of(future), errors.CancelledError)


def _key(task: str, name: str = "t") -> str:
    return make_key(f"{task}/device:CPU:0", 1, f"{OWN}/device:CPU:0", name)


@pytest.fixture
def table() -> StepTable:
    return StepTable(Routes(OWN, Peers(OWN, {})))


def test_a_receiver_may_come_before_the_step(table: StepTable) -> None:
    early = table.ask(1)
    future = early.recv_local(_key(OWN))
    step = table.enter(1)
    assert step is early
    step.send(_key(OWN), 5)
    assert future.result(0) == (5, False)
    table.answered(early, gave_up=False)
    table.end(1)
    assert table.step_ids() == []


def test_an_ended_step_is_not_revived(table: StepTable) -> None:
    waiting = table.enter(1).recv_async(_key(OWN))
    table.end(1)
    with pytest.raises(errors.AbortedError):
        waiting.result(0)
    for again in (table.ask, table.enter):
        with pytest.raises(errors.AbortedError, match="Step 1 has ended"):
            again(1)
    assert table.step_ids() == []


def test_a_step_that_never_starts_goes_with_its_last_receiver(table: StepTable) -> None:
    first, second = table.ask(1), table.ask(1)
    table.answered(first, gave_up=True)
    assert table.step_ids() == [1]
    table.answered(second, gave_up=True)
    assert table.step_ids() == []


# -- tensors for steps of masters that die -----------------------------------------------------------------


def _pushed(table: StepTable, step_id: int) -> threading.Event:
    """Pushes a tensor for a step; the event tells that it was used or dropped."""
    dropped = threading.Event()
    table.deliver(step_id, _key("/job:b/replica:0/task:0"), 1.0, False, dropped.set)
    return dropped


@pytest.fixture
def impatient() -> StepTable:
    """A table that keeps tensors of steps without a master for no time at all."""
    return StepTable(Routes(OWN, Peers(OWN, {})), orphan_seconds=0.0)


@pytest.mark.parametrize("before", [True, False], ids=["then it dies", "it has died"])
def test_what_was_pushed_for_a_dead_masters_step_is_dropped(
    impatient: StepTable, before: bool
) -> None:
    master, other = "a1b2c3" + "0" * 26, "ffffff" + "0" * 26
    step_id, others = (new_step_id(owner(identity)) for identity in (master, other))
    impatient.master_found(other)
    impatient.master_found(master)
    if before:
        dropped = _pushed(impatient, step_id)
        kept = _pushed(impatient, others)
        assert impatient.step_ids() == sorted([step_id, others])
        assert not dropped.is_set()
        impatient.master_lost(master)
    else:
        impatient.master_lost(master)
        dropped = _pushed(impatient, step_id)
        kept = _pushed(impatient, others)
    assert dropped.wait(20)
    assert impatient.step_ids() == [others]
    assert not kept.is_set()
    with pytest.raises(errors.AbortedError, match="has ended"):
        impatient.enter(step_id)


def test_a_step_that_has_started_does_not_go_with_a_connection(impatient: StepTable) -> None:
    master = "a1b2c3" + "0" * 26
    impatient.master_found(master)
    first, second = new_step_id(owner(master)), new_step_id(owner(master))
    _pushed(impatient, first)
    impatient.enter(first)
    dropped = _pushed(impatient, second)
    impatient.master_lost(master)
    assert dropped.wait(20)
    assert impatient.step_ids() == [first]


def test_a_master_with_two_connections_is_there_until_both_are_gone(impatient: StepTable) -> None:
    master = "a1b2c3" + "0" * 26
    for _ in range(2):
        impatient.master_found(master)
    dropped = _pushed(impatient, new_step_id(owner(master)))
    impatient.master_lost(master)
    assert not impatient._orphans
    assert not dropped.is_set()
    impatient.master_lost(master)
    assert dropped.wait(20)


def test_step_ids_tell_their_master() -> None:
    for identity in ("a1b2c3" + "0" * 26, "000000" + "f" * 26, ""):
        first, second = new_step_id(owner(identity)), new_step_id(owner(identity))
        assert first != second
        assert owner_of(first) == owner_of(second) == owner(identity)
        assert 1 << 56 <= first < 1 << 57


def test_receives_from_unknown_tasks_fail(table: StepTable) -> None:
    future = table.enter(1).recv_async(_key("/job:b/replica:0/task:0"))
    with pytest.raises(errors.InvalidArgumentError, match="no task /job:b/replica:0/task:0"):
        future.result(0)
    with pytest.raises(errors.InvalidArgumentError, match="Invalid rendezvous key"):
        source_task("no key")


def test_abort_reaches_requests_to_other_tasks(table: StepTable) -> None:
    class Silent:
        def recv_tensor(self, step_id: int, key: str, cancellation: CancellationManager) -> Future:
            future: Future = Future()
            cancellation.register(lambda error: futures.fail(future, error))
            return future

    peers = Peers(OWN, {"/job:b/replica:0/task:0": "b:1"}, lambda task, address: Silent())  # type: ignore[arg-type, return-value]
    step = table.enter(1, Routes(OWN, peers))
    future = step.recv_async(_key("/job:b/replica:0/task:0"))
    assert not future.done()
    table.abort_all(_error(errors.CANCELLED, "stop"))
    with pytest.raises(errors.CancelledError, match="stop"):
        future.result(0)


def test_peers() -> None:
    spec = {"b": ["x:1", "y:2"], "a": {0: "z:3"}}
    peers = Peers(OWN, addresses_of(spec))
    assert peers.tasks() == [OWN, "/job:b/replica:0/task:0", "/job:b/replica:0/task:1"]
    assert peers.filtered(["/job:b/task:1"]) == [OWN, "/job:b/replica:0/task:1"]
    assert peers.filtered(["/job:b/cpu:0", "/job:none"])[1:] == peers.tasks()[1:]
    assert peers.address("/job:b/replica:0/task:1") == "y:2"
    assert (signed(5), signed(2**64 - 1)) == (5, -1)


# -- reaching tasks ------------------------------------------------------------------------------------


def test_reasons_why_an_address_does_not_answer() -> None:
    assert "connection refused" in diagnose(f"127.0.0.1:{free_ports(1)[0]}")
    assert "does not resolve" in diagnose("no-such-host.invalid:1")
    assert "Malformed address" in diagnose("nonsense")
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        assert "does not answer" in diagnose(f"127.0.0.1:{silent.getsockname()[1]}")


class FakeWorker:
    """A worker that answers with what it is given."""

    def __init__(self, answer: object):
        self._answer = answer

    def get_status(self, deadline: Deadline, wait: bool) -> Future:
        assert wait
        if isinstance(self._answer, Exception):
            return futures.failed(self._answer)
        return Future() if self._answer is None else futures.done(self._answer)


def _contact(*answers: object, address: str = "") -> dict:
    workers = {
        f"/job:w/replica:0/task:{i}": (FakeWorker(a), address or f"127.0.0.1:{free_ports(1)[0]}")
        for i, a in enumerate(answers)
    }
    return contact(workers, Patience(0.1, 0.05), "Test")  # type: ignore[arg-type]


DEVICES = [DeviceAttributes("/job:w/replica:0/task:0/device:CPU:0", "CPU")]


def test_contact() -> None:
    assert _contact(DEVICES) == {"/job:w/replica:0/task:0": DEVICES}
    with pytest.raises(errors.UnavailableError, match=r"task:1 at 127.0.0.1:.*connection refused"):
        _contact(DEVICES, None)
    with pytest.raises(errors.UnavailableError, match="should be /job:w/replica:0/task:1"):
        _contact(DEVICES, DEVICES)
    with pytest.raises(errors.UnimplementedError, match="Is it a Flowmesh or TensorFlow server"):
        _contact(errors.UnimplementedError(None, None, "what?"))


def test_contact_of_a_server_that_does_not_answer() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(errors.DeadlineExceededError, match=f"{address} .connected, but"):
            _contact(None, address=address)


def test_patience() -> None:
    assert discovery.patience_of(None) == Patience(20.0, 2.0)
    settings = config_pb2.ConfigProto()
    assert discovery.patience_of(settings) == Patience(20.0, 2.0)
    settings.experimental.flowmesh.connect_timeout_in_ms = 1500
    settings.experimental.flowmesh.wait_log_after_secs = 0.5
    assert discovery.patience_of(settings) == Patience(1.5, 0.5)


def test_servers_of_this_process_have_one_name() -> None:
    master = object()
    inproc.register("localhost:1234", master)  # type: ignore[arg-type]
    try:
        assert inproc.lookup("127.0.0.1:1234") is master
        assert inproc.lookup("LOCALHOST:1234") is master
        assert inproc.lookup("localhost:1235") is None
    finally:
        inproc.unregister("127.0.0.1:1234", master)  # type: ignore[arg-type]
    assert inproc.lookup("localhost:1234") is None


# -- waiting ---------------------------------------------------------------------------------------------


def test_wait_all() -> None:
    first: Future[int] = Future()
    second: Future[int] = futures.done(1)
    assert futures.wait_all([first, second], Deadline.after(0.01)) == [first]
    threading.Timer(0.01, first.set_result, [2]).start()
    assert futures.wait_all([first, second], Deadline.after(10)) == []


def test_then() -> None:
    assert futures.then(futures.done(2), lambda v: v + 1).result(0) == 3
    with pytest.raises(errors.InvalidArgumentError):
        futures.then(futures.done(2), lambda v: int("x")).result(0)
    with pytest.raises(errors.NotFoundError):
        futures.then(futures.failed(_error(errors.NOT_FOUND)), str).result(0)


def test_the_pool_has_a_thread_for_every_call_up_to_its_limit() -> None:
    pool = ElasticPool(3, "test-pool")
    together = threading.Barrier(3)
    meeting = [pool.submit(together.wait, 10) for _ in range(3)]
    assert sorted(f.result(10) for f in meeting) == [0, 1, 2]
    gate = threading.Event()
    held = [pool.submit(gate.wait, 10) for _ in range(3)]
    late = pool.submit(lambda: "late")
    assert not late.done()
    gate.set()
    assert late.result(10) == "late"
    assert all(f.result(10) for f in held)
    with pytest.raises(ZeroDivisionError):
        pool.submit(lambda: 1 // 0).result(10)
    pool.shutdown()
    assert not [t for t in threading.enumerate() if t.name.startswith("test-pool")]
    with pytest.raises(RuntimeError):
        pool.submit(print)
