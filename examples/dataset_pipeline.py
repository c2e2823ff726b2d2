"""CSV files through `tf.data` into a small model, with one iterator for training and one for validation.

    python examples/dataset_pipeline.py

The files are found by a pattern, read in turn, decoded by several calls at a time, shuffled, repeated, batched and made ahead. What the model
sees is a feedable iterator: the string that is fed says which of the two pipelines a step takes its batch from. The order is the same in each
run, and TensorFlow 1.15's, for the shuffles have seeds.
"""

import os
import tempfile

import numpy as np

import flowmesh as tf

FEATURES = 4
BATCH = 32


def make_files(folder, count, rows, seed):
    """Files of points and the side of a plane on which they lie."""
    random = np.random.RandomState(seed)
    normal = np.linspace(-1.0, 1.5, FEATURES)
    for number in range(count):
        points = random.rand(rows, FEATURES)
        sides = (points @ normal > normal.sum() / 2).astype(int)
        with open(os.path.join(folder, f"part{number}.csv"), "w") as file:
            file.write(",".join(f"x{i}" for i in range(FEATURES)) + ",side\n")
            for point, side in zip(points, sides, strict=True):
                file.write(",".join(f"{value:.5f}" for value in point) + f",{side}\n")


def parse(line):
    """One line as (features, label)."""
    *features, label = tf.decode_csv(line, [[0.0]] * FEATURES + [[0]])
    return {"x": tf.stack(features)}, label


def records(folder, seed=None):
    """The rows of all files of a folder, those of two files in turn."""
    names = tf.data.Dataset.list_files(os.path.join(folder, "*.csv"), shuffle=False)
    lines = names.interleave(lambda name: tf.data.TextLineDataset(name).skip(1), cycle_length=2)
    dataset = lines.map(parse, num_parallel_calls=2)
    return dataset if seed is None else dataset.shuffle(200, seed=seed)


def main(_):
    with tempfile.TemporaryDirectory(prefix="dataset-pipeline-") as folder:
        for name, seed in (("train", 0), ("test", 1)):
            os.mkdir(os.path.join(folder, name))
            make_files(os.path.join(folder, name), 3, 200, seed)
        train = records(os.path.join(folder, "train"), seed=7).repeat(5).batch(BATCH).prefetch(2)
        test = records(os.path.join(folder, "test")).batch(100).make_initializable_iterator()
        train_iterator = train.make_one_shot_iterator()
        handle = tf.placeholder(tf.string, [])
        iterator = tf.data.Iterator.from_string_handle(
            handle, train.output_types, train.output_shapes
        )
        features, labels = iterator.get_next()

        logits = tf.layers.dense(features["x"], 2)
        loss = tf.losses.sparse_softmax_cross_entropy(labels, logits)
        step = tf.train.get_or_create_global_step()
        train_op = tf.train.AdamOptimizer(0.1).minimize(loss, global_step=step)
        right = tf.reduce_sum(
            tf.cast(tf.equal(tf.argmax(logits, 1), tf.cast(labels, tf.int64)), tf.int32)
        )

        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            from_train, from_test = session.run(
                [train_iterator.string_handle(), test.string_handle()]
            )

            def accuracy():
                session.run(test.initializer)
                count = total = 0
                try:
                    while True:
                        found, batch = session.run([right, labels], {handle: from_test})
                        count, total = count + found, total + len(batch)
                except tf.errors.OutOfRangeError:
                    return count / total

            print(f"before: accuracy {accuracy():.3f}")
            try:
                while True:
                    _, number, value = session.run([train_op, step, loss], {handle: from_train})
                    if number % 30 == 0:
                        print(f"step {number}: loss {value:.3f}, accuracy {accuracy():.3f}")
            except tf.errors.OutOfRangeError:
                print(f"after {session.run(step)} steps: accuracy {accuracy():.3f}")


if __name__ == "__main__":
    tf.app.run()
