"""An input pipeline across tasks: one reads CSV files into a queue on the parameter server, others train from it.

    flowmesh up --ps 1 --workers 3 examples/csv_pipeline.py

Worker 0 has two threads that read and decode lines and put them into a RandomShuffleQueue, which lives on the ps and is known
by its shared name. Workers 1 and 2 are training clients: they take batches from the queue and know nothing of files. The queue is bounded:
the readers wait while it is full, the clients while it has too little to shuffle. When the readers have read everything
they close the queue, and the clients end with the last rows.
"""

import os
import tempfile
import threading

import numpy as np

import flowmesh as tf

flags = tf.app.flags
flags.DEFINE_string("ps_hosts", "", "comma-separated host:port of the parameter servers")
flags.DEFINE_string("worker_hosts", "", "comma-separated host:port of the workers")
flags.DEFINE_string("job_name", "", "'ps' or 'worker'")
flags.DEFINE_integer("task_index", 0, "index of the task in its job")
flags.DEFINE_string("folder", "", "where the CSV files are; made, with files, when empty")
flags.DEFINE_integer("rows", 300, "rows of each of the files that are made")
flags.DEFINE_integer("epochs", 2, "how often all files are read")
flags.DEFINE_integer("batch", 20, "rows of a batch")
FLAGS = flags.FLAGS

PS = "/job:ps/task:0"
READER_THREADS = 2


def make_files(folder):
    """Three files of rows a, b, y with y = 2 a - b + 1, and a header."""
    random = np.random.RandomState(0)
    for number in range(3):
        a, b = random.rand(2, FLAGS.rows)
        with open(os.path.join(folder, f"part{number}.csv"), "w") as file:
            file.write("a,b,y\n")
            file.writelines(
                f"{x:.6f},{z:.6f},{2 * x - z + 1:.6f}\n" for x, z in zip(a, b, strict=True)
            )


def shared_queue():
    """The queue that all tasks mean."""
    with tf.device(PS):
        return tf.RandomShuffleQueue(
            capacity=200,
            min_after_dequeue=50,
            dtypes=[tf.float32, tf.float32],
            shapes=[[2], []],
            seed=1,
            shared_name="rows",
        )


def read(server):
    """Fills the queue from the files with two threads."""
    folder = FLAGS.folder or tempfile.mkdtemp(prefix="flowmesh-csv-")
    if not FLAGS.folder:
        make_files(folder)
    queue = shared_queue()
    with tf.device("/job:worker/task:0"):
        names = tf.train.match_filenames_once(os.path.join(folder, "*.csv"))
        files = tf.train.string_input_producer(names, num_epochs=FLAGS.epochs)
        reader = tf.TextLineReader(skip_header_lines=1)
        enqueue_ops = []
        for _ in range(READER_THREADS):
            _, line = reader.read(files)
            a, b, y = tf.decode_csv(line, [[0.0], [0.0], [0.0]])
            enqueue_ops.append(queue.enqueue([tf.stack([a, b]), y]))
        count = reader.num_records_produced()
    close = queue.close()
    coordinator = tf.train.Coordinator()
    with tf.Session(server.target) as session:
        session.run(tf.local_variables_initializer())

        def fill(enqueue_op):
            with coordinator.stop_on_exception():  # the end of the files stops all threads
                while not coordinator.should_stop():
                    session.run(enqueue_op)

        threads = [threading.Thread(target=fill, args=[op]) for op in enqueue_ops]
        for thread in threads:
            thread.start()
        threads += tf.train.start_queue_runners(session, coordinator)  # those of the file names
        coordinator.join(threads)
        session.run(close)
        print(f"reader: {session.run(count)} rows read by {READER_THREADS} threads", flush=True)


def train(server):
    """Takes batches from the queue until it is closed and empty."""
    queue = shared_queue()
    with tf.device(PS):
        w = tf.get_variable("w", [2], initializer=tf.zeros_initializer())
        b = tf.get_variable("b", [], initializer=tf.zeros_initializer())
        step = tf.train.get_or_create_global_step()
    with tf.device(f"/job:worker/task:{FLAGS.task_index}"):
        x, y = queue.dequeue_up_to(FLAGS.batch)
        loss = tf.losses.mean_squared_error(y, tf.reduce_sum(x * w, axis=1) + b)
        rows = tf.shape(y)[0]
    train_op = tf.train.AdagradOptimizer(0.5).minimize(loss, global_step=step)
    total = 0
    is_chief = FLAGS.task_index == 1
    with tf.train.MonitoredTrainingSession(server.target, is_chief=is_chief) as session:
        while not session.should_stop():
            _, taken, w_now, b_now = session.run([train_op, rows, w, b])
            total += int(taken)
            if total % 200 < FLAGS.batch:
                print(f"client {FLAGS.task_index}: w = {w_now}, b = {b_now:.3f}", flush=True)
    print(f"client {FLAGS.task_index}: {total} rows trained on", flush=True)


def main(_):
    cluster = tf.train.ClusterSpec(
        {"ps": FLAGS.ps_hosts.split(","), "worker": FLAGS.worker_hosts.split(",")}
    )
    server = tf.train.Server(cluster, job_name=FLAGS.job_name, task_index=FLAGS.task_index)
    if FLAGS.job_name == "ps":
        server.join()
    elif FLAGS.task_index == 0:
        read(server)
    else:
        train(server)


if __name__ == "__main__":
    tf.app.run()
