"""Readers in sessions: what they do with files that cannot be read, as TensorFlow 1.15 does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import flowmesh as tf
from flowmesh import errors


def _ends(fetch: Any, sess: Any) -> str:
    try:
        sess.run(fetch)
    except errors.OpError as error:
        return type(error).__name__ + ": " + error.message.partition("\n")[0]
    return "a record"


def test_a_file_that_cannot_be_read_is_not_passed_over(tmp_path: Path) -> None:
    good, bad = tmp_path / "good", tmp_path / "bad"
    for path in (good, bad):
        with tf.python_io.TFRecordWriter(str(path)) as writer:
            writer.write(b"record")
    data = bytearray(bad.read_bytes())
    data[14] ^= 1
    bad.write_bytes(data)
    with tf.Graph().as_default(), tf.Session() as sess:
        reader = tf.TFRecordReader()
        files = tf.FIFOQueue(9, tf.string, [[]])
        record = reader.read(files)[1]
        sess.run(files.enqueue_many([[str(bad), str(tmp_path / "none"), str(good)]]))
        found = [_ends(record, sess), _ends(record, sess)]
        assert found == [f"DataLossError: corrupted record at 12 in {bad}"] * 2
        sess.run(reader.reset())
        assert _ends(record, sess).startswith("NotFoundError")  # and gives the file up
        assert _ends(record, sess) == "a record"


def test_readers_of_whole_files_stay_at_one_that_is_missing(tmp_path: Path) -> None:
    with tf.Graph().as_default(), tf.Session() as sess:
        reader = tf.WholeFileReader(name="whole")
        files = tf.FIFOQueue(9, tf.string, [[]])
        record = reader.read(files)[1]
        sess.run(files.enqueue_many([[str(tmp_path / "none")]]))
        assert [_ends(record, sess)[:13] for _ in range(2)] == ["NotFoundError"] * 2
        with pytest.raises(
            errors.InvalidArgumentError,
            match="Could not parse state for WholeFileReader 'whole': junk",
        ):
            sess.run(reader.restore_state(b"junk"))


def test_a_fixed_length_file_shorter_than_its_header(tmp_path: Path) -> None:
    (tmp_path / "short").write_bytes(b"x")
    (tmp_path / "long").write_bytes(b"HHabcdeF")
    with tf.Graph().as_default(), tf.Session() as sess:
        reader = tf.FixedLengthRecordReader(2, header_bytes=2, footer_bytes=1)
        files = tf.FIFOQueue(9, tf.string, [[]])
        record = reader.read(files)[1]
        sess.run(files.enqueue_many([[str(tmp_path / "short"), str(tmp_path / "long")]]))
        assert _ends(record, sess).startswith("OutOfRangeError: reached end of file")
        assert [sess.run(record), sess.run(record)] == [b"ab", b"cd"]


def test_record_input_deals_out_all_records(tmp_path: Path) -> None:
    # The op is RecordInput: shuffled records of all files, for ever.
    for number in range(2):
        with tf.python_io.TFRecordWriter(str(tmp_path / f"part-{number}")) as writer:
            for record in range(3):
                writer.write(b"%d-%d" % (number, record))
    every = {b"%d-%d" % (number, record) for number in range(2) for record in range(3)}
    with tf.Graph().as_default(), tf.Session() as sess:
        RecordInput = tf.contrib.staging.RecordInput
        records = RecordInput(str(tmp_path / "part-*"), batch_size=6, seed=7).get_yield_op()
        assert records.shape.as_list() == [6] and records.op.type == "RecordInput"
        seen = [set(sess.run(records)) for _ in range(20)]
        assert set.union(*seen) == every
        again = RecordInput(str(tmp_path / "part-*"), batch_size=6, seed=7).get_yield_op()
        first = sess.run(again).tolist()
        split = RecordInput(
            str(tmp_path / "part-*"), batch_size=2, batches=3, seed=7
        ).get_yield_op()
        assert [len(batch) for batch in split] == [2, 2, 2]
        flat = sess.run([record for pair in zip(*split) for record in pair])
        assert flat == first
        none = RecordInput(str(tmp_path / "none-*")).get_yield_op()
        with pytest.raises(errors.NotFoundError, match="No file matches the pattern"):
            sess.run(none)
