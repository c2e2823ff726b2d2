"""A skip-gram step with noise-contrastive estimation: reads and updates a few rows of tables that are far larger."""

import numpy as np

TITLE = "word2vec step, tables of 1M x 64, batch 1024, 64 negative samples"
TABLE = "networks"
GATES = {"tf": 2.0}
WARM_UP = 300
WARM_SECONDS = 20
WORDS, SIZE, BATCH, SAMPLED = 1000000, 64, 1024, 64


def build(tf, words=WORDS, size=SIZE, batch=BATCH, sampled=SAMPLED):
    random = np.random.RandomState(0)
    centers = random.zipf(1.3, batch * 50).astype(np.int64) % words
    contexts = random.zipf(1.3, batch * 50).astype(np.int64) % words
    centers = centers.reshape(-1, batch).astype(np.int32)
    contexts = contexts.reshape(-1, batch, 1)
    x = tf.placeholder(tf.int32, [batch])
    y = tf.placeholder(tf.int64, [batch, 1])
    table = tf.Variable(tf.random_uniform([words, size], -1.0, 1.0, seed=1))
    weights = tf.Variable(tf.random_uniform([words, size], -0.1, 0.1, seed=2))
    biases = tf.Variable(tf.zeros([words]))
    embedded = tf.nn.embedding_lookup(table, x)
    loss = tf.reduce_mean(
        tf.nn.nce_loss(
            weights=weights,
            biases=biases,
            labels=y,
            inputs=embedded,
            num_sampled=sampled,
            num_classes=words,
        )
    )
    train = tf.train.GradientDescentOptimizer(1.0).minimize(loss)
    session = tf.Session()
    session.run(tf.global_variables_initializer())
    at = [0]

    def step():
        at[0] = (at[0] + 1) % len(centers)
        session.run(train, {x: centers[at[0]], y: contexts[at[0]]})

    first = table[0]
    step.wait = lambda: session.run(first)

    return step
