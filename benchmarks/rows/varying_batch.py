"""Training steps whose batch has another size every time: what programs that are compiled for one shape are bad at."""

import numpy as np

TITLE = "MLP 784-100-10 step, batches of 1 to 100 in turn"
WARM_UP = 200


def build(tf):
    random = np.random.RandomState(0)
    images = random.rand(100, 784).astype(np.float32)
    labels = random.randint(0, 10, 100).astype(np.int64)
    x = tf.placeholder(tf.float32, [None, 784])
    y = tf.placeholder(tf.int64, [None])
    hidden = tf.nn.relu(tf.matmul(x, tf.Variable(tf.truncated_normal([784, 100], stddev=0.03))))
    weights = tf.Variable(tf.truncated_normal([100, 10], stddev=0.1))
    logits = tf.matmul(hidden, weights)
    loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=logits))
    train = tf.train.GradientDescentOptimizer(0.01).minimize(loss)
    session = tf.Session()
    session.run(tf.global_variables_initializer())
    sizes = random.randint(1, 101, 5000).tolist()
    sizes = iter(sizes * 1000)

    def step():
        size = next(sizes)
        session.run(train, {x: images[:size], y: labels[:size]})

    step.wait = lambda: session.run(weights)
    return step
