"""The error tree, and what each Python exception becomes."""

import copy
import pickle
import traceback
from types import SimpleNamespace
from typing import Any

import pytest

from flowmesh.core import errors

CODES = {
    "CANCELLED": 1,
    "UNKNOWN": 2,
    "INVALID_ARGUMENT": 3,
    "DEADLINE_EXCEEDED": 4,
    "NOT_FOUND": 5,
    "ALREADY_EXISTS": 6,
    "PERMISSION_DENIED": 7,
    "RESOURCE_EXHAUSTED": 8,
    "FAILED_PRECONDITION": 9,
    "ABORTED": 10,
    "OUT_OF_RANGE": 11,
    "UNIMPLEMENTED": 12,
    "INTERNAL": 13,
    "UNAVAILABLE": 14,
    "DATA_LOSS": 15,
    "UNAUTHENTICATED": 16,
}


def make_op(name: str = "cc", original: Any = None) -> Any:
    frames = [
        ("train.py", 34, "<module>", "c = tf.constant(1)"),
        (errors.__file__, 1, "constant", "internal()"),
    ]
    return SimpleNamespace(
        name=name, type="Const", traceback=frames, _original_op=original, lock=lambda: None
    )


def test_codes() -> None:
    assert errors.OK == 0
    assert {name: getattr(errors, name) for name in CODES} == CODES


@pytest.mark.parametrize(("constant", "code"), CODES.items())
def test_each_class(constant: str, code: int) -> None:
    name = "".join(word.capitalize() for word in constant.split("_")) + "Error"
    cls: Any = getattr(errors, name)
    assert errors.exception_type_from_error_code(code) is cls
    assert errors.error_code_from_exception_type(cls) == code
    error = cls("node", None, "text")
    assert isinstance(error, errors.OpError)
    assert (error.node_def, error.op, error.message, error.error_code) == (
        "node",
        None,
        "text",
        code,
    )
    assert str(error) == "text"
    made = errors.make(code, "text", node_def="node")
    assert type(made) is cls and made.node_def == "node" and made.error_code == code
    for twin in (pickle.loads(pickle.dumps(error)), copy.deepcopy(error), copy.copy(error)):
        assert type(twin) is cls
        assert (twin.node_def, twin.message, twin.error_code) == ("node", "text", code)


def test_no_class_is_missing() -> None:
    assert len(errors.OpError.__subclasses__()) == len(CODES) == 16


def test_unheard_of_codes() -> None:
    error = errors.make(99, "text")
    assert type(error) is errors.UnknownError and error.error_code == 99
    assert pickle.loads(pickle.dumps(error)).error_code == 99
    for code in (0, 99):
        with pytest.raises(KeyError):
            errors.exception_type_from_error_code(code)
    with pytest.warns(UserWarning, match="Unknown class exception"):
        assert errors.error_code_from_exception_type(errors.OpError) == errors.UNKNOWN


def test_text_shows_where_the_op_was_made() -> None:
    error = errors.NotFoundError(None, make_op(), "gone")
    assert str(error) == (
        "gone\n\nOriginal stack trace for 'cc':\n"
        '  File "train.py", line 34, in <module>\n    c = tf.constant(1)\n'
    )
    derived = errors.NotFoundError(None, make_op("grad", make_op("cc")), "gone")
    assert "\n...which was originally created as op 'cc', defined at:\n" in str(derived)


def test_text_with_only_internal_frames() -> None:
    op = make_op()
    op.traceback = op.traceback[1:]
    assert errors.__file__ in str(errors.InternalError(None, op, "m"))
    op.traceback = traceback.extract_stack()[-1:]
    assert "test_text_with_only_internal_frames" in str(errors.InternalError(None, op, "m"))


def test_pickle_keeps_the_origin_not_the_op() -> None:
    error = errors.AbortedError(None, make_op("a", make_op("b")), "m")
    twin = pickle.loads(pickle.dumps(error))
    assert str(twin) == str(error)
    assert (twin.op.name, twin.op.type) == ("a", "Const")
    assert str(pickle.loads(pickle.dumps(twin))) == str(error)
    assert repr(twin.op) == "<OpRecord 'a' type=Const>"
    assert copy.deepcopy(error).op is error.op


def builtin_exceptions() -> list[type[Exception]]:
    found: list[type[Exception]] = []
    pending: list[Any] = [Exception]
    while pending:
        cls = pending.pop()
        if cls.__module__ == "builtins" and not issubclass(cls, Warning):
            found.append(cls)
            pending += cls.__subclasses__()
    return found


EXPECTED: dict[type[BaseException], type[errors.OpError]] = {
    TimeoutError: errors.DeadlineExceededError,
    MemoryError: errors.ResourceExhaustedError,
    FileNotFoundError: errors.NotFoundError,
    PermissionError: errors.PermissionDeniedError,
    FileExistsError: errors.AlreadyExistsError,
    ConnectionError: errors.UnavailableError,
    NotImplementedError: errors.UnimplementedError,
    ValueError: errors.InvalidArgumentError,
    TypeError: errors.InvalidArgumentError,
}


@pytest.mark.parametrize("cls", builtin_exceptions(), ids=lambda c: c.__name__)
def test_every_builtin_exception_is_mapped(cls: type[Exception]) -> None:
    exc = cls("several", [ValueError()]) if cls is ExceptionGroup else cls.__new__(cls)
    expected = next((e for b, e in EXPECTED.items() if issubclass(cls, b)), errors.InternalError)
    error = errors.from_exception(exc)
    assert type(error) is expected
    assert error.__cause__ is exc
    assert error.message


def test_from_exception_keeps_the_text() -> None:
    assert errors.from_exception(ValueError("bad")).message == "bad"
    assert errors.from_exception(ZeroDivisionError("x / 0")).message == "ZeroDivisionError: x / 0"
    assert errors.from_exception(KeyboardInterrupt()).message == "KeyboardInterrupt"
    for cls in errors.OpError.__subclasses__():
        error: errors.OpError = cls(None, None, "m")  # type: ignore[call-arg]
        assert errors.from_exception(error) is error
