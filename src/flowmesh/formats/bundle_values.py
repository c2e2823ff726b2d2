"""The bytes of one tensor in a checkpoint's data file, with their CRC (not masked)."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import IO, Any

import numpy as np

from flowmesh.formats import crc, tensor, varint
from flowmesh.proto import types_pb2

_WORD = struct.Struct("<I")
_MAX_WORD = 0xFFFFFFFF


def encode(array: np.ndarray, enum: int) -> tuple[bytes | memoryview, int]:
    """The bytes of a tensor and their CRC."""
    if enum == types_pb2.DT_STRING:
        return _encode_strings(tensor.to_bytes_list(array))
    values = np.asarray(array, tensor.numpy_dtype(enum).newbyteorder("<"))
    flat = np.ascontiguousarray(values).reshape(-1).view(np.uint8)
    return flat.data, crc.crc32c(flat)


def read(file: IO[bytes], size: int, enum: int, count: int) -> tuple[np.ndarray, int]:
    """The flat array of `count` elements in the next `size` bytes, and the CRC of these."""
    if enum == types_pb2.DT_STRING:
        return _decode_strings(file.read(size), count)
    flat = np.empty(count, tensor.numpy_dtype(enum))
    if not count:
        return flat, 0
    raw: Any = flat.view(np.uint8)
    if file.readinto(raw) != raw.nbytes:  # type: ignore[attr-defined]
        raise varint.MalformedError("file ends early")
    return flat, crc.crc32c(raw)


def _encode_strings(strings: list[bytes]) -> tuple[bytes, int]:
    """Lengths as varints, a CRC of the lengths as words, the strings."""
    lengths = [len(string) for string in strings]
    checksum = crc.crc32c(_length_words(lengths))
    guard = _WORD.pack(crc.mask(checksum))
    body = b"".join(strings)
    checksum = crc.extend(crc.extend(checksum, guard), body)
    return b"".join([*map(varint.encode, lengths), guard, body]), checksum


def _decode_strings(data: bytes, count: int) -> tuple[np.ndarray, int]:
    if count > len(data):
        raise varint.MalformedError(f"{len(data)} bytes cannot hold {count} strings")
    lengths, offset = [], 0
    for _ in range(count):
        length, offset = varint.decode(data, offset)
        lengths.append(length)
    checksum = crc.crc32c(_length_words(lengths))
    body = offset + _WORD.size
    if body + sum(lengths) != len(data):
        raise varint.MalformedError("string lengths do not add up to the size of the tensor")
    if _WORD.unpack_from(data, offset)[0] != crc.mask(checksum):
        raise varint.MalformedError("The length checksum does not match")
    checksum = crc.extend(checksum, data[offset:])
    strings = np.empty(count, object)
    for i, length in enumerate(lengths):
        strings[i] = data[body : body + length]
        body += length
    return strings, checksum


def _length_words(lengths: Iterable[int]) -> bytes:
    return b"".join(
        length.to_bytes(4 if length <= _MAX_WORD else 8, "little") for length in lengths
    )
