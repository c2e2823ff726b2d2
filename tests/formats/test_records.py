"""TFRecord files and checksums."""

from __future__ import annotations

from pathlib import Path

import pytest

from flowmesh.core.errors import DataLossError, InvalidArgumentError, NotFoundError
from flowmesh.formats import crc
from flowmesh.formats.records import RecordReader, RecordWriter, encode_record, read_records

from .cases import FIXTURES

RECORDS = [b"", b"one", b"\x00" * 100, b"last" * 1000]
FILES = {"plain": "", "gzip": "GZIP", "zlib": "ZLIB"}


def test_crc_check_value() -> None:
    assert crc.crc32c(b"123456789") == 0xE3069283
    assert crc.extend(crc.crc32c(b"1234"), b"56789") == 0xE3069283
    assert crc.crc32c(memoryview(b"123456789")) == 0xE3069283
    assert crc.crc32c(bytearray(b"")) == 0
    assert crc.unmask(crc.mask(0xE3069283)) == 0xE3069283


@pytest.mark.parametrize("name", FILES)
def test_files_of_tensorflow(name: str) -> None:
    assert list(read_records(str(FIXTURES / f"records.{name}"), FILES[name])) == RECORDS


def test_plain_files_are_the_same_bytes(tmp_path: Path) -> None:
    path = tmp_path / "records"
    with RecordWriter(str(path)) as writer:
        for record in RECORDS:
            writer.write(record)
    assert path.read_bytes() == (FIXTURES / "records.plain").read_bytes()


@pytest.mark.parametrize("compression", FILES.values())
def test_round_trip_with_large_records(tmp_path: Path, compression: str) -> None:
    path = str(tmp_path / "records")
    records = [b"x" * 1_000_000, b"", bytes(range(256)) * 3000]
    with RecordWriter(path, compression) as writer:
        for record in records:
            writer.write(record)
        writer.flush()
    writer.close()
    assert list(read_records(path, compression)) == records


@pytest.mark.parametrize("compression", FILES.values())
def test_flushed_records_can_be_read(tmp_path: Path, compression: str) -> None:
    path = str(tmp_path / "records")
    with RecordWriter(path, compression) as writer:
        writer.write(b"a")
        writer.flush()
        with RecordReader(path, compression) as reader:
            assert reader.read() == b"a"


@pytest.mark.parametrize("compression", FILES.values())
def test_reading_goes_on_from_an_offset(tmp_path: Path, compression: str) -> None:
    path = str(tmp_path / "records")
    with RecordWriter(path, compression) as writer:
        for record in RECORDS:
            writer.write(record)
    with RecordReader(path, compression) as reader:
        reader.read()
        reader.read()
        offset = reader.offset
    assert list(read_records(path, compression, offset)) == RECORDS[2:]


@pytest.mark.parametrize("compression", FILES.values())
def test_every_truncation_is_named(tmp_path: Path, compression: str) -> None:
    path = tmp_path / "records"
    with RecordWriter(str(path), compression) as writer:
        writer.write(b"first")
        writer.write(b"second")
    whole = path.read_bytes()
    boundaries = (0, len(encode_record(b"first"))) if not compression else (0,)
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        if size in boundaries and not (size == 0 and compression == "ZLIB"):
            list(read_records(str(path), compression))
            continue
        with pytest.raises(DataLossError, match=r"record.* at (0|21|43) in .*records"):
            list(read_records(str(path), compression))


def test_every_flipped_bit_is_found(tmp_path: Path) -> None:
    path = tmp_path / "records"
    whole = encode_record(b"first") + encode_record(b"second")
    for position in range(len(whole)):
        damaged = bytearray(whole)
        damaged[position] ^= 0x10
        path.write_bytes(damaged)
        with pytest.raises(DataLossError, match="corrupted record"):
            list(read_records(str(path)))


def test_missing_file_and_unknown_compression(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="nowhere"):
        RecordReader(str(tmp_path / "nowhere"))
    with pytest.raises(InvalidArgumentError, match="SNAPPY"):
        RecordReader(str(FIXTURES / "records.plain"), "SNAPPY")
    with pytest.raises(InvalidArgumentError, match="SNAPPY"):
        RecordWriter(str(tmp_path / "x"), "SNAPPY")
