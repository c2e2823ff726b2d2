"""Sorted string tables, and the keys of slices."""

from __future__ import annotations

import contextlib
import itertools
import struct

import pytest

from flowmesh.core.errors import DataLossError
from flowmesh.formats import crc, ordered_code, table, varint

ENTRIES = {f"key{i:04d}".encode(): bytes([i % 256]) * (i % 40) for i in range(500)}


@pytest.mark.parametrize("block_size", [1, 64, 1000, table.BLOCK_SIZE])
@pytest.mark.parametrize("count", [0, 1, 16, 17, 500])
def test_round_trip(block_size: int, count: int) -> None:
    entries = dict(itertools.islice(ENTRIES.items(), count))
    data = table.write_table(entries.items(), block_size)
    assert list(table.read_table(data, "t").items()) == list(entries.items())


def test_keys_of_every_shape() -> None:
    keys = sorted({b"", b"\xff", b"\xff\xff", b"a", b"a\xff", b"a\xff\x00", b"ab", b"b", b"\x00"})
    for block_size in (1, 1000):
        data = table.write_table([(key, key) for key in keys], block_size)
        assert list(table.read_table(data, "t")) == keys


def test_keys_must_ascend() -> None:
    for keys in ((b"b", b"a"), (b"a", b"a")):
        with pytest.raises(ValueError, match="does not follow"):
            table.write_table([(key, b"") for key in keys])


def test_every_truncation_and_every_flip_is_found() -> None:
    data = table.write_table(itertools.islice(ENTRIES.items(), 40), 200)
    entries = table.read_table(data, "t")
    for size in range(len(data)):
        with pytest.raises(DataLossError, match="my table"):
            table.read_table(data[:size], "my table")
    for position in range(len(data)):
        damaged = bytearray(data)
        damaged[position] ^= 0x41
        # The padding of the footer and the unused meta index are the only idle bytes.
        with contextlib.suppress(DataLossError):
            assert table.read_table(bytes(damaged), "t") == entries


def block_table(block: bytes, kind: int = 0) -> bytes:
    """A table whose only data block is `block`, with sound checksums."""

    def sealed(content: bytes, kind: int) -> bytes:
        return (
            content + bytes([kind]) + struct.pack("<I", crc.masked_crc32c(content + bytes([kind])))
        )

    handle = varint.encode(0) + varint.encode(len(block))
    index = b"\x00\x01" + varint.encode(len(handle)) + b"k" + handle + struct.pack("<II", 0, 1)
    first = sealed(block, kind)
    footer = varint.encode(0) * 2 + varint.encode(len(first)) + varint.encode(len(index))
    return first + sealed(index, 0) + footer.ljust(40, b"\0") + table.write_table([])[-8:]


@pytest.mark.parametrize(
    ("block", "kind", "words"),
    [
        (b"anything", 1, "Snappy"),
        (b"anything", 9, "unknown compression 9"),
        (b"", 0, "restart"),
        (struct.pack("<I", 1000), 0, "restart"),
        (b"\x01\x01\x00a" + struct.pack("<II", 0, 1), 0, "bad entry"),
        (b"\x00\x7f\x00a" + struct.pack("<II", 0, 1), 0, "bad entry"),
        (b"\x00\xff" + struct.pack("<II", 0, 1), 0, "no varint"),
    ],
)
def test_bad_blocks_behind_good_checksums(block: bytes, kind: int, words: str) -> None:
    with pytest.raises(DataLossError, match=words):
        table.read_table(block_table(block, kind), "t")


def test_signed_numbers_keep_their_order() -> None:
    edges = [0, 1, 63, 64, 127, 128, 1 << 13, 1 << 20, 1 << 55, 1 << 62, (1 << 63) - 1]
    values = sorted({v + d for e in edges for d in (-1, 0) for v in (e, -e) if v + d < 1 << 63})
    encoded = [ordered_code.encode_signed(value) for value in values]
    assert encoded == sorted(encoded)
    assert len(set(encoded)) == len(encoded)
    assert ordered_code.encode_signed(0) == b"\x80"
    assert ordered_code.encode_signed(-1) == b"\x7f"
    assert ordered_code.encode_signed(64) == b"\xc0\x40"


def test_unsigned_numbers_and_strings_keep_their_order() -> None:
    values = [0, 1, 255, 256, 65535, 65536, (1 << 64) - 1]
    encoded = [ordered_code.encode_unsigned(value) for value in values]
    assert encoded == sorted(encoded)
    assert encoded[:2] == [b"\x00", b"\x01\x01"]
    assert ordered_code.encode_string(b"a\x00\xffb") == b"a\x00\xff\xff\x00b\x00\x01"


def test_varints() -> None:
    for value in (0, 127, 128, 300, (1 << 64) - 1):
        data = varint.encode(value)
        assert varint.decode(data, 0) == (value, len(data))
        with pytest.raises(varint.MalformedError):
            varint.decode(data, 0, len(data) - 1)
    with pytest.raises(varint.MalformedError):
        varint.decode(b"\xff" * 20, 0)
    strings = [b"", b"a", b"b" * 200]
    assert varint.decode_strings(varint.encode_strings(strings), 3) == strings
