"""A sum over two workers, step by step as in a notebook; tf.Print shows on each server what it works on.

python examples/reduce_sum.py
"""

import socket

import numpy as np

import flowmesh as tf

# %% A cluster of two workers in this process (on two machines, each would be a process of its own)
ports = []
for _ in range(2):
    with socket.create_server(("localhost", 0)) as listener:
        ports.append(listener.getsockname()[1])
cluster = tf.train.ClusterSpec({"worker": [f"localhost:{port}" for port in ports]})
servers = [tf.train.Server(cluster, job_name="worker", task_index=i) for i in range(2)]

# %% Each worker sums half of the data
data = tf.constant(np.arange(100, dtype=np.float32), name="data")
halves = tf.split(data, 2)
sums = []
for i, half in enumerate(halves):
    with tf.device(f"/job:worker/task:{i}"):
        half = tf.Print(half, [tf.shape(half), half[0]], message=f"worker {i} sums: ")
        sums.append(tf.reduce_sum(half))

# %% The first worker adds the two
with tf.device("/job:worker/task:0"):
    total = tf.add_n(sums, name="total")

with tf.Session(servers[0].target) as sess:
    print("partial sums:", sess.run(sums))
    print("total:", sess.run(total))

for server in servers:
    server.stop()
