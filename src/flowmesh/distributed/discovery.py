"""Finding the tasks of a cluster: who answers, who does not, and why not."""

from __future__ import annotations

import errno
import logging
import socket
import sys
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

from flowmesh.core import errors
from flowmesh.core.cluster_spec import split_address
from flowmesh.core.deadline import Deadline
from flowmesh.distributed import futures
from flowmesh.distributed.interfaces import DeviceAttributes, WorkerInterface

CONNECT_TIMEOUT = 20.0
LOG_AFTER = 2.0
_PROBE = 1.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Patience:
    """How long to wait for tasks, and after how long to say so."""

    timeout: float = CONNECT_TIMEOUT
    log_after: float = LOG_AFTER


def patience_of(config: object) -> Patience:
    """What a ConfigProto asks for."""
    experimental = getattr(config, "experimental", None)
    options = getattr(experimental, "flowmesh", None)
    if options is None:
        return Patience()
    return Patience(
        options.connect_timeout_in_ms / 1000 if options.connect_timeout_in_ms else CONNECT_TIMEOUT,
        options.wait_log_after_secs or LOG_AFTER,
    )


def contact(
    workers: Mapping[str, tuple[WorkerInterface, str]], patience: Patience, what: str
) -> dict[str, list[DeviceAttributes]]:
    """The devices of each task, given its worker and address.

    Waits for tasks that do not answer yet. Raises UnavailableError for those that cannot be reached in time, DeadlineExceededError
    when they can be but do not answer; both name the tasks, their addresses and the reasons.
    """
    deadline = Deadline.after(patience.timeout)
    asked: dict[str, Future[list[DeviceAttributes]]] = {
        task: worker.get_status(deadline, wait=True) for task, (worker, _) in workers.items()
    }
    early = Deadline.after(patience.log_after).min(deadline)
    if futures.wait_all(asked.values(), early) and not deadline.expired:
        missing = [task for task, future in asked.items() if not future.done()]
        for task, reason in _reasons(missing, workers).items():
            _say(
                f"{what} still waiting for response from worker: {task} at {workers[task][1]} ({reason})"
            )
    futures.wait_all(asked.values(), Deadline.after((deadline.remaining() or 0.0) + _PROBE))
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
        raise _unreachable(failures, workers, patience, what)
    _check_names(found, workers)
    return found


def _say(text: str) -> None:
    _log.info(text)
    print(text, file=sys.stderr, flush=True)


def _unreachable(
    failures: Mapping[str, errors.OpError],
    workers: Mapping[str, tuple[WorkerInterface, str]],
    patience: Patience,
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
        f"{task} at {workers[task][1]} ({reason})" for task, reason in reasons.items()
    )
    text = (
        f"{what}: no answer within {patience.timeout:g} s from {listed}. Start these tasks, correct their addresses in the "
        "cluster specification, or leave them out of the session with device_filters in its ConfigProto."
    )
    if all(reason == _SILENT for reason in reasons.values()):
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

_SILENT = "connected, but the server does not answer"


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
    deadline = Deadline.after(2 * _PROBE)
    for thread in threads:
        thread.join(deadline.remaining())
    return {task: reasons.get(task, "its host name takes long to resolve") for task in tasks}


def diagnose(address: str) -> str:
    """Tries to connect to 'host:port'; says in words what happens. Takes about a second at most, unless the name does not
    resolve."""
    try:
        host, port = split_address(address)
    except ValueError as error:
        return str(error)
    try:
        resolved = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        return f"host name {host!r} does not resolve: {getattr(error, 'strerror', None) or error}"
    reason = "no address"
    for family, kind, proto, _, target in resolved:
        with socket.socket(family, kind, proto) as probe:
            probe.settimeout(_PROBE / len(resolved))
            try:
                probe.connect(target)
            except TimeoutError:
                reason = "connecting timed out: the host is down, or a firewall drops packets"
            except OSError as error:
                reason = _os_reason(error, reason)
            else:
                return _SILENT
    return reason


def _os_reason(error: OSError, before: str) -> str:
    if error.errno == errno.ECONNREFUSED:
        return "connection refused: no server listens there"
    if (
        error.errno in (errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EADDRNOTAVAIL)
        and before != "no address"
    ):
        return before  # one of several addresses of the name, an unused IPv6 one for instance
    return (error.strerror or str(error)).lower()
