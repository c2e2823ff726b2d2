# ruff: noqa  (programs for Python 3.7 and TensorFlow 1.15, whose style they keep)


def basics(tf, err):
    with tf.variable_scope("a") as a:
        w = tf.get_variable("w", [2, 3])
        x = w + 1.0
        with tf.variable_scope("b") as b:
            v = tf.get_variable("v", [2], initializer=tf.zeros_initializer())
            tf.constant(1.0)
    with tf.variable_scope("a"):
        tf.constant(1.0, name="c")
        u = tf.get_variable("u", [1])
    with tf.variable_scope(a):
        tf.constant(1.0, name="d")
        t = tf.get_variable("t", [1])
    with tf.variable_scope(a) as again:
        tf.constant(1.0, name="e")
    with tf.variable_scope(b):
        tf.constant(1.0, name="f")
        s = tf.get_variable("s", [1])
    return [
        w,
        x,
        v,
        u,
        t,
        s,
        a.name,
        b.name,
        a.original_name_scope,
        b.original_name_scope,
        again.original_name_scope,
        again.name,
    ]


def reuse(tf, err):
    out = []
    with tf.variable_scope("a"):
        w = tf.get_variable("w", [2, 3])
    out.append(err(lambda: _get(tf, "a", "w", [2, 3])["message"][:80]))
    with tf.variable_scope("a", reuse=True) as scope:
        out.append([tf.get_variable("w") is w, tf.get_variable("w", [2, 3]) is w, scope.reuse])
        out.append(err(lambda: tf.get_variable("w", [3, 3])))
        out.append(err(lambda: tf.get_variable("w", [2, 3], dtype=tf.float64)))
        out.append(err(lambda: tf.get_variable("zz", [2, 3])))
        with tf.variable_scope("inner") as inner:
            out.append(inner.reuse)
        with tf.variable_scope("inner", reuse=False) as inner:
            out.append(inner.reuse)
    with tf.variable_scope("a") as scope:
        scope.reuse_variables()
        out.append([scope.reuse, tf.get_variable("w") is w])
    with tf.variable_scope(scope, reuse=tf.AUTO_REUSE) as s:
        out.append([str(s.reuse), tf.get_variable("w") is w, tf.get_variable("n", [1])])
    with tf.variable_scope("a", reuse=tf.AUTO_REUSE):
        out.append([tf.get_variable("w", [2, 3]) is w, tf.get_variable("n2", [1])])
        with tf.variable_scope("deep"):
            out.append(tf.get_variable("n3", [1]) is tf.get_variable("n3", [1]))
    tf.get_variable_scope().reuse_variables()
    out.append(err(lambda: tf.get_variable("absent", [1])))
    return out


def _get(tf, scope, name, shape):
    try:
        with tf.variable_scope(scope):
            return tf.get_variable(name, shape)
    except ValueError as error:
        return {"message": str(error)}


def errors(tf, err):
    out = []
    for bad in (
        lambda: tf.get_variable("w"),
        lambda: tf.get_variable("w", [None, 2]),
        lambda: tf.get_variable("w", [2], initializer=tf.constant([1.0, 2.0])),
        lambda: tf.get_variable("w", [2], initializer=[1.0, 2.0]),
        lambda: tf.get_variable("w", initializer=tf.zeros_initializer()),
        lambda: tf.get_variable("w", [2], dtype=tf.string),
        lambda: tf.variable_scope(None).__enter__(),
        lambda: tf.variable_scope(3).__enter__(),
        lambda: tf.variable_scope("a", reuse="yes").__enter__(),
        lambda: tf.variable_scope(None, "d", reuse=True).__enter__(),
        lambda: tf.get_variable("w5", [2], collections="abc"),
        lambda: tf.get_variable("a b", [2]),
        lambda: tf.get_variable("w3", [2], custom_getter=3),
        lambda: tf.get_variable(None, [2]),
        lambda: tf.get_variable("", [2]),
        lambda: tf.get_variable("w4", [2], dtype="nothing"),
    ):
        found = err(bad)
        out.append(found)
    return out


def default_names(tf, err):
    out = []

    def layer():
        with tf.variable_scope(None, "layer", [tf.constant(1.0)]) as s:
            w = tf.get_variable("w", [1])
            tf.constant(2.0)
            with tf.variable_scope(None, "sub") as t:
                u = tf.get_variable("u", [1])
            return [s.name, s.original_name_scope, t.name, t.original_name_scope, w.name, u.name]

    out.append(layer())
    out.append(layer())
    with tf.variable_scope("outer"):
        out.append(layer())
        out.append(layer())
    with tf.variable_scope("outer", reuse=tf.AUTO_REUSE):
        out.append(layer())
    with tf.variable_scope("layer_3"):
        out.append(layer())
    out.append(layer())
    out.append(layer())
    with tf.variable_scope("given", "unused") as s:
        out.append(s.name)
    return out


def name_scope_interplay(tf, err):
    out = []
    with tf.name_scope("n"):
        with tf.variable_scope("v") as v:
            out.append(tf.get_variable("w", [1]))
            out.append(tf.constant(1.0))
            out.append(tf.Variable(1.0, name="x"))
            out.append(v.original_name_scope)
        with tf.variable_scope(v):
            out.append(tf.constant(1.0))
        with tf.variable_scope(v, auxiliary_name_scope=False):
            out.append(tf.constant(1.0))
        with tf.variable_scope("q", auxiliary_name_scope=False) as q:
            out.append(tf.constant(1.0))
            out.append(tf.get_variable("w", [1]))
            out.append(q.original_name_scope)
    with tf.variable_scope("v"), tf.name_scope("m"):
        out.append(tf.get_variable("y", [1]))
        out.append(tf.constant(1.0))
    with tf.variable_scope("") as root:
        out.append([root.name, root.original_name_scope])
        out.append(tf.get_variable("z", [1]))
        out.append(tf.constant(1.0))
    with tf.variable_scope("a/b"):
        out.append(tf.get_variable("c", [1]))
        out.append(tf.constant(1.0))
    with tf.variable_scope("v"), tf.variable_scope(tf.VariableScope(reuse=False)):
        out.append(tf.get_variable("r", [1]))
        out.append(tf.constant(1.0))
    with tf.variable_scope("v"), tf.variable_scope(root):
        out.append(tf.get_variable("r2", [1]))
        out.append(tf.constant(1.0))
    return out


def jump(tf, err):
    with tf.variable_scope("a") as a:
        pass
    with tf.variable_scope("b"), tf.variable_scope("c"), tf.variable_scope(a) as aa:
        v = tf.get_variable("v", [1])
        c = tf.constant(1.0)
        with tf.variable_scope("d") as d:
            w = tf.get_variable("w", [1])
    return [v, c, w, aa.name, aa.original_name_scope, d.name, d.original_name_scope]


def initializer_forms(tf, err):
    with tf.variable_scope("s", initializer=tf.constant_initializer(3.0)):
        a = tf.get_variable("a", [2])
        b = tf.get_variable("b", [2], initializer=tf.ones_initializer)
        with tf.variable_scope("t"):
            c = tf.get_variable("c", [1])
        with tf.variable_scope("u", initializer=tf.zeros_initializer()):
            d = tf.get_variable("d", [1])
    e = tf.get_variable("e", initializer=[1.0, 2.0])
    f = tf.get_variable("f", initializer=tf.constant([[1, 2]]))
    g = tf.get_variable("g", initializer=5)
    h = tf.get_variable("h", [2], dtype=tf.int32)
    i = tf.get_variable("i", [2], dtype=tf.bool)
    j = tf.get_variable("j", initializer=lambda: tf.constant([7.0]))
    k = tf.get_variable(
        "k", [2, 2], initializer=lambda shape, dtype, partition_info=None: tf.ones(shape, dtype)
    )
    vs = [a, b, c, d, e, f, g, h, i, j, k]
    with tf.Session() as s:
        s.run(tf.global_variables_initializer())
        return [vs, s.run(vs)]


def dtypes(tf, err):
    with tf.variable_scope("s", dtype=tf.float64) as s:
        a = tf.get_variable("a", [1])
        b = tf.get_variable("b", [1], dtype=tf.float32)
        c = tf.get_variable("c", initializer=tf.constant([1]))
        d = tf.get_variable("d", [1], initializer=tf.zeros_initializer(dtype=tf.int32))
    return [a, b, c, d, s.dtype]


def regularizers(tf, err):
    def l2(v):
        return tf.nn.l2_loss(v) * 0.5

    with tf.variable_scope("s", regularizer=l2):
        a = tf.get_variable("a", [2])
        tf.get_variable("b", [2], regularizer=tf.no_regularizer)
        tf.get_variable("c", [2], regularizer=lambda v: None)
        with tf.variable_scope("t", reuse=tf.AUTO_REUSE):
            tf.get_variable("d", [2])
            tf.get_variable("d", [2])
    with tf.variable_scope("r", use_resource=True, regularizer=l2):
        tf.get_variable("e", [2])
    return [a, tf.get_collection(tf.GraphKeys.REGULARIZATION_LOSSES)]


def custom_getters(tf, err):
    seen = []

    def outer(getter, name, *args, **kwargs):
        seen.append(["outer", name])
        return getter(name + "_o", *args, **kwargs)

    def inner(getter, name, *args, **kwargs):
        seen.append(
            [
                "inner",
                name,
                sorted(
                    k
                    for k in kwargs
                    if kwargs[k] is not None and k not in ("synchronization", "aggregation")
                ),
            ]
        )
        return tf.identity(getter(name + "_i", *args, **kwargs), name="wrapped")

    with tf.variable_scope("s", custom_getter=outer):
        a = tf.get_variable("a", [1])
        with tf.variable_scope("t", custom_getter=inner):
            b = tf.get_variable("b", [1])
        c = tf.get_variable("c", [1], custom_getter=inner)
    return [seen, a, b, c]


def resource_scopes(tf, err):
    with tf.variable_scope("s", use_resource=True) as s:
        a = tf.get_variable("a", [1])
        b = tf.Variable(1.0, name="b")
        c = tf.get_variable("c", [1], use_resource=False)
        with tf.variable_scope("t"):
            d = tf.get_variable("d", [1])
    return [a.op.type, b.op.type, c.op.type, d.op.type, s.use_resource, a.name, b.name]


def scope_collections(tf, err):
    with tf.variable_scope("s") as s:
        tf.get_variable("a", [1])
        tf.get_variable("b", [1], trainable=False)
        tf.get_local_variable("c", [1])
        tf.get_variable("d", [1], collections=["mine"])
        out = [
            s.global_variables(),
            s.trainable_variables(),
            s.local_variables(),
            s.get_collection("mine"),
        ]
    tf.get_variable("s2", [1])
    return out


def caching(tf, err):
    with tf.variable_scope("s", caching_device="/cpu:0") as s:
        tf.get_variable("a", [1])
        tf.get_variable("b", [1], caching_device="/gpu:0")
    with tf.device("/job:ps/task:0"), tf.variable_scope("t"):
        tf.get_variable("c", [1])
    return str(s.caching_device)


def setters(tf, err):
    with tf.variable_scope("s") as s:
        s.set_initializer(tf.ones_initializer())
        s.set_dtype(tf.float64)
        s.set_use_resource(True)
        s.set_regularizer(None)
        s.set_custom_getter(None)
        s.set_caching_device(None)
        s.set_partitioner(None)
        v = tf.get_variable("v", [1])
    return [
        v,
        v.op.type,
        s.name,
        str(s.reuse),
        str(s.custom_getter),
        str(s.regularizer),
        str(s.partitioner),
        str(s.constraint),
    ]


def reentering_objects(tf, err):
    scope = tf.variable_scope("s")
    with scope:
        a = tf.get_variable("a", [1])
        tf.constant(1.0)
    with scope:
        b = tf.get_variable("b", [1])
        c = tf.constant(1.0)
    return [a, b, c]


def op_scopes(tf, err):
    x = tf.constant(1.0)
    with tf.op_scope([x], "name", "default") as s:
        a = tf.constant(2.0)
    with tf.variable_op_scope([x], None, "dv") as t:
        b = tf.get_variable("v", [1])
    return [s, a, t.name, b]


def local_and_global_step(tf, err):
    a = tf.get_local_variable("a", [1])
    g = tf.train.get_or_create_global_step()
    return [
        a,
        a.trainable,
        g,
        g.trainable,
        tf.train.get_global_step() is g,
        tf.local_variables(),
        tf.global_variables(),
    ]
