"""An error that somebody cannot be reached says who, and who says so."""

from __future__ import annotations

from typing import Any

import pytest

from flowmesh.core import errors
from flowmesh.core.cancellation import CancellationManager
from flowmesh.distributed.failure import is_derived, mark_derived
from flowmesh.distributed.plan import Part
from flowmesh.distributed.running_step import RunningStep
from flowmesh.distributed.transport.grpc_client import RemoteWorker
from flowmesh.proto import worker_pb2
from tests.ports import free_ports

PS = "/job:ps/replica:0/task:0"
WORKER = "/job:worker/replica:0/task:0"


def outcome(*told: errors.OpError) -> errors.OpError:
    """What the caller of a step on ps and worker gets when the parts end like that, one after the other."""
    parts: list[Any] = [Part(task, None, None, (), ()) for task in (PS, WORKER)]  # type: ignore[arg-type]
    step = RunningStep(parts, CancellationManager(), [])
    for index, error in enumerate(told):
        step.told(index, None, error)
    with pytest.raises(errors.OpError) as caught:
        step.wait()
    return caught.value


def unavailable(text: str) -> errors.OpError:
    return errors.UnavailableError(None, None, text)


def test_a_task_that_misses_another_one_is_named_as_tensorflow_names_it():
    lost = unavailable(f"RecvTensor: {WORKER} at b:1 cannot be reached: Stream removed")
    after = mark_derived(errors.CancelledError(None, None, "The step was ended"))
    found = outcome(lost, after)
    assert isinstance(found, errors.UnavailableError)
    assert found.message == f"From {PS}:\n{lost.message}"
    assert not is_derived(found)


def test_what_names_the_task_already_and_errors_of_the_program_stay_as_they_are():
    after = mark_derived(errors.CancelledError(None, None, "The step was ended"))
    for error in (
        unavailable(f"{PS} at a:1 cannot be reached: connection lost"),
        errors.InvalidArgumentError(None, None, "indices[0] = 7 is not in [0, 3)"),
    ):
        assert outcome(error, after) is error


def test_a_refused_call_names_the_task_though_grpc_gives_its_address():
    (port,) = free_ports(1)
    worker = RemoteWorker(PS, f"127.0.0.1:{port}")
    try:
        asked = worker.connection.start("RegisterGraph", worker_pb2.RegisterGraphRequest())
        with pytest.raises(errors.UnavailableError) as caught:
            asked.result(20)
    finally:
        worker.close()
    wanted = f"RegisterGraph: {PS} at 127.0.0.1:{port} cannot be reached: "
    assert caught.value.message.startswith(wanted)
