"""Whatever the bytes are, reading them gives a result or an error with a name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from google.protobuf.message import DecodeError
from hypothesis import HealthCheck, given, settings, strategies as st

from flowmesh.core.errors import (
    DataLossError,
    InvalidArgumentError,
    NotFoundError,
    OpError,
    UnimplementedError,
)
from flowmesh.formats import table
from flowmesh.formats.checkpoint import BundleReader, merge_bundles
from flowmesh.formats.events import read_events
from flowmesh.formats.records import read_records
from flowmesh.formats.slices import parse_shape_and_slice
from flowmesh.formats.tensor import from_tensor_proto
from flowmesh.proto.tensor_pb2 import TensorProto

from .cases import FIXTURES, rows

NAMED = (DataLossError, InvalidArgumentError, UnimplementedError, NotFoundError)
fuzz = settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@st.composite
def damage(draw: st.DrawFn) -> Callable[[bytes], bytes]:
    """Something that happens to bytes: cut short, lengthened, bytes replaced or taken out."""
    kind = draw(st.sampled_from(["cut", "flip", "insert", "drop"]))
    where = draw(st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=4))
    what = draw(st.binary(min_size=1, max_size=12))

    def apply(data: bytes) -> bytes:
        out = bytearray(data)
        for place in where:
            at = int(place * len(out))
            if kind == "cut":
                del out[at:]
            elif kind == "flip" and out:
                out[at] ^= what[0] or 1
            elif kind == "insert":
                out[at:at] = what
            else:
                del out[at : at + len(what)]
        return bytes(out)

    return apply


def outcome(read: Callable[[], object]) -> None:
    try:
        read()
    except NAMED as error:
        assert error.message


@fuzz
@given(damage(), st.sampled_from(["plain", "gzip", "zlib"]))
def test_records(tmp_path: Path, change: Callable[[bytes], bytes], name: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(change((FIXTURES / f"records.{name}").read_bytes()))
    outcome(lambda: list(read_records(str(path), "" if name == "plain" else name.upper())))


@fuzz
@given(damage())
def test_events(tmp_path: Path, change: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "file"
    path.write_bytes(change((FIXTURES / "events").read_bytes()))
    outcome(lambda: list(read_events(str(path))))


@fuzz
@given(damage(), st.sampled_from(rows("tensors.json")))
def test_tensors(change: Callable[[bytes], bytes], row: dict) -> None:
    try:
        proto = TensorProto.FromString(change(bytes.fromhex(row["bytes"])))
    except DecodeError:
        return
    outcome(lambda: from_tensor_proto(proto))


def read_everything(prefix: str) -> None:
    with BundleReader(prefix) as reader:
        first: OpError | None = None
        for name in reader.keys():  # noqa: SIM118 - not a dict
            try:
                reader.read(name)
                reader.shape(name)
                reader.dtype(name)
            except NAMED as error:
                first = error
        if first is not None:
            raise first


@fuzz
@given(damage(), st.sampled_from([".index", ".data-00000-of-00001"]))
def test_checkpoints(tmp_path: Path, change: Callable[[bytes], bytes], suffix: str) -> None:
    for name in (".index", ".data-00000-of-00001"):
        data = (FIXTURES / f"bundle{name}").read_bytes()
        (tmp_path / f"b{name}").write_bytes(change(data) if name == suffix else data)
    outcome(lambda: read_everything(str(tmp_path / "b")))


@fuzz
@given(damage(), st.integers(0, 10_000))
def test_checkpoints_with_damage_behind_sound_checksums(
    tmp_path: Path, change: Callable[[bytes], bytes], which: int
) -> None:
    items = table.read_table((FIXTURES / "bundle.index").read_bytes(), "bundle")
    keys = list(items)
    key = keys[which % len(keys)]
    items[key] = change(items[key])
    (tmp_path / "b.index").write_bytes(table.write_table(items.items()))
    data = (FIXTURES / "bundle.data-00000-of-00001").read_bytes()
    (tmp_path / "b.data-00000-of-00001").write_bytes(data)
    outcome(lambda: read_everything(str(tmp_path / "b")))
    outcome(lambda: merge_bundles([str(tmp_path / "b")], str(tmp_path / "merged")))


@fuzz
@given(damage())
def test_tables(change: Callable[[bytes], bytes]) -> None:
    data = change((FIXTURES / "bundle.index").read_bytes())
    outcome(lambda: table.read_table(data, "t"))


@fuzz
@given(st.text("0123456789,:- x", max_size=12))
def test_slice_texts(text: str) -> None:
    outcome(lambda: parse_shape_and_slice(text))


def test_the_list_of_named_errors_is_not_a_catch_all() -> None:
    with pytest.raises(ZeroDivisionError):
        outcome(lambda: 1 / 0)
