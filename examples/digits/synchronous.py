"""Synchronous digits trainer: the gradients of all workers are averaged and applied as one step.

    flowmesh up --ps 1 --workers 3 examples/digits/synchronous.py --steps 150

A worker that dies does not hold the others up: `on_replica_loss="continue"` has them go on with the gradients of those that are left,
and a worker that is started again joins. With "wait" they wait for it, and the chief's log says for whom.
"""

import model

import flowmesh as tf

FLAGS = model.define_flags(steps=150)


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
        optimizer = tf.train.SyncReplicasOptimizer(
            tf.train.AdamOptimizer(0.01),
            replicas_to_aggregate=cluster.num_tasks("worker"),
            on_replica_loss="continue",
        )
        train_op = optimizer.minimize(loss, global_step=global_step)
    test = model.TestAccuracy(accuracy, images, labels)
    hooks = [
        optimizer.make_session_run_hook(is_chief),
        tf.train.StopAtStepHook(last_step=FLAGS.steps),
        test,
    ]
    with tf.train.MonitoredTrainingSession(
        server.target,
        is_chief=is_chief,
        checkpoint_dir=FLAGS.logdir,
        hooks=hooks,
        save_checkpoint_steps=50,
        save_summaries_steps=25,
        log_step_count_steps=50,
    ) as session:
        for x, y in model.batches(FLAGS, cluster.num_tasks("worker")):
            feed = {images: x, labels: y}
            _, now, step = session.run([train_op, loss, global_step], feed)
            if step % 10 == 0 or session.should_stop():
                model.report(FLAGS, step=int(step), loss=float(now))
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
