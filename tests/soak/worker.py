"""A task of the soak: the ps serves, a worker trains until the queue is closed and empty."""

from __future__ import annotations

import faulthandler
import os
import signal

import flowmesh as tf
from tests.soak.model import Model

flags = tf.app.flags
flags.DEFINE_string("ps_hosts", "", "addresses of the ps tasks")
flags.DEFINE_string("worker_hosts", "", "addresses of the workers")
flags.DEFINE_string("job_name", "", "'ps' or 'worker'")
flags.DEFINE_integer("task_index", 0, "index of the task in its job")
flags.DEFINE_integer("records", 100, "records of an epoch")
flags.DEFINE_string("folder", "", "where the chief saves checkpoints")
FLAGS = flags.FLAGS


def main(_: object) -> None:
    tf.logging.set_verbosity(tf.logging.INFO)
    faulthandler.register(
        signal.SIGUSR1
    )  # run.py asks for the stacks of a task that keeps a record
    cluster = {"ps": FLAGS.ps_hosts.split(","), "worker": FLAGS.worker_hosts.split(",")}
    server = tf.train.Server(cluster, FLAGS.job_name, FLAGS.task_index)
    if FLAGS.job_name == "ps":
        print("@serving", flush=True)
        server.join()
        return
    model = Model(FLAGS.records, f"/job:worker/task:{FLAGS.task_index}", os.getpid())
    # A worker that is started again when the others have ended must not wait for them.
    own = f"/job:worker/task:{FLAGS.task_index}"
    with tf.train.MonitoredTrainingSession(
        server.target,
        config=tf.ConfigProto(device_filters=["/job:ps", own]),
        is_chief=FLAGS.task_index == 0,
        checkpoint_dir=FLAGS.folder,
        save_checkpoint_secs=20,
        save_summaries_steps=None,
        log_step_count_steps=None,
        stop_grace_period_secs=5,
    ) as session:
        print("@training", flush=True)
        while not session.should_stop():
            session.run(model.train)
    print("@finished", flush=True)


if __name__ == "__main__":
    tf.app.run()
