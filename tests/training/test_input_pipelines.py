"""Input pipelines that run: every record once per epoch, sparse batches, buckets, and reports of those that stand still."""

from __future__ import annotations

import collections
import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flowmesh.client import idle_runners
from flowmesh.core import errors
from flowmesh.frontend import record_io
from flowmesh.training import input_report, queue_runner
from tests.training.input_tf import tf


def ran(fetches: Any) -> list[Any]:
    """All values of `fetches` until the input ends; the threads have ended then too."""
    with tf.Session() as sess:
        sess.run(tf.local_variables_initializer())
        coord = tf.train.Coordinator()
        threads = tf.train.start_queue_runners(sess, coord)
        found = []
        try:
            while True:
                found.append(sess.run(fetches))
        except errors.OutOfRangeError:
            coord.request_stop()
        coord.join(threads, stop_grace_period_secs=20)
        return found


@pytest.fixture(autouse=True)
def graph():
    with tf.Graph().as_default() as graph:
        yield graph


@pytest.fixture
def csv_files(tmp_path: Path) -> list[str]:
    for i in range(2):
        (tmp_path / f"{i}.csv").write_text("".join(f"{i},{j}\n" for j in range(5)))
    return sorted(str(p) for p in tmp_path.glob("*.csv"))


def test_every_record_comes_once_per_epoch(csv_files: list[str]) -> None:
    names = tf.train.match_filenames_once(str(Path(csv_files[0]).parent / "*.csv"))
    queue = tf.train.string_input_producer(names, num_epochs=3, shuffle=True, seed=1)
    readers = [tf.TextLineReader().read(queue) for _ in range(2)]
    rows = [tf.decode_csv(value, [[0], [0]]) for _, value in readers]
    batch = tf.train.shuffle_batch_join(rows, 4, 20, 5, seed=2, allow_smaller_final_batch=True)
    counts = collections.Counter()
    for files, lines in ran(batch):
        counts.update(zip(files.tolist(), lines.tolist()))
    assert counts == {(i, j): 3 for i in range(2) for j in range(5)}


def test_slices_filtered_and_padded() -> None:
    row, label = tf.train.slice_input_producer(
        [np.arange(12.0).reshape(6, 2), np.arange(6)], 1, False
    )
    odd = tf.equal(label % 2, 1)
    kept = tf.train.maybe_batch([row, label], odd, 2, allow_smaller_final_batch=True)
    assert [labels.tolist() for _, labels in ran(kept)] == [[1, 3], [5]]


def test_lengths_differ_within_a_batch() -> None:
    (count,) = tf.train.slice_input_producer([np.array([1, 3, 2], np.int32)], 1, False)
    values = tf.fill(tf.reshape(count, [1]), count)
    batches = ran(tf.train.batch([values], 3, dynamic_pad=True))
    assert [b.tolist() for b in batches] == [[[1, 0, 0], [3, 3, 3], [2, 2, 0]]]


def test_sparse_batches() -> None:
    (number,) = tf.train.slice_input_producer([np.arange(4, dtype=np.int64)], 1, False)
    sparse = tf.SparseTensor(tf.reshape(number, [1, 1]), tf.reshape(number, [1]), [5])
    first, second = ran(tf.train.batch({"s": sparse, "n": number}, 2))
    assert first["s"].indices.tolist() == [[0, 0], [1, 1]] and first["n"].tolist() == [0, 1]
    assert second["s"].values.tolist() == [2, 3] and second["s"].dense_shape.tolist() == [2, 5]


def test_buckets_hold_what_belongs_together() -> None:
    (number,) = tf.train.slice_input_producer([np.arange(8, dtype=np.int32)], 1, False)
    which, batch = tf.contrib.training.bucket([number], number % 2, 2, 2)
    found = ran([which, batch])
    assert all((values % 2 == bucket).all() for bucket, values in found)
    assert sorted(v for _, values in found for v in values.tolist()) == list(range(8))


def test_lengths_go_to_their_bucket() -> None:
    (number,) = tf.train.slice_input_producer([np.array([1, 7, 2, 9], np.int32)], 1, False)
    values = tf.fill(tf.reshape(number, [1]), number)
    lengths, (batch,) = tf.contrib.training.bucket_by_sequence_length(
        number, [values], 2, [5], dynamic_pad=True
    )
    found = {tuple(n.tolist()): b.shape for n, b in ran([lengths, batch])}
    assert found == {(1, 2): (2, 2), (7, 9): (2, 9)}


# -- record files ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["", "GZIP", "ZLIB"])
def test_record_files(tmp_path: Path, kind: str) -> None:
    options = record_io.TFRecordOptions(kind, compression_level=1)
    path = tmp_path / "x.rec"
    with record_io.TFRecordWriter(path, options) as writer:
        for i in range(3):
            writer.write(b"%d" % i)
        writer.flush()
    assert list(record_io.tf_record_iterator(path, options)) == [b"0", b"1", b"2"]
    with pytest.raises(
        errors.FailedPreconditionError, match="not initialized or previously closed"
    ):
        writer.write(b"late")
    writer.close()
    complaint = pytest.raises(TypeError, match="expected bytes, str found")
    with record_io.TFRecordWriter(path) as text, complaint:
        text.write("text")  # type: ignore[arg-type]


def test_record_files_that_are_not_there(tmp_path: Path) -> None:
    missing = tmp_path / "none" / "x"
    for use in (record_io.TFRecordWriter, lambda p: list(record_io.tf_record_iterator(p))):
        with pytest.raises(errors.NotFoundError, match=r"; No such file or directory"):
            use(missing)
    with pytest.raises(ValueError, match='Not a valid compression_type: "X"'):
        record_io.TFRecordOptions("X")
    name = record_io.TFRecordOptions.get_compression_type_string
    assert [name(record_io.TFRecordCompressionType.ZLIB), name("GZIP"), name(None)] == [
        "ZLIB",
        "GZIP",
        "",
    ]


# -- pipelines that stand still --------------------------------------------------------------------------


def test_a_pipeline_nobody_feeds_is_explained(graph: Any) -> None:
    queue = tf.train.string_input_producer(["a"], name="files")
    tf.train.batch([tf.WholeFileReader().read(queue)[1]], 4, name="batch")
    mine = tf.FIFOQueue(5, tf.float32, [[]], name="mine")
    tf.train.batch([mine.dequeue()], 2, name="other")
    files, first, second = graph.get_collection("queue_runners")
    with tf.Session() as sess:
        coord = tf.train.Coordinator()
        threads = [t for r in (first, second) for t in r.create_threads(sess, coord, start=True)]
        text = input_report.pipeline_report(sess)
        assert (
            "files (FIFOQueueV2): 0 of 32 elements, open; its queue runner has no running" in text
        )
        assert "batch/fifo_queue is empty: what fills it waits for files." in text
        assert "Nobody enqueues into files: its queue runner has no running thread" in text
        assert "Nobody is known to enqueue into mine: it has no queue runner" in text
        assert input_report.is_stuck(input_report.pipeline_states(sess))
        again = len(graph.get_operations())
        graph.finalize()
        assert input_report.pipeline_report(sess) == text and len(graph.get_operations()) == again
        coord.request_stop()
        sess.run([files.cancel_op, mine.queue_ref.op])
        graph._unsafe_unfinalize()
        sess.run(mine.close(cancel_pending_enqueues=True))
        coord.join(threads, stop_grace_period_secs=20)


def test_a_standstill_is_logged_once(graph: Any, caplog: pytest.LogCaptureFixture) -> None:
    tf.train.batch([tf.FIFOQueue(5, tf.float32, [[]], name="mine").dequeue()], 2, name="other")
    with tf.Session() as sess, caplog.at_level(logging.WARNING):
        watch = input_report.PipelineWatch(sess, tf.train.Coordinator(), after_secs=1)
        for _ in range(3):
            watch.run_loop()
    stuck = [r.getMessage() for r in caplog.records if "stuck" in r.getMessage()]
    assert len(stuck) == 1 and "mine" in stuck[0]


def test_started_runners_look_for_a_standstill(
    graph: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue_runner, "_STILL_SECS", 0.01)
    mine = tf.FIFOQueue(5, tf.float32, [[]], name="mine")
    item = tf.train.batch([mine.dequeue()], 2, name="other")
    put = mine.enqueue(1.0)
    reported = threading.Event()
    monkeypatch.setattr(input_report.tf_logging, "warning", lambda *args: told.append(args))
    told: list[Any] = []
    look = input_report.Standstill.look
    monkeypatch.setattr(input_report.Standstill, "look", lambda self: look(self) and reported.set())
    with tf.Session() as sess:
        coord = tf.train.Coordinator()
        threads = tf.train.start_queue_runners(sess, coord)
        assert reported.wait(20)
        sess.run(put), sess.run(put)
        assert sess.run(item).tolist() == [1.0, 1.0]
        coord.request_stop()
        sess.run(mine.close(cancel_pending_enqueues=True))
        coord.join(threads, stop_grace_period_secs=20)
    text = told[0][0] % told[0][1:]
    assert "stuck" in text and "Nobody is known to enqueue into mine" in text


def test_a_step_that_waits_for_runners_nobody_started_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(idle_runners, "WAITS_SECS", 0.01)
    told: list[Any] = []
    said = threading.Event()

    def note(*args: Any) -> None:
        told.append(args)
        said.set()

    monkeypatch.setattr(idle_runners.tf_logging, "warning", note)
    number = tf.train.range_input_producer(4, num_epochs=1, shuffle=False).dequeue()
    batch = tf.train.batch([number], 2, name="pairs")
    with tf.Session() as sess, ThreadPoolExecutor(1) as pool:
        sess.run(tf.local_variables_initializer())
        step = pool.submit(sess.run, batch)
        assert said.wait(20) and not step.done()
        coord = tf.train.Coordinator()
        threads = tf.train.start_queue_runners(sess, coord)
        assert step.result(20).tolist() == [0, 1]
        coord.request_stop()
        coord.join(threads, stop_grace_period_secs=20)
    text = told[0][0] % told[0][1:]
    assert "waits for the queue 'pairs/fifo_queue'" in text
    assert "tf.train.start_queue_runners(sess, coord)" in text


def test_a_graph_without_queues() -> None:
    with tf.Session() as sess:
        assert input_report.pipeline_report(sess) == "The graph has no queues."


def _fails_at_three(value: Any) -> Any:
    if value == 3:
        raise ValueError("bad record")
    return value


@pytest.mark.parametrize("stages", [1, 2])
def test_the_end_of_an_input_that_failed_says_why(stages: int) -> None:
    number = tf.train.range_input_producer(10, num_epochs=1, shuffle=False).dequeue()
    parsed = tf.py_func(_fails_at_three, [number], tf.int32, name="parse")
    parsed.set_shape([])
    batch = tf.train.batch([parsed], 2)
    if stages == 2:
        batch = tf.train.batch([batch], 1)
    with tf.Session() as sess:
        sess.run(tf.local_variables_initializer())
        coord = tf.train.Coordinator()
        threads = tf.train.start_queue_runners(sess, coord)
        with pytest.raises(errors.OutOfRangeError) as end:
            while True:
                sess.run(batch)
        assert "is closed and has insufficient elements" in end.value.message
        reason = "Its input had failed: InvalidArgumentError: ValueError: bad record (node parse)"
        assert reason in end.value.message
        with pytest.raises(errors.InvalidArgumentError) as cause:
            coord.join(threads, stop_grace_period_secs=20)
        assert "in _fails_at_three\n" in cause.value.message


def test_the_ordinary_end_of_an_input_names_no_failure() -> None:
    batch = tf.train.batch([tf.train.range_input_producer(4, num_epochs=1).dequeue()], 2)
    with tf.Session() as sess:
        sess.run(tf.local_variables_initializer())
        coord = tf.train.Coordinator()
        threads = tf.train.start_queue_runners(sess, coord)
        sess.run(batch), sess.run(batch)
        with pytest.raises(errors.OutOfRangeError) as end:
            sess.run(batch)
        assert "had failed" not in end.value.message
        coord.request_stop()
        coord.join(threads, stop_grace_period_secs=20)
