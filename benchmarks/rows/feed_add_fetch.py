"""Feed a scalar, add one, fetch it."""

TITLE = "feed a scalar, add, fetch"


def build(tf):
    x = tf.placeholder(tf.float32, [])
    y = x + 1.0
    session = tf.Session()
    return lambda: session.run(y, {x: 2.0})
