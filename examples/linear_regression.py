"""Asynchronous linear regression, y = 2 x + 0.2 + noise, with parameter servers and workers (between-graph replication).

One command for the whole cluster:

    flowmesh up --ps 1 --workers 2 examples/linear_regression.py

or one process for each task:

    python examples/linear_regression.py -ps_hosts=localhost:2222 -worker_hosts=localhost:2223,localhost:2224 \
        -job_name=ps -task_index=0
    ... -job_name=worker -task_index=0
    ... -job_name=worker -task_index=1
"""

import tempfile

import numpy as np

import flowmesh as tf

flags = tf.app.flags
flags.DEFINE_string("ps_hosts", "", "comma-separated host:port of the parameter servers")
flags.DEFINE_string("worker_hosts", "", "comma-separated host:port of the workers")
flags.DEFINE_string("job_name", "", "'ps' or 'worker'")
flags.DEFINE_integer("task_index", 0, "index of the task in its job")
flags.DEFINE_integer("steps", 400, "number of steps of each worker")
flags.DEFINE_string(
    "logdir", "", "where checkpoints and summaries go; a temporary folder when empty"
)
FLAGS = flags.FLAGS


def samples(seed, count=101):
    """Points of the line with noise, in random order."""
    random = np.random.RandomState(seed)
    x = np.linspace(-1, 1, count)
    y = 2 * x + 0.2 + random.randn(count) * 0.01
    order = random.permutation(count)
    return x[order], y[order]


def build():
    """The model: every worker builds the same graph, with the variables on the parameter servers."""
    x = tf.placeholder(tf.float32, name="x")
    y = tf.placeholder(tf.float32, name="y")
    w = tf.Variable(0.0, name="w")
    b0 = tf.Variable(0.0, name="b0")
    global_step = tf.Variable(0, name="global_step", trainable=False)
    loss = tf.square(y - (tf.multiply(x, w) + b0))
    train_op = tf.train.AdagradOptimizer(0.8).minimize(loss, global_step=global_step)
    tf.summary.scalar("w", w)
    tf.summary.scalar("b0", b0)
    return x, y, w, b0, global_step, loss, train_op


def work(server, cluster):
    """Trains for some steps and prints how far w and b0 have come."""
    is_chief = FLAGS.task_index == 0
    device = tf.train.replica_device_setter(
        worker_device=f"/job:worker/task:{FLAGS.task_index}", cluster=cluster
    )
    with tf.device(device):
        x, y, w, b0, global_step, _, train_op = build()
        saver = tf.train.Saver()
        summary_op = tf.summary.merge_all()
        init_op = tf.global_variables_initializer()

    supervisor = tf.train.Supervisor(
        is_chief=is_chief,
        logdir=(FLAGS.logdir or tempfile.mkdtemp(prefix="flowmesh-")) if is_chief else None,
        init_op=init_op,
        summary_op=summary_op,
        saver=saver,
        global_step=global_step,
        save_model_secs=600,
    )
    # The parameter servers and this worker are all that its steps need: another worker may come late, or have ended.
    config = tf.ConfigProto(device_filters=["/job:ps", f"/job:worker/task:{FLAGS.task_index}"])
    with supervisor.managed_session(server.target, config=config) as sess:
        xs, ys = samples(seed=FLAGS.task_index)
        step = 0
        while not supervisor.should_stop() and step < FLAGS.steps:
            i = step % len(xs)
            sess.run(train_op, feed_dict={x: xs[i], y: ys[i]})
            step += 1
            if step % 100 == 0:
                w_now, b_now, total = sess.run([w, b0, global_step])
                print(
                    f"worker {FLAGS.task_index}: step {total}, partial w = {w_now:.4f}, b0 = {b_now:.4f}",
                    flush=True,
                )
        w_now, b_now = sess.run([w, b0])
        print(f"worker {FLAGS.task_index}: done, w = {w_now:.4f}, b0 = {b_now:.4f}", flush=True)
    supervisor.stop()


def main(_):
    cluster = tf.train.ClusterSpec(
        {"ps": FLAGS.ps_hosts.split(","), "worker": FLAGS.worker_hosts.split(",")}
    )
    server = tf.train.Server(cluster, job_name=FLAGS.job_name, task_index=FLAGS.task_index)
    if FLAGS.job_name == "ps":
        server.join()
    else:
        work(server, cluster)


if __name__ == "__main__":
    tf.app.run()
