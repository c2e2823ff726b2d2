"""Protobuf's base-128 varints, and lists of strings led by their lengths."""

from __future__ import annotations

from collections.abc import Sequence

MAX_BYTES = 10
_WORD64 = (1 << 64) - 1


class MalformedError(ValueError):
    """Bytes do not hold what they should; callers turn it into an error that names the source."""


def encode(value: int) -> bytes:
    """An unsigned integer below 2**64 as a varint."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def decode(data: bytes | memoryview, offset: int, end: int | None = None) -> tuple[int, int]:
    """The varint at `offset` and the offset behind it."""
    limit = min(len(data) if end is None else end, offset + MAX_BYTES)
    value = shift = 0
    for position in range(offset, limit):
        byte = data[position]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & _WORD64, position + 1
        shift += 7
    raise MalformedError(f"no varint at byte {offset}")


def encode_strings(strings: Sequence[bytes]) -> bytes:
    """All lengths as varints, then all strings."""
    return b"".join([*(encode(len(string)) for string in strings), *strings])


def decode_strings(data: bytes, count: int) -> list[bytes]:
    """The `count` strings which `data` must hold exactly."""
    if count > len(data):
        raise MalformedError(f"{len(data)} bytes cannot hold {count} strings")
    lengths, offset = [], 0
    for _ in range(count):
        length, offset = decode(data, offset)
        lengths.append(length)
    if offset + sum(lengths) != len(data):
        raise MalformedError(f"strings need {offset + sum(lengths)} bytes, found {len(data)}")
    strings = []
    for length in lengths:
        strings.append(data[offset : offset + length])
        offset += length
    return strings
