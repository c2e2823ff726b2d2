"""An ensemble by between-graph replication: every worker builds and trains a network of its own and sends its vote to a queue.

    flowmesh up --ps 1 --workers 3 examples/ensemble/between_graph.py

The graphs have nothing in common but the queue on the ps, which they mean by its shared name. Worker 0 gathers the votes.
"""

import member

import flowmesh as tf

flags = tf.app.flags
flags.DEFINE_string("ps_hosts", "", "comma-separated host:port of the parameter servers")
flags.DEFINE_string("worker_hosts", "", "comma-separated host:port of the workers")
flags.DEFINE_string("job_name", "", "'ps' or 'worker'")
flags.DEFINE_integer("task_index", 0, "index of the task in its job")
flags.DEFINE_integer("steps", 60, "steps of each member")
FLAGS = flags.FLAGS


def work(server, members):
    with tf.device("/job:ps/task:0"):
        votes = tf.FIFOQueue(
            members,
            [tf.int32, tf.float32],
            names=["member", "probabilities"],
            shared_name="votes",
        )
        vote = votes.dequeue()
        done = tf.FIFOQueue(members, tf.int32, shapes=[[]], shared_name="done")
    with tf.device(f"/job:worker/task:{FLAGS.task_index}"):
        x = tf.placeholder(tf.float32, [None, 64])
        y = tf.placeholder(tf.int64, [None])
        train, probabilities = member.build(FLAGS.task_index, x, y)
    send = votes.enqueue({"member": FLAGS.task_index, "probabilities": probabilities})
    leave = done.enqueue_many([[1] * (members - 1)])
    wait = done.dequeue()

    train_x, train_y, test_x, test_y = member.load_data()
    sample = member.bootstrap(train_x, train_y, FLAGS.task_index)
    config = tf.ConfigProto(device_filters=["/job:ps", f"/job:worker/task:{FLAGS.task_index}"])
    with tf.Session(server.target, config=config) as session:
        session.run(tf.global_variables_initializer())
        for _ in range(FLAGS.steps):
            session.run(train, dict(zip((x, y), sample, strict=True)))
        session.run(send, {x: test_x})
        if FLAGS.task_index == 0:
            found = [session.run(vote) for _ in range(members)]
            member.tell({int(v["member"]): v["probabilities"] for v in found}, test_y)
            session.run(leave)
        else:
            session.run(wait)


def main(_):
    cluster = tf.train.ClusterSpec(
        {"ps": FLAGS.ps_hosts.split(","), "worker": FLAGS.worker_hosts.split(",")}
    )
    server = tf.train.Server(cluster, job_name=FLAGS.job_name, task_index=FLAGS.task_index)
    if FLAGS.job_name == "ps":
        server.join()
    else:
        work(server, cluster.num_tasks("worker"))


if __name__ == "__main__":
    tf.app.run()
