"""Feed a scalar, add one, fetch it."""

TITLE = "feed a scalar, add, fetch"
GATES = {"tf": 6.0}


def build(tf):
    x = tf.placeholder(tf.float32, [])
    y = x + 1.0
    session = tf.Session()
    return lambda: session.run(y, {x: 2.0})


def build_jax():
    import jax
    import numpy as np

    add = jax.jit(lambda x: x + 1.0)
    return lambda: np.asarray(add(np.float32(2.0)))
