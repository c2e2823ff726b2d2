"""``flowmesh serve``: one task of a cluster, as a server that runs what its clients send."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flowmesh.cli.program import SIMULATE_GPUS, add_simulate_gpus, count
from flowmesh.cli.safety import add_safety, environment
from flowmesh.cli.signals import SignalWait

STOP_GRACE = 2.0
_PORTS = range(1, 65_536)

Spec = dict[str, list[str] | dict[int, str]]


class BadSpecError(Exception):
    """The cluster, or this task's place in it, is not usable: the message says why in one line."""


@dataclass(frozen=True)
class Place:
    """A cluster and the one task of it that we are."""

    cluster: Spec
    job: str
    task: int


def main(argv: Sequence[str]) -> int:
    """Serve until SIGINT or SIGTERM, then stop cleanly and return 0."""
    options = _parser().parse_args(argv)
    if options.simulate_gpus is not None:
        os.environ[SIMULATE_GPUS] = str(options.simulate_gpus)
    os.environ.update(environment(options))
    try:
        place = find_place(options.cluster, options.job, options.task, os.environ)
    except BadSpecError as error:
        _complain(str(error))
        return 2
    return _serve(place, options.protocol)


def find_place(
    cluster: str | None, job: str | None, task: int | None, environ: Mapping[str, str]
) -> Place:
    """The cluster and our place, from the options and, for what they leave out, TF_CONFIG."""
    text = environ.get("TF_CONFIG", "")
    config = _object(text, "TF_CONFIG") if text and None in (cluster, job, task) else {}
    if cluster is not None:
        given = _object(_text(cluster), "--cluster")
        nested = given.get("cluster")
        spec = _spec(nested if isinstance(nested, dict) else given, "--cluster")
    elif "cluster" in config:
        spec = _spec(config["cluster"], "TF_CONFIG")
    else:
        raise BadSpecError("no cluster: give --cluster SPEC or set TF_CONFIG")
    place = config.get("task", {})
    if not isinstance(place, dict):
        raise BadSpecError(f"TF_CONFIG: the task is not an object: {place!r}")
    job = place.get("type") if job is None else job
    index = place.get("index") if task is None else task
    if job is None or index is None:
        missing = "--job" if job is None else "--task"
        raise BadSpecError(f"no {missing}, and TF_CONFIG does not tell it either")
    return _check(spec, job, index)


def _check(spec: Spec, job: Any, index: Any) -> Place:
    if job not in spec:
        raise BadSpecError(f"the cluster has no job {job!r}: its jobs are {', '.join(spec)}")
    if isinstance(index, str) and index.isdecimal():
        index = int(index)
    tasks = spec[job]
    known = list(tasks) if isinstance(tasks, dict) else list(range(len(tasks)))
    if isinstance(index, bool) or index not in known:
        listed = ", ".join(map(str, known))
        raise BadSpecError(f"job {job!r} has no task {index!r}: its tasks are {listed}")
    return Place(spec, job, index)


def _serve(place: Place, protocol: str) -> int:
    from flowmesh.distributed.server import Server  # takes a while: not before it is needed

    with SignalWait(signal.SIGINT, signal.SIGTERM) as signals:
        try:
            server = Server(
                place.cluster, job_name=place.job, task_index=place.task, protocol=protocol
            )
        except Exception as error:  # a taken port, an unknown protocol: told in one line
            _complain(f"cannot serve {place.job}/{place.task}: {error}")
            return 1
        print(f"flowmesh: {place.job}/{place.task} serves at {server.target}", flush=True)

        def join() -> None:
            try:
                server.join()
            finally:
                signals.wake()

        threading.Thread(target=join, name="serve-join", daemon=True).start()
        came = signals.wait()
    if came:  # from here on a second signal ends the process at once
        server.stop(grace=STOP_GRACE)
    return 0


def _text(spec: str) -> str:
    """The JSON text that `spec` is, or that the file it names holds."""
    if spec.lstrip().startswith("{"):
        return spec
    try:
        with open(spec, encoding="utf-8") as file:
            return file.read()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise BadSpecError(
            f"--cluster is neither a JSON object nor a file: {spec!r}: {reason}"
        ) from None


def _object(text: str, source: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise BadSpecError(f"{source} is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise BadSpecError(f"{source} is not a JSON object")
    return value


def _spec(value: Any, source: str) -> Spec:
    """Check a cluster specification; a job is a list, or an object from index to address."""
    if not isinstance(value, dict) or not value:
        raise BadSpecError(f'{source} names no job; it looks like {{"worker": ["host:port"]}}')
    spec: Spec = {}
    for job, tasks in value.items():
        if isinstance(tasks, dict) and all(index.isdecimal() for index in tasks):
            spec[job] = {int(index): address for index, address in tasks.items()}
            addresses = list(tasks.values())
        elif isinstance(tasks, list):
            spec[job] = addresses = tasks
        else:
            raise BadSpecError(f"{source}: job {job!r} is not a list of addresses: {tasks!r}")
        for address in addresses:
            if not _is_address(address):
                raise BadSpecError(f"{source}: job {job!r}: {address!r} is not host:port")
    return spec


def _is_address(address: Any) -> bool:
    if not isinstance(address, str):
        return False
    host, _, port = address.rpartition(":")
    return bool(host) and port.isdecimal() and int(port) in _PORTS


def _complain(text: str) -> None:
    print(f"flowmesh serve: {' '.join(text.split())}", file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="flowmesh serve",
        description="Be one task of a cluster and serve until SIGINT or SIGTERM. What an option "
        "leaves out comes from the environment variable TF_CONFIG.",
        epilog="example: flowmesh serve --job ps --task 0 "
        '--cluster \'{"ps": ["localhost:2222"], "worker": ["localhost:2223"]}\'',
        allow_abbrev=False,
    )
    parser.add_argument(
        "--cluster", metavar="SPEC", help="the cluster: JSON text, or a file that holds it"
    )
    parser.add_argument("--job", metavar="J", help="the job of this task")
    parser.add_argument("--task", metavar="I", type=count, help="the index of this task")
    parser.add_argument("--protocol", default="grpc", help="how to be reached (default grpc)")
    add_simulate_gpus(parser)
    add_safety(parser)
    return parser
