"""Files as tensors: reading, writing and matching them, and the names of shards."""

from __future__ import annotations

import contextlib
import glob
import os
import re
from collections.abc import Iterator
from typing import Any

import numpy as np

from flowmesh.core import dtypes, errors
from flowmesh.core.file_policy import FilePolicy, check_path
from flowmesh.core.shapes import TensorShape, scalar, vector
from flowmesh.graph.op_def import Input, OpDef, Output
from flowmesh.graph.raw import raw
from flowmesh.ops.shape_rules import at_most, scalar_input


def string_scalar(value: bytes) -> np.ndarray:
    """A string tensor of one element."""
    out = np.empty((), object)
    out[()] = value
    return out


def string_vector(values: list[bytes]) -> np.ndarray:
    """A string tensor of one dimension."""
    out = np.empty(len(values), object)
    out[:] = values
    return out


def scalar_text(value: Any, name: str) -> str:
    """The one string that the tensor given for input `name` holds, as text."""
    if np.ndim(value) != 0:
        shape = ",".join(map(str, np.shape(value)))
        raise errors.InvalidArgumentError(
            None, None, f"Input {name} tensor must be scalar, but had shape: [{shape}]"
        )
    return os.fsdecode(np.asarray(value, object).item())


@contextlib.contextmanager
def file_errors(path: str, policy: FilePolicy | None = None) -> Iterator[None]:
    """Turns what the operating system says about `path` into TensorFlow's errors; PermissionDeniedError at once when
    `policy` (`ctx.files`) does not allow it."""
    check_path(policy, path)
    try:
        yield
    except OSError as error:
        message = f"{error.filename or path}; {error.strerror}"
        if isinstance(error, IsADirectoryError):
            raise errors.FailedPreconditionError(None, None, message) from error
        converted = errors.from_exception(error)
        raise errors.make(converted.error_code, message) from error


class ReadFile(OpDef):
    """The contents of a file."""

    filename = Input(dtypes.string)
    contents = Output(dtypes.string)
    slow = True
    NotDifferentiable = True

    def infer(self, ctx: Any, filename: TensorShape) -> TensorShape:
        scalar_input(filename)
        return scalar()

    def run(self, ctx: Any, filename: Any) -> Any:  # type: ignore[override]
        path = scalar_text(filename, "filename")
        with file_errors(path, ctx.files), open(path, "rb") as file:
            return string_scalar(file.read())


class WriteFile(OpDef):
    """Writes a file, with the folders on the way to it."""

    filename = Input(dtypes.string)
    contents = Input(dtypes.string)
    slow = True
    stateful = True
    NotDifferentiable = True

    def infer(self, ctx: Any, filename: TensorShape, contents: TensorShape) -> tuple[()]:
        scalar_input(filename)
        scalar_input(contents)
        return ()

    def run(self, ctx: Any, filename: Any, contents: Any) -> None:  # type: ignore[override]
        path = scalar_text(filename, "filename")
        if np.ndim(contents) != 0:
            shape = ",".join(map(str, np.shape(contents)))
            raise errors.InvalidArgumentError(
                None, None, f"Contents tensor must be scalar, but had shape: [{shape}]"
            )
        with file_errors(path, ctx.files):
            os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
            with open(path, "wb") as file:
                file.write(np.asarray(contents, object).item())


class MatchingFiles(OpDef):
    """The sorted names of the files that match one or more patterns with `*`, `?` and `[...]`."""

    pattern = Input(dtypes.string)
    filenames = Output(dtypes.string)
    slow = True
    NotDifferentiable = True

    def infer(self, ctx: Any, pattern: TensorShape) -> TensorShape:
        at_most(pattern, 1)
        return vector(None)

    def run(self, ctx: Any, pattern: Any) -> Any:  # type: ignore[override]
        found: list[bytes] = []
        for item in np.asarray(pattern, object).reshape(-1):
            found += map(os.fsencode, matching_paths(os.fsdecode(item), ctx.files))
        return string_vector(sorted(found))


def check_pattern(policy: FilePolicy | None, pattern: str) -> None:
    """PermissionDeniedError when `policy` does not allow what a pattern means, or something that it matches."""
    if policy is not None:
        policy.check(pattern)
        for path in glob.glob(pattern):
            policy.check(path)


def matching_paths(pattern: str, policy: FilePolicy | None = None) -> list[str]:
    """The paths that match, of those that `policy` allows; NotFoundError if the folder of the pattern does not exist."""
    fixed = os.path.dirname(pattern)
    while glob.has_magic(fixed):
        fixed = os.path.dirname(fixed)
    check_path(policy, fixed or ".")
    if fixed and not os.path.isdir(fixed):
        raise errors.NotFoundError(None, None, f"{fixed}; No such file or directory")
    beginning = re.split(r"[*?\[\\]", pattern, maxsplit=1)[0]
    if not os.path.dirname(beginning):  # TensorFlow names the folder then
        pattern = f"./{pattern}"
    found = glob.glob(pattern, include_hidden=True)
    return found if policy is None else [path for path in found if policy.allows(path)]


class ShardedFilename(OpDef):
    """The name of one shard: `basename-00001-of-00003`."""

    basename = Input(dtypes.string)
    shard = Input(dtypes.int32)
    num_shards = Input(dtypes.int32)
    filename = Output(dtypes.string)
    numpy_only = True
    NotDifferentiable = True

    def infer(
        self, ctx: Any, basename: TensorShape, shard: TensorShape, num_shards: TensorShape
    ) -> TensorShape:
        for shape in (basename, shard, num_shards):
            scalar_input(shape)
        return scalar()

    def compute(self, xp: Any, basename: Any, shard: Any, num_shards: Any) -> Any:
        base = np.asarray(basename, object).item()
        return string_scalar(b"%s-%05d-of-%05d" % (base, int(shard), int(num_shards)))


class ShardedFilespec(OpDef):
    """The pattern that matches all shards: `basename-?????-of-00003`."""

    basename = Input(dtypes.string)
    num_shards = Input(dtypes.int32)
    filename = Output(dtypes.string)
    numpy_only = True
    NotDifferentiable = True

    def infer(self, ctx: Any, basename: TensorShape, num_shards: TensorShape) -> TensorShape:
        scalar_input(basename)
        scalar_input(num_shards)
        return scalar()

    def compute(self, xp: Any, basename: Any, num_shards: Any) -> Any:
        base = np.asarray(basename, object).item()
        return string_scalar(b"%s-?????-of-%05d" % (base, int(num_shards)))


# -- public wrappers ---------------------------------------------------------------------------------


def read_file(filename: Any, name: str | None = None) -> Any:
    """The contents of the file named by a string scalar, as a string scalar (TensorFlow: `tf.read_file`).

    Running it raises NotFoundError when there is no such file.
    """
    return raw.ReadFile(filename, name=name)


def write_file(filename: Any, contents: Any, name: str | None = None) -> Any:
    """The operation that writes the string scalar `contents` to a file (TensorFlow: `tf.write_file`)."""
    return raw.WriteFile(filename, contents, name=name)


def matching_files(pattern: Any, name: str | None = None) -> Any:
    """The sorted names of files that match a string scalar or vector of patterns (TensorFlow: `tf.matching_files`)."""
    return raw.MatchingFiles(pattern, name=name)
