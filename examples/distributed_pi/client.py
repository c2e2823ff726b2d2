"""Estimate Pi by Monte Carlo: half of the samples on each of two servers (see server.py)."""

import argparse
import time

import flowmesh as tf

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--master", default="grpc://localhost:2222", help="server to connect to")
parser.add_argument("--tasks", type=int, default=2, help="number of tasks in the cluster")
parser.add_argument("--samples", type=int, default=4_000_000, help="number of random points in all")
args = parser.parse_args()

counts = []
share = args.samples // args.tasks
for task in range(args.tasks):
    with tf.device(f"/job:local/task:{task}"):
        x = tf.random_uniform([share], -1.0, 1.0)
        y = tf.random_uniform([share], -1.0, 1.0)
        inside = tf.less(x * x + y * y, 1.0)
        counts.append(tf.reduce_sum(tf.to_float(inside)))

pi = 4.0 * tf.add_n(counts) / (share * args.tasks)

with tf.Session(args.master) as sess:
    start = time.perf_counter()
    value = sess.run(pi)
    print(
        f"pi is about {value:.6f} ({args.samples:,} samples on {args.tasks} tasks, "
        f"{time.perf_counter() - start:.3f} s)"
    )
