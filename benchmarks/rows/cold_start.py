"""From the start of the interpreter to the first result of `Session().run(a + b)`."""

TITLE = "cold start: interpreter to the first result"
TABLE = "host"
GATES = {"tf": 1.0}
LIMIT = 0.6
ONCE = "process"
ROUNDS = 5


def build(tf):
    a, b = tf.constant(1.0), tf.constant(2.0)
    session = tf.Session()
    return lambda: session.run(a + b)
