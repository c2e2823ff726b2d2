"""In-graph replication: one client, one graph, a batch split over the workers of a cluster and the outputs joined.

python examples/in_graph_replication.py
"""

import socket

import numpy as np

import flowmesh as tf


def free_addresses(count):
    """Addresses of this machine that nobody listens on."""
    held = [socket.create_server(("localhost", 0)) for _ in range(count)]
    addresses = [f"localhost:{s.getsockname()[1]}" for s in held]
    for s in held:
        s.close()
    return addresses


def main(_):
    workers = 2
    cluster = tf.train.ClusterSpec({"ps": free_addresses(1), "worker": free_addresses(workers)})
    servers = [tf.train.Server(cluster, job_name="ps", task_index=0)]
    servers += [tf.train.Server(cluster, job_name="worker", task_index=i) for i in range(workers)]

    batch = np.random.RandomState(0).rand(100, 4).astype(np.float32)
    with tf.device("/job:ps/task:0"):
        weights = tf.Variable(tf.ones([4, 2]), name="weights")
        x = tf.placeholder(tf.float32, [100, 4], name="x")
        pieces = tf.split(x, workers, axis=0)
    outputs = []
    for i in range(workers):
        with tf.device(f"/job:worker/task:{i}"):
            outputs.append(tf.matmul(pieces[i], weights))
    with tf.device("/job:ps/task:0"):
        joined = tf.concat(outputs, axis=0)

    with tf.Session(servers[1].target) as sess:
        sess.run(tf.global_variables_initializer())
        result = sess.run(joined, {x: batch})
    print("shape of the joined output:", result.shape)
    print("equal to the product on one machine:", np.allclose(result, batch @ np.ones((4, 2))))
    for output in outputs:
        print(output.op.name, "ran on", output.device)
    for server in servers:
        server.stop()


if __name__ == "__main__":
    tf.app.run()
