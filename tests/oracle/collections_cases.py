# ruff: noqa  (programs for Python 3.7 and TensorFlow 1.15, whose style they keep)


def basic(tf, err):
    g = tf.get_default_graph()
    tf.add_to_collection("k", 1)
    tf.add_to_collection("k", "two")
    g.add_to_collections(["k", "l", "k"], 3)
    g.add_to_collections("m", 4)
    tf.add_to_collection(("t", 1), 5)
    ref = g.get_collection_ref("k")
    ref.append(6)
    out = [
        tf.get_collection("k"),
        tf.get_collection("absent"),
        sorted(g.get_all_collection_keys()),
        g.get_collection_ref("new"),
        sorted(str(c) for c in g.collections),
        tf.get_collection("k") is tf.get_collection("k"),
        tf.get_collection_ref("k") is ref,
    ]
    g.clear_collection("k")
    out.append(tf.get_collection("k"))
    return out


def scoped(tf, err):
    with tf.name_scope("a"):
        tf.Variable(1.0, name="v")
    with tf.name_scope("ab"):
        tf.Variable(1.0, name="v")
    tf.add_to_collection(tf.GraphKeys.GLOBAL_VARIABLES, "no name")
    names = ["a", "a/", "b", ".*v", "ab?/"]
    return [[v.name for v in tf.get_collection(tf.GraphKeys.GLOBAL_VARIABLES, n)] for n in names]


def keys(tf, err):
    return {
        k: str(getattr(tf.GraphKeys, k)) for k in sorted(dir(tf.GraphKeys)) if not k.startswith("_")
    }


def variable_collections(tf, err):
    tf.Variable(1.0, name="a")
    tf.Variable(1.0, name="b", trainable=False)
    tf.Variable(1.0, name="c", collections=["mine"])
    tf.Variable(1.0, name="d", collections=["mine"], trainable=False)
    tf.Variable(1.0, name="e", collections=[tf.GraphKeys.LOCAL_VARIABLES])
    tf.get_variable("f", [], collections=[tf.GraphKeys.LOCAL_VARIABLES], trainable=False)
    tf.get_local_variable("g", [])
    g = tf.get_default_graph()
    return {k: g.get_collection(k) for k in sorted(g.get_all_collection_keys())}


def default_graphs(tf, err):
    g = tf.get_default_graph()
    h = tf.Graph()
    with h.as_default() as inner:
        c = tf.constant(1, name="c")
        out = [inner is h, tf.get_default_graph() is h, c.graph is h]
    out += [tf.get_default_graph() is g, err(lambda: tf.reset_default_graph())]
    out.append(err(lambda: tf.add(c, tf.constant(1))))
    out.append(err(lambda: tf.identity(c)))
    out.append([op.name for op in h.get_operations()])
    return out


def versions(tf, err):
    g = tf.get_default_graph()
    out = [g.version]
    tf.constant(1)
    out.append(g.version)
    tf.no_op()
    out.append(g.version)
    out.append(g.seed)
    tf.set_random_seed(7)
    out.append(g.seed)
    out.append(g.building_function)
    out.append(g.graph_def_versions.producer)
    return out


def feedable(tf, err):
    g = tf.get_default_graph()
    a = tf.constant(1, name="a")
    out = [g.is_feedable(a), g.is_fetchable(a)]
    g.prevent_feeding(a)
    g.prevent_fetching(a.op)
    out += [g.is_feedable(a), g.is_fetchable(a), g.is_fetchable(a.op)]
    with tf.Session() as s:
        out += [err(lambda: s.run(a, {a: 2})), err(lambda: s.run(a)), err(lambda: s.run(a.op))]
    return out
