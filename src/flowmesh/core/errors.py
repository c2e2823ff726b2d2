"""The errors of graph execution: `OpError`, one subclass per status code.

    OpError
    |- CancelledError           |- AlreadyExistsError       |- AbortedError
    |- UnknownError             |- PermissionDeniedError    |- OutOfRangeError
    |- InvalidArgumentError     |- UnauthenticatedError     |- UnimplementedError
    |- DeadlineExceededError    |- ResourceExhaustedError   |- InternalError
    |- NotFoundError            |- FailedPreconditionError  |- UnavailableError
                                                            `- DataLossError

`from_exception` is the one place that decides which of them a Python exception becomes.
"""

from __future__ import annotations

import os
import traceback
import warnings
from typing import Any

OK = 0
CANCELLED = 1
UNKNOWN = 2
INVALID_ARGUMENT = 3
DEADLINE_EXCEEDED = 4
NOT_FOUND = 5
ALREADY_EXISTS = 6
PERMISSION_DENIED = 7
RESOURCE_EXHAUSTED = 8
FAILED_PRECONDITION = 9
ABORTED = 10
OUT_OF_RANGE = 11
UNIMPLEMENTED = 12
INTERNAL = 13
UNAVAILABLE = 14
DATA_LOSS = 15
UNAUTHENTICATED = 16

_PACKAGE_ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep


class OpError(Exception):
    """An operation, or the run it belongs to, failed."""

    def __init__(self, node_def: Any, op: Any, message: str, error_code: int):
        super().__init__()
        self._node_def = node_def
        self._op = op
        self._message = message
        self._error_code = error_code

    @property
    def message(self) -> str:
        """What went wrong."""
        return self._message

    @property
    def op(self) -> Any:
        """The operation that failed, or None if it is not known or not in the user's graph."""
        return self._op

    @property
    def error_code(self) -> int:
        """The status code, such as `errors.NOT_FOUND`."""
        return self._error_code

    @property
    def node_def(self) -> Any:
        """The NodeDef of the operation that failed, or None."""
        return self._node_def

    def __str__(self) -> str:
        op = self._op
        if op is None:
            return self.message
        parts = [f"{self.message}\n\nOriginal stack trace for {op.name!r}:\n"]
        parts += _format_user_frames(op)
        while (op := getattr(op, "_original_op", None)) is not None:
            parts.append(f"\n...which was originally created as op {op.name!r}, defined at:\n")
            parts += _format_user_frames(op)
        return "".join(parts)

    def __reduce__(self) -> tuple[Any, ...]:
        op = None if self._op is None else OpRecord(self._op)
        return _rebuild, (type(self), self._node_def, op, self._message, self._error_code)

    def __copy__(self) -> OpError:
        return _rebuild(type(self), self._node_def, self._op, self._message, self._error_code)

    def __deepcopy__(self, memo: Any) -> OpError:
        return self.__copy__()  # an error describes its op, it does not own it


class CancelledError(OpError):
    """The operation or step was cancelled."""

    def __init__(self, node_def: Any, op: Any, message: str):
        super().__init__(node_def, op, message, CANCELLED)


class UnknownError(OpError):
    """An error that fits no other class."""

    def __init__(self, node_def: Any, op: Any, message: str, error_code: int = UNKNOWN):
        super().__init__(node_def, op, message, error_code)


class InvalidArgumentError(OpError):
    """The operation received an invalid argument."""

    def __init__(self, node_def: Any, op: Any, message: str):
        super().__init__(node_def, op, message, INVALID_ARGUMENT)


class DeadlineExceededError(OpError):
    """Time ran out before the operation could complete."""

    def __init__(self, node_def: Any, op: Any, message: str):
        super().__init__(node_def, op, message, DEADLINE_EXCEEDED)


class NotFoundError(OpError):
    """Something that was asked for, such as a file, does not exist."""

    def __init__(self, node_def: Any, op: Any, message: str):
        super().__init__(node_def, op, message, NOT_FOUND)


class AlreadyExistsError(OpError):
    """Something that was to be created is there already."""

    def __init__(self, node_def: Any, op: Any, message: str):
        super().__init__(node_def, op, message, ALREADY_EXISTS)


class PermissionDeniedError(OpError):
    """The caller may not do this."""

    def __init__(self, node_def: Any, op: Any, message: str):
        super().__init__(node_def, op, message, PERMISSION_DENIED)


class UnauthenticatedError(OpError):
    """The caller is not known to be who it says it is."""

    def __init__(self, node_def: Any, op: Any, message: str):
        super().__init__(node_def, op, message, UNAUTHENTICATED)


class ResourceExhaustedError(OpError):
    """Something has run out: memory, disk, a quota."""

    def __init__(self, node_def: Any, op: Any, message: str):
        super().__init__(node_def, op, message, RESOURCE_EXHAUSTED)


class FailedPreconditionError(OpError):
    """The system is not in the state the operation needs, such as a variable without a value."""

    def __init__(self, node_def: Any, op: Any, message: str):
        super().__init__(node_def, op, message, FAILED_PRECONDITION)


class AbortedError(OpError):
    """The operation was aborted, typically because another one failed or a task restarted."""

    def __init__(self, node_def: Any, op: Any, message: str):
        super().__init__(node_def, op, message, ABORTED)


class OutOfRangeError(OpError):
    """The operation went past the end of the valid range, such as the end of the input."""

    def __init__(self, node_def: Any, op: Any, message: str):
        super().__init__(node_def, op, message, OUT_OF_RANGE)


class UnimplementedError(OpError):
    """The operation is not implemented, or not for these arguments."""

    def __init__(self, node_def: Any, op: Any, message: str):
        super().__init__(node_def, op, message, UNIMPLEMENTED)


class InternalError(OpError):
    """An invariant of the system is broken."""

    def __init__(self, node_def: Any, op: Any, message: str):
        super().__init__(node_def, op, message, INTERNAL)


class UnavailableError(OpError):
    """A task cannot be reached at the moment."""

    def __init__(self, node_def: Any, op: Any, message: str):
        super().__init__(node_def, op, message, UNAVAILABLE)


class DataLossError(OpError):
    """Data is lost or corrupt and cannot be recovered."""

    def __init__(self, node_def: Any, op: Any, message: str):
        super().__init__(node_def, op, message, DATA_LOSS)


class OperatorNotAllowedInGraphError(TypeError):
    """A Python operator (`bool`, `iter`) was used on a symbolic tensor."""


class InaccessibleTensorError(ValueError):
    """A tensor or operation was used from where it cannot be reached."""


_CODE_TO_CLASS: dict[int, type[OpError]] = {
    CANCELLED: CancelledError,
    UNKNOWN: UnknownError,
    INVALID_ARGUMENT: InvalidArgumentError,
    DEADLINE_EXCEEDED: DeadlineExceededError,
    NOT_FOUND: NotFoundError,
    ALREADY_EXISTS: AlreadyExistsError,
    PERMISSION_DENIED: PermissionDeniedError,
    UNAUTHENTICATED: UnauthenticatedError,
    RESOURCE_EXHAUSTED: ResourceExhaustedError,
    FAILED_PRECONDITION: FailedPreconditionError,
    ABORTED: AbortedError,
    OUT_OF_RANGE: OutOfRangeError,
    UNIMPLEMENTED: UnimplementedError,
    INTERNAL: InternalError,
    UNAVAILABLE: UnavailableError,
    DATA_LOSS: DataLossError,
}
_CLASS_TO_CODE = {cls: code for code, cls in _CODE_TO_CLASS.items()}

# First match wins, so a subclass stands before its base (TimeoutError is an OSError).
_BUILTIN_TO_CLASS: tuple[tuple[type[BaseException], type[OpError]], ...] = (
    (TimeoutError, DeadlineExceededError),
    (MemoryError, ResourceExhaustedError),
    (FileNotFoundError, NotFoundError),
    (PermissionError, PermissionDeniedError),
    (FileExistsError, AlreadyExistsError),
    (ConnectionError, UnavailableError),
    (NotImplementedError, UnimplementedError),
    (ValueError, InvalidArgumentError),
    (TypeError, InvalidArgumentError),
)


class OpRecord:
    """What an error that leaves its process keeps of the operation: its name and origin."""

    def __init__(self, op: Any):
        self.name: str = op.name
        self.type: str = getattr(op, "type", "")
        self.traceback = [tuple(frame)[:4] for frame in getattr(op, "traceback", None) or ()]
        original = getattr(op, "_original_op", None)
        self._original_op = None if original is None else OpRecord(original)

    def __repr__(self) -> str:
        return f"<OpRecord {self.name!r} type={self.type}>"


def exception_type_from_error_code(error_code: int) -> type[OpError]:
    """The class of errors with this code; KeyError if there is none."""
    return _CODE_TO_CLASS[error_code]


def error_code_from_exception_type(cls: type[OpError]) -> int:
    """The code of this class of errors; UNKNOWN, with a warning, if it is not one of them."""
    try:
        return _CLASS_TO_CODE[cls]
    except KeyError:
        warnings.warn(f"Unknown class exception: {cls}", stacklevel=2)
        return UNKNOWN


def make(error_code: int, message: str, node_def: Any = None, op: Any = None) -> OpError:
    """The error for a status; an unheard-of code gives an `UnknownError` that carries it."""
    cls = _CODE_TO_CLASS.get(error_code)
    if cls is None:
        return UnknownError(node_def, op, message, error_code)
    return cls(node_def, op, message)  # type: ignore[call-arg]  # subclasses know their code


def from_exception(exc: BaseException) -> OpError:
    """What `exc` is called in the language of status codes; an `OpError` is returned as it is."""
    if isinstance(exc, OpError):
        return exc
    text = str(exc)
    for builtin, cls in _BUILTIN_TO_CLASS:
        if isinstance(exc, builtin):
            error = make(_CLASS_TO_CODE[cls], text or type(exc).__name__)
            break
    else:
        name = type(exc).__name__
        error = InternalError(None, None, f"{name}: {text}" if text else name)
    error.__cause__ = exc
    return error


def _rebuild(cls: type[OpError], node_def: Any, op: Any, message: str, error_code: int) -> OpError:
    """An error as it was, whatever arguments the constructor of its class takes."""
    error = cls.__new__(cls)
    OpError.__init__(error, node_def, op, message, error_code)
    return error


def _format_user_frames(op: Any) -> list[str]:
    """The op's stack trace without this package's own frames (unless it has no others)."""
    frames = [tuple(frame)[:4] for frame in getattr(op, "traceback", None) or ()]
    users = [f for f in frames if not os.path.abspath(f[0]).startswith(_PACKAGE_ROOT)]
    return traceback.format_list(users or frames)
