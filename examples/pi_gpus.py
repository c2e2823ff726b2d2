"""Estimate Pi by Monte Carlo, the samples shared out over four GPUs of one machine in one graph.

A machine without four GPUs simulates them:

    python examples/pi_gpus.py --simulate
    flowmesh run --simulate-gpus 4 examples/pi_gpus.py
"""

import time

import flowmesh as tf

flags = tf.app.flags
flags.DEFINE_integer("gpus", 4, "number of devices to use")
flags.DEFINE_integer("samples", 4_000_000, "number of random points in all")
flags.DEFINE_boolean("simulate", False, "simulate the GPUs on the CPU")
flags.DEFINE_integer("seed", 0, "graph-level seed; 0 for other numbers every time")
FLAGS = flags.FLAGS


def points_inside(samples):
    """How many of `samples` random points of the square [-1, 1] x [-1, 1] lie in the unit circle."""
    x = tf.random_uniform([samples], -1.0, 1.0)
    y = tf.random_uniform([samples], -1.0, 1.0)
    return tf.reduce_sum(tf.cast(tf.square(x) + tf.square(y) < 1.0, tf.float32))


def main(_):
    if FLAGS.seed:
        tf.set_random_seed(FLAGS.seed)
    share = FLAGS.samples // FLAGS.gpus
    counts = []
    for i in range(FLAGS.gpus):
        with tf.device(f"/gpu:{i}"):
            counts.append(points_inside(share))
    with tf.device("/cpu:0"):
        pi = 4.0 * tf.add_n(counts) / (share * FLAGS.gpus)

    config = tf.ConfigProto(log_device_placement=False)
    if FLAGS.simulate:
        config.experimental.flowmesh.simulate_gpus = FLAGS.gpus
    with tf.Session(config=config) as sess:
        sess.run(pi)
        sess.run(pi)  # a step that is run again is compiled
        start = time.perf_counter()
        value = sess.run(pi)
        seconds = time.perf_counter() - start
    print(
        f"pi is about {value:.6f} ({share * FLAGS.gpus:,} samples on {FLAGS.gpus} devices, {seconds:.3f} s)"
    )


if __name__ == "__main__":
    tf.app.run()
