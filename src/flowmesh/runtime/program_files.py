"""The files of compiled programs: bytes under a key, in the folder of `compile_cache.py`.

A file is complete or not there: it is written under another name and renamed. It tells its own key and a digest of its contents; whatever
is wrong with it, it is passed over. A file is machine code that will be run, so that it is read only where nobody else can have
written it, as `ssh` does with its keys: folder and file belong to the user (or to root), and no other user may write to them.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import tempfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from flowmesh.core.dtypes import as_dtype
from flowmesh.runtime import compile_cache

_log = logging.getLogger(__name__)

_MAGIC = b"flowmesh program 1\n"
_DIGEST = hashlib.sha256().digest_size
_NUMBER = 8


def write(key: str, facts: Any, arrays: Sequence[np.ndarray], code: bytes) -> bool:
    """Keeps a program; whether it could. `facts` is anything that JSON can say, `arrays` belong to it, `code` is the executable."""
    folder = compile_cache.folder()
    if folder is None or not compile_cache.prepare(folder):
        return False
    blobs = [np.ascontiguousarray(a).tobytes() for a in arrays]
    header = {
        "facts": facts,
        "arrays": [[a.dtype.name, list(a.shape), len(b)] for a, b in zip(arrays, blobs)],
    }
    text = json.dumps(header).encode()
    body = zlib.compress(b"".join([_number(len(text)), text, *blobs, code]), 1)
    if not _put(folder / (key + compile_cache.PROGRAM), _MAGIC + _digest(key, body) + body):
        return False
    compile_cache.make_room(folder)
    return True


def _put(path: Path, data: bytes) -> bool:
    """Writes a file, all of it or nothing; whether it could."""
    try:
        handle, name = tempfile.mkstemp(suffix=compile_cache.NEW, dir=path.parent)  # mode 0600
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
            os.replace(name, path)
        except BaseException:
            os.unlink(name)
            raise
    except OSError as exc:
        _log.debug("%s cannot be written: %s", path, exc)
        return False
    return True


def read(key: str) -> tuple[Any, list[np.ndarray], bytes] | None:
    """What `write` was given under this key; None when it is not there, or is not whole, or may be somebody else's."""
    data = _get(key + compile_cache.PROGRAM)
    if data is None:
        return None
    try:
        return _parse(key, data)
    except Exception as exc:
        _log.debug("The program %s is passed over: %s: %s", key, type(exc).__name__, exc)
        return None


def _get(name: str) -> bytes | None:
    """The contents of a file of the folder; None when it is not there, or others may write to it."""
    folder = compile_cache.folder()
    if folder is None or not compile_cache.is_trusted(folder):
        return None
    path = folder / name
    try:
        with open(path, "rb") as file:
            if not compile_cache.is_ours(os.fstat(file.fileno())):
                _log.debug("%s is passed over: others may write to it", path)
                return None
            data = file.read()
    except FileNotFoundError:
        return None
    except OSError as exc:
        _log.debug("%s cannot be read: %s", path, exc)
        return None
    with contextlib.suppress(OSError):
        os.utime(path)  # what is used stays
    return data


def write_hint(mark: str, programs: Sequence[Any]) -> None:
    """Keeps which programs a graph uses (see `ahead.py`): lists of key, platform and number of the device."""
    folder = compile_cache.folder()
    if folder is not None and compile_cache.prepare(folder):
        _put(folder / (mark + compile_cache.HINT), json.dumps(programs).encode())


def read_hint(mark: str) -> list[list[Any]]:
    """What `write_hint` was given, as far as it is sound."""
    data = _get(mark + compile_cache.HINT)
    if data is None:
        return []
    try:
        return [[str(key), str(platform), int(n)] for key, platform, n in json.loads(data)]
    except (ValueError, TypeError):
        return []


def _parse(key: str, data: bytes) -> tuple[Any, list[np.ndarray], bytes]:
    start = len(_MAGIC) + _DIGEST
    body = data[start:]
    if data[: len(_MAGIC)] != _MAGIC or data[len(_MAGIC) : start] != _digest(key, body):
        raise ValueError("it is not a program of this key, or is damaged")
    body = zlib.decompress(body)
    end = _NUMBER + int.from_bytes(body[:_NUMBER], "little")
    header = json.loads(body[_NUMBER:end])
    arrays = []
    for name, shape, size in header["arrays"]:
        array = np.frombuffer(body, np.uint8, size, end).view(dtype_of(name)).reshape(shape)
        arrays.append(array.copy())
        end += size
    return header["facts"], arrays, body[end:]


def dtype_of(name: str) -> np.dtype[Any]:
    """The dtype of this name, those that NumPy does not know itself included."""
    return np.dtype(as_dtype(name).as_numpy_dtype)


def _digest(key: str, body: bytes) -> bytes:
    return hashlib.sha256(key.encode() + body).digest()


def _number(value: int) -> bytes:
    return value.to_bytes(_NUMBER, "little")
