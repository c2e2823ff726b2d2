"""V2 checkpoints, compared with files that TensorFlow 1.15 wrote."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from flowmesh.core import dtypes
from flowmesh.core.errors import (
    DataLossError,
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
    UnimplementedError,
)
from flowmesh.formats import slices, table
from flowmesh.formats.checkpoint import (
    BundleReader,
    BundleWriter,
    checkpoint_exists,
    merge_bundles,
)
from flowmesh.proto.tensor_bundle_pb2 import BundleEntryProto, BundleHeaderProto

from .cases import FIXTURES, as_array, rows

WHOLE = np.arange(40, dtype=np.float32).reshape(4, 10)


def write_halves(writer: BundleWriter, name: str) -> None:
    for start in (0, 2):
        _, part = slices.parse_shape_and_slice(f"4 10 {start},2:-")
        writer.add_slice(name, WHOLE.shape, part, WHOLE[start : start + 2])


def write(prefix: Path, **tensors: np.ndarray) -> str:
    with BundleWriter(str(prefix)) as writer:
        for name, array in tensors.items():
            writer.add(name, array)
    return str(prefix)


def test_checkpoint_of_tensorflow() -> None:
    with BundleReader(str(FIXTURES / "bundle")) as reader:
        expected = {row["name"]: row for row in rows("bundle.json")}
        assert reader.keys() == sorted([*expected, "scope/partitioned"])
        for name, row in expected.items():
            array = as_array(row)
            assert reader.shape(name) == array.shape
            assert reader.dtype(name).name == row["dtype"]
            read = reader.read(name)
            assert read.dtype == array.dtype
            np.testing.assert_array_equal(read, array)
        np.testing.assert_array_equal(reader.read("scope/partitioned"), WHOLE)
        assert reader.shapes()["scope/partitioned"] == (4, 10)
        assert reader.dtypes()["string_60"] is dtypes.string


def test_files_are_tensorflows_byte_for_byte(tmp_path: Path) -> None:
    with BundleWriter(str(tmp_path / "bundle")) as writer:
        for row in rows("bundle.json"):
            writer.add(row["name"], as_array(row))
        write_halves(writer, "scope/partitioned")
    for suffix in (".index", ".data-00000-of-00001"):
        ours = (tmp_path / f"bundle{suffix}").read_bytes()
        assert ours == (FIXTURES / f"bundle{suffix}").read_bytes()


def test_merge_is_tensorflows_byte_for_byte(tmp_path: Path) -> None:
    prefixes = []
    for start in (0, 2):
        prefixes.append(str(tmp_path / f"part{start}" / "half"))
        with BundleWriter(prefixes[-1]) as writer:
            _, part = slices.parse_shape_and_slice(f"4 10 {start},2:-")
            writer.add_slice("w", WHOLE.shape, part, WHOLE[start : start + 2])
            writer.add(f"only_in_{start}", np.array(start, np.int64))
    merge_bundles(prefixes, str(tmp_path / "merged"), delete_old_dirs=True)
    assert sorted(os.listdir(tmp_path)) == [
        "merged.data-00000-of-00002",
        "merged.data-00001-of-00002",
        "merged.index",
    ]
    for name in os.listdir(tmp_path):
        assert (tmp_path / name).read_bytes() == (FIXTURES / name).read_bytes()
    with BundleReader(str(tmp_path / "merged")) as reader:
        np.testing.assert_array_equal(reader.read("w"), WHOLE)
        assert reader.read("only_in_2") == 2


@pytest.mark.parametrize("stored", ["whole", "parts"])
@pytest.mark.parametrize("text", ["-:-", "0,2:-", "1,2:3,4", "3,1:9,1", "0,4:0,10"])
def test_slices_are_read_however_they_were_stored(tmp_path: Path, stored: str, text: str) -> None:
    with BundleWriter(str(tmp_path / "b")) as writer:
        if stored == "whole":
            writer.add("w", WHOLE)
        else:
            write_halves(writer, "w")
    part = slices.parse_slice(text)
    with BundleReader(str(tmp_path / "b")) as reader:
        expected = WHOLE[slices.index_in(slices.box(part, (4, 10)), ((0, 4), (0, 10)))]
        np.testing.assert_array_equal(reader.read_slice("w", part), expected)
        with pytest.raises(InvalidArgumentError, match="extends out of shape"):
            reader.read_slice("w", ((0, 5), (0, -1)))


def test_slices_that_do_not_cover(tmp_path: Path) -> None:
    with BundleWriter(str(tmp_path / "b")) as writer:
        writer.add_slice("w", (4, 10), ((0, 2), (0, -1)), WHOLE[:2])
    with BundleReader(str(tmp_path / "b")) as reader:
        np.testing.assert_array_equal(reader.read_slice("w", ((1, 1), (0, 10))), WHOLE[1:2])
        with pytest.raises(InvalidArgumentError, match="Does not have sufficient slices"):
            reader.read("w")


def test_string_slices_and_empty_wholes(tmp_path: Path) -> None:
    words = np.array([b"a", b"bc", b"", b"d"], object)
    with BundleWriter(str(tmp_path / "b")) as writer:
        writer.add_slice("s", (4,), ((0, 1),), words[:1])
        writer.add_slice("s", (4,), ((1, 3),), words[1:])
        writer.add_slice("none", (0, 3), ((0, -1), (0, -1)), np.zeros((0, 3), np.float32))
    with BundleReader(str(tmp_path / "b")) as reader:
        assert reader.read("s").tolist() == words.tolist()
        assert reader.read("none").shape == (0, 3)


def test_words_of_tensorflow_for_what_is_missing(tmp_path: Path) -> None:
    prefix = write(tmp_path / "b", x=np.zeros(3))
    assert checkpoint_exists(prefix)
    with BundleReader(prefix) as reader:
        assert "x" in reader and "y" not in reader
        with pytest.raises(NotFoundError, match=r"^Key y not found in checkpoint$"):
            reader.read("y")
    with pytest.raises(NotFoundError, match="Failed to find any matching files for"):
        BundleReader(str(tmp_path / "other"))
    os.remove(f"{prefix}.data-00000-of-00001")
    with BundleReader(prefix) as reader, pytest.raises(NotFoundError, match="No such file"):
        reader.read("x")


def test_nothing_shows_before_it_is_finished(tmp_path: Path) -> None:
    prefix = write(tmp_path / "b", x=np.array(1))
    writer = BundleWriter(prefix)
    writer.add("x", np.array(2))
    with BundleReader(prefix) as reader:
        assert reader.read("x") == 1
    writer.finish()
    writer.discard()
    with BundleReader(prefix) as reader:
        assert reader.read("x") == 2
    # The new data file was written beside the old one, and the index turned from one to the other.
    assert sorted(os.listdir(tmp_path)) == ["b.data-00000-of-00002", "b.index"]
    write(tmp_path / "b", x=np.array(3))
    with BundleReader(prefix) as reader:
        assert reader.read("x") == 3
    assert sorted(os.listdir(tmp_path)) == ["b.data-00000-of-00001", "b.index"]
    with pytest.raises(FailedPreconditionError, match="finished"):
        writer.add("y", np.array(1))
    with pytest.raises(ZeroDivisionError), BundleWriter(prefix) as writer:
        writer.add("x", np.array(3))
        _ = 1 / 0
    assert sorted(os.listdir(tmp_path)) == ["b.data-00000-of-00001", "b.index"]


def test_what_cannot_be_written(tmp_path: Path) -> None:
    with BundleWriter(str(tmp_path / "b")) as writer:
        writer.add("x", np.array(1))
        with pytest.raises(InvalidArgumentError, match="Adding duplicate key: x"):
            writer.add("x", np.array(1))
        with pytest.raises(InvalidArgumentError, match="name"):
            writer.add("", np.array(1))
        with pytest.raises(UnimplementedError, match="variant"):
            writer.add("v", np.empty(1, object), dtypes.variant)
        with pytest.raises(InvalidArgumentError, match="another shape"):
            writer.add_slice("w", (4, 10), ((0, 2), (0, -1)), WHOLE)
        with pytest.raises(InvalidArgumentError, match="differ in type"):
            writer.add_slice("x", (4,), ((0, 2),), np.zeros(2))
        with pytest.raises(InvalidArgumentError, match="extends out"):
            writer.add_slice("w", (4,), ((3, 2),), np.zeros(2))


def test_merge_refuses_duplicates_and_touches_nothing(tmp_path: Path) -> None:
    first, second = (write(tmp_path / name, x=np.array(1)) for name in ("a", "b"))
    before = sorted(os.listdir(tmp_path))
    with pytest.raises(InvalidArgumentError, match="Duplicate tensor keyed by x encountered"):
        merge_bundles([first, second], str(tmp_path / "merged"))
    assert sorted(os.listdir(tmp_path)) == before


def test_merge_of_one_onto_itself(tmp_path: Path) -> None:
    prefix = write(tmp_path / "a", x=np.array(1))
    merge_bundles([prefix], prefix)
    with BundleReader(prefix) as reader:
        assert reader.read("x") == 1


def test_merge_keeps_shards_whose_numbers_change_places(tmp_path: Path) -> None:
    for name in ("merged.index", "merged.data-00000-of-00002", "merged.data-00001-of-00002"):
        shutil.copy(FIXTURES / name, tmp_path / name)
    prefix = str(tmp_path / "merged")
    items = table.read_table((tmp_path / "merged.index").read_bytes(), "merged")
    kept = [(b"", items[b""]), (b"a", items[b"only_in_2"]), (b"b", items[b"only_in_0"])]
    (tmp_path / "merged.index").write_bytes(table.write_table(kept))
    merge_bundles([prefix], prefix)
    with BundleReader(prefix) as reader:
        assert (reader.read("a"), reader.read("b")) == (2, 0)


def test_damage_to_values_is_found(tmp_path: Path) -> None:
    shutil.copy(FIXTURES / "bundle.index", tmp_path / "bundle.index")
    data = (FIXTURES / "bundle.data-00000-of-00001").read_bytes()
    path = tmp_path / "bundle.data-00000-of-00001"
    for damaged in (data[:100], data[:-1], bytes(byte ^ 1 for byte in data)):
        path.write_bytes(damaged)
        with BundleReader(str(tmp_path / "bundle")) as reader:
            lost = 0
            for name in reader.keys():  # noqa: SIM118 - not a dict
                try:
                    reader.read(name)
                except DataLossError as error:
                    lost += 1
                    assert "TensorBundle at" in error.message
            assert lost
    reader = BundleReader(str(tmp_path / "bundle"))
    with reader, pytest.raises(DataLossError, match="Checksum does not match: stored"):
        reader.read("float32_2")


def entry(**fields: object) -> bytes:
    proto = BundleEntryProto(**{"dtype": 1, "size": 4, **fields})
    proto.shape.SetInParent()
    return proto.SerializeToString()


@pytest.mark.parametrize(
    ("header", "x", "kind", "words"),
    [
        (b"\xff", entry(), DataLossError, "malformed index"),
        (None, entry(), DataLossError, "malformed index"),
        (BundleHeaderProto(endianness=1), entry(), UnimplementedError, "big-endian"),
        (BundleHeaderProto(version={"min_consumer": 9}), entry(), InvalidArgumentError, "9"),
        (BundleHeaderProto(num_shards=1), b"\xff", DataLossError, "malformed index"),
        (BundleHeaderProto(num_shards=1), entry(shard_id=4), DataLossError, "no shard 4"),
        (BundleHeaderProto(num_shards=1), entry(offset=-1), DataLossError, "negative"),
        (BundleHeaderProto(num_shards=1), entry(offset=1 << 40), DataLossError, "truncated"),
        (BundleHeaderProto(num_shards=1), entry(size=3), DataLossError, "not its shape's"),
        (BundleHeaderProto(num_shards=1), entry(dtype=77), DataLossError, "dtype 77"),
        (BundleHeaderProto(num_shards=1), entry(dtype=21), UnimplementedError, "Variant"),
        (
            BundleHeaderProto(num_shards=1),
            entry(slices=[{"extent": [{"start": 1}]}]),
            DataLossError,
            "ranks differ",
        ),
        (BundleHeaderProto(num_shards=1), entry(slices=[{}]), DataLossError, "missing"),
    ],
)
def test_bad_indexes(
    tmp_path: Path, header: object, x: bytes, kind: type[Exception], words: str
) -> None:
    prefix = write(tmp_path / "b", x=np.array(1))
    items = [(b"x", x)]
    if header is not None:
        data = header if isinstance(header, bytes) else header.SerializeToString()  # type: ignore[attr-defined]
        items.insert(0, (b"", data))
    (tmp_path / "b.index").write_bytes(table.write_table(items))
    with pytest.raises(kind, match=words), BundleReader(prefix) as reader:
        reader.read("x")


def test_shape_and_slice_texts() -> None:
    assert slices.parse_shape_and_slice("4 10 0,2:-") == ((4, 10), ((0, 2), (0, slices.FULL)))
    assert slices.to_text(((0, 2), (0, slices.FULL))) == "0,2:-"
    assert slices.is_whole(slices.whole(3)) and not slices.is_whole(((0, 1),))
    for text in ("", "4", "4 5 0,2", "x 0,1", "4 -1,2", "4 0,0", "4 0,2,3", "4 3,2", "-4 -"):
        with pytest.raises(InvalidArgumentError):
            slices.parse_shape_and_slice(text)
