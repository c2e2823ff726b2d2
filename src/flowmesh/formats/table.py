"""Sorted string tables: the LevelDB file format in which checkpoints keep their index.

A table is a run of blocks, each with a trailer (compression byte, masked CRC), and a footer that
points at the index block. A block holds entries whose keys leave out the prefix they share with
the entry before; every 16th entry, a restart point, holds its whole key.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

from flowmesh.core.errors import DataLossError
from flowmesh.formats import varint
from flowmesh.formats.crc import extend, mask
from flowmesh.formats.varint import MalformedError

BLOCK_SIZE = 256 << 10
RESTART_INTERVAL = 16

_MAGIC = 0xDB4775248B80FB57
_FOOTER_BYTES = 48
_TRAILER = struct.Struct("<BI")
_WORD = struct.Struct("<I")
_UNCOMPRESSED, _SNAPPY = 0, 1


def write_table(items: Iterable[tuple[bytes, bytes]], block_size: int = BLOCK_SIZE) -> bytes:
    """The table of `items`, whose keys must be in ascending order and differ."""
    writer = _TableWriter(block_size)
    for key, value in items:
        writer.add(key, value)
    return writer.finish()


def read_table(data: bytes, name: str) -> dict[bytes, bytes]:
    """All entries of a table, in the order of their keys; `name` is for error messages."""
    try:
        if len(data) < _FOOTER_BYTES:
            raise MalformedError(f"file is too short ({len(data)} bytes) to be an sstable")
        footer = data[-_FOOTER_BYTES:]
        if struct.unpack_from("<Q", footer, _FOOTER_BYTES - 8)[0] != _MAGIC:
            raise MalformedError("not an sstable (bad magic number)")
        _, offset = _read_handle(footer, 0)
        index, _ = _read_handle(footer, offset)
        entries: dict[bytes, bytes] = {}
        for _, handle in _read_block(data, index):
            entries.update(_read_block(data, _read_handle(handle, 0)[0]))
        return entries
    except MalformedError as error:
        raise DataLossError(None, None, f"{name}: {error}") from error


class _BlockWriter:
    def __init__(self, restart_interval: int) -> None:
        self._interval = restart_interval
        self._buffer = bytearray()
        self._restarts = [0]
        self._since_restart = 0
        self._last_key = b""

    @property
    def size(self) -> int:
        return len(self._buffer) + 4 * len(self._restarts) + 4 if self._buffer else 0

    def add(self, key: bytes, value: bytes) -> None:
        shared = 0
        if self._since_restart < self._interval:
            shared = _shared_prefix(self._last_key, key)
        else:
            self._restarts.append(len(self._buffer))
            self._since_restart = 0
        self._buffer += varint.encode(shared)
        self._buffer += varint.encode(len(key) - shared)
        self._buffer += varint.encode(len(value))
        self._buffer += key[shared:]
        self._buffer += value
        self._last_key = key
        self._since_restart += 1

    def finish(self) -> bytes:
        count = len(self._restarts)
        return bytes(self._buffer) + struct.pack(f"<{count}II", *self._restarts, count)


class _TableWriter:
    def __init__(self, block_size: int) -> None:
        self._block_size = block_size
        self._out = bytearray()
        self._block = _BlockWriter(RESTART_INTERVAL)
        self._index = _BlockWriter(1)
        self._last_key: bytes | None = None
        self._pending: bytes | None = None  # handle of a block that the index lacks

    def add(self, key: bytes, value: bytes) -> None:
        if self._last_key is not None:
            if key <= self._last_key:
                raise ValueError(f"key {key!r} does not follow {self._last_key!r}")
            if self._pending is not None:
                self._index.add(_separator(self._last_key, key), self._pending)
                self._pending = None
        self._last_key = key
        self._block.add(key, value)
        if self._block.size >= self._block_size:
            self._end_block()

    def finish(self) -> bytes:
        if self._block.size:
            self._end_block()
        meta = self._append(_BlockWriter(RESTART_INTERVAL).finish())
        if self._pending is not None and self._last_key is not None:
            self._index.add(_successor(self._last_key), self._pending)
        index = self._append(self._index.finish())
        self._out += (meta + index).ljust(_FOOTER_BYTES - 8, b"\0") + struct.pack("<Q", _MAGIC)
        return bytes(self._out)

    def _end_block(self) -> None:
        self._pending = self._append(self._block.finish())
        self._block = _BlockWriter(RESTART_INTERVAL)

    def _append(self, block: bytes) -> bytes:
        """Writes a block with its trailer and returns the handle that points at it."""
        handle = varint.encode(len(self._out)) + varint.encode(len(block))
        kind = bytes([_UNCOMPRESSED])
        self._out += block
        self._out += kind + _WORD.pack(mask(extend(extend(0, block), kind)))
        return handle


def _shared_prefix(a: bytes, b: bytes) -> int:
    limit = min(len(a), len(b))
    if a[:limit] == b[:limit]:
        return limit
    return next(i for i in range(limit) if a[i] != b[i])


def _separator(low: bytes, high: bytes) -> bytes:
    """A short key that is not below `low` and is below `high`."""
    shared = _shared_prefix(low, high)
    if shared < min(len(low), len(high)) and low[shared] < 0xFF and low[shared] + 1 < high[shared]:
        return low[:shared] + bytes([low[shared] + 1])
    return low


def _successor(key: bytes) -> bytes:
    """A short key that is not below `key`."""
    for i, byte in enumerate(key):
        if byte != 0xFF:
            return key[:i] + bytes([byte + 1])
    return key


def _read_handle(data: bytes, offset: int) -> tuple[tuple[int, int], int]:
    start, offset = varint.decode(data, offset)
    size, offset = varint.decode(data, offset)
    return (start, size), offset


def _read_block(data: bytes, handle: tuple[int, int]) -> list[tuple[bytes, bytes]]:
    start, size = handle
    end = start + size
    if end + _TRAILER.size > len(data) - _FOOTER_BYTES:
        raise MalformedError(f"truncated block read at byte {start}")
    kind, stored = _TRAILER.unpack_from(data, end)
    if mask(extend(0, data[start : end + 1])) != stored:
        raise MalformedError(f"block checksum mismatch at byte {start}")
    if kind == _SNAPPY:
        raise MalformedError(
            f"block at byte {start} is compressed with Snappy, which is not supported; "
            "write the table again without compression"
        )
    if kind != _UNCOMPRESSED:
        raise MalformedError(f"block at byte {start} has unknown compression {kind}")
    return _parse_entries(data[start:end])


def _parse_entries(block: bytes) -> list[tuple[bytes, bytes]]:
    if len(block) < _WORD.size:
        raise MalformedError("bad block contents: no restart count")
    restarts = _WORD.unpack_from(block, len(block) - _WORD.size)[0]
    limit = len(block) - _WORD.size * (1 + restarts)
    if limit < 0:
        raise MalformedError("bad block contents: too many restarts")
    entries = []
    offset, key = 0, b""
    while offset < limit:
        shared, offset = varint.decode(block, offset, limit)
        unshared, offset = varint.decode(block, offset, limit)
        size, offset = varint.decode(block, offset, limit)
        if shared > len(key) or offset + unshared + size > limit:
            raise MalformedError("bad entry in block")
        key = key[:shared] + block[offset : offset + unshared]
        offset += unshared
        entries.append((key, block[offset : offset + size]))
        offset += size
    return entries
