"""The data and the network that the digits trainers have in common."""

import json

import numpy as np
from sklearn.datasets import load_digits

import flowmesh as tf


def load_data():
    """1,797 handwritten digits, 8 x 8 pixels: 80 % for training, 20 % for the test."""
    digits = load_digits()
    images = (digits.data / 16.0).astype(np.float32)
    order = np.random.RandomState(0).permutation(len(images))
    images, labels = images[order], digits.target[order].astype(np.int64)
    split = int(0.8 * len(images))
    return (images[:split], labels[:split]), (images[split:], labels[split:])


def network(images, labels):
    """One hidden layer; returns the loss and the accuracy of a batch, both of them summarized."""
    w1 = tf.get_variable("w1", [64, 64])
    b1 = tf.get_variable("b1", [64], initializer=tf.zeros_initializer())
    w2 = tf.get_variable("w2", [64, 10])
    b2 = tf.get_variable("b2", [10], initializer=tf.zeros_initializer())
    hidden = tf.nn.relu(tf.matmul(images, w1) + b1)
    logits = tf.matmul(hidden, w2) + b2
    loss = tf.losses.sparse_softmax_cross_entropy(labels, logits)
    correct = tf.equal(tf.argmax(logits, 1), labels)
    accuracy = tf.reduce_mean(tf.cast(correct, tf.float32))
    tf.summary.scalar("loss", loss)
    tf.summary.scalar("accuracy", accuracy)
    return loss, accuracy


def define_flags(steps):
    """The flags of a task of a cluster."""
    flags = tf.app.flags
    flags.DEFINE_string("ps_hosts", "", "comma-separated host:port of the parameter servers")
    flags.DEFINE_string("worker_hosts", "", "comma-separated host:port of the workers")
    flags.DEFINE_string("job_name", "", "'ps' or 'worker'")
    flags.DEFINE_integer("task_index", 0, "index of the task in its job")
    flags.DEFINE_string("logdir", "/tmp/flowmesh-digits", "folder of checkpoints and summaries")
    flags.DEFINE_integer("steps", steps, "global steps")
    flags.DEFINE_integer("batch", 50, "images in a batch of one worker")
    return flags.FLAGS


def batches(flags, workers):
    """Batches without end of this worker's part of the training data."""
    (x, y), _ = load_data()
    x, y = x[flags.task_index :: workers], y[flags.task_index :: workers]
    random = np.random.RandomState(flags.task_index)
    while True:
        chosen = random.choice(len(x), flags.batch, replace=False)
        yield x[chosen], y[chosen]


class TestAccuracy(tf.train.SessionRunHook):
    """Measures the accuracy on the test data at the end of the training."""

    def __init__(self, accuracy, images, labels):
        self.accuracy, self.images, self.labels = accuracy, images, labels
        self.value = None

    def end(self, session):
        _, (x, y) = load_data()
        self.value = float(session.run(self.accuracy, {self.images: x, self.labels: y}))


def report(flags, **facts):
    """One line of progress for whoever started this task."""
    print("@progress " + json.dumps({"worker": flags.task_index, **facts}), flush=True)
