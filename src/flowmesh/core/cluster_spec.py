"""`ClusterSpec`: which jobs a cluster has, and the network address of each of their tasks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class ClusterSpec:
    """A cluster as a set of jobs, each of them a set of numbered tasks with addresses.

    Made from `{"ps": ["host:2222"], "worker": {1: "host:2223"}}` (a dict of lists, or of dicts for
    jobs with gaps), from another `ClusterSpec`, or from a `ClusterDef`.
    """

    def __init__(self, cluster: Any):
        self._jobs: dict[str, dict[int, str]] = {
            job: dict(sorted(tasks.items())) for job, tasks in _jobs_of(cluster).items()
        }

    def __bool__(self) -> bool:
        return bool(self._jobs)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ClusterSpec) and self._jobs == other._jobs

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash(frozenset((job, tuple(tasks.items())) for job, tasks in self._jobs.items()))

    def __repr__(self) -> str:
        jobs = ", ".join(f"{job!r}: {tasks!r}" for job, tasks in sorted(self.as_dict().items()))
        return f"ClusterSpec({{{jobs}}})"

    def as_dict(self) -> dict[str, list[str] | dict[int, str]]:
        """Job names to addresses: a list where the tasks are 0, 1, 2 ..., a dict elsewhere."""
        result: dict[str, list[str] | dict[int, str]] = {}
        for job, tasks in self._jobs.items():
            dense = tasks and list(tasks) == list(range(len(tasks)))
            result[job] = list(tasks.values()) if dense else dict(tasks)
        return result

    def as_cluster_def(self) -> Any:
        """This cluster as a `ClusterDef`."""
        from flowmesh.proto import cluster_pb2

        cluster_def = cluster_pb2.ClusterDef()
        for name, tasks in sorted(self._jobs.items()):
            job = cluster_def.job.add(name=name)
            for index, address in tasks.items():
                job.tasks[index] = address
        return cluster_def

    @property
    def jobs(self) -> list[str]:
        """The names of the jobs."""
        return list(self._jobs)

    def num_tasks(self, job_name: str) -> int:
        """How many tasks the job has; ValueError if there is no such job."""
        return len(self._job(job_name))

    def task_indices(self, job_name: str) -> list[int]:
        """The numbers of the job's tasks; ValueError if there is no such job."""
        return list(self._job(job_name))

    def task_address(self, job_name: str, task_index: int) -> str:
        """The address of a task; ValueError if there is no such job or task."""
        try:
            return self._job(job_name)[task_index]
        except KeyError:
            raise ValueError(f"No task with index {task_index!r} in job {job_name!r}") from None

    def job_tasks(self, job_name: str) -> list[str | None]:
        """The addresses of the job's tasks by number, None in the gaps."""
        tasks = self._job(job_name)
        return [tasks.get(i) for i in range(max(tasks, default=-1) + 1)]

    def _job(self, job_name: str) -> dict[int, str]:
        try:
            return self._jobs[job_name]
        except KeyError:
            raise ValueError(f"No such job in cluster: {job_name!r}") from None


def _jobs_of(cluster: Any) -> dict[str, dict[int, str]]:
    """Job names to numbered addresses, from anything a cluster can be made of."""
    if isinstance(cluster, ClusterSpec):
        return cluster._jobs
    if isinstance(cluster, Mapping):
        return {
            _text(job, f"Job name {job!r}"): _tasks_of(job, tasks) for job, tasks in cluster.items()
        }
    jobs = getattr(cluster, "job", cluster)  # a ClusterDef, or a list of JobDef
    if jobs is not cluster or (isinstance(jobs, (list, tuple)) and jobs):
        try:
            return {job.name: dict(job.tasks) for job in jobs}
        except (AttributeError, TypeError):
            pass
    raise TypeError(
        "`cluster` must be a dictionary mapping one or more "
        "job names to lists of network addresses, or a "
        "`ClusterDef` protocol buffer"
    )


def _text(value: Any, what: str) -> str:
    if isinstance(value, bytes):
        return value.decode()
    if not isinstance(value, str):
        raise TypeError(f"{what} must be bytes or unicode")
    return value


def _tasks_of(job: Any, tasks: Any) -> dict[int, str]:
    """The tasks of one job of a dict: a list of addresses, or numbers to addresses."""
    if isinstance(tasks, (list, tuple)):
        tasks = dict(enumerate(tasks))
    elif not isinstance(tasks, Mapping):
        raise TypeError(
            f"The tasks for job {job!r} must be a list or a dictionary from integers to strings."
        )
    for index in tasks:
        if not isinstance(index, int):
            raise TypeError(f"{index!r} has type {type(index).__name__}, but expected one of: int")
    return {index: _text(address, f"Task address {address!r}") for index, address in tasks.items()}


def split_address(address: str) -> tuple[str, int]:
    """`"host:port"` taken apart; an IPv6 host stands in brackets, as in `"[::1]:2222"`."""
    host, colon, port = address.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host or "[" in host or "]" in host:
        raise ValueError(
            f"Malformed address {address!r}: an IPv6 host stands in brackets, as in '[::1]:2222'"
        )
    if not colon or not host:
        raise ValueError(f"Malformed address {address!r}: expected 'host:port'")
    if not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise ValueError(
            f"Malformed address {address!r}: the port must be a number from 0 to 65535"
        )
    return host, int(port)


def join_address(host: str, port: int) -> str:
    """The inverse of `split_address`."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
