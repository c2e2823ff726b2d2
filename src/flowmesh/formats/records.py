"""TFRecord files: length-prefixed, checksummed records, plain or compressed."""

from __future__ import annotations

import gzip
import struct
import zlib
from collections.abc import Iterator
from types import TracebackType
from typing import IO, Any, cast

from flowmesh.core.errors import DataLossError, InvalidArgumentError, NotFoundError
from flowmesh.formats.crc import masked_crc32c

COMPRESSIONS = ("", "GZIP", "ZLIB")

_HEADER = struct.Struct("<QI")
_FOOTER = struct.Struct("<I")
_LENGTH_BYTES = 8
_CHUNK_BYTES = 1 << 18


def encode_record(data: bytes) -> bytes:
    """One record as it stands in a file."""
    length = struct.pack("<Q", len(data))
    header = _HEADER.pack(len(data), masked_crc32c(length))
    return b"".join((header, data, _FOOTER.pack(masked_crc32c(data))))


class RecordWriter:
    """Writes records to a file that it creates; `level` is zlib's, -1 its default."""

    def __init__(
        self, path: str, compression: str = "", *, mode: str = "wb", level: int = -1
    ) -> None:
        _check_compression(compression)
        self.path = path
        self._raw = cast(IO[bytes], open(path, mode))  # noqa: SIM115 - closed by close()
        self._sink: Any = self._raw
        if compression == "GZIP":
            self._sink = gzip.GzipFile("", "wb", level, fileobj=self._raw, mtime=0)
        elif compression == "ZLIB":
            self._sink = _ZlibSink(self._raw, level)

    def write(self, record: bytes) -> None:
        self._sink.write(encode_record(record))

    def flush(self) -> None:
        """Brings everything written so far to the file."""
        self._sink.flush()
        self._raw.flush()

    def close(self) -> None:
        if self._raw.closed:
            return
        if self._sink is not self._raw:
            self._sink.close()
        self._raw.close()

    def __enter__(self) -> RecordWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class RecordReader:
    """Reads the records of a file one after another.

    A file that ends within a record raises DataLossError, which names the file and the offset of
    the record in the uncompressed stream. An offset kept from `offset` may be passed in again.
    """

    def __init__(self, path: str, compression: str = "", offset: int = 0) -> None:
        _check_compression(compression)
        self.path = path
        self.offset = offset
        try:
            self._raw: IO[bytes] = open(path, "rb")  # noqa: SIM115 - closed by close()
        except FileNotFoundError as error:
            raise NotFoundError(None, None, f"{path}; No such file or directory") from error
        self._source: Any = self._raw
        if compression == "GZIP":
            self._source = gzip.GzipFile("", "rb", fileobj=self._raw)
        elif compression == "ZLIB":
            self._source = _ZlibSource(self._raw)
        if offset:
            self._skip(offset)

    def read(self) -> bytes | None:
        """The next record, or None at the end of the file."""
        header = self._take(_HEADER.size)
        if not header:
            return None
        if len(header) < _HEADER.size:
            raise self._loss("truncated record")
        length, checksum = _HEADER.unpack(header)
        if masked_crc32c(header[:_LENGTH_BYTES]) != checksum:
            raise self._loss("corrupted record")
        body = self._take(length + _FOOTER.size)
        if len(body) < length + _FOOTER.size:
            raise self._loss("truncated record")
        record = body[:length]
        if masked_crc32c(record) != _FOOTER.unpack_from(body, length)[0]:
            raise self._loss("corrupted record", _HEADER.size)
        self.offset += _HEADER.size + len(body)
        return record

    def __iter__(self) -> Iterator[bytes]:
        while (record := self.read()) is not None:
            yield record

    def close(self) -> None:
        self._source.close()
        self._raw.close()

    def __enter__(self) -> RecordReader:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _take(self, size: int) -> bytes:
        """Up to `size` bytes, fewer only at the end; never allocates more than the file holds."""
        parts, left = [], size
        while left:
            try:
                part = self._source.read(min(left, _CHUNK_BYTES))
            except EOFError as error:
                raise self._loss("truncated record") from error
            except (OSError, zlib.error) as error:
                raise self._loss(f"corrupted record ({error})") from error
            if not part:
                break
            parts.append(part)
            left -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _skip(self, offset: int) -> None:
        if self._source is self._raw:
            self._raw.seek(offset)
        elif len(self._take(offset)) < offset:
            raise self._loss("truncated record")

    def _loss(self, what: str, further: int = 0) -> DataLossError:
        return DataLossError(None, None, f"{what} at {self.offset + further} in {self.path}")


def read_records(path: str, compression: str = "", offset: int = 0) -> Iterator[bytes]:
    """All records of a file from `offset` on."""
    with RecordReader(path, compression, offset) as reader:
        yield from reader


def _check_compression(compression: str) -> None:
    if compression not in COMPRESSIONS:
        raise InvalidArgumentError(
            None, None, f"Unknown compression type {compression!r}; known are {COMPRESSIONS}"
        )


class _ZlibSink:
    def __init__(self, raw: IO[bytes], level: int) -> None:
        self._raw = raw
        self._state = zlib.compressobj(level)

    def write(self, data: bytes) -> None:
        self._raw.write(self._state.compress(data))

    def flush(self) -> None:
        self._raw.write(self._state.flush(zlib.Z_SYNC_FLUSH))

    def close(self) -> None:
        self._raw.write(self._state.flush())


class _ZlibSource:
    def __init__(self, raw: IO[bytes]) -> None:
        self._raw = raw
        self._state = zlib.decompressobj()

    def read(self, size: int) -> bytes:
        while not self._state.eof:
            data = self._state.unconsumed_tail or self._raw.read(_CHUNK_BYTES)
            if out := self._state.decompress(data, size):
                return out
            if not data:
                raise EOFError("compressed stream ends early")
        return b""

    def close(self) -> None:
        pass
