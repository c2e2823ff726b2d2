"""What an exception in a unit is called: an `OpError` that names the node, as TensorFlow words it."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from flowmesh.core import errors
from flowmesh.core.dtypes import resource
from flowmesh.core.errors import OpError
from flowmesh.graph.operation import Operation
from flowmesh.resources.manager import Resource

if TYPE_CHECKING:
    from flowmesh.runtime.schedule import Task

# XLA begins its messages with the name of a status code.
_XLA_STATUS = re.compile(r"^([A-Z_]+): ")
_XLA_CODES = {
    "CANCELLED": errors.CANCELLED,
    "INVALID_ARGUMENT": errors.INVALID_ARGUMENT,
    "DEADLINE_EXCEEDED": errors.DEADLINE_EXCEEDED,
    "NOT_FOUND": errors.NOT_FOUND,
    "RESOURCE_EXHAUSTED": errors.RESOURCE_EXHAUSTED,
    "FAILED_PRECONDITION": errors.FAILED_PRECONDITION,
    "ABORTED": errors.ABORTED,
    "OUT_OF_RANGE": errors.OUT_OF_RANGE,
    "UNIMPLEMENTED": errors.UNIMPLEMENTED,
    "UNAVAILABLE": errors.UNAVAILABLE,
}
IN_FUNCTION = "{{function_node"
"""How messages of errors in functions begin."""
_MOST_NAMED = 20
_PLACEHOLDERS = ("Placeholder", "PlaceholderV2")


class NodeFailure(Exception):
    """Carries an exception together with the op that raised it, from the inside of a cluster to its edge."""

    def __init__(self, op: Operation, cause: BaseException) -> None:
        super().__init__(op.name)
        self.op = op
        self.cause = cause


def describe(op: Operation) -> str:
    """`[[node x (defined at file:line) ]]`, or `[[{{node x}}]]` for the client to complete when the origin is unknown."""
    if op.defined_at:
        return f"[[node {op.name} (defined at {op.defined_at}) ]]"
    return f"[[{{{{node {op.name}}}}}]]"


def annotate(op: Operation | None, exc: BaseException) -> OpError:
    """`exc` as an OpError of the fitting class that tells which node failed; one that tells already is returned as it is."""
    if isinstance(exc, NodeFailure):
        op, exc = exc.op, exc.cause
    if isinstance(exc, OpError):
        error = exc
    else:
        error = _from_xla(exc) or _from_kernel(op, exc) or errors.from_exception(exc)
    message = error.message
    if op is None or ("[[" in message and not message.startswith(IN_FUNCTION)):
        return error
    if message.startswith(IN_FUNCTION) and (error.op is not None or message.endswith(describe(op))):
        return error
    if op.type in _PLACEHOLDERS:
        message = message.replace(
            "placeholder tensor with dtype", f"placeholder tensor '{op.name}' with dtype"
        )
    named = errors.make(error.error_code, f"{message}\n\t {describe(op)}", None, op)
    named.__cause__ = exc.__cause__ if exc is error else exc
    return named


def _from_kernel(op: Operation | None, exc: BaseException) -> OpError | None:
    """What NumPy says of indices and sizes that do not fit, and kernels of resources in place of tensors."""
    if isinstance(exc, (IndexError, OverflowError, ZeroDivisionError)):
        return errors.InvalidArgumentError(None, None, str(exc) or type(exc).__name__)
    if isinstance(exc, AttributeError):
        handles = op is not None and any(t.dtype.base_dtype == resource for t in op.inputs)
        if handles or isinstance(exc.obj, Resource):
            return errors.InvalidArgumentError(
                None, None, "A resource was given where a tensor is needed"
            )
    return None


def _from_xla(exc: BaseException) -> OpError | None:
    if "Xla" not in type(exc).__name__ and "Jax" not in type(exc).__name__:
        return None
    text = str(exc)
    found = _XLA_STATUS.match(text)
    code = _XLA_CODES.get(found.group(1)) if found else None
    if code is None or found is None:
        return None
    error = errors.make(code, text[found.end() :])
    error.__cause__ = exc
    return error


def timed_out(waiting: Iterable[Task]) -> OpError:
    """What a run says whose time is over while it waits for these units."""
    told = [
        f"{task.op.name} (rendezvous key {task.key})" if task.key else task.op.name
        for task in itertools.islice(waiting, _MOST_NAMED)
    ]
    text = f" Still waiting for: {', '.join(told)}." if told else ""
    return errors.DeadlineExceededError(None, None, f"Timed out waiting for notification.{text}")
