# ruff: noqa  (programs for Python 3.7 and TensorFlow 1.15, whose style they keep)
"""Programs about variables, ref and resource ones."""


def initial_value_forms(tf, err):
    out = []
    for resource in (False, True):
        make = lambda *a, **k: tf.Variable(*a, use_resource=resource, **k)
        a = make(1.0, name="a")
        b = make([[1, 2], [3, 4]], name="b")
        c = make(tf.zeros([2, 3]), name="c")
        d = make(lambda: tf.ones([2]), name="d")
        e = make(lambda: 3.0, name="e", dtype=tf.float64)
        f = make("text", name="f")
        g = make(True)
        h = make([1, 2], dtype=tf.float32)
        with tf.name_scope("s"):
            i = make(tf.random_normal([2], seed=1), name="i")
        out.append([a, b, c, d, e, f, g, h, i])
        out.append([v.initial_value for v in (a, d, e, i)])
        out.append([v.initializer for v in (a, d)])
        out.append([v.value() for v in (a, d)])
        out.append(
            [a.op, a.trainable, a.graph is tf.get_default_graph(), a.device, str(a.constraint)]
        )
    return out


def errors(tf, err):
    def fresh(thunk):
        with tf.Graph().as_default():
            return err(thunk)

    out = []
    for resource in (False, True):
        make = lambda *a, **k: tf.Variable(*a, use_resource=resource, **k)
        p = tf.placeholder(tf.float32, [None, 2], name="p")
        out.append(fresh(lambda: make(None)))
        out.append(fresh(lambda: make(tf.placeholder(tf.float32, [None, 2]))))
        out.append(err(lambda: make(p, validate_shape=False)))
        out.append(fresh(lambda: make(1.0, collections="abc")))
        out.append(fresh(lambda: make(1.0, collections=3)))
        out.append(fresh(lambda: make(1.0, constraint=3)))
        out.append(fresh(lambda: make("a", dtype=tf.float32)))
        out.append(fresh(lambda: make(1.5, dtype=tf.int32)))
        v = make([1.0, 2.0], name="v")
        out.append(err(lambda: v.assign([1.0, 2.0, 3.0])))
        out.append(err(lambda: v.assign("a")))
        out.append(err(lambda: tf.convert_to_tensor(v, dtype=tf.int32)))
        out.append(err(lambda: list(v)))
        out.append(err(lambda: v.eval()))
        out.append(err(lambda: v.load(1.0)))
        out.append(err(lambda: v.scatter_add(3)))
    return out


def operators(tf, err):
    for resource in (False, True):
        v = tf.Variable([1.0, 2.0], name="v", use_resource=resource)
        v + 1.0
        1.0 - v
        v * v
        -v
        v[0]
        v[1:]
        v > 1.0
        v / 2.0
        v**2
        tf.add(v, v)
        tf.matmul(tf.Variable([[1.0]], use_resource=resource), tf.constant([[1.0]]))


def assignments(tf, err):
    out = []
    for resource in (False, True):
        v = tf.Variable([1.0, 2.0], name="v", use_resource=resource)
        out.append(v.assign([3.0, 4.0]))
        out.append(v.assign([3.0, 4.0], name="set", read_value=False))
        out.append(v.assign_add([3.0, 4.0]))
        out.append(v.assign_sub([3.0, 4.0], use_locking=True))
        out.append(tf.assign(v, [1.0, 1.0]))
        out.append(tf.assign_add(v, [1.0, 1.0], name="plus"))
        out.append(tf.assign_sub(v, [1.0, 1.0]))
        out.append(v.read_value())
        out.append(v.is_initialized() if resource else tf.is_variable_initialized(v))
        s = tf.IndexedSlices(tf.constant([1.0]), tf.constant([1]))
        out.append(v.scatter_add(s))
        out.append(v.scatter_sub(s))
        out.append(v.scatter_update(s))
        out.append(tf.scatter_add(v, [0], [1.0]))
        out.append(v.sparse_read([0]) if resource else None)
        out.append(tf.gather(v, [1]))
    return [
        o
        if isinstance(o, (tf.Tensor, tf.Operation))
        else type(o).__name__ in ("_UnreadVariable", "ResourceVariable") or str(o)
        for o in out
    ]


def assignment_values(tf, err):
    out = []
    for resource in (False, True):
        v = tf.Variable([1.0, 2.0], name="v", use_resource=resource)
        c = tf.Variable(0, name="c", use_resource=resource)
        with tf.Session() as s:
            s.run(tf.global_variables_initializer())
            out.append(s.run(v))
            out.append(s.run(v.assign([3.0, 4.0])))
            out.append(s.run(v.assign_add([1.0, 1.0])))
            out.append(s.run(tf.assign_sub(v, [0.5, 0.5])))
            out.append(s.run([v.read_value(), v.value(), v + 1.0]))
            out.append(v.eval())
            v.load([9.0, 8.0])
            out.append(v.eval(s))
            out.append(s.run(v.scatter_add(tf.IndexedSlices(tf.constant([1.0]), tf.constant([1])))))
            out.append([s.run(c.count_up_to(2)), s.run(c.count_up_to(2))])
            out.append(s.run(tf.report_uninitialized_variables()))
    return out


def placement(tf, err):
    for resource in (False, True):
        with tf.device("/job:ps/task:1"):
            v = tf.Variable([1.0], name="v", use_resource=resource)
            w = tf.Variable(lambda: tf.ones([1]), name="w", use_resource=resource)
        with tf.device("/gpu:0"):
            v.assign([2.0])
            v.read_value()
            v + 1.0
            tf.assign_add(w, [1.0])
            tf.Variable(1.0, name="x", caching_device="/cpu:0", use_resource=resource)
            tf.Variable(
                1.0, name="y", caching_device=lambda op: "/device:CPU:1", use_resource=resource
            )


def in_scopes(tf, err):
    a = tf.constant(1.0, name="a")
    with tf.control_dependencies([a]):
        tf.Variable(2.0, name="v")
        tf.Variable(2.0, name="r", use_resource=True)
    with tf.name_scope("n"), tf.colocate_with(a):
        tf.Variable(2.0, name="v")
        tf.Variable(lambda: 2.0, name="r", use_resource=True)


def initialized_values(tf, err):
    a = tf.Variable(2.0, name="a")
    b = tf.Variable(a.initialized_value() * 2.0, name="b")
    c = tf.Variable(b * 3.0, name="c")
    d = tf.Variable(lambda: c.read_value() + a, name="d")
    with tf.Session() as s:
        for v in (a, b, c, d):
            s.run(v.initializer)
        return s.run([a, b, c, d])


def initialized_resource_values(tf, err):
    a = tf.Variable(2.0, name="a", use_resource=True)
    b = tf.Variable(a.initialized_value() * 2.0, name="b", use_resource=True)
    c = tf.Variable(b * 3.0, name="c", use_resource=True)
    with tf.Session() as s:
        for v in (a, b, c):
            s.run(v.initializer)
        return s.run([a, b, c])


def protos(tf, err):
    out = []
    for resource in (False, True):
        scope = "s%d" % resource
        with tf.name_scope(scope):
            v = tf.Variable([1.0], name="v", use_resource=resource)
        w = tf.Variable(
            [1.0], name="w", trainable=False, caching_device="/cpu:0", use_resource=resource
        )
        for x in (v, w):
            p = x.to_proto()
            out.append(p)
            again = tf.Variable.from_proto(p) if not resource else type(x).from_proto(p)
            out += [
                again.name,
                again.initializer,
                again.value(),
                again.trainable,
                again.initial_value,
                again.to_proto() == p,
            ]
        out.append(v.to_proto(export_scope=scope))
        out.append(v.to_proto(export_scope="other"))
        out.append(type(v).from_proto(v.to_proto(export_scope=scope), import_scope=scope).name)
    return out


def initializer_groups(tf, err):
    a = tf.Variable(1.0, name="a")
    with tf.device("/job:ps"):
        b = tf.Variable(1.0, name="b")
    tf.Variable(1.0, name="l", collections=[tf.GraphKeys.LOCAL_VARIABLES])
    out = [tf.global_variables_initializer(), tf.local_variables_initializer()]
    out += [tf.variables_initializer([a, b], name="mine"), tf.variables_initializer([])]
    out += [tf.report_uninitialized_variables(), tf.report_uninitialized_variables([a])]
    out += [tf.is_variable_initialized(a), tf.assert_variables_initialized([a, b])]
    out += [
        tf.global_variables(),
        tf.local_variables(),
        tf.trainable_variables(),
        tf.model_variables(),
    ]
    return out


def uninitialized(tf, err):
    out = []
    for resource in (False, True):
        v = tf.Variable([1.0], name="v", use_resource=resource)
        w = tf.Variable([1.0], name="w", use_resource=resource)
        with tf.Session() as s:
            s.run(w.initializer)
            out.append(err(lambda: s.run(v)))
            out.append(None if resource else err(lambda: s.run(v.assign_add([1.0]))))
            out.append(s.run(tf.report_uninitialized_variables([v])))
            out.append(s.run(v.is_initialized() if resource else tf.is_variable_initialized(v)))
    return out


def control_flow(tf, err):
    v = tf.Variable(1.0, name="v")
    p = tf.placeholder(tf.bool, [], name="p")
    out = tf.cond(p, lambda: v.assign(5.0), lambda: v.assign_add(1.0))
    with tf.Session() as s:
        s.run(tf.global_variables_initializer())
        return [s.run(out, {p: x}) for x in (False, True, False)]


def unknown_shape(tf, err):
    p = tf.placeholder(tf.float32, name="p")
    v = tf.Variable(p, validate_shape=False, name="v")
    out = [v, v.shape, v.get_shape()]
    with tf.Session() as s:
        s.run(v.initializer, {p: [1.0, 2.0]})
        out.append(s.run(v))
        out.append(s.run(tf.assign(v, [[3.0]], validate_shape=False)))
        out.append(s.run(v))
    return out


def creators(tf, err):
    seen = []

    def outer(next_creator, **kwargs):
        seen.append(["outer", str(kwargs.get("name"))])
        return next_creator(**kwargs)

    def inner(next_creator, **kwargs):
        seen.append(["inner", str(kwargs.get("name"))])
        kwargs["name"] = "renamed"
        return next_creator(**kwargs)

    with tf.variable_creator_scope(outer):
        with tf.variable_creator_scope(inner):
            v = tf.Variable(1.0, name="v")
        w = tf.get_variable("w", [])
    return [seen, v, w]


def sliced_assignments(tf, err):
    out = []
    for resource in (False, True):
        v = tf.Variable([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], name="v", use_resource=resource)
        made = [
            v[0].assign([7.0, 8.0, 9.0]),
            v[:, 1].assign([0.0, 0.0], name="set"),
            v[1, 2].assign(-1.0),
            v[..., tf.newaxis, ::2].assign([[[1.0, 1.0]], [[2.0, 2.0]]]),
        ]
        with tf.Session() as s:
            s.run(v.initializer)
            out.append([s.run(m) for m in made])
        out.append([m.name for m in made])
    t = tf.identity(v)
    out.append(err(lambda: t[0].assign([1.0, 1.0, 1.0])))
    return out
