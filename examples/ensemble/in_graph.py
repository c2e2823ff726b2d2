"""An ensemble by in-graph replication: one client and one graph, a network on each worker, their votes in a queue.

python examples/ensemble/in_graph.py

The client feeds one queue of inputs for each worker and takes the votes from one queue that all workers fill: the workers go at
their own pace, and the client does not know who answers first.
"""

import socket

import member

import flowmesh as tf

MEMBERS = 3
STEPS = 60


def free_addresses(count):
    """Addresses of this machine that nobody listens on."""
    held = [socket.create_server(("localhost", 0)) for _ in range(count)]
    addresses = [f"localhost:{s.getsockname()[1]}" for s in held]
    for s in held:
        s.close()
    return addresses


def main(_):
    cluster = {"ps": free_addresses(1), "worker": free_addresses(MEMBERS)}
    servers = [tf.train.Server(cluster, "ps", 0)]
    servers += [tf.train.Server(cluster, "worker", i) for i in range(MEMBERS)]

    x = tf.placeholder(tf.float32, [None, 64])
    y = tf.placeholder(tf.int64, [None])
    with tf.device("/job:ps/task:0"):
        votes = tf.FIFOQueue(MEMBERS, [tf.int32, tf.float32], names=["member", "probabilities"])
        vote = votes.dequeue()
    steps, asks, answers = [], [], []
    for i in range(MEMBERS):
        with tf.device(f"/job:worker/task:{i}"):
            questions = tf.FIFOQueue(1, [tf.float32])
            asks.append(questions.enqueue([x]))
            train, _ = member.build(i, x, y)
            steps.append(train)
            images = questions.dequeue()
            images.set_shape([None, 64])
            with tf.variable_scope(tf.get_variable_scope(), reuse=True):
                w, b = (tf.get_variable(f"member{i}/{name}") for name in ("w", "b"))
            probabilities = tf.nn.softmax(tf.matmul(images, w) + b)
        answers.append(votes.enqueue({"member": i, "probabilities": probabilities}))

    train_x, train_y, test_x, test_y = member.load_data()
    with tf.Session(servers[1].target) as session:
        session.run(tf.global_variables_initializer())
        for i, step in enumerate(steps):
            sample = dict(zip((x, y), member.bootstrap(train_x, train_y, i), strict=True))
            for _ in range(STEPS):
                session.run(step, sample)
        session.run(asks, {x: test_x})
        session.run(answers)
        found = [session.run(vote) for _ in range(MEMBERS)]
    member.tell({int(v["member"]): v["probabilities"] for v in found}, test_y)
    for server in servers:
        server.stop()


if __name__ == "__main__":
    tf.app.run()
