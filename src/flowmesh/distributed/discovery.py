"""Finding the tasks of a cluster: who answers, who does not, and why not."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

from flowmesh.core import errors
from flowmesh.core.deadline import Deadline
from flowmesh.distributed import futures
from flowmesh.distributed.diagnosis import PROBE, SILENT, diagnose
from flowmesh.distributed.interfaces import DeviceAttributes, WorkerInterface

CONNECT_TIMEOUT = 20.0
LOG_AFTER = 2.0
_LOG_EVERY = 10.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Patience:
    """How long to wait for tasks, and after how long to say so."""

    timeout: float = CONNECT_TIMEOUT
    log_after: float = LOG_AFTER


def patience_of(config: object) -> Patience:
    """What a ConfigProto asks for: its connect_timeout_in_ms, else its operation_timeout_in_ms, else 20 s."""
    experimental = getattr(config, "experimental", None)
    options = getattr(experimental, "flowmesh", None)
    if options is None:
        return Patience()
    milliseconds = options.connect_timeout_in_ms or getattr(config, "operation_timeout_in_ms", 0)
    return Patience(
        milliseconds / 1000 if milliseconds else CONNECT_TIMEOUT,
        options.wait_log_after_secs or LOG_AFTER,
    )


def contact(
    workers: Mapping[str, tuple[WorkerInterface, str]],
    patience: Patience,
    what: str,
    deadline: Deadline | None = None,
) -> dict[str, list[DeviceAttributes]]:
    """The devices of each task, given its worker and address.

    Waits for tasks that do not answer yet. Raises UnavailableError for those that cannot be reached in time, DeadlineExceededError
    when they can be but do not answer; both name the tasks, their addresses and the reasons. `deadline` is that of all
    that the caller does, by default it lies the patience's timeout ahead.
    """
    deadline = deadline or Deadline.after(patience.timeout)
    allowed = min(patience.timeout, deadline.remaining() or 0.0)
    asked: dict[str, Future[list[DeviceAttributes]]] = {
        task: worker.get_status(deadline, wait=True) for task, (worker, _) in workers.items()
    }
    _wait(asked, workers, patience, what, deadline)
    left = deadline.remaining()
    futures.wait_all(asked.values(), Deadline.after(None if left is None else left + PROBE))
    found: dict[str, list[DeviceAttributes]] = {}
    failures: dict[str, errors.OpError] = {}
    for task, future in asked.items():
        error = (
            futures.error_of(future)
            if future.done()
            else errors.DeadlineExceededError(None, None, "no answer")
        )
        if error is None:
            found[task] = future.result()
        else:
            failures[task] = error
    if failures:
        raise _unreachable(failures, workers, allowed, what)
    _check_names(found, workers)
    return found


def _wait(
    asked: Mapping[str, Future[list[DeviceAttributes]]],
    workers: Mapping[str, tuple[WorkerInterface, str]],
    patience: Patience,
    what: str,
    deadline: Deadline,
) -> None:
    """Waits for all answers; says who is still waited for, and why, when that takes long or the reason changes."""
    told: dict[str, str] = {}
    pause = patience.log_after
    while futures.wait_all(asked.values(), Deadline.after(pause).min(deadline)):
        if deadline.expired:
            return
        pause = _LOG_EVERY
        missing = [task for task, future in asked.items() if not future.done()]
        for task, reason in _reasons(missing, workers).items():
            if told.get(task) != reason and not asked[task].done():
                told[task] = reason
                _say(
                    f"{what} still waiting for response from worker: {task or 'the server'} at {workers[task][1]} ({reason})"
                )


def _say(text: str) -> None:
    _log.info(text)
    print(text, file=sys.stderr, flush=True)


def _unreachable(
    failures: Mapping[str, errors.OpError],
    workers: Mapping[str, tuple[WorkerInterface, str]],
    allowed: float,
    what: str,
) -> errors.OpError:
    """One error that names all the tasks that did not answer."""
    waited = {errors.UNAVAILABLE, errors.DEADLINE_EXCEEDED}
    for task, error in failures.items():
        if error.error_code not in waited:
            text = f"{what}: the server at {workers[task][1]}, expected to be {task}, answered: {error.message}"
            if error.error_code == errors.UNIMPLEMENTED:
                text += ". Is it a Flowmesh or TensorFlow server?"
            return errors.make(error.error_code, text)
    reasons = _reasons(list(failures), workers)
    listed = "; ".join(
        f"{task or 'the server'} at {workers[task][1]} ({reason})"
        for task, reason in reasons.items()
    )
    text = (
        f"{what}: no answer within {round(allowed, 1):g} s from {listed}. Start these tasks, correct their addresses in the "
        "cluster specification, or leave them out of the session with device_filters in its ConfigProto."
    )
    if all(reason == SILENT for reason in reasons.values()):
        return errors.DeadlineExceededError(None, None, text)
    return errors.UnavailableError(None, None, text)


def _check_names(
    found: Mapping[str, Sequence[DeviceAttributes]],
    workers: Mapping[str, tuple[WorkerInterface, str]],
) -> None:
    """Raises UnavailableError when some other task answered at a task's address."""
    for task, devices in found.items():
        others = [d.name for d in devices if not d.name.startswith(task + "/")]
        if task and others:
            actual = others[0].rpartition("/device:")[0] or others[0]
            raise errors.UnavailableError(
                None,
                None,
                f"The server at {workers[task][1]} should be {task} but says it is {actual}: the tasks do not have the "
                "same cluster specification.",
            )


# -- why an address does not answer --------------------------------------------------------------------


def _reasons(
    tasks: Sequence[str], workers: Mapping[str, tuple[WorkerInterface, str]]
) -> dict[str, str]:
    """Why each task does not answer; all are tried at the same time."""
    reasons: dict[str, str] = {}

    def probe(task: str) -> None:
        reasons[task] = diagnose(workers[task][1])

    threads = [
        threading.Thread(target=probe, args=(task,), name=f"flowmesh-probe {task}", daemon=True)
        for task in tasks
    ]
    for thread in threads:
        thread.start()
    deadline = Deadline.after(2.5 * PROBE)
    for thread in threads:
        thread.join(deadline.remaining())
    return {task: reasons.get(task, "its host name takes long to resolve") for task in tasks}
