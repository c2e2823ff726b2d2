"""Asynchronous digits trainer: every worker applies its gradients whenever it has some; the age of gradients is measured.

    flowmesh up --ps 1 --workers 2 examples/digits/asynchronous.py --steps 600

MonitoredTrainingSession makes the variables ready (the chief, worker 0, restores the newest checkpoint if there is one), saves
checkpoints, writes summaries, and goes on with a new session when a task of the cluster was lost. Kill a worker at any time:
the others train on.
"""

import model

import flowmesh as tf

FLAGS = model.define_flags(steps=600)


def train(server, cluster):
    is_chief = FLAGS.task_index == 0
    with tf.device(
        tf.train.replica_device_setter(
            worker_device=f"/job:worker/task:{FLAGS.task_index}", cluster=cluster
        )
    ):
        images = tf.placeholder(tf.float32, [None, 64], name="images")
        labels = tf.placeholder(tf.int64, [None], name="labels")
        loss, accuracy = model.network(images, labels)
        global_step = tf.train.get_or_create_global_step()
        optimizer = tf.train.StalenessAwareOptimizer(
            tf.train.AdamOptimizer(0.005), max_staleness=50
        )
        train_op = optimizer.minimize(loss, global_step=global_step)
    test = model.TestAccuracy(accuracy, images, labels)
    hooks = [
        tf.train.StopAtStepHook(last_step=FLAGS.steps),
        optimizer.make_session_run_hook(is_chief),
        test,
    ]
    with tf.train.MonitoredTrainingSession(
        server.target,
        is_chief=is_chief,
        checkpoint_dir=FLAGS.logdir,
        hooks=hooks,
        save_checkpoint_steps=200,
        save_summaries_steps=50,
        log_step_count_steps=100,
    ) as session:
        for number, (x, y) in enumerate(model.batches(FLAGS, cluster.num_tasks("worker"))):
            feed = {images: x, labels: y}
            _, now, age, step = session.run(
                [train_op, loss, optimizer.mean_staleness, global_step], feed
            )
            if number % 10 == 0 or session.should_stop():
                model.report(FLAGS, step=int(step), loss=float(now), mean_staleness=float(age))
            if session.should_stop():
                break
    if is_chief:
        checkpoint = tf.train.latest_checkpoint(FLAGS.logdir)
        model.report(FLAGS, test_accuracy=test.value, checkpoint=checkpoint)


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
