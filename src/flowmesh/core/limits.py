"""How large things may become that other processes can make large: messages, graphs, tensors, queues.

Set by FLOWMESH_LIMITS ("tensor=4G,queue=512M"), or the commands' --limit. What is larger is refused with ResourceExhaustedError
before it is made.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace

from flowmesh.core import errors

VARIABLE = "FLOWMESH_LIMITS"

_PROTO = (1 << 31) - 1
_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_NUMBER = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?", re.IGNORECASE)


def _much() -> int:
    """A quarter of this machine's memory in bytes: kernels need room for intermediate values, too."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 4
    except (ValueError, OSError, AttributeError):
        return 1 << 40


@dataclass(frozen=True)
class Limits:
    """All limits; bytes, except for `nodes`."""

    message: int = _PROTO
    """A gRPC message that a server takes. No protobuf message can be larger than 2 GB."""
    graph: int = _PROTO
    """The GraphDef that a client sends with one call."""
    nodes: int = 1_000_000
    """The nodes of a graph that came from another process, all additions counted."""
    tensor: int = _much()
    """One tensor that an op makes from sizes it was given: by default a quarter of the memory."""
    queue: int = _much()
    """What one queue holds at a time: by default a quarter of the memory."""

    @classmethod
    def parse(cls, text: str) -> Limits:
        """From "name=size,name=size"; sizes may end in K, M, G or T. ValueError for anything else."""
        known = [field.name for field in fields(cls)]
        found: dict[str, int] = {}
        for item in filter(None, (part.strip() for part in text.split(","))):
            name, _, size = item.partition("=")
            match = _NUMBER.fullmatch(size.strip())
            if name.strip() not in known or match is None:
                raise ValueError(
                    f"{item!r} is no limit: write NAME=SIZE, with NAME one of {', '.join(known)}, and SIZE as in 512M"
                )
            found[name.strip()] = int(float(match[1]) * _UNITS[match[2].lower()])
        return replace(cls(), **found)


_limits: Limits | None = None


def current() -> Limits:
    """The limits of this process, by default those of FLOWMESH_LIMITS."""
    global _limits
    if _limits is None:
        try:
            _limits = Limits.parse(os.environ.get(VARIABLE, ""))
        except ValueError as error:
            raise errors.InvalidArgumentError(None, None, f"{VARIABLE}: {error}") from error
    return _limits


@contextmanager
def use(limits: Limits) -> Iterator[None]:
    """Within ``with`` the process has these limits."""
    global _limits
    before, _limits = _limits, limits
    try:
        yield
    finally:
        _limits = before


def exceeded(what: str, size: int, name: str) -> errors.OpError:
    """The error for something that is over the limit `name`."""
    limit = getattr(current(), name)
    unit = "" if name == "nodes" else " bytes"
    return errors.ResourceExhaustedError(
        None,
        None,
        f"{what}: {size}{unit} are over the limit of {limit}{unit}. Raise it with --limit {name}=SIZE, or in the environment "
        f"with {VARIABLE}={name}=SIZE.",
    )


def check_shape(shape: Sequence[int], itemsize: int) -> None:
    """To be called before an array is made whose shape is an input's value: InvalidArgumentError for a negative size,
    ResourceExhaustedError for an array over the limit."""
    size = itemsize
    for dim in shape:
        if dim < 0:
            raise errors.InvalidArgumentError(
                None, None, f"Dimension {dim} must be >= 0 in the shape {_shown(shape)}"
            )
        size *= int(dim)
    if size > current().tensor:
        raise exceeded(f"OOM when allocating tensor with shape{_shown(shape)}", size, "tensor")


def check_count(count: float, itemsize: int) -> None:
    """`check_shape` for a vector, also one with infinitely many elements."""
    if not math.isfinite(count):
        raise errors.InvalidArgumentError(None, None, f"A tensor cannot have {count} elements")
    check_shape((int(count),), itemsize)


def _shown(shape: Sequence[int]) -> str:
    return f"[{','.join(str(int(dim)) for dim in shape)}]"
