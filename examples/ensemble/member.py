"""One network of an ensemble of digit classifiers, and the data."""

import numpy as np
from sklearn.datasets import load_digits

import flowmesh as tf

TRAINED = 1000


def load_data():
    """Training images and labels, test images and labels."""
    digits = load_digits()
    images = (digits.data / 16.0).astype(np.float32)
    labels = digits.target.astype(np.int64)
    order = np.random.RandomState(0).permutation(len(images))
    images, labels = images[order], labels[order]
    return images[:TRAINED], labels[:TRAINED], images[TRAINED:], labels[TRAINED:]


def bootstrap(images, labels, member):
    """A sample of the training data of the same size, drawn with replacement: every member sees other data."""
    chosen = np.random.RandomState(member).randint(0, len(images), len(images))
    return images[chosen], labels[chosen]


def build(member, images, labels):
    """The member's operation for one step of training, and its probabilities."""
    with tf.variable_scope(f"member{member}"):
        init = tf.random_normal_initializer(stddev=0.1, seed=member + 1)
        w = tf.get_variable("w", [64, 10], initializer=init)
        b = tf.get_variable("b", [10], initializer=tf.zeros_initializer())
        logits = tf.matmul(images, w) + b
        loss = tf.losses.sparse_softmax_cross_entropy(labels, logits)
        train = tf.train.AdamOptimizer(0.05).minimize(loss, var_list=[w, b])
    return train, tf.nn.softmax(logits)


def accuracy(probabilities, labels):
    """The share of right answers."""
    return float(np.mean(np.argmax(probabilities, 1) == labels))


def tell(votes, labels):
    """Prints how good each member is, and the ensemble. `votes` are the probabilities by member."""
    for member in sorted(votes):
        print(f"member {member}: {accuracy(votes[member], labels):.2%}")
    mean = np.mean([votes[m] for m in sorted(votes)], axis=0)
    print(f"ensemble of {len(votes)}: {accuracy(mean, labels):.2%}", flush=True)
