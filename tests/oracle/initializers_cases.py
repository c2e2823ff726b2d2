# ruff: noqa  (programs for Python 3.7 and TensorFlow 1.15, whose style they keep)


def values(tf, err):
    made = [
        tf.zeros_initializer(), tf.ones_initializer(), tf.constant_initializer(3), tf.constant_initializer([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]),
        tf.random_uniform_initializer(-1.0, 1.0, seed=1), tf.random_normal_initializer(1.0, 2.0, seed=2), tf.truncated_normal_initializer(0.0, 1.0, seed=3),
        tf.uniform_unit_scaling_initializer(1.5, seed=4), tf.variance_scaling_initializer(seed=5), tf.variance_scaling_initializer(2.0, "fan_out", "uniform", seed=6),
        tf.variance_scaling_initializer(1.0, "fan_avg", "untruncated_normal", seed=7), tf.glorot_uniform_initializer(seed=8), tf.glorot_normal_initializer(seed=9),
        tf.initializers.he_normal(seed=10), tf.initializers.he_uniform(seed=11), tf.initializers.lecun_normal(seed=12), tf.initializers.lecun_uniform(seed=13),
    ]  # fmt: skip
    vs = [tf.get_variable("v%d" % i, [2, 3], initializer=m) for i, m in enumerate(made)]
    vs.append(tf.get_variable("identity", [3, 3], initializer=tf.initializers.identity(2.0)))
    vs.append(
        tf.get_variable("conv", [2, 2, 3, 1], initializer=tf.glorot_uniform_initializer(seed=1))
    )
    vs.append(tf.get_variable("vector", [4], initializer=tf.glorot_uniform_initializer(seed=1)))
    vs.append(tf.get_variable("scalar", [], initializer=tf.glorot_uniform_initializer(seed=1)))
    vs.append(
        tf.get_variable(
            "double", [2], dtype=tf.float64, initializer=tf.random_normal_initializer(seed=1)
        )
    )
    vs.append(
        tf.get_variable(
            "ints",
            [2],
            dtype=tf.int32,
            initializer=tf.random_uniform_initializer(0, 10, seed=1, dtype=tf.int32),
        )
    )
    with tf.Session() as s:
        s.run(tf.global_variables_initializer())
        return s.run(vs)


def default_initializer_values(tf, err):
    tf.set_random_seed(17)
    a = tf.get_variable("a", [3, 2])
    b = tf.get_variable("b", [3, 2])
    c = tf.get_variable("c", [2], dtype=tf.int32)
    with tf.Session() as s:
        s.run(tf.global_variables_initializer())
        return s.run([a, b, c])


def configs(tf, err):
    made = [
        tf.random_normal_initializer(1.0, 2.0, seed=2),
        tf.constant_initializer(3),
        tf.variance_scaling_initializer(seed=5),
        tf.zeros_initializer(tf.int32),
    ]
    return [
        [type(m).__name__, m.get_config(), type(type(m).from_config(m.get_config())).__name__]
        for m in made
    ]


def initializer_errors(tf, err):
    tests = [
        lambda: tf.variance_scaling_initializer(scale=0.0),
        lambda: tf.variance_scaling_initializer(mode="bad"),
        lambda: tf.variance_scaling_initializer(distribution="bad"),
        lambda: tf.random_normal_initializer(dtype=tf.int32),
        lambda: tf.truncated_normal_initializer(dtype=tf.string),
        lambda: tf.constant_initializer("a") if False else tf.constant_initializer(object()),
        lambda: tf.initializers.identity()([2]),
        lambda: tf.orthogonal_initializer()([2]),
        lambda: tf.get_variable("v", [2], initializer=tf.constant_initializer([1.0, 2.0, 3.0])),
    ]
    return [err(t) for t in tests]


def graph_seeds(tf, err):
    tf.set_random_seed(42)
    a = tf.random_uniform([3])
    b = tf.random_normal([3])
    c = tf.random_uniform([3], seed=7)
    d = tf.truncated_normal([3], seed=8)
    e = tf.random_shuffle(tf.range(5))
    f = tf.random_uniform([3], maxval=100, dtype=tf.int32)
    g = tf.multinomial([[0.0, 0.0, 0.0]], 4)
    out = [tf.get_seed(None), tf.get_seed(5), tf.get_seed(0)]
    with tf.Session() as s:
        return [out, s.run([a, b, c, d, e, f, g]), s.run([a, b, c, d, e, f])]


def op_seeds(tf, err):
    a = tf.random_uniform([3], seed=1)
    b = tf.random_uniform([3], seed=1)
    out = [tf.get_seed(None), tf.get_seed(5), tf.get_seed(0)]
    tf.set_random_seed(0)
    out += [tf.get_seed(0), tf.get_seed(1), tf.get_seed(2**31 - 1)]
    with tf.Session() as s:
        first = s.run([a, b])
    with tf.Session() as s:
        return [out, first, s.run([a, b])]


def seed_counts_nodes(tf, err):
    out = []
    tf.set_random_seed(3)
    with tf.name_scope("a"):
        for _ in range(3):
            out.append(tf.get_seed(None))
            tf.constant(1)
    tf.Variable(1.0)
    out.append(tf.get_seed(None))
    return out
