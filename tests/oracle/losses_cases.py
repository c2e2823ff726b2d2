# ruff: noqa: PLW0108
"""Programs about `tf.losses`, `tf.metrics` and `tf.confusion_matrix`."""


def _xy(tf, *shape):
    shape = list(shape) or [None, 3]
    return tf.placeholder(tf.float32, shape, name="y"), tf.placeholder(tf.float32, shape, name="p")


def _collections(tf):
    graph = tf.get_default_graph()
    found = {}
    for key in sorted(k for k in graph.get_all_collection_keys() if isinstance(k, str)):
        if graph.get_collection(key) and "context" not in key:
            found[key] = [getattr(item, "name", str(item)) for item in graph.get_collection(key)]
    return found


def mean_squared_error(tf, err):
    y, p = _xy(tf)
    return [tf.losses.mean_squared_error(y, p), _collections(tf)]


def static_shapes(tf, err):
    y, p = _xy(tf, 4, 3)
    return [tf.losses.mean_squared_error(y, p, weights=2.0)]


def weighted_only_values(tf, err):
    y, p = _xy(tf)
    w = tf.placeholder(tf.float32, [None, 1], name="w")
    unknown = tf.placeholder(tf.float32, name="u")
    made = [
        tf.losses.mean_squared_error(y, p, weights=w),
        tf.losses.absolute_difference(y, p, weights=[[0.5], [1.0]]),
        tf.losses.mean_squared_error(y, p, weights=unknown),
    ]
    feed = {y: [[1, 2, 3], [4, 5, 6]], p: [[1, 3, 3], [2, 5, 5]], w: [[1], [3]], unknown: 2.0}
    out = []
    with tf.Session() as session:
        for given in (2.0, [[1], [0]], [[1, 2, 3], [4, 0, 6]], [[0, 1, 1]]):
            feed[unknown] = given
            out.append(session.run(made, feed))
        for given in ([1, 2, 3], [[1, 2]], [[[1]]]):
            feed[unknown] = given
            try:
                session.run(made[2], feed)
            except tf.errors.InvalidArgumentError as error:
                out.append(error.message.split("] [")[0])
    return out


def reductions(tf, err):
    out = []
    y, p = _xy(tf)
    for kind in tf.losses.Reduction.all():
        out.append([kind, tf.losses.mean_squared_error(y, p, reduction=kind)])
    return out


def softmax_cross_entropy(tf, err):
    y, p = _xy(tf)
    a = tf.losses.softmax_cross_entropy(y, p)
    b = tf.losses.softmax_cross_entropy(y, p, weights=0.5, label_smoothing=0.1, scope="s")
    return [a, b, _collections(tf)]


def sparse_softmax_cross_entropy(tf, err):
    p = tf.placeholder(tf.float32, [None, 3], name="p")
    y = tf.placeholder(tf.int64, [None], name="y")
    a = tf.losses.sparse_softmax_cross_entropy(y, p)
    b = tf.losses.sparse_softmax_cross_entropy(labels=tf.placeholder(tf.int32, [None, 1]), logits=p)
    return [a, b]


def sigmoid_cross_entropy(tf, err):
    y, p = _xy(tf)
    a = tf.losses.sigmoid_cross_entropy(y, p)
    b = tf.losses.sigmoid_cross_entropy(y, p, label_smoothing=0.2)
    return [a, b]


def log_and_huber(tf, err):
    y, p = _xy(tf)
    a = tf.losses.log_loss(y, p)
    b = tf.losses.huber_loss(y, p, delta=2.0)
    c = tf.losses.hinge_loss(y, p)
    d = tf.losses.absolute_difference(y, p)
    return [a, b, c, d]


def cosine_distance(tf, err):
    y, p = _xy(tf)
    return [tf.losses.cosine_distance(y, p, axis=1)]


def mean_pairwise(tf, err):
    y, p = _xy(tf)
    return [tf.losses.mean_pairwise_squared_error(y, p)]


def total(tf, err):
    y, p = _xy(tf)
    tf.losses.mean_squared_error(y, p)
    tf.losses.absolute_difference(y, p, loss_collection=None)
    tf.losses.add_loss(tf.constant(1.0))
    w = tf.get_variable("w", [2], regularizer=lambda v: tf.nn.l2_loss(v))
    assert w is not None
    return [
        tf.losses.get_losses(),
        tf.losses.get_regularization_losses(),
        tf.losses.get_regularization_loss(),
        tf.losses.get_total_loss(),
        tf.losses.get_total_loss(add_regularization_losses=False),
    ]


def regularization_empty(tf, err):
    return [tf.losses.get_regularization_loss()]


def loss_gradients(tf, err):
    y, p = _xy(tf)
    return [tf.gradients(tf.losses.softmax_cross_entropy(y, p), p)]


def losses_errors(tf, err):
    y, p = _xy(tf)
    return [
        err(lambda: tf.losses.mean_squared_error(None, p)),
        err(lambda: tf.losses.mean_squared_error(y, None)),
        err(lambda: tf.losses.mean_squared_error(y, p, weights=None)),
        err(lambda: tf.losses.mean_squared_error(y, tf.placeholder(tf.float32, [None, 4]))),
        err(lambda: tf.losses.mean_squared_error(y, p, reduction="what")),
        err(lambda: tf.losses.mean_squared_error(y, p, weights=[1.0, 2.0, 3.0])),
        err(lambda: tf.losses.cosine_distance(y, p)),
        err(lambda: tf.losses.softmax_cross_entropy(y, None)),
        err(lambda: tf.losses.get_total_loss()),
    ]


def values_only_values(tf, err):
    import numpy as np

    y = tf.constant([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    p = tf.constant([[0.2, 0.5, 0.3], [0.9, 0.3, 0.1], [0.1, 0.4, 0.2]])
    w = tf.constant([[1.0], [0.0], [2.0]])
    found = []
    for name in ("mean_squared_error", "absolute_difference", "log_loss", "huber_loss", "hinge_loss",
                 "mean_pairwise_squared_error", "softmax_cross_entropy", "sigmoid_cross_entropy"):  # fmt: skip
        loss = getattr(tf.losses, name)
        weights = tf.constant([1.0, 0.0, 2.0]) if name == "softmax_cross_entropy" else w
        found.append(loss(y, p))
        found.append(loss(y, p, weights))
        if name != "mean_pairwise_squared_error":
            found += [loss(y, p, weights, reduction=kind) for kind in tf.losses.Reduction.all()]
    found.append(tf.losses.cosine_distance(y, p, axis=1))
    found.append(tf.losses.sparse_softmax_cross_entropy([1, 0, 2], p, [1.0, 0.0, 2.0]))
    with tf.Session() as session:
        return [
            np.float32(np.round(v, 4)) if np.ndim(v) == 0 else np.round(v, 4)
            for v in session.run(found)
        ]
