"""Readers on files, with the keys, values and errors of TensorFlow 1.15.

The sources are TextLineReaderV2, TFRecordReaderV2, WholeFileReaderV2, IdentityReaderV2 and FixedLengthRecordReaderV2; the
operations ReaderReadV2, ReaderReadUpToV2, ReaderNumRecordsProducedV2, ReaderNumWorkUnitsCompletedV2, ReaderResetV2,
ReaderSerializeStateV2 and ReaderRestoreStateV2; the same without V2 on refs.
"""

import os
import zlib

import numpy as np
import pytest

import flowmesh.ops  # noqa: F401  (registers every op)
from flowmesh.core import dtypes, errors
from flowmesh.core.shapes import TensorShape
from flowmesh.formats.records import RecordWriter
from flowmesh.graph.graph import Graph
from flowmesh.graph.raw import raw
from flowmesh.ops import data_flow, reader_ops
from flowmesh.resources.manager import ResourceManager
from flowmesh.resources.queues import FIFOQueue
from tests.ops.interpreter import host_context


@pytest.fixture(autouse=True)
def graph():
    graph = Graph()
    with graph.as_default():
        yield graph


@pytest.fixture
def folder(tmp_path):
    files = {
        "a.txt": b"one\r\ntwo\n\nfour",
        "b.txt": b"h1\nh2\nx\n",
        "e.txt": b"",
        "f.bin": b"HHabcdefghijFF",
        "z.bin": zlib.compress(b"abcdef"),
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    with RecordWriter(str(tmp_path / "r.tfr")) as writer:
        writer.write(b"r1")
        writer.write(b"r2")
    return tmp_path


def run(node, *inputs, **context):
    op = getattr(node, "op", None) or getattr(node, "key", None) or getattr(node, "keys", node)
    op = getattr(op, "op", op)
    return op.definition.run(host_context(op.name, **context), *inputs)


def queue_of(folder, names):
    queue = FIFOQueue("q", [dtypes.string], [TensorShape([])])
    for name in names:
        queue.enqueue([np.array(os.fsencode(folder / name), object)]).result(0)
    queue.close().result(0)
    return queue


def read_all(reader, folder, names):
    """All records, the keys without the folder, and the two counts."""
    resource, queue = run(reader.reader_ref), queue_of(folder, names)
    handle = data_flow.FIFOQueue(9, "string", [[]])
    node, records = reader.read(handle), []
    with pytest.raises(errors.OutOfRangeError, match="is closed and has insufficient elements"):
        while True:
            key, value = run(node.key, resource, queue)
            assert key.shape == () and key.dtype == object
            records.append((os.fsdecode(key.item()).replace(f"{folder}/", ""), value.item()))
    counts = [
        run(reader.num_records_produced(), resource),
        run(reader.num_work_units_completed(), resource),
    ]
    assert all(count.dtype == np.int64 for count in counts)
    return records, [int(count) for count in counts]


def test_lines(folder):
    assert read_all(reader_ops.TextLineReader(), folder, ["a.txt", "e.txt", "b.txt"]) == (
        [
            ("a.txt:1", b"one"),
            ("a.txt:2", b"two"),
            ("a.txt:3", b""),
            ("a.txt:4", b"four"),
            ("b.txt:1", b"h1"),
            ("b.txt:2", b"h2"),
            ("b.txt:3", b"x"),
        ],
        [7, 3],
    )
    records, counts = read_all(
        reader_ops.TextLineReader(skip_header_lines=1), folder, ["a.txt", "b.txt"]
    )
    assert [key for key, _ in records] == ["a.txt:2", "a.txt:3", "a.txt:4", "b.txt:2", "b.txt:3"]
    assert counts == [5, 2]


def test_whole_files_and_identities(folder):
    names = ["a.txt", "e.txt"]
    assert read_all(reader_ops.WholeFileReader(), folder, names) == (
        [("a.txt", b"one\r\ntwo\n\nfour"), ("e.txt", b"")],
        [2, 2],
    )
    records, counts = read_all(reader_ops.IdentityReader(), folder, names)
    assert [value for _, value in records] == [os.fsencode(folder / n) for n in names]
    assert counts == [2, 2]


def test_tfrecords(folder):
    assert read_all(reader_ops.TFRecordReader(), folder, ["r.tfr"]) == (
        [("r.tfr:0", b"r1"), ("r.tfr:18", b"r2")],
        [2, 1],
    )
    reader = reader_ops.TFRecordReader()
    handle = data_flow.FIFOQueue(9, "string", [[]])
    with pytest.raises(errors.DataLossError, match="corrupted record at 0"):
        run(reader.read(handle).key, run(reader.reader_ref), queue_of(folder, ["a.txt"]))


@pytest.mark.parametrize(
    ("sizes", "want"),
    [
        ((3, 2, 2), [b"abc", b"def", b"ghi"]),
        ((4, 2, 2), [b"abcd", b"efgh"]),
        ((4, 2, 2, 2), [b"abcd", b"cdef", b"efgh", b"ghij"]),
        ((2, 2, 2, 4), [b"ab", b"ef", b"ij"]),
    ],
)
def test_fixed_lengths(folder, sizes, want):
    reader = reader_ops.FixedLengthRecordReader(*sizes)
    records, _ = read_all(reader, folder, ["f.bin"])
    assert records == [(f"f.bin:{i}", value) for i, value in enumerate(want)]


def test_compressed_fixed_lengths(folder):
    reader = reader_ops.FixedLengthRecordReader(3, encoding="ZLIB")
    records, _ = read_all(reader, folder, ["z.bin"])
    assert [value for _, value in records] == [b"abc", b"def"]
    with pytest.raises(errors.InvalidArgumentError, match="record_bytes must be > 0 but is 0"):
        run(reader_ops.FixedLengthRecordReader(0).reader_ref)


def test_a_missing_file_is_named(folder):
    for reader in (reader_ops.TextLineReader(), reader_ops.WholeFileReader()):
        handle = data_flow.FIFOQueue(9, "string", [[]])
        with pytest.raises(errors.NotFoundError) as failure:
            run(reader.read(handle).key, run(reader.reader_ref), queue_of(folder, ["no"]))
        assert failure.value.message == f"{folder}/no; No such file or directory"


def test_several_records_at_once(folder):
    reader = reader_ops.TextLineReader()
    handle = data_flow.FIFOQueue(9, "string", [[]])
    keys, values = reader.read_up_to(handle, 3)
    assert keys.shape.as_list() == [None] == values.shape.as_list()
    resource, queue = run(reader.reader_ref), queue_of(folder, ["a.txt"])
    got = run(keys, resource, queue, np.int64(3))
    assert [v.tolist() for v in got][1] == [b"one", b"two", b""]
    assert run(keys, resource, queue, np.int64(3))[1].tolist() == [b"four"]


def test_state_is_taken_and_restored(folder):
    reader = reader_ops.IdentityReader()
    resource, queue = run(reader.reader_ref), queue_of(folder, ["a"])
    handle = data_flow.FIFOQueue(9, "string", [[]])
    assert reader.supports_serialize
    assert run(reader.serialize_state(), resource).item() == b""
    run(reader.read(handle).key, resource, queue)
    state = run(reader.serialize_state(), resource)
    name = os.fsencode(folder / "a")
    assert state.item() == b'\x08\x01\x10\x01\x18\x01"' + bytes([len(name)]) + name
    run(reader.reset(), resource)
    assert run(reader.num_records_produced(), resource) == 0
    run(reader.restore_state(""), resource, state)
    assert run(reader.num_records_produced(), resource) == 1
    with pytest.raises(errors.InvalidArgumentError, match="Could not parse state for IdentityRead"):
        run(reader.restore_state(""), resource, np.array(b"zzz", object))
    text = reader_ops.TextLineReader()
    assert not text.supports_serialize
    with pytest.raises(errors.UnimplementedError, match="Reader SerializeState"):
        run(text.serialize_state(), run(text.reader_ref))
    with pytest.raises(errors.UnimplementedError, match="Reader RestoreState"):
        run(text.restore_state(""), run(text.reader_ref), state)


def test_names_are_tensorflows(graph):
    reader = reader_ops.TextLineReader()
    handle = data_flow.FIFOQueue(9, "string", [[]])
    key, value = reader.read(handle)
    assert (key.name, value.name) == ("ReaderReadV2:0", "ReaderReadV2:1")
    assert key.shape.as_list() == []
    assert reader.read_up_to(handle.queue_ref, 5).keys.name == "ReaderReadUpToV2:0"
    assert reader.reader_ref.name == "TextLineReaderV2:0"
    assert reader.reset().name == "ReaderResetV2"


def test_refs_work_too(folder):
    handle = raw.IdentityReader()
    queue = raw.FIFOQueue(component_types=["string"])
    assert handle.dtype == dtypes.string_ref and handle.shape.as_list() == [2]
    reader = reader_ops.ReaderBase(handle)
    read = reader.read(queue)
    assert read.key.op.type == "ReaderRead"
    assert run(read.key, run(handle), queue_of(folder, ["a"]))[0].item().endswith(b"/a")


def test_readers_are_private_or_shared():
    reader, state, resources = reader_ops.IdentityReader(), {}, ResourceManager()
    first = run(reader.reader_ref, state=state)
    assert run(reader.reader_ref, state=state) is first
    assert run(reader.reader_ref, state={}) is not first
    shared = [raw.IdentityReaderV2(shared_name="z") for _ in range(2)]
    assert len({id(run(s, resources=resources)) for s in shared}) == 1
    assert resources.names() == ["z"]
