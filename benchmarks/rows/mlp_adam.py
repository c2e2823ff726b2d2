"""A step of a 784-300-100-10 network with Adam, batch 100."""

import numpy as np

TITLE = "MLP 784-300-100-10, Adam, batch 100"


def build(tf):
    random = np.random.RandomState(0)
    images = random.rand(100, 784).astype(np.float32)
    labels = random.randint(0, 10, 100).astype(np.int64)
    x = tf.placeholder(tf.float32, [None, 784])
    y = tf.placeholder(tf.int64, [None])
    layer, size = x, 784
    for units in (300, 100, 10):
        w = tf.Variable(tf.truncated_normal([size, units], stddev=size**-0.5, seed=1))
        b = tf.Variable(tf.zeros([units]))
        layer = tf.matmul(layer, w) + b
        if units != 10:
            layer = tf.nn.relu(layer)
        size = units
    loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=layer))
    train = tf.train.AdamOptimizer().minimize(loss)
    session = tf.Session()
    session.run(tf.global_variables_initializer())
    return lambda: session.run(train, {x: images, y: labels})
