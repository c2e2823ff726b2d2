"""Monte-Carlo Pi in the graph, a million points a step; the counts must be TensorFlow's, drawn from the same seeds."""

TITLE = "Monte-Carlo Pi, 1M points"
WARM_UP = 5
GATES = {"tf": 1.0}
AGREE = 0
UNIT = "samples"
PER_STEP = 1000000


def build(tf, config=None):
    x = tf.random_uniform([1000000], -1.0, 1.0, seed=1)
    y = tf.random_uniform([1000000], -1.0, 1.0, seed=2)
    inside = tf.reduce_sum(tf.cast(tf.square(x) + tf.square(y) < 1.0, tf.float32))
    session = tf.Session(config=config)

    def step():
        return session.run(inside)

    # The first of these draws are NumPy's, the later ones the compiled program's: all must be TensorFlow's.
    step.value = lambda: [float(step()) for _ in range(20)]
    return step


def build_jax():
    import jax

    def draw(key):
        x, y = jax.random.uniform(key, (2, 1000000), minval=-1.0, maxval=1.0)
        return (x * x + y * y < 1.0).sum()

    step = jax.jit(draw)
    key = jax.random.key(1)
    return lambda: int(step(key))
