"""Errors of a step that runs on several tasks: which one is the cause, and how errors are written on the wire.

When one part of a step fails the others are ended too, and fail in turn. Such an error is *derived*; on the wire its message
begins with TensorFlow's mark for it.
"""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import CancelledError as FutureCancelled

from flowmesh.core import errors
from flowmesh.core.errors import OpError

_MARK = "[_Derived_]"
_MAX_STATUS_TEXT = 3072

# What to believe first: an error of the program, before that of a task, before one made by ending the step.
_RANK = {errors.UNAVAILABLE: 1, errors.DEADLINE_EXCEEDED: 1, errors.ABORTED: 2, errors.CANCELLED: 3}


class _Derived(Exception):
    """Stands in the chain of causes of a derived error: it survives when the error is worded anew around the same cause."""


def mark_derived(error: OpError) -> OpError:
    """`error` as a consequence of what it says, not as the cause."""
    if is_derived(error):
        return error
    copy = errors.make(error.error_code, error.message or "", error.node_def, error.op)
    mark = _Derived()
    mark.__cause__ = error.__cause__
    copy.__cause__ = mark
    return copy


def is_derived(error: BaseException) -> bool:
    """Whether `mark_derived` made it, here or on another task."""
    cause = error.__cause__
    while cause is not None:
        if isinstance(cause, _Derived):
            return True
        cause = cause.__cause__
    return False


def root_cause(failures: Iterable[OpError]) -> OpError:
    """The error, of those in order of arrival, that the others follow from."""
    return min(failures, key=lambda e: (is_derived(e), _RANK.get(e.error_code, 0)))


def of_exception(exc: BaseException) -> OpError:
    """What an exception becomes when it crosses from a task."""
    if isinstance(exc, FutureCancelled):
        return errors.CancelledError(None, None, "The operation was cancelled.")
    return errors.from_exception(exc)


def to_wire(error: OpError, short: bool = False) -> tuple[int, str]:
    """Status code and message; `short` cuts it to what a gRPC status may carry."""
    message = error.message or type(error).__name__
    if is_derived(error):
        message = _MARK + message
    if short and len(message.encode(errors="replace")) > _MAX_STATUS_TEXT:
        message = (
            message.encode(errors="replace")[:_MAX_STATUS_TEXT].decode(errors="ignore")
            + " ... [truncated]"
        )
    return error.error_code, message


def from_wire(code: int, message: str) -> OpError:
    """The error that `to_wire`, or a TensorFlow task, wrote."""
    if message.startswith(_MARK):
        return mark_derived(errors.make(code, message[len(_MARK) :]))
    return errors.make(code, message)
