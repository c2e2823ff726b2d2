"""One task of the digits trainer: a parameter server, or a worker that trains asynchronously (see run.py).

    flowmesh up --ps 1 --workers 2 examples/digits/train.py --steps 1200

Every worker builds the same graph; `replica_device_setter` puts the variables on the parameter servers. Worker 0 is the
chief: its Supervisor initializes the variables, saves checkpoints and writes summaries.
"""

import json
import time

import numpy as np
from sklearn.datasets import load_digits

import flowmesh as tf

flags = tf.app.flags
flags.DEFINE_string("ps_hosts", "", "comma-separated host:port of the parameter servers")
flags.DEFINE_string("worker_hosts", "", "comma-separated host:port of the workers")
flags.DEFINE_string("job_name", "", "'ps' or 'worker'")
flags.DEFINE_integer("task_index", 0, "index of the task in its job")
flags.DEFINE_string(
    "logdir", "/tmp/flowmesh-digits", "where the chief writes checkpoints and summaries"
)
flags.DEFINE_integer("steps", 1200, "steps of all workers together")
flags.DEFINE_integer("batch", 64, "images in a step")
flags.DEFINE_float("learning_rate", 0.002, "learning rate of Adam")
FLAGS = flags.FLAGS


def load_data():
    """1,797 handwritten digits, 8 x 8 pixels: 80 % for training, 20 % for the test."""
    digits = load_digits()
    images = (digits.data / 16.0).astype(np.float32)
    order = np.random.RandomState(0).permutation(len(images))
    images, labels = images[order], digits.target[order].astype(np.int64)
    split = int(0.8 * len(images))
    return (images[:split], labels[:split]), (images[split:], labels[split:])


def build():
    """A network with one hidden layer."""
    images = tf.placeholder(tf.float32, [None, 64], name="images")
    labels = tf.placeholder(tf.int64, [None], name="labels")
    w1 = tf.get_variable("w1", [64, 128])
    b1 = tf.get_variable("b1", [128], initializer=tf.zeros_initializer())
    w2 = tf.get_variable("w2", [128, 10])
    b2 = tf.get_variable("b2", [10], initializer=tf.zeros_initializer())
    hidden = tf.nn.relu(tf.matmul(images, w1) + b1)
    logits = tf.matmul(hidden, w2) + b2
    loss = tf.reduce_mean(
        tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
    )
    correct = tf.equal(tf.argmax(logits, 1), labels)
    accuracy = tf.reduce_mean(tf.cast(correct, tf.float32))
    global_step = tf.train.get_or_create_global_step()
    train_op = tf.train.AdamOptimizer(FLAGS.learning_rate).minimize(loss, global_step=global_step)
    tf.summary.scalar("loss", loss)
    tf.summary.scalar("accuracy", accuracy)
    tf.summary.histogram("w1", w1)
    return images, labels, loss, accuracy, global_step, train_op


def report(**facts):
    """One line of progress for whoever started this task."""
    print("@progress " + json.dumps({"worker": FLAGS.task_index, **facts}), flush=True)


def train(server, cluster):
    """Trains until all workers together have made the steps asked for."""
    is_chief = FLAGS.task_index == 0
    with tf.device(
        tf.train.replica_device_setter(
            worker_device=f"/job:worker/task:{FLAGS.task_index}", cluster=cluster
        )
    ):
        images, labels, loss, accuracy, global_step, train_op = build()
        summary_op = tf.summary.merge_all()
        saver = tf.train.Saver()
        init_op = tf.global_variables_initializer()
    supervisor = tf.train.Supervisor(
        is_chief=is_chief,
        logdir=FLAGS.logdir if is_chief else None,
        init_op=init_op,
        summary_op=None,  # summaries need a batch: the loop below writes them
        saver=saver,
        global_step=global_step,
        save_model_secs=60,
        recovery_wait_secs=1,
    )
    (train_x, train_y), (test_x, test_y) = load_data()
    workers = cluster.num_tasks("worker")
    mine = slice(FLAGS.task_index, None, workers)
    x, y = train_x[mine], train_y[mine]
    random = np.random.RandomState(FLAGS.task_index)
    with supervisor.managed_session(server.target) as sess:
        steps, last_steps, last_time = 0, 0, time.perf_counter()
        while not supervisor.should_stop():
            batch = random.choice(len(x), FLAGS.batch, replace=False)
            feed = {images: x[batch], labels: y[batch]}
            _, loss_now, step = sess.run([train_op, loss, global_step], feed)
            steps += 1
            if steps % 25 == 0 or step >= FLAGS.steps:
                correct, summary = sess.run([accuracy, summary_op], feed)
                now = time.perf_counter()
                rate = (steps - last_steps) / (now - last_time)
                last_steps, last_time = steps, now
                report(step=int(step), loss=float(loss_now), accuracy=float(correct), rate=rate)
                if is_chief:
                    supervisor.summary_computed(sess, summary, global_step=step)
            if step >= FLAGS.steps:
                break
        if is_chief:
            test = float(sess.run(accuracy, {images: test_x, labels: test_y}))
            checkpoint = saver.save(sess, supervisor.save_path, global_step=global_step)
            report(done=True, test_accuracy=test, checkpoint=checkpoint, logdir=FLAGS.logdir)
    supervisor.stop()


def main(_):
    cluster = tf.train.ClusterSpec(
        {"ps": FLAGS.ps_hosts.split(","), "worker": FLAGS.worker_hosts.split(",")}
    )
    server = tf.train.Server(cluster, job_name=FLAGS.job_name, task_index=FLAGS.task_index)
    if FLAGS.job_name == "ps":
        server.join()
    else:
        train(server, cluster)


if __name__ == "__main__":
    tf.app.run()
