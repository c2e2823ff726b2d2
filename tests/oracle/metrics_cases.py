"""Programs about `tf.metrics` and `tf.confusion_matrix`."""


def _collections(tf):
    graph = tf.get_default_graph()
    found = {}
    for key in sorted(k for k in graph.get_all_collection_keys() if isinstance(k, str)):
        if graph.get_collection(key) and "context" not in key:
            found[key] = [getattr(item, "name", str(item)) for item in graph.get_collection(key)]
    return found


def _ints(tf, *shape):
    shape = list(shape) or [None]
    return tf.placeholder(tf.int64, shape, name="y"), tf.placeholder(tf.int64, shape, name="p")


def accuracy(tf, err):
    y, p = _ints(tf)
    a = tf.metrics.accuracy(y, p)
    b = tf.metrics.accuracy(labels=y, predictions=tf.cast(p, tf.int32), name="acc", metrics_collections=["m"],
                            updates_collections="u")  # fmt: skip
    return [a, b, _collections(tf)]


def mean(tf, err):
    x = tf.placeholder(tf.float32, [None, 3], name="x")
    a = tf.metrics.mean(x)
    b = tf.metrics.mean(x, weights=2.0, name="m")
    return [a, b, _collections(tf)]


def precision_recall(tf, err):
    y, p = _ints(tf)
    return [tf.metrics.precision(y, p), tf.metrics.recall(y, p), _collections(tf)]


def counts(tf, err):
    y, p = _ints(tf)
    return [tf.metrics.true_positives(y, p), tf.metrics.false_positives(y, p), tf.metrics.false_negatives(y, p),
            tf.metrics.true_negatives(y, p)]  # fmt: skip


def errors_of_regression(tf, err):
    y = tf.placeholder(tf.float32, [None], name="y")
    p = tf.placeholder(tf.float32, [None], name="p")
    return [tf.metrics.mean_squared_error(y, p), tf.metrics.root_mean_squared_error(y, p),
            tf.metrics.mean_absolute_error(y, p)]  # fmt: skip


def auc(tf, err):
    y = tf.placeholder(tf.bool, [None], name="y")
    p = tf.placeholder(tf.float32, [None], name="p")
    return [tf.metrics.auc(y, p, num_thresholds=5), _collections(tf)]


def confusion_only_values(tf, err):
    y, p = _ints(tf)
    made = [
        tf.confusion_matrix(y, p),
        tf.confusion_matrix(y, p, num_classes=4, dtype=tf.float32, name="c"),
        tf.confusion_matrix([0, 1, 2], [1, 1, 2], num_classes=3, weights=[1, 2, 3]),
        tf.confusion_matrix([[0], [1], [2]], [1, 1, 2], num_classes=3, dtype=tf.int64),
    ]
    with tf.Session() as session:
        out = [session.run(made, {y: [0, 2, 1, 1], p: [0, 1, 2, 1]})]
        try:
            session.run(made[1], {y: [0, 5], p: [0, 1]})
        except tf.errors.InvalidArgumentError as error:
            out.append(error.message.split("] [")[0])
    return out


def values_only_values(tf, err):
    import numpy as np

    labels = [[1, 0, 1, 1], [0, 0, 1, 0], [1, 1, 1, 1]]
    predictions = [[1, 1, 0, 1], [0, 0, 1, 1], [1, 0, 0, 1]]
    scores = [[0.9, 0.6, 0.2, 0.7], [0.1, 0.2, 0.8, 0.9], [0.55, 0.45, 0.3, 0.95]]
    y, p = tf.placeholder(tf.int64, [None]), tf.placeholder(tf.int64, [None])
    s = tf.placeholder(tf.float32, [None])
    m = tf.metrics
    built = [
        m.accuracy(y, p), m.precision(y, p), m.recall(y, p), m.true_positives(y, p), m.false_positives(y, p),
        m.false_negatives(y, p), m.true_negatives(y, p), m.auc(y, s), m.auc(y, s, curve="PR", num_thresholds=50),
        m.mean_squared_error(tf.cast(y, tf.float32), s), m.root_mean_squared_error(tf.cast(y, tf.float32), s), m.mean_absolute_error(tf.cast(y, tf.float32), s), m.mean(s),
        m.accuracy(y, p, weights=tf.constant([1.0, 0.0, 2.0, 1.0])),
        m.precision(y, p, weights=tf.constant([1.0, 0.0, 2.0, 1.0])),
        m.mean_relative_error(tf.cast(y, tf.float32), s, tf.ones([4])),
        m.percentage_below(s, 0.5),
        m.mean_tensor(tf.reshape(s, [4])), m.mean_iou(y, p, 2), m.mean_per_class_accuracy(y, p, 2),
        m.sensitivity_at_specificity(y, s, 0.5), m.specificity_at_sensitivity(y, s, 0.5),
        m.precision_at_thresholds(y, s, [0.3, 0.6]), m.recall_at_thresholds(y, s, [0.3, 0.6]),
        m.true_positives_at_thresholds(y, s, [0.3, 0.6]), m.false_negatives_at_thresholds(y, s, [0.3, 0.6]),
        m.mean_cosine_distance(tf.reshape(tf.cast(y, tf.float32), [2, 2]), tf.reshape(s, [2, 2]), dim=1),
    ]  # fmt: skip
    cm = tf.confusion_matrix(y, p, num_classes=3)
    out = []
    with tf.Session() as session:
        session.run(tf.local_variables_initializer())
        for step in range(3):
            feed = {y: labels[step], p: predictions[step], s: scores[step]}
            out.append([np.round(v, 4) for v in session.run([u for _, u in built], feed)])
            out.append([np.round(v, 4) for v in session.run([v for v, _ in built])])
            out.append(session.run(cm, feed))
    return out


def metrics_errors(tf, err):
    y = tf.placeholder(tf.float32, [None, 2], name="y")
    p = tf.placeholder(tf.float32, [None, 3], name="p")
    return [
        err(lambda: tf.metrics.accuracy(y, p)),
        err(lambda: tf.metrics.mean_squared_error(y, p)),
        err(lambda: tf.metrics.auc(y, y, curve="what")),
        err(lambda: tf.confusion_matrix([1, 2], [1, 2, 3])),
    ]


def at_k_only_values(tf, err):
    import numpy as np

    random = np.random.RandomState(3)
    scores = random.rand(3, 4, 6).astype("float32")
    labels = random.randint(0, 6, (3, 4, 2))
    labels[0, 0] = labels[0, 0, 0]
    weights = random.rand(3, 4).astype("float32")
    x = tf.placeholder(tf.float32, [None, 4, 6])
    y = tf.placeholder(tf.int64, [None, 4, 2])
    one = tf.placeholder(tf.int64, [None, 4])
    w = tf.placeholder(tf.float32, [None, 4])
    sparse = tf.SparseTensor(
        [[0, 0], [0, 1], [2, 0], [2, 1], [2, 2]], np.array([1, 4, 0, 0, 5]), [3, 3]
    )
    flat = tf.constant(scores[0, :3])
    m = tf.metrics
    found = []
    for k in (1, 3):
        found += [
            m.recall_at_k(y, x, k),
            m.recall_at_k(one, x, k, weights=w),
            m.recall_at_k(y, x, k, class_id=2),
            m.precision_at_k(y, x, k, weights=w, name="mine"),
            m.precision_at_k(y, x, k, class_id=4),
            m.average_precision_at_k(y, x, k),
            m.average_precision_at_k(y, x, k, weights=w),
            m.recall_at_k(sparse, flat, k),
            m.precision_at_k(sparse, flat, k),
            m.average_precision_at_k(sparse, flat, k),
            m.recall_at_top_k(y, tf.nn.top_k(x, k)[1], k),
            m.precision_at_top_k(y, tf.nn.top_k(x, k)[1]),
        ]
    names = [v.name for v in tf.local_variables() if "/read" not in v.name]
    out = []
    with tf.Session() as session:
        session.run(tf.local_variables_initializer())
        out.append([f"{v:.6f}" for v in session.run([value for value, _ in found])])
        for i in range(3):
            feed = {x: scores[i:], y: labels[i:], one: labels[i:, :, 0], w: weights[i:]}
            out.append([f"{v:.6f}" for v in session.run([update for _, update in found], feed)])
        out.append([f"{v:.6f}" for v in session.run([value for value, _ in found])])
    return out + [[t.dtype.name for pair in found[:2] for t in pair], names[:8]]
