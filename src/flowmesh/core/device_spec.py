"""Device names: parsing, writing, merging and matching.

A name is a list of parts, each of which may be missing:

    /job:<name>/replica:<n>/task:<n>/device:<TYPE>:<n>

The short forms `/cpu:0`, `gpu:1` stand for `/device:CPU:0`, `/device:GPU:1`; `*` in place of a
number means "any", which is the same as leaving it out. Programs name the same few devices many
thousand times, so the functions on strings are cached.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, TypeAlias

Parts: TypeAlias = tuple[str | None, int | None, int | None, str | None, int | None]

_SHORT_TYPES = frozenset({"CPU", "GPU"})
_CACHE_SIZE = 65536


class DeviceSpec:
    """A possibly partial device name, taken apart."""

    __slots__ = ("_device_index", "_device_type", "_job", "_replica", "_task")

    def __init__(
        self,
        job: str | None = None,
        replica: int | None = None,
        task: int | None = None,
        device_type: str | None = None,
        device_index: int | None = None,
    ):
        self.job = job
        self.replica = replica
        self.task = task
        self.device_type = device_type
        self.device_index = device_index

    @property
    def job(self) -> str | None:
        """The name of the job, or None."""
        return self._job

    @job.setter
    def job(self, job: str | None) -> None:
        self._job = None if job is None else str(job)

    @property
    def replica(self) -> int | None:
        """The replica, or None."""
        return self._replica

    @replica.setter
    def replica(self, replica: int | None) -> None:
        self._replica = None if replica is None else int(replica)

    @property
    def task(self) -> int | None:
        """The task within the job, or None."""
        return self._task

    @task.setter
    def task(self, task: int | None) -> None:
        self._task = None if task is None else int(task)

    @property
    def device_type(self) -> str | None:
        """'CPU', 'GPU' and so on, or None."""
        return self._device_type

    @device_type.setter
    def device_type(self, device_type: str | None) -> None:
        if device_type in ("cpu", "gpu"):
            device_type = device_type.upper()
        self._device_type = None if device_type is None else str(device_type)

    @property
    def device_index(self) -> int | None:
        """The number of the device among those of its type in the task, or None."""
        return self._device_index

    @device_index.setter
    def device_index(self, device_index: int | None) -> None:
        self._device_index = None if device_index is None else int(device_index)

    @classmethod
    def from_string(cls, spec: str) -> DeviceSpec:
        """The spec a name stands for; ValueError if it is not a device name."""
        return cls(*_parse(spec))

    def parse_from_string(self, spec: str) -> DeviceSpec:
        """Sets this spec to what the name stands for, and returns it."""
        self.job, self.replica, self.task, self.device_type, self.device_index = _parse(spec)
        return self

    def to_string(self) -> str:
        """The canonical name."""
        return _format(self._parts())

    def merge_from(self, dev: DeviceSpec) -> None:
        """Takes over every part that `dev` has."""
        merged = _merge(self._parts(), dev._parts())
        self.job, self.replica, self.task, self.device_type, self.device_index = merged

    def make_merged_spec(self, dev: DeviceSpec) -> DeviceSpec:
        """A new spec: this one with every part that `dev` has taken over."""
        return DeviceSpec(*_merge(self._parts(), dev._parts()))

    def replace(self, **parts: Any) -> DeviceSpec:
        """A new spec with the given parts changed."""
        names = ("job", "replica", "task", "device_type", "device_index")
        return DeviceSpec(**{**dict(zip(names, self._parts())), **parts})

    def _parts(self) -> Parts:
        return self._job, self._replica, self._task, self._device_type, self._device_index

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DeviceSpec) and self.to_string() == other.to_string()

    def __hash__(self) -> int:
        return hash(self.to_string())

    def __repr__(self) -> str:
        return f"DeviceSpec({self.to_string()!r})"


def _number(text: str, spec: str) -> int | None:
    """The number in a part, None for `*`."""
    if text == "*":
        return None
    if not (text.isascii() and text.isdigit()):
        raise ValueError(f"Malformed device specification '{spec}': {text!r} is not a number")
    return int(text)


def _name(text: str, spec: str) -> str | None:
    """The name in a part, None for `*`."""
    if not text:
        raise ValueError(f"Malformed device specification '{spec}': a name is missing")
    return None if text == "*" else text


@lru_cache(maxsize=_CACHE_SIZE)
def _parse(spec: str) -> Parts:
    """The parts of a device name; where a part is repeated, the last one counts."""
    job: str | None = None
    replica = task = index = None
    kind: str | None = None
    for part in spec.split("/"):
        match part.split(":"):
            case [""]:
                continue
            case ["job", name]:
                job = _name(name, spec)
            case ["replica", number]:
                replica = _number(number, spec)
            case ["task", number]:
                task = _number(number, spec)
            case ["device", name, *numbers] if len(numbers) <= 1:
                if kind is not None:
                    raise ValueError(f"Cannot specify multiple device types: {spec}")
                kind = _name(name, spec)
                kind = "CPU" if kind == "cpu" else "GPU" if kind == "gpu" else kind
                index = _number(numbers[0], spec) if numbers else None
            case [name, *numbers] if name.upper() in _SHORT_TYPES and len(numbers) <= 1:
                if kind is not None:
                    raise ValueError(f"Cannot specify multiple device types: {spec}")
                kind = name.upper()
                index = _number(numbers[0], spec) if numbers else None
            case [name, *_]:
                raise ValueError(f"Unknown attribute: '{name}' in '{spec}'")
    return job, replica, task, kind, index


@lru_cache(maxsize=_CACHE_SIZE)
def _format(parts: Parts) -> str:
    job, replica, task, kind, index = parts
    text = "" if job is None else f"/job:{job}"
    if replica is not None:
        text += f"/replica:{replica}"
    if task is not None:
        text += f"/task:{task}"
    if kind is not None:
        text += f"/device:{kind}:{'*' if index is None else index}"
    return text


def _merge(outer: Parts, inner: Parts) -> Parts:
    """`inner` where it says something, `outer` elsewhere."""
    job, replica, task, kind, index = (o if i is None else i for o, i in zip(outer, inner))
    return job, replica, task, kind, index  # type: ignore[return-value]  # zip forgets the types


@lru_cache(maxsize=_CACHE_SIZE)
def _canonical_string(name: str) -> str:
    return _format(_parse(name))


def canonical_name(device: str | DeviceSpec | None) -> str:
    """The one way of writing a device: '/job:worker/task:1/device:GPU:0'; '' for None."""
    if not device:
        return ""
    return device.to_string() if isinstance(device, DeviceSpec) else _canonical_string(device)


@lru_cache(maxsize=_CACHE_SIZE)
def merge_names(outer: str, inner: str) -> str:
    """The canonical name of `inner` with what it leaves open taken from `outer`."""
    return _format(_merge(_parse(outer), _parse(inner)))


def merge_device(spec: str | DeviceSpec | None) -> Callable[[Any], DeviceSpec]:
    """A device function: fills in what the device of an op or NodeDef leaves open from `spec`."""
    name = canonical_name(spec)

    def device_function(node_def: Any) -> DeviceSpec:
        return DeviceSpec.from_string(merge_names(name, node_def.device or ""))

    return device_function


@lru_cache(maxsize=_CACHE_SIZE)
def full_name(job: str, task: int, device_type: str, index: int, replica: int = 0) -> str:
    """The canonical name of one device of one task."""
    return _format((job, replica, task, device_type.upper(), index))


@lru_cache(maxsize=_CACHE_SIZE)
def is_full(name: str) -> bool:
    """Whether the name leaves nothing open."""
    return None not in _parse(name)


@lru_cache(maxsize=_CACHE_SIZE)
def task_name(name: str) -> str:
    """The task a device belongs to: '/job:ps/replica:0/task:0'. An unset replica is replica 0."""
    job, replica, task, _, _ = _parse(name)
    if job is None or task is None:
        raise ValueError(f"Device name '{name}' does not name a task: it needs a job and a task")
    return _format((job, replica or 0, task, None, None))


@lru_cache(maxsize=_CACHE_SIZE)
def matches(spec: str, full_name: str) -> bool:
    """Whether everything the partial `spec` says is true of `full_name`."""
    return all(s is None or s == f for s, f in zip(_parse(spec), _parse(full_name)))
