"""Monte-Carlo Pi in the graph, a million points a step."""

TITLE = "Monte-Carlo Pi, 1M points"
WARM_UP = 5


def build(tf):
    x = tf.random_uniform([1000000], -1.0, 1.0, seed=1)
    y = tf.random_uniform([1000000], -1.0, 1.0, seed=2)
    inside = tf.reduce_sum(tf.cast(tf.square(x) + tf.square(y) < 1.0, tf.float32))
    session = tf.Session()
    return lambda: session.run(inside)
