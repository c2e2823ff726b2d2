"""A `run` that fetches a constant: the cost of a step itself."""

TITLE = "`run` of a constant"
GATES = {"tf": 7.5}


def build(tf):
    constant = tf.constant(3.0)
    session = tf.Session()
    return lambda: session.run(constant)
