"""The messages of the direct plane as bytes: no sockets here, and nothing but structs.

A frame is a header, a head (the message's own fields), one descriptor for each tensor, and after them the data of the tensors that
are not small. Numbers are little-endian. Small tensors have their data in the descriptor, large ones of the same host in a
segment of shared memory, all others follow the frame.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np

from flowmesh.core import dtypes, errors
from flowmesh.resources.handle import ResourceHandle
from flowmesh.resources.manager import Resource
from flowmesh.runtime.values import DEAD, Received, to_host

VERSION = 2

HEADER = struct.Struct("<IIHHIQ")
"""Bytes of head and descriptors, bytes of the head, kind, flags, number of tensors, number of the request."""
MAX_META = 1 << 28
"""Bytes of head and descriptors: what is longer is not one of ours."""
INLINE = 16384
"""Tensors of up to so many bytes travel in their descriptors."""
MAX_DIMENSIONS = 254


class Kind(IntEnum):
    """What a message asks or tells."""

    HELLO = 1
    WELCOME = 2
    RUN_GRAPH = 3
    REPLY = 4
    ERROR = 5
    PUSH = 6
    RECV_TENSOR = 7
    CLEANUP = 8
    ABORT = 9
    RUN_STEP = 10
    CREDIT = 11
    SEGMENT = 12
    FREE = 13
    PING = 14
    PONG = 15
    SESSION = 16


class Place(IntEnum):
    """Where the data of a tensor is."""

    INLINE = 0
    STREAM = 1
    SHARED = 2


class Form(IntEnum):
    """How the data is to be read."""

    NUMBERS = 0
    STRINGS = 1
    HANDLE = 2
    DEAD = 3


class MalformedError(Exception):
    """Bytes that are no message of this protocol."""


_DESCRIPTOR = struct.Struct("<BBBBIQ")
"""Data type, rank, place, form, number of the segment, bytes of data."""
_PAD = tuple(bytes(n) for n in range(8))
_U16, _U32, _U64 = struct.Struct("<H"), struct.Struct("<I"), struct.Struct("<Q")
_DIMS = [struct.Struct(f"<{n}q") for n in range(MAX_DIMENSIONS + 1)]
_ENUMS: dict[Any, int] = {}
_DTYPES: dict[int, np.dtype[Any]] = {}
_MAX_KEPT = 4096
_packed_heads: dict[tuple[int, tuple[int, ...]], bytes] = {}
"""The beginnings of descriptors, by type and shape."""
_parsed_heads: dict[bytes, tuple[Any, tuple[int, ...], int, int, int, int]] = {}
"""What such beginnings say."""
_STRING = dtypes.string.as_datatype_enum
_RESOURCE = dtypes.resource.as_datatype_enum


def _fill_tables() -> None:
    for enum in range(1, 24):
        try:
            dtype = dtypes.as_dtype(enum)
        except TypeError:
            continue
        if dtype in (dtypes.string, dtypes.resource, dtypes.variant):
            continue
        numpy_dtype = np.dtype(dtype.as_numpy_dtype)
        _DTYPES[enum] = numpy_dtype
        _ENUMS.setdefault(numpy_dtype, enum)


_fill_tables()


@dataclass(slots=True)
class Encoded:
    """A tensor on its way out."""

    enum: int
    shape: tuple[int, ...]
    form: int
    data: Any
    """Bytes, or a flat array of bytes."""
    size: int
    place: int = Place.INLINE
    segment: int = 0
    packed: bytes | None = None
    """The descriptor, where it is known already."""

    def descriptor(self) -> bytes:
        """The descriptor, with the data when it is small."""
        if self.packed is not None:
            return self.packed
        rank = len(self.shape)
        head = _DESCRIPTOR.pack(
            self.enum, rank, self.place, self.form, self.segment, self.size
        ) + _DIMS[rank].pack(*self.shape)
        if self.place != Place.INLINE:
            return head
        return head + bytes(self.data) + _PAD[-self.size % 8]


def encode(value: Any) -> Encoded:
    """A runtime value as bytes; InvalidArgumentError for one that cannot leave its task."""
    if value is DEAD or value is None:
        return Encoded(1, (), Form.DEAD, b"", 0)
    if isinstance(value, (Resource, ResourceHandle)):
        return _encode_handle(value)
    array = value if type(value) is np.ndarray else np.asarray(to_host(value))
    enum = _ENUMS.get(array.dtype)
    if enum is not None:
        size = array.nbytes
        if size <= INLINE:
            return _encode_small(enum, array, size)
        if not array.flags.c_contiguous:
            array = np.ascontiguousarray(array)
        flat = array.reshape(-1).view(np.uint8)
        place = Place.STREAM
        return Encoded(enum, array.shape, Form.NUMBERS, flat, size, place)
    if array.dtype == object or array.dtype.kind in "SU":
        return _encode_strings(array)
    raise errors.InvalidArgumentError(
        None, None, f"A {type(value).__name__} cannot be sent to another task"
    )


def encoded_in(segment: int, shape: tuple[int, ...], dtype: Any) -> Encoded:
    """Numbers that are in shared memory, in a segment of this number."""
    size = math.prod(shape) * dtype.itemsize
    return Encoded(_ENUMS[dtype], shape, Form.NUMBERS, None, size, Place.SHARED, segment)


def _encode_small(enum: int, array: np.ndarray, size: int) -> Encoded:
    """Numbers that travel in their descriptor, whose beginning is the same for all tensors of this type and shape."""
    shape = array.shape
    head = _packed_heads.get((enum, shape))
    if head is None:
        head = _DESCRIPTOR.pack(enum, len(shape), Place.INLINE, Form.NUMBERS, 0, size)
        head += _DIMS[len(shape)].pack(*shape)
        _keep(_packed_heads, (enum, shape), head)
    data = array.tobytes()
    return Encoded(enum, shape, 0, data, size, 0, 0, head + data + _PAD[-size % 8])


def _keep(table: dict[Any, Any], key: Any, value: Any) -> None:
    if len(table) >= _MAX_KEPT:
        table.clear()
    table[key] = value


def _encode_strings(array: np.ndarray) -> Encoded:
    items = array.ravel().tolist()
    try:
        parts = [x if isinstance(x, bytes) else x.encode() for x in items]
    except AttributeError:
        raise errors.InvalidArgumentError(
            None, None, "An array of Python objects other than strings cannot be sent to a task"
        ) from None
    ends = np.cumsum([len(p) for p in parts], dtype="<u8") if parts else np.empty(0, "<u8")
    data = ends.tobytes() + b"".join(parts)
    place = Place.INLINE if len(data) <= INLINE else Place.STREAM
    return Encoded(_STRING, array.shape, Form.STRINGS, data, len(data), place)


def _encode_handle(value: Any) -> Encoded:
    names = (getattr(value, "device", ""), getattr(value, "container", ""))
    data = pack_strings((*names, getattr(value, "name", ""), value.type_name))
    return Encoded(_RESOURCE, (), Form.HANDLE, data, len(data))


@dataclass(slots=True)
class Descriptor:
    """A tensor on its way in."""

    dtype: Any
    shape: tuple[int, ...]
    place: int
    form: int
    segment: int
    size: int
    data: Any = None
    start: int = 0
    """Where in `data` it begins."""


def parse_descriptors(meta: bytes, offset: int, count: int) -> list[Descriptor]:
    """The descriptors that stand at `offset`; MalformedError for nonsense."""
    found = []
    end = len(meta)
    for _ in range(count):
        if offset + _DESCRIPTOR.size > end:
            raise MalformedError("a tensor's description is cut short")
        start, offset = offset, offset + _DESCRIPTOR.size + 8 * meta[offset + 1]
        head = meta[start:offset]
        known = _parsed_heads.get(head)
        if known is None:
            known = _parse_head(head)
            _keep(_parsed_heads, head, known)
        descriptor = Descriptor(*known)
        if descriptor.place == 0:
            size = descriptor.size
            if size > end - offset:
                raise MalformedError("a tensor's data is cut short")
            descriptor.data, descriptor.start = meta, offset
            offset += size + -size % 8
        found.append(descriptor)
    return found


def _parse_head(head: bytes) -> tuple[Any, tuple[int, ...], int, int, int, int]:
    try:
        enum, rank, place, form, segment, size = _DESCRIPTOR.unpack_from(head)
        shape = _DIMS[rank].unpack_from(head, _DESCRIPTOR.size)
    except (struct.error, IndexError) as error:
        raise MalformedError("a tensor's description is cut short") from error
    dtype = _DTYPES.get(enum)
    _check(dtype, enum, shape, place, form, size)
    return dtype, shape, place, form, segment, size


def _check(dtype: Any, enum: int, shape: tuple[int, ...], place: int, form: int, size: int) -> None:
    if place > Place.SHARED or form > Form.DEAD:
        raise MalformedError("a tensor of an unknown kind")
    elements = 1
    for dimension in shape:
        if dimension < 0:
            raise MalformedError("a tensor with a negative dimension")
        elements *= dimension
    if form == Form.NUMBERS:
        if dtype is None:
            raise MalformedError(f"a tensor of the unknown type {enum}")
        if elements * dtype.itemsize != size:
            raise MalformedError(f"a tensor of shape {shape} with {size} bytes")
    elif form == Form.STRINGS and (enum != _STRING or elements * 8 > size):
        raise MalformedError("a tensor of strings that is cut short")


def decode(descriptor: Descriptor, writable: bool = False) -> Any:
    """The value, once its data is there."""
    form, data = descriptor.form, descriptor.data
    if form == Form.NUMBERS:
        if not writable and type(data) is Received:
            data.flags.writeable = False
        return np.ndarray(descriptor.shape, descriptor.dtype, data, descriptor.start)
    if form == Form.DEAD:
        return DEAD
    if form == Form.STRINGS:
        return _decode_strings(descriptor)
    names = unpack_strings(_bytes(descriptor), 0)[0]
    if len(names) != 4:
        raise MalformedError("a malformed resource handle")
    return ResourceHandle(*names)


def _bytes(descriptor: Descriptor) -> bytes:
    return bytes(memoryview(descriptor.data)[descriptor.start :][: descriptor.size])


def _decode_strings(descriptor: Descriptor) -> Any:
    count = 1
    for dimension in descriptor.shape:
        count *= dimension
    data = _bytes(descriptor)
    ends = np.frombuffer(data, "<u8", count).tolist()
    result = np.empty(count, object)
    start, base = 0, 8 * count
    for number, end in enumerate(ends):
        if not start <= end <= len(data) - base:
            raise MalformedError("a tensor of strings with wrong lengths")
        result[number] = data[base + start : base + end]
        start = end
    return result.reshape(descriptor.shape)


# -- heads ---------------------------------------------------------------------------------------------


def pack_strings(texts: Sequence[str]) -> bytes:
    """A count, and each text after its length."""
    parts = [_U32.pack(len(texts))]
    for text in texts:
        data = text.encode()
        parts.append(_U32.pack(len(data)))
        parts.append(data)
    return b"".join(parts)


def unpack_strings(data: bytes, offset: int) -> tuple[list[str], int]:
    """The texts that stand at `offset`, and where they end; MalformedError for nonsense."""
    try:
        (count,) = _U32.unpack_from(data, offset)
        offset += 4
        texts = []
        for _ in range(count):
            (length,) = _U32.unpack_from(data, offset)
            offset += 4
            if length > len(data) - offset:
                raise MalformedError("a text is cut short")
            texts.append(data[offset : offset + length].decode())
            offset += length
    except (struct.error, UnicodeDecodeError) as error:
        raise MalformedError(f"malformed texts: {error}") from error
    return texts, offset


def pack_error(code: int, message: str) -> bytes:
    """The head of an ERROR or ABORT."""
    return _U32.pack(code) + message.encode(errors="replace")


def unpack_error(head: bytes) -> tuple[int, str]:
    """Code and message of an ERROR or ABORT."""
    if len(head) < 4:
        raise MalformedError("an error without a code")
    return _U32.unpack_from(head)[0], head[4:].decode(errors="replace")


def frame(
    kind: int, request: int, head: bytes, tensors: Sequence[Encoded], flags: int = 0
) -> bytes:
    """Header, head and descriptors."""
    head += _PAD[-len(head) % 8]
    body = b"".join([head, *[t.descriptor() for t in tensors]]) if tensors else head
    return HEADER.pack(len(body), len(head), kind, flags, len(tensors), request) + body
