"""The processes of a cluster that is measured: servers, workers that run a row's program, clients. Runs under Python 3.7 as well.

cluster_child.py serve CLUSTER JOB INDEX         a server; prints "ready"
cluster_child.py work CLUSTER JOB INDEX ROW      a server, and a program on it
cluster_child.py client CLUSTER JOB INDEX ROW    a program on the server of another process

A program prints "ready" when it is built and warm; then, for every line N on stdin, the seconds that N steps took.
"""

import json
import os
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

# Tensors of ones: zeros that were never written are all one page of memory, which is read faster than any data.
BIG = 25000000
PS = "/job:ps/task:0"


def scalar(tf, cluster, worker):
    """Pulls a scalar from each parameter server."""
    values = []
    for i in range(len(cluster["ps"])):
        with tf.device("/job:ps/task:" + str(i)):
            values.append(tf.Variable(1.0, name="v" + str(i)))
    return tf.global_variables_initializer(), lambda session: lambda: session.run(values)


def null_step(tf, cluster, worker):
    """Pulls a scalar from each parameter server to the worker, and adds them there."""
    values = []
    for i in range(len(cluster["ps"])):
        with tf.device("/job:ps/task:" + str(i)):
            values.append(tf.Variable(1.0, name="v" + str(i)))
    with tf.device(worker):
        total = tf.add_n([tf.identity(v) for v in values]).op
    return tf.global_variables_initializer(), lambda session: lambda: session.run(total)


def linear_regression(tf, cluster, worker):
    """One sample a step, asynchronous Adagrad, as in the classic example."""
    with tf.device(PS):
        w = tf.Variable(0.0, name="w")
        b = tf.Variable(0.0, name="b")
        step = tf.Variable(0, name="step", trainable=False)
    with tf.device(worker):
        x = tf.placeholder(tf.float32)
        y = tf.placeholder(tf.float32)
        loss = tf.square(x * w + b - y)
        train = tf.train.AdagradOptimizer(0.01).minimize(loss, global_step=step)
    samples = np.linspace(-1.0, 1.0, 101).astype(np.float32)

    def start(session):
        count = [0]

        def run():
            sample = samples[count[0] % 101]
            count[0] += 1
            session.run(train, feed_dict={x: sample, y: 2.0 * sample + 10.0})

        return run

    return tf.global_variables_initializer(), start


def mlp(tf, cluster, worker):
    """784-300-10, batches of 100, through one parameter server."""
    random = np.random.RandomState(0)
    images = random.rand(100, 784).astype(np.float32)
    labels = np.eye(10, dtype=np.float32)[random.randint(0, 10, 100)]
    with tf.device(PS):
        w1 = tf.Variable(tf.random_normal([784, 300], stddev=0.05, seed=1), name="w1")
        b1 = tf.Variable(tf.zeros([300]), name="b1")
        w2 = tf.Variable(tf.random_normal([300, 10], stddev=0.05, seed=2), name="w2")
        b2 = tf.Variable(tf.zeros([10]), name="b2")
    with tf.device(worker):
        x = tf.placeholder(tf.float32, [None, 784])
        y = tf.placeholder(tf.float32, [None, 10])
        hidden = tf.nn.relu(tf.matmul(x, w1) + b1)
        logits = tf.matmul(hidden, w2) + b2
        loss = tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits_v2(labels=y, logits=logits))
        train = tf.train.GradientDescentOptimizer(0.1).minimize(loss)

    def start(session):
        return lambda: session.run(train, feed_dict={x: images, y: labels})

    return tf.global_variables_initializer(), start


def embedding(tf, cluster, worker):
    """Gathers 32 rows of a table of 1M x 16 and updates them."""
    random = np.random.RandomState(0)
    rows = [random.randint(0, 1000000, 32).astype(np.int64) for _ in range(16)]
    with tf.device(PS):
        table = tf.Variable(tf.zeros([1000000, 16]), name="table")
    with tf.device(worker):
        ids = tf.placeholder(tf.int64, [32])
    gathered = tf.nn.embedding_lookup(table, ids)
    with tf.device(worker):
        loss = tf.reduce_sum(tf.square(gathered - 1.0))
        train = tf.train.GradientDescentOptimizer(0.01).minimize(loss)

    def start(session):
        count = [0]

        def run():
            count[0] += 1
            session.run(train, feed_dict={ids: rows[count[0] % 16]})

        return run

    return tf.global_variables_initializer(), start


def pull_100mb(tf, cluster, worker):
    """100 MB from the parameter server to the worker."""
    with tf.device(PS):
        v = tf.Variable(tf.ones([BIG]), name="v")
    with tf.device(worker):
        arrived = tf.identity(v).op
    return tf.global_variables_initializer(), lambda session: lambda: session.run(arrived)


def push_100mb(tf, cluster, worker):
    """100 MB from the worker to the parameter server."""
    with tf.device(PS):
        v = tf.Variable(tf.ones([BIG]), name="v")
    with tf.device(worker):
        u = tf.Variable(tf.ones([BIG]), name="u")
    with tf.device(PS):
        sent = tf.assign(v, u).op
    return tf.global_variables_initializer(), lambda session: lambda: session.run(sent)


def fetch_100mb(tf, cluster, worker):
    """100 MB from a server to a client in another process."""
    with tf.device(PS):
        v = tf.Variable(tf.ones([BIG]), name="v")
    return tf.global_variables_initializer(), lambda session: lambda: session.run(v)


def constant(tf, cluster, worker):
    """Fetches a constant."""
    value = tf.constant(1.0)
    return tf.no_op(), lambda session: lambda: session.run(value)


PROGRAMS = {
    f.__name__: f
    for f in (
        scalar,
        null_step,
        linear_regression,
        mlp,
        embedding,
        pull_100mb,
        push_100mb,
        fetch_100mb,
        constant,
    )
}


def import_tensorflow():
    import tensorflow as tf

    if not hasattr(tf, "Session"):
        tf = tf.compat.v1
        tf.disable_v2_behavior()
    return tf


def main():
    out = os.fdopen(os.dup(1), "w")
    role, cluster, job, index = sys.argv[1], json.loads(sys.argv[2]), sys.argv[3], int(sys.argv[4])
    tf = import_tensorflow()
    target = "grpc://" + cluster[job][index] if cluster else ""
    server = None
    if role in ("serve", "work"):
        server = tf.train.Server(cluster, job_name=job, task_index=index)
        target = server.target
    if role == "serve":
        out.write("ready " + tf.__version__ + "\n")
        out.flush()
        server.join()
        return
    initialize, start = PROGRAMS[sys.argv[5]](tf, cluster, "/job:" + job + "/task:" + str(index))
    with tf.Session(target) as session:
        session.run(initialize)
        step = start(session)
        for _ in range(10):
            step()
        out.write("ready " + tf.__version__ + "\n")
        out.flush()
        for line in sys.stdin:
            begin = time.perf_counter()
            for _ in range(int(line)):
                step()
            out.write(repr(time.perf_counter() - begin) + "\n")
            out.flush()


main()
