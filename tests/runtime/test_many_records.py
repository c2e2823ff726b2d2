"""Queue runners that do many records in one go leave behind what one run after the other leaves: order, counts, errors, waiting."""

from __future__ import annotations

import numpy as np
import pytest

import flowmesh as tf
from flowmesh.core import errors
from flowmesh.runtime.many_records import ManyRecords

PATIENCE = 60.0


@pytest.fixture
def runs(monkeypatch):
    """How many records each try to do many took, in order."""
    done = []
    original = ManyRecords.run

    def run(self):
        count = original(self)
        done.append(count)
        return count

    monkeypatch.setattr(ManyRecords, "run", run)
    return done


@pytest.fixture
def files(tmp_path):
    """Three files of lines "0,w0", "1,w1" ..."""
    names, number = [], 0
    for file, count in enumerate((250, 1, 400)):
        lines = [f"{n},w{n}" for n in range(number, number + count)]
        number += count
        path = tmp_path / f"{file}.csv"
        path.write_text("\n".join(lines) + ("\n" if file != 1 else ""))
        names.append(str(path))
    return names


class Pipeline:
    """Lines of files through a queue, with the means to look at it."""

    def __init__(self, names, decode, capacity=64, threads=1, epochs=1, reader=None):
        self.graph = tf.Graph()
        with self.graph.as_default():
            files = tf.train.string_input_producer(names, num_epochs=epochs, shuffle=False)
            self.reader = (reader or tf.TextLineReader)()
            self.key, value = self.reader.read(files)
            self.components = decode(value)
            self.produced = self.reader.num_records_produced()
            dtypes = [c.dtype for c in self.components]
            shapes = [c.shape for c in self.components]
            static = all(s.is_fully_defined() for s in shapes)
            self.queue = tf.FIFOQueue(capacity, dtypes, shapes if static else None)
            enqueue = self.queue.enqueue(self.components)
            self.runner = tf.train.QueueRunner(self.queue, [enqueue] * threads)
            tf.train.add_queue_runner(self.runner)
            self.one = self.queue.dequeue()
            self.size = self.queue.size()
            self.start = [tf.global_variables_initializer(), tf.local_variables_initializer()]

    def __enter__(self):
        self.session = tf.Session(graph=self.graph)
        self.session.run(self.start)
        self.coordinator = tf.train.Coordinator()
        with self.graph.as_default():
            self.threads = tf.train.start_queue_runners(self.session, self.coordinator)
        return self

    def __exit__(self, *_):
        self.coordinator.request_stop()
        self.session.close()
        for thread in self.threads:
            thread.join(PATIENCE)
        assert not any(t.is_alive() for t in self.threads)

    def rest(self):
        """All elements until the end, and the error that ends them."""
        take = self.session.make_callable(self.one)
        found = []
        while True:
            try:
                found.append(take())
            except errors.OpError as error:
                return found, error

    def until(self, tensor, wanted):
        """Waits until a tensor has this value."""
        look = self.session.make_callable(tensor)
        value = look()
        while value != wanted:
            assert value < wanted, f"{value} > {wanted}"
            value = look()


def numbers_and_words(line):
    number, word = tf.decode_csv(line, [[0], [""]])
    return [tf.cast(number, tf.float32) * 0.5, tf.expand_dims(word, 0)]


def test_records_come_in_order_across_files(files, runs):
    with Pipeline(files, numbers_and_words) as p:
        found, error = p.rest()
        assert isinstance(error, errors.OutOfRangeError)
        assert p.session.run(p.produced) == 651
    assert [float(n) for n, _ in found] == [n / 2 for n in range(651)]
    assert [w.tolist() for _, w in found] == [[b"w%d" % n] for n in range(651)]
    assert max(runs) > 10
    assert p.runner.enqueued == 651


def test_no_more_is_read_than_there_is_room_for(files, runs):
    with Pipeline(files, numbers_and_words, capacity=40) as p:
        p.until(p.produced, 41)  # one that waits to be enqueued, as in TensorFlow
        assert p.session.run(p.size) == 40
        for n in range(3):
            assert p.session.run(p.one)[0] == n / 2
        p.until(p.produced, 44)
        p.until(p.size, 40)
    assert max(runs) > 10


def test_a_bad_record_ends_the_runner_after_those_before_it(tmp_path, runs):
    path = tmp_path / "bad.csv"
    path.write_text("".join(f"{'x' if n == 300 else n},w\n" for n in range(500)))
    with Pipeline([str(path)], numbers_and_words, capacity=1000, epochs=None) as p:
        p.coordinator.wait_for_stop(PATIENCE)
        assert p.session.run(p.produced) == 301
        found, _ = p.rest()
        assert [float(n) for n, _ in found] == [n / 2 for n in range(300)]
        with pytest.raises(
            errors.InvalidArgumentError, match="Field 0 in record 0 is not a valid int32: x"
        ):
            p.coordinator.join(p.threads, stop_grace_period_secs=PATIENCE)
    assert max(runs) > 10


def test_several_threads_lose_and_repeat_nothing(files, runs):
    with Pipeline(files, numbers_and_words, threads=3, epochs=2) as p:
        found, _ = p.rest()
        assert p.session.run(p.produced) == 2 * 651
    assert sorted(float(n) for n, _ in found) == sorted([n / 2 for n in range(651)] * 2)
    assert max(runs) > 10


def test_a_stop_ends_runners_that_wait(files, runs):
    with Pipeline(files, numbers_and_words, capacity=40, epochs=None, threads=2) as p:
        p.until(p.size, 40)
        p.coordinator.request_stop()
        p.coordinator.join(p.threads, stop_grace_period_secs=PATIENCE)
        with p.graph.as_default():
            assert p.session.run(p.queue.is_closed())


def lengths(line):
    """Something whose shape depends on the record."""
    return [tf.decode_raw(line, tf.uint8), tf.size(tf.string_split([line], ",").values)]


def test_results_of_different_shapes_stay_apart(tmp_path, runs):
    path = tmp_path / "lines"
    path.write_text("".join("a," * (n % 7) + "b\n" for n in range(200)))
    with Pipeline([str(path)], lengths) as p:
        found, _ = p.rest()
    assert [len(raw) for raw, _ in found] == [2 * (n % 7) + 1 for n in range(200)]
    assert [int(size) for _, size in found] == [n % 7 + 1 for n in range(200)]
    assert max(runs) > 10


def test_images_of_fixed_length(tmp_path, runs):
    path = tmp_path / "images"
    data = np.random.RandomState(0).randint(0, 256, (150, 13)).astype(np.uint8)
    path.write_bytes(data.tobytes())

    def decode(record):
        raw = tf.decode_raw(record, tf.uint8)
        label = tf.cast(tf.strided_slice(raw, [0], [1]), tf.int32)
        image = tf.reshape(tf.strided_slice(raw, [1], [13]), [3, 2, 2])
        image = tf.cast(tf.transpose(image, [1, 2, 0]), tf.float32) * (1.0 / 255) - 0.5
        return [image, tf.reduce_sum(image), tf.reshape(label, [])]

    with Pipeline([str(path)], decode, reader=lambda: tf.FixedLengthRecordReader(13)) as p:
        found, _ = p.rest()
    assert len(found) == 150
    for (image, total, label), record in zip(found, data):
        wanted = record[1:].reshape(3, 2, 2).transpose(1, 2, 0).astype(np.float32)
        wanted = wanted * np.float32(1.0 / 255) - np.float32(0.5)
        np.testing.assert_array_equal(image, wanted)
        assert total == wanted.sum() and label == record[0]
    assert max(runs) > 10


def test_examples_of_tfrecord_files(tmp_path, runs):
    path = str(tmp_path / "examples")
    with tf.python_io.TFRecordWriter(path) as writer:
        for n in range(120):
            feature = tf.train.Feature(int64_list=tf.train.Int64List(value=[n, n * n]))
            features = tf.train.Features(feature={"n": feature})
            writer.write(tf.train.Example(features=features).SerializeToString())

    def decode(record):
        return [tf.parse_single_example(record, {"n": tf.FixedLenFeature([2], tf.int64)})["n"]]

    with Pipeline([path], decode, reader=tf.TFRecordReader) as p:
        found, _ = p.rest()
    assert [value.tolist() for value in found] == [[n, n * n] for n in range(120)]
    assert max(runs) > 10


def test_slices_are_gathered_many_at_a_time(runs):
    values = np.arange(600, dtype=np.float32).reshape(200, 3)
    with tf.Graph().as_default(), tf.Session() as session:
        row, label = tf.train.slice_input_producer(
            [values, np.arange(200)], num_epochs=2, shuffle=False, capacity=100
        )
        batch = tf.train.batch([row, label], 50, capacity=300)
        session.run(tf.local_variables_initializer())
        coordinator = tf.train.Coordinator()
        threads = tf.train.start_queue_runners(session, coordinator)
        found = [session.run(batch) for _ in range(8)]
        with pytest.raises(errors.OutOfRangeError):
            session.run(batch)
        coordinator.request_stop()
        coordinator.join(threads, stop_grace_period_secs=PATIENCE)
    np.testing.assert_array_equal(np.concatenate([r for r, _ in found]), np.tile(values, (2, 1)))
    assert np.concatenate([n for _, n in found]).tolist() == [*range(200), *range(200)]
    assert max(runs) > 10


@pytest.mark.parametrize("kind", ["random", "variable", "python"])
def test_what_depends_on_other_runs_is_done_one_by_one(files, runs, kind):
    def decode(line):
        number, _ = tf.decode_csv(line, [[0], [""]])
        if kind == "random":
            return [number, tf.random_uniform([], seed=3)]
        if kind == "variable":
            return [number, tf.get_variable("v", initializer=2.0) + 1.0]
        return [number, tf.py_func(lambda: np.float32(1), [], tf.float32)]

    with Pipeline(files[:1], decode) as p:
        found, _ = p.rest()
    assert [int(element[0]) for element in found] == list(range(250))
    assert not runs


def test_the_consumer_sees_what_the_runner_of_a_shuffled_queue_puts_in(files, runs):
    with tf.Graph().as_default(), tf.Session() as session:
        names = tf.train.string_input_producer(files, num_epochs=1, shuffle=False)
        _, line = tf.TextLineReader().read(names)
        number, word = tf.decode_csv(line, [[0], [""]])
        batch = tf.train.shuffle_batch(
            [number, word], 31, capacity=200, min_after_dequeue=100, seed=5
        )
        session.run(tf.local_variables_initializer())
        coordinator = tf.train.Coordinator()
        threads = tf.train.start_queue_runners(session, coordinator)
        found = [session.run(batch) for _ in range(21)]
        coordinator.request_stop()
        coordinator.join(threads, stop_grace_period_secs=PATIENCE)
    numbers = np.concatenate([n for n, _ in found]).tolist()
    assert sorted(numbers) == list(range(651)) and numbers != list(range(651))
    assert np.concatenate([w for _, w in found]).tolist() == [b"w%d" % n for n in numbers]
    assert max(runs) > 10


def test_a_closed_session_ends_a_runner_without_coordinator(files):
    with Pipeline(files, numbers_and_words, capacity=40, epochs=None) as p:
        p.until(p.size, 40)
