"""Event files: what a FileWriter writes, TensorBoard reads."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flowmesh.core import errors
from flowmesh.formats import summary as summary_protos
from flowmesh.formats.events import EventsWriter
from flowmesh.proto.config_pb2 import RunMetadata
from flowmesh.proto.event_pb2 import Event, SessionLog
from flowmesh.proto.meta_graph_pb2 import MetaGraphDef
from flowmesh.summaries import event_file_writer
from tests.training.names import tf


def _events(directory: Path) -> list[Any]:
    return [e for p in sorted(directory.glob("events.*")) for e in tf.summary.summary_iterator(p)]


def _kinds(directory: Path) -> list[str]:
    return [e.WhichOneof("what") for e in _events(directory)]


def test_all_kinds_of_events(tmp_path: Path) -> None:
    with tf.Graph().as_default() as graph:
        tf.constant(1.0, name="c")
        with tf.summary.FileWriter(tmp_path, graph, filename_suffix=".end") as writer:
            assert writer.get_logdir() == str(tmp_path)
            writer.add_summary(summary_protos.scalar("loss", 0.5), 3)
            writer.add_summary(summary_protos.scalar("loss", 0.25).SerializeToString(), np.int64(4))
            writer.add_session_log(SessionLog(status=SessionLog.START), 1)
            writer.add_run_metadata(RunMetadata(), "step 1", 1)
            with pytest.raises(ValueError, match="tag was already used"):
                writer.add_run_metadata(RunMetadata(), "step 1", 2)
            writer.add_event(Event(step=9))
    found = _events(tmp_path)
    assert [e.WhichOneof("what") for e in found] == [
        "file_version", "graph_def", "meta_graph_def", "summary", "summary", "session_log",
        "tagged_run_metadata", None,
    ]  # fmt: skip
    assert [(e.step, e.summary.value[0].simple_value) for e in found[3:5]] == [(3, 0.5), (4, 0.25)]
    assert [n.name for n in tf.GraphDef.FromString(found[1].graph_def).node] == ["c"]
    meta = MetaGraphDef.FromString(found[2].meta_graph_def)
    assert [op.name for op in meta.meta_info_def.stripped_op_list.op] == ["Const"]
    assert next(tmp_path.iterdir()).name.endswith(".end")


def test_tensorboard_reads_it(tmp_path: Path) -> None:
    accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator"
    ).EventAccumulator
    with tf.Graph().as_default() as graph, tf.Session() as session:
        merged = tf.summary.merge(
            [
                tf.summary.scalar("loss", tf.constant(0.5)),
                tf.summary.histogram("weights", tf.constant([1.0, 2.0, 3.0])),
                tf.summary.image("picture", tf.constant([[[[0.5], [1.0]]]])),
                tf.summary.audio("sound", tf.constant([[[0.5], [-0.5]]]), 44100),
                tf.summary.text("note", tf.constant("hello")),
            ]
        )
        with tf.summary.FileWriter(tmp_path, graph) as writer:
            writer.add_summary(session.run(merged), 1)
            writer.add_summary(session.run(merged), 2)
    events = accumulator(str(tmp_path), size_guidance={"scalars": 0})
    events.Reload()
    tags = events.Tags()
    assert tags["scalars"] == ["loss"]
    assert tags["histograms"] == ["weights"]
    assert tags["images"] == ["picture/image/0"]
    assert tags["audio"] == ["sound/audio/0"]
    assert tags["tensors"] == ["note"]
    assert tags["graph"]
    assert [(e.step, e.value) for e in events.Scalars("loss")] == [(1, 0.5), (2, 0.5)]
    assert events.Histograms("weights")[0].histogram_value.num == 3
    assert events.Images("picture/image/0")[0].width == 2
    assert events.Tensors("note")[0].tensor_proto.string_val == [b"hello"]


def test_metadata_is_written_once(tmp_path: Path) -> None:
    message = tf.Summary(value=[tf.Summary.Value(tag="t")])
    message.value[0].metadata.display_name = "shown"
    with tf.summary.FileWriter(tmp_path) as writer:
        writer.add_summary(message, 1)
        writer.add_summary(message, 2)
    shown = [e.summary.value[0].metadata.display_name for e in _events(tmp_path)[1:]]
    assert shown == ["shown", ""]
    assert message.value[0].metadata.display_name == "shown"


def test_flush_close_and_reopen(tmp_path: Path) -> None:
    writer = tf.summary.FileWriter(tmp_path, max_queue=1000, flush_secs=1000)
    writer.add_summary(summary_protos.scalar("a", 1.0), 1)
    assert _kinds(tmp_path) == ["file_version"]
    writer.flush()
    assert _kinds(tmp_path) == ["file_version", "summary"]
    writer.close()
    writer.close()
    with pytest.warns(UserWarning, match="closed FileWriter"):
        writer.add_summary(summary_protos.scalar("a", 2.0), 2)
    writer.reopen()
    writer.reopen()
    writer.add_summary(summary_protos.scalar("a", 3.0), 3)
    writer.close()
    assert len(list(tmp_path.iterdir())) == 2
    assert [e.step for e in _events(tmp_path) if e.HasField("summary")] == [1, 3]


def test_many_events_from_several_threads(tmp_path: Path) -> None:
    with tf.summary.FileWriter(tmp_path) as writer:

        def work(start: int) -> None:
            for i in range(100):
                writer.add_summary(summary_protos.scalar("n", 1.0), start + i)

        threads = [threading.Thread(target=work, args=(100 * n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(e.step for e in _events(tmp_path) if e.HasField("summary")) == list(range(400))


def test_an_abandoned_writer_writes_what_it_has(tmp_path: Path) -> None:
    writer = tf.summary.FileWriter(tmp_path, max_queue=1000, flush_secs=1000)
    writer.add_summary(summary_protos.scalar("a", 1.0), 1)
    del writer
    assert _kinds(tmp_path) == ["file_version", "summary"]


def test_errors_of_the_disk_are_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Any, event: bytes) -> None:
        raise OSError(28, "No space left on device")

    writer = event_file_writer.EventFileWriter(str(tmp_path), max_queue=1000, flush_secs=1000)
    monkeypatch.setattr(EventsWriter, "write_serialized", full)
    writer.add_event(Event(step=1))
    with pytest.raises(tf.errors.OpError, match="No space left"):
        writer.flush()
    with pytest.raises(tf.errors.OpError, match="No space left"):
        writer.add_event(Event(step=2))
    with pytest.raises(tf.errors.OpError, match="No space left"):
        writer.close()


def test_arguments(tmp_path: Path) -> None:
    with tf.summary.FileWriter(tmp_path) as writer, tf.Graph().as_default() as graph:
        with pytest.raises(ValueError, match="not both"):
            writer.add_graph(graph, graph_def=graph.as_graph_def())
        with pytest.raises(ValueError, match="must be specified"):
            writer.add_graph(None)
        with pytest.raises(TypeError, match="must be an instance of `Graph`"):
            writer.add_graph(3)
        with pytest.raises(TypeError, match="must be type MetaGraphDef"):
            writer.add_meta_graph(3)
        with pytest.raises(TypeError, match="must be a Summary message"):
            writer.add_summary(3)
        writer.add_graph(graph.as_graph_def(), 5)
    with pytest.raises(tf.errors.NotFoundError):
        list(tf.summary.summary_iterator(tmp_path / "none"))


def test_cache(tmp_path: Path) -> None:
    with tf.Graph().as_default():
        cache = tf.summary.FileWriterCache
        one = cache.get(tmp_path)
        assert cache.get(str(tmp_path)) is one
        cache.clear()
        assert one.event_writer.closed
        assert cache.get(str(tmp_path)) is not one
        cache.clear()


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(errors.OpError, match="file"):
        tf.summary.FileWriter(file)
    with pytest.raises(errors.NotFoundError, match="/proc/nope"):
        tf.summary.FileWriter("/proc/nope")
