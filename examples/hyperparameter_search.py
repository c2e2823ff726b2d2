"""A hyper-parameter search: 12 networks on 12 devices of 4 tasks, one network per device, all trained by one client.

python examples/hyperparameter_search.py

Each task has three CPU devices. The networks differ in their learning rate and in the width of their hidden layer, see the same
batches, and never talk to each other: a step of all of them runs on all devices at once.
"""

import itertools
import socket

import numpy as np
from sklearn.datasets import load_digits

import flowmesh as tf

flags = tf.app.flags
flags.DEFINE_integer("steps", 60, "steps of each network")
FLAGS = flags.FLAGS

TASKS, DEVICES = 4, 3
RATES = [0.3, 0.1, 0.03, 0.01]
WIDTHS = [4, 16, 48]


def free_addresses(count):
    """Addresses of this machine that nobody listens on."""
    held = [socket.create_server(("localhost", 0)) for _ in range(count)]
    addresses = [f"localhost:{s.getsockname()[1]}" for s in held]
    for s in held:
        s.close()
    return addresses


def network(number, rate, width, x, y):
    """The operation for one step of training, and the accuracy."""
    with tf.variable_scope(f"network{number}"):
        hidden = tf.layers.dense(
            x, width, tf.nn.relu, kernel_initializer=tf.glorot_uniform_initializer(seed=number)
        )
        logits = tf.layers.dense(
            hidden, 10, kernel_initializer=tf.glorot_uniform_initializer(seed=number + 100)
        )
        loss = tf.losses.sparse_softmax_cross_entropy(y, logits)
        variables = tf.trainable_variables(f"network{number}/")
        train = tf.train.MomentumOptimizer(rate, 0.9).minimize(loss, var_list=variables)
        right = tf.equal(tf.argmax(logits, 1), y)
        return train, tf.reduce_mean(tf.cast(right, tf.float32)), variables[0].device


def main(_):
    config = tf.ConfigProto(device_count={"CPU": DEVICES})
    cluster = {"worker": free_addresses(TASKS)}
    servers = [tf.train.Server(cluster, "worker", i, config=config) for i in range(TASKS)]

    x = tf.placeholder(tf.float32, [None, 64])
    y = tf.placeholder(tf.int64, [None])
    choices = list(itertools.product(RATES, WIDTHS))
    networks = []
    for number, (rate, width) in enumerate(choices):
        with tf.device(f"/job:worker/task:{number // DEVICES}/cpu:{number % DEVICES}"):
            networks.append(network(number, rate, width, x, y))

    digits = load_digits()
    images = (digits.data / 16.0).astype(np.float32)
    labels = digits.target.astype(np.int64)
    random = np.random.RandomState(0)
    order = random.permutation(len(images))
    trained, tested = order[:1400], order[1400:]
    with tf.Session(servers[0].target, config=config) as session:
        session.run(tf.global_variables_initializer())
        steps = [train for train, _, _ in networks]
        for _ in range(FLAGS.steps):
            batch = random.choice(trained, 100, replace=False)
            session.run(steps, {x: images[batch], y: labels[batch]})
        found = session.run(
            [accuracy for _, accuracy, _ in networks], {x: images[tested], y: labels[tested]}
        )
    for (rate, width), accuracy, (_, _, device) in zip(choices, found, networks, strict=True):
        print(f"rate {rate:<5} width {width:>3}  {accuracy:.2%}  on {device}")
    best = int(np.argmax(found))
    rate, width = choices[best]
    print(f"best: rate {rate}, width {width} with {found[best]:.2%}")
    for server in servers:
        server.stop()


if __name__ == "__main__":
    tf.app.run()
