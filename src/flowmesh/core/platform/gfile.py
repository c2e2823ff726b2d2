"""Files as programs use them (TensorFlow: `tf.gfile`), on the local file system.

Failures are TensorFlow's errors: NotFoundError, AlreadyExistsError, PermissionDeniedError, FailedPreconditionError.
"""

from __future__ import annotations

import glob as _glob
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from flowmesh.core import errors


@contextmanager
def _translated(path: Any) -> Iterator[None]:
    try:
        yield
    except errors.OpError:
        raise
    except (IsADirectoryError, NotADirectoryError) as error:
        raise errors.FailedPreconditionError(None, None, f"{path}; {error.strerror}") from error
    except OSError as error:
        translated = errors.from_exception(error)
        raise errors.make(translated.error_code, f"{path}; {error.strerror}") from error


def _path(name: Any) -> str:
    return os.fsdecode(os.fspath(name))


class GFile:
    """A file: read, write, seek, iterate over lines; text unless the mode has "b"."""

    def __init__(self, name: Any, mode: str = "r") -> None:
        self.__name = _path(name)
        self.__mode = mode
        self._file: Any = None
        if mode not in (
            "r",
            "w",
            "a",
            "r+",
            "w+",
            "a+",
            "rb",
            "wb",
            "ab",
            "rb+",
            "wb+",
            "ab+",
            "r+b",
            "w+b",
            "a+b",
        ):
            raise errors.InvalidArgumentError(
                None, None, "mode is not 'r' or 'w' or 'a' or 'r+' or 'w+' or 'a+'"
            )

    @property
    def name(self) -> str:
        """The path."""
        return self.__name

    @property
    def mode(self) -> str:
        """The mode."""
        return self.__mode

    def _open(self) -> Any:
        if self._file is None:
            with _translated(self.__name):
                text = "b" not in self.__mode
                self._file = open(  # noqa: SIM115  (the object is the file)
                    self.__name,
                    self.__mode,
                    encoding="utf-8" if text else None,
                    newline="" if text else None,
                )
        return self._file

    def _readable(self) -> Any:
        file = self._open()
        if not file.readable():
            raise errors.PermissionDeniedError(None, None, "File isn't open for reading")
        return file

    def read(self, n: int = -1) -> Any:
        """The next `n` characters or bytes, or the rest."""
        with _translated(self.__name):
            return self._readable().read(n)

    def write(self, file_content: Any) -> None:
        """Appends to what was written."""
        with _translated(self.__name):
            file = self._open()
            if not file.writable():
                raise errors.PermissionDeniedError(None, None, "File isn't open for writing")
            if isinstance(file_content, bytes) and "b" not in self.__mode:
                file_content = file_content.decode()
            elif isinstance(file_content, str) and "b" in self.__mode:
                file_content = file_content.encode()
            file.write(file_content)

    def readline(self) -> Any:
        """The next line with its end, empty at the end of the file."""
        return self._readable().readline()

    def readlines(self) -> list[Any]:
        """The remaining lines."""
        return list(self._readable().readlines())

    def seek(self, offset: int | None = None, whence: int = 0, position: int | None = None) -> None:
        """Moves to a position."""
        self._open().seek(offset if offset is not None else position or 0, whence)

    def tell(self) -> int:
        """The current position."""
        return self._open().tell()

    def size(self) -> int:
        """The size of the file in bytes."""
        return stat(self.__name).length

    def flush(self) -> None:
        """Hands what was written to the system."""
        if self._file is not None:
            self._file.flush()

    def close(self) -> None:
        """Closes the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def __del__(self) -> None:
        with suppress(Exception):
            self.close()

    def __iter__(self) -> Iterator[Any]:
        return iter(self._readable())

    def __next__(self) -> Any:
        return next(self._readable())

    def __enter__(self) -> GFile:
        return self

    def __exit__(self, *exc: Any) -> None:
        self.close()


FastGFile = GFile
Open = GFile


class FileStatistics:
    """Size in bytes, modification time in nanoseconds."""

    def __init__(self, length: int, mtime_nsec: int, is_directory: bool) -> None:
        self.length, self.mtime_nsec, self.is_directory = length, mtime_nsec, is_directory


def exists(path: Any) -> bool:
    """Whether there is such a file or directory."""
    return os.path.exists(_path(path))


def is_directory(dirname: Any) -> bool:
    """Whether it is a directory."""
    return os.path.isdir(_path(dirname))


def stat(filename: Any) -> FileStatistics:
    """Facts of a file; NotFoundError when there is none."""
    with _translated(filename):
        found = os.stat(_path(filename))
        return FileStatistics(found.st_size, found.st_mtime_ns, os.path.isdir(_path(filename)))


def listdir(dirname: Any) -> list[str]:
    """The entries of a directory; NotFoundError when there is none."""
    if not is_directory(dirname):
        raise errors.NotFoundError(None, None, f"Could not find directory {_path(dirname)}")
    with _translated(dirname):
        return sorted(os.listdir(_path(dirname)))


def glob(filename: Any) -> list[str]:
    """The files that match a pattern or patterns; NotFoundError when there is no directory to look in."""
    patterns = filename if isinstance(filename, (list, tuple)) else [filename]
    found: list[str] = []
    for pattern in map(_path, patterns):
        folder = os.path.dirname(re.split(r"[*?\[\\]", pattern, maxsplit=1)[0])
        if not os.path.isdir(folder or "."):
            raise errors.NotFoundError(None, None, f"{folder}; No such file or directory")
        found.extend(sorted(_glob.glob(pattern if folder else f"./{pattern}")))
    return found


def mkdir(dirname: Any) -> None:
    """Makes a directory, unless it is there; its parent must exist."""
    with _translated(dirname):
        if not os.path.isdir(_path(dirname)):
            os.mkdir(_path(dirname))


def makedirs(dirname: Any) -> None:
    """Makes a directory and its parents."""
    with _translated(dirname):
        os.makedirs(_path(dirname), exist_ok=True)


def remove(filename: Any) -> None:
    """Deletes a file."""
    with _translated(filename):
        os.remove(_path(filename))


def rmtree(dirname: Any) -> None:
    """Deletes a directory and everything in it."""
    if not exists(dirname):
        raise errors.NotFoundError(None, None, f"{_path(dirname)} not found")
    with _translated(dirname):
        shutil.rmtree(_path(dirname))


def copy(oldpath: Any, newpath: Any, overwrite: bool = False) -> None:
    """Copies a file; AlreadyExistsError when the target exists and `overwrite` is false."""
    if not overwrite and exists(newpath):
        raise errors.AlreadyExistsError(None, None, "file already exists")
    with _translated(oldpath):
        shutil.copyfile(_path(oldpath), _path(newpath))


def rename(oldname: Any, newname: Any, overwrite: bool = False) -> None:
    """Renames a file; AlreadyExistsError when the target exists and `overwrite` is false."""
    if not overwrite and exists(newname):
        raise errors.AlreadyExistsError(None, None, "file already exists")
    with _translated(oldname):
        os.replace(_path(oldname), _path(newname))


def walk(
    top: Any, topdown: bool = True, onerror: Any = None
) -> Iterator[tuple[str, list[str], list[str]]]:
    """(directory, its directories, its files) for the whole tree."""
    yield from os.walk(_path(top), topdown, onerror)


Exists, IsDirectory, ListDirectory, Glob, MkDir, MakeDirs = (
    exists,
    is_directory,
    listdir,
    glob,
    mkdir,
    makedirs,
)
Remove, DeleteRecursively, Copy, Rename, Stat, Walk = remove, rmtree, copy, rename, stat, walk
