# ruff: noqa  (programs for Python 3.7 and TensorFlow 1.15, whose style they keep)
"""Programs about partitioned variables: partitioners, names, embedding lookup, optimizers, savers, placement."""


def _info(v):
    info = v._get_save_slice_info()
    return [
        info.full_name,
        list(info.full_shape),
        list(info.var_offset),
        list(info.var_shape),
        info.spec,
    ]


def _about(p):
    return [
        p.name,
        p.dtype.name,
        str(p.shape),
        str(p.get_shape()),
        len(p),
        p._get_partitions(),
        [_info(v) for v in p],
        list(p._get_variable_list()),
        type(p).__name__,
        [v.op.type for v in p],
    ]


def partitioners_only_values(tf, err):
    out = []
    shape = tf.TensorShape([10, 7])
    for dtype in (tf.float32, tf.float64, tf.string, tf.int8):
        for make in (
            lambda: tf.fixed_size_partitioner(3),
            lambda: tf.fixed_size_partitioner(3, axis=1),
            lambda: tf.fixed_size_partitioner(30),
            lambda: tf.variable_axis_size_partitioner(60),
            lambda: tf.variable_axis_size_partitioner(60, axis=1),
            lambda: tf.variable_axis_size_partitioner(1),
            lambda: tf.variable_axis_size_partitioner(60, max_shards=2),
            lambda: tf.variable_axis_size_partitioner(100000),
            lambda: tf.variable_axis_size_partitioner(300, bytes_per_string_element=4),
            lambda: tf.min_max_variable_partitioner(),
            lambda: tf.min_max_variable_partitioner(max_partitions=4, min_slice_size=16),
            lambda: tf.min_max_variable_partitioner(max_partitions=100, min_slice_size=16, axis=1),
            lambda: tf.min_max_variable_partitioner(max_partitions=8, min_slice_size=50),
            lambda: tf.min_max_variable_partitioner(
                max_partitions=8, min_slice_size=50, bytes_per_string_element=2
            ),
        ):
            out.append(make()(shape=shape, dtype=dtype))
    return out


def partitioner_errors(tf, err):
    f = tf.float32
    s = tf.TensorShape([4, 2])
    return [
        err(lambda: tf.variable_axis_size_partitioner(0)),
        err(lambda: tf.variable_axis_size_partitioner(4, bytes_per_string_element=0)),
        err(lambda: tf.variable_axis_size_partitioner(4, max_shards=-1)),
        err(lambda: tf.variable_axis_size_partitioner(4)([4, 2], f)),
        err(lambda: tf.variable_axis_size_partitioner(4)(tf.TensorShape([None, 2]), f)),
        err(lambda: tf.variable_axis_size_partitioner(4)(s, "float32")),
        err(lambda: tf.min_max_variable_partitioner(axis=2)(s, f)),
        err(lambda: tf.fixed_size_partitioner(2, axis=3)(shape=s)),
    ]


def names_and_slices(tf, err):
    out = []
    for resource in (False, True):
        with tf.variable_scope("s%d" % resource, use_resource=resource):
            w = tf.get_variable(
                "w",
                [5, 2],
                initializer=tf.zeros_initializer(),
                partitioner=tf.fixed_size_partitioner(3),
            )
            out.append(_about(w))
            c = tf.get_variable(
                "c",
                [2, 5],
                initializer=tf.ones_initializer(),
                partitioner=tf.fixed_size_partitioner(2, axis=1),
            )
            out.append(_about(c))
            one = tf.get_variable(
                "one",
                [2, 5],
                initializer=tf.ones_initializer(),
                partitioner=tf.fixed_size_partitioner(1),
            )
            out.append(_about(one))
    out.append(tf.global_variables())
    out.append(tf.trainable_variables())
    return out


def as_tensors(tf, err):
    out = []
    for resource in (False, True):
        with tf.variable_scope("s%d" % resource, use_resource=resource):
            w = tf.get_variable(
                "w",
                [5, 2],
                initializer=tf.zeros_initializer(),
                partitioner=tf.fixed_size_partitioner(3),
            )
            one = tf.get_variable(
                "one",
                [2, 5],
                initializer=tf.ones_initializer(),
                partitioner=tf.fixed_size_partitioner(1),
            )
            out.append(w.as_tensor())
            out.append(tf.convert_to_tensor(w))
            out.append(one.as_tensor())
            with tf.control_dependencies([tf.no_op()]):
                out.append(w.as_tensor())
                out.append(w._concat())
            out.append(tf.matmul(w, tf.ones([2, 2])))
            out.append(tf.identity(w))
            out.append(tf.shape(w))
            out.append(tf.add(w, 1.0))
            out.append(tf.reduce_sum(w, name="total"))
            with tf.name_scope("inner"):
                out.append(tf.convert_to_tensor(w))
            out.append(tf.add_n([w, w]))
    return out


def conversion_errors(tf, err):
    w = tf.get_variable("w", [5, 2], partitioner=tf.fixed_size_partitioner(3))
    return [
        err(lambda: tf.convert_to_tensor(w, dtype=tf.int32)),
        err(lambda: w + 1.0),
        err(lambda: w[0])["error"],
        err(lambda: tf.Session().run(w))["error"],
        err(lambda: tf.assign(w, tf.zeros([5, 2]))),
    ]


def initializers(tf, err):
    part = tf.fixed_size_partitioner(2)
    out = []
    with tf.variable_scope("v", partitioner=part):
        tf.get_variable("default", [4, 3])
        tf.get_variable("ints", [4, 3], dtype=tf.int32)
        tf.get_variable("g", [4, 3], initializer=tf.glorot_uniform_initializer(seed=1))
        tf.get_variable("vs", [4, 3], initializer=tf.variance_scaling_initializer(seed=1))
        tf.get_variable("k", [4, 3], initializer=tf.constant_initializer(3.0))
        tf.get_variable("rn", [5, 3], initializer=tf.random_normal_initializer(seed=1))
        tf.get_variable("us", [4, 3], initializer=tf.uniform_unit_scaling_initializer(seed=1))
        t = tf.get_variable(
            "t", initializer=tf.constant([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], name="values")
        )
        out.append(_about(t))
        out.append(err(lambda: tf.get_variable("l", initializer=[1.0, 2.0, 3.0])))
        seen = []

        def mine(shape, dtype=None, partition_info=None):
            seen.append(
                [
                    list(shape),
                    dtype.name,
                    list(partition_info.full_shape),
                    list(partition_info.var_offset),
                    partition_info.single_offset(shape),
                    partition_info.single_slice_dim(shape),
                ]
            )
            return tf.zeros(shape, dtype)

        tf.get_variable("mine", [5, 3], initializer=mine)
        out.append(seen)
        tf.get_variable("scalar", [], initializer=tf.zeros_initializer())
        tf.get_variable("cls", [3], initializer=tf.zeros_initializer)
    return out


def reuse(tf, err):
    out = []
    part = tf.fixed_size_partitioner(2)
    with tf.variable_scope("a", partitioner=part):
        w = tf.get_variable("w", [4, 2])
    with tf.variable_scope("a", partitioner=part, reuse=True):
        out.append(tf.get_variable("w", [4, 2]) is w)
        out.append(err(lambda: tf.get_variable("w", [6, 2])))
        out.append(err(lambda: tf.get_variable("w", [4, 2], dtype=tf.float64)))
        out.append(err(lambda: tf.get_variable("absent", [4, 2])))
        out.append(
            err(lambda: tf.get_variable("w", [4, 2], partitioner=tf.fixed_size_partitioner(4)))
        )
    with tf.variable_scope("a", reuse=True):
        out.append(tf.get_variable("w", [4, 2]) is w)
        out.append(tf.get_variable("w") is w)
        out.append(tf.get_variable("w/part_0"))
        out.append(err(lambda: tf.get_variable("w", [5, 2])))
    with tf.variable_scope("a", reuse=tf.AUTO_REUSE, partitioner=part):
        out.append(tf.get_variable("w", [4, 2]) is w)
        out.append(tf.get_variable("n", [4, 2]) is tf.get_variable("n", [4, 2]))
        out.append(
            err(lambda: tf.get_variable("w", [4, 2], partitioner=tf.fixed_size_partitioner(3)))
        )
    with tf.variable_scope("a", partitioner=part):
        out.append(err(lambda: tf.get_variable("w", [4, 2]))["message"].split(" Originally")[0])
    with tf.variable_scope("a"):
        out.append(err(lambda: tf.get_variable("w", [4, 2])))
        u = tf.get_variable("whole", [4, 2])
        out.append(err(lambda: tf.get_variable("whole", [4, 2], partitioner=part)))
    return out


def errors(tf, err):
    get = lambda p, shape=[4, 4], **k: err(
        lambda: tf.get_variable("w%d" % len(tf.global_variables()), shape, partitioner=p, **k)
    )
    out = [
        get(3),
        get("abc"),
        get(lambda shape, dtype: 3),
        get(lambda shape, dtype: [2]),
        get(lambda shape, dtype: [0, 1]),
        get(lambda shape, dtype: [2, 2]),
        get(tf.fixed_size_partitioner(2), [None, 2]),
        get(tf.fixed_size_partitioner(2), None),
        get(lambda **k: [1, 8], [4, 4]),
        err(lambda: tf.create_partitioned_variables([4, 4], [2], tf.zeros_initializer())),
        err(lambda: tf.create_partitioned_variables([], [], tf.zeros_initializer())),
        err(lambda: tf.create_partitioned_variables([4, 4], [2, 2], tf.zeros_initializer())),
        err(lambda: tf.create_partitioned_variables([4, 4], [0, 2], tf.zeros_initializer())),
    ]
    part = tf.fixed_size_partitioner(2)
    out.append(list(tf.get_variable("w8", [4, 4], initializer=tf.ones([4, 4]), partitioner=part)))
    out.append(list(tf.get_variable("w9", [4, 4], dtype=tf.string, partitioner=part)))
    return out


def old_style(tf, err):
    a = tf.create_partitioned_variables([4, 3], [2, 1], tf.zeros_initializer())
    b = tf.create_partitioned_variables([4, 3], [1, 3], tf.ones_initializer(), name="named")
    c = tf.create_partitioned_variables(
        [5], [2], tf.constant([1, 2, 3, 4, 5]), dtype=tf.int32, trainable=False
    )
    d = tf.create_partitioned_variables(
        [4, 3], [1, 3], tf.ones_initializer(), name="named", reuse=True
    )
    e = tf.create_partitioned_variables(
        [4], [1], tf.ones_initializer(), collections=["mine", "global"], name="coll"
    )
    return [
        a,
        b,
        c,
        d,
        [x is y for x, y in zip(b, d)],
        e,
        tf.get_collection("mine"),
        [_info(v) for v in a + b + c + e],
        tf.trainable_variables(),
    ]


def scopes(tf, err):
    out = []
    part = tf.fixed_size_partitioner(2)
    with tf.name_scope("n"), tf.variable_scope("a", partitioner=part) as a:
        out.append([a.partitioner is part])
        w = tf.get_variable("w", [4])
        with tf.variable_scope("b") as b:
            out.append([b.partitioner is part])
            v = tf.get_variable("v", [3], regularizer=lambda x: tf.reduce_sum(x, name="reg"))
            x = tf.get_variable("x", [3], trainable=False, collections=["c"])
        with tf.variable_scope("c", partitioner=tf.fixed_size_partitioner(3)):
            y = tf.get_variable("y", [3])
        t = tf.convert_to_tensor(v)
        z = tf.Variable([1.0, 2.0], name="z")
        loc = tf.get_local_variable("loc", [4])
    with tf.variable_scope(a):
        u = tf.get_variable("u", [4])
    out.append([list(w), list(v), list(x), list(y), t, z, list(u), list(loc)])
    out.append(tf.get_collection("c"))
    out.append(tf.get_collection(tf.GraphKeys.REGULARIZATION_LOSSES))
    out.append(tf.local_variables())
    return out


def custom_getter(tf, err):
    seen = []

    def getter(getter, name, *args, **kwargs):
        seen.append([name, kwargs.get("partitioner") is not None, str(kwargs.get("shape"))])
        return getter(name, *args, **kwargs)

    def whole(getter, name, *args, **kwargs):
        kwargs["partitioner"] = None
        return getter(name, *args, **kwargs)

    with tf.variable_scope("a", partitioner=tf.fixed_size_partitioner(2), custom_getter=getter):
        w = tf.get_variable("w", [4])
    with tf.variable_scope("b", partitioner=tf.fixed_size_partitioner(2), custom_getter=whole):
        v = tf.get_variable("v", [4])
    return [list(w), v, seen]


def assignments(tf, err):
    out = []
    for resource in (False, True):
        with tf.variable_scope("s%d" % resource, use_resource=resource):
            part = tf.fixed_size_partitioner(2)
            w = tf.get_variable("w", [5, 2], initializer=tf.zeros_initializer(), partitioner=part)
            v = tf.get_variable("v", [5, 2], initializer=tf.ones_initializer(), partitioner=part)
            out.append([x.op.type for x in w.assign(tf.ones([5, 2]))])
            out.append([x.op.type for x in w.assign_add(v)])
            out.append([x.op.type for x in w.assign_sub([tf.ones([3, 2]), tf.ones([2, 2])])])
    return out


def lookups(tf, err):
    out = []
    for resource in (False, True):
        for strategy in ("mod", "div"):
            with tf.variable_scope("s%d%s" % (resource, strategy), use_resource=resource):
                w = tf.get_variable(
                    "w",
                    [7, 2],
                    partitioner=tf.fixed_size_partitioner(3),
                    initializer=tf.zeros_initializer(),
                )
                ids = tf.placeholder(tf.int64, [2, 2])
                e = tf.nn.embedding_lookup(w, ids, strategy)
                f = tf.nn.embedding_lookup(
                    list(w), tf.placeholder(tf.int32, [2]), strategy, name="named"
                )
                one = tf.get_variable("one", [7, 2], partitioner=tf.fixed_size_partitioner(1))
                g = tf.nn.embedding_lookup(one, tf.placeholder(tf.int32, [2]), strategy)
                h = tf.nn.embedding_lookup(w, tf.placeholder(tf.int32, [2]), strategy, max_norm=1.0)
                grads = tf.gradients(tf.reduce_sum(e * e), list(w))
                out.append([e, f, g, h, grads])
    return out


def lookup_of_whole_variables(tf, err):
    out = []
    for resource in (False, True):
        v = tf.get_variable(
            "v%d" % resource, [7, 2], use_resource=resource, initializer=tf.zeros_initializer()
        )
        e = tf.nn.embedding_lookup(v, [[1, 2], [5, 6]])
        n = tf.nn.embedding_lookup(v, [1, 2], name="named", max_norm=2.0)
        out.append([e, n, tf.gradients(tf.reduce_sum(e * e), v)])
        g = tf.gather(v, [1, 2])
        out.append([g, tf.gradients(tf.reduce_sum(g), v)])
    return out


def sparse_lookups(tf, err):
    out = []
    sp = tf.sparse_placeholder(tf.int64, [3, 2])
    wt = tf.sparse_placeholder(tf.float32, [3, 2])
    w = tf.get_variable(
        "w", [7, 2], partitioner=tf.fixed_size_partitioner(2), initializer=tf.zeros_initializer()
    )
    for combiner in (None, "sum", "sqrtn"):
        for weights in (None, wt):
            e = tf.nn.embedding_lookup_sparse(w, sp, weights, "div", combiner=combiner)
            out.append([e, weights is None and tf.gradients(tf.reduce_sum(e), list(w))])
    return out


def sampled(tf, err):
    w = tf.get_variable(
        "w", [7, 2], partitioner=tf.fixed_size_partitioner(2), initializer=tf.zeros_initializer()
    )
    b = tf.get_variable(
        "b", [7], partitioner=tf.fixed_size_partitioner(2), initializer=tf.zeros_initializer()
    )
    labels = tf.placeholder(tf.int64, [2, 1])
    x = tf.ones([2, 2])
    loss = tf.nn.sampled_softmax_loss(w, b, labels, x, 3, 7, partition_strategy="div", seed=1)
    values = tf.nn.log_uniform_candidate_sampler(labels, 1, 3, True, 7, seed=1)
    nce = tf.nn.nce_loss(w, b, labels, x, 3, 7, sampled_values=values)
    return [loss, nce]


def optimizers(tf, err):
    out = []
    for resource in (False, True):
        with tf.variable_scope("s%d" % resource, use_resource=resource):
            w = tf.get_variable(
                "w",
                [5, 2],
                partitioner=tf.fixed_size_partitioner(2),
                initializer=tf.zeros_initializer(),
            )
            loss = tf.reduce_sum(
                tf.nn.embedding_lookup(w, tf.placeholder(tf.int32, [2]), "div")
            ) + tf.reduce_sum(tf.matmul(w, tf.ones([2, 1])))
            opt = tf.train.MomentumOptimizer(0.1, 0.9)
            out.append(opt.compute_gradients(loss, var_list=list(w)))
            out.append(opt.minimize(loss, var_list=list(w)))
            slots = [opt.get_slot(v, "momentum") for v in w]
            out.append([slots, [_info(s) for s in slots]])
            adam = tf.train.AdamOptimizer()
            adam.minimize(
                tf.reduce_sum(tf.nn.embedding_lookup(w, tf.placeholder(tf.int32, [2]))),
                var_list=list(w),
            )
            out.append([_info(adam.get_slot(v, "m")) for v in w])
    out.append(err(lambda: tf.gradients(loss, w))["error"])
    return out


def _setter(tf, part, ps, strategy=None, resource=False):
    setter = tf.train.replica_device_setter(
        ps_tasks=ps, ps_strategy=strategy, worker_device="/job:worker/task:3"
    )
    with tf.device(setter), tf.variable_scope("s", partitioner=part, use_resource=resource):
        w = tf.get_variable("w", [5, 2], initializer=tf.zeros_initializer())
        b = tf.get_variable("b", [1], initializer=tf.zeros_initializer())
        c = tf.get_variable("c", [8], initializer=tf.zeros_initializer())
        e = tf.nn.embedding_lookup(w, tf.placeholder(tf.int32, [2]), "div")
        loss = tf.reduce_sum(e) + tf.reduce_sum(tf.convert_to_tensor(c))
        step = tf.train.get_or_create_global_step()
        tf.train.AdagradOptimizer(0.1).minimize(loss, global_step=step)
    return [[v, v.device] for v in tf.global_variables()]


def placed_round_robin(tf, err):
    return _setter(tf, tf.fixed_size_partitioner(3), 2)


def placed_resources_only_values(tf, err):
    return _setter(tf, tf.fixed_size_partitioner(3), 2, resource=True)


def placed_by_bytes_only_values(tf, err):
    strategy = tf.contrib.training.GreedyLoadBalancingStrategy(
        3, tf.contrib.training.byte_size_load_fn
    )
    return _setter(tf, tf.variable_axis_size_partitioner(16), 3, strategy)


def byte_loads(tf, err):
    out = []
    strategy = tf.contrib.training.GreedyLoadBalancingStrategy(
        3, tf.contrib.training.byte_size_load_fn
    )
    with tf.device(tf.train.replica_device_setter(ps_tasks=3, ps_strategy=strategy)):
        for i, n in enumerate([100, 10, 10, 10, 50, 1, 200, 3]):
            v = tf.get_variable("v%d" % i, [n], tf.float64 if i % 2 else tf.float32)
            out.append([v.device, tf.contrib.training.byte_size_load_fn(v.op)])
        v = tf.get_variable("s", [2], tf.int32)
        out.append(v.device)
    p = tf.placeholder(tf.float32, [None])
    out.append(
        err(lambda: tf.contrib.training.byte_size_load_fn(tf.Variable(p, validate_shape=False).op))[
            "error"
        ]
    )
    return out


def savers(tf, err):
    out = []
    part = tf.fixed_size_partitioner(2)
    w = tf.get_variable("w", [5, 2], partitioner=part, initializer=tf.zeros_initializer())
    r = tf.get_variable(
        "r", [5], partitioner=part, initializer=tf.zeros_initializer(), use_resource=True
    )
    b = tf.get_variable("b", [2])
    saver = tf.train.Saver()
    out.append(saver.as_saver_def())
    tf.train.Saver({"other": w, "b2": b}, name="named")
    tf.train.Saver([w], name="listed")
    tf.train.Saver({"parts": list(r)}, name="listed_parts")
    tf.train.Saver([list(w)[0]], name="one_part")
    out.append(list(w)[1].to_proto())
    out.append(list(r)[1].to_proto())
    return out


def saver_errors(tf, err):
    part = tf.fixed_size_partitioner(2)
    w = tf.get_variable("w", [5, 2], partitioner=part)
    u = tf.get_variable("u", [5, 2], partitioner=part)
    parts = list(w)
    return [
        err(lambda: tf.train.Saver({"x": [parts[0], list(u)[0]]})),
        err(lambda: tf.train.Saver({"x": [parts[0], tf.Variable(1.0, name="n")]})),
        err(lambda: tf.train.Saver({"x": [parts[0], 3]}))["error"],
        err(lambda: tf.train.Saver([w, w])),
        err(lambda: tf.train.Saver({"x": w, "y": w}))["error"],
    ]


def moving_averages(tf, err):
    w = tf.get_variable(
        "w", [5, 2], partitioner=tf.fixed_size_partitioner(2), initializer=tf.zeros_initializer()
    )
    ema = tf.train.ExponentialMovingAverage(0.9)
    ema.apply(list(w))
    return [[ema.average(v), ema.average_name(v)] for v in w] + [tf.moving_average_variables()]


def meta_graphs(tf, err):
    w = tf.get_variable(
        "w", [5, 2], partitioner=tf.fixed_size_partitioner(2), initializer=tf.zeros_initializer()
    )
    meta = tf.train.export_meta_graph()
    with tf.Graph().as_default():
        tf.train.import_meta_graph(meta)
        return [[v, _info(v)] for v in tf.global_variables()]


def layer_weights(tf, err):
    with tf.variable_scope("net", partitioner=tf.fixed_size_partitioner(2)):
        y = tf.layers.dense(tf.ones([2, 4]), 3)
        layer = tf.layers.Dense(
            4, kernel_regularizer=lambda x: tf.reduce_sum(x), bias_initializer=tf.ones_initializer()
        )
        z = layer(y)
    return [y, z, tf.trainable_variables(), tf.get_collection(tf.GraphKeys.REGULARIZATION_LOSSES)]


def the_class(tf, err):
    from_parts = tf.get_variable("w", [4, 2], partitioner=tf.fixed_size_partitioner(2))
    parts = list(from_parts)
    make = lambda *a: err(lambda: type(from_parts)(*a))
    P = type(from_parts)
    again = P("w", [4, 2], tf.float32, parts[::-1], [2, 1])
    v = tf.Variable(1.0, name="v")
    return [
        [x is y for x, y in zip(again, parts)],
        make("w", [4, 2], tf.float32, 3, [2, 1]),
        make("w", [4, 2], tf.float32, parts, 2),
        make("w", [4, 2], tf.float32, parts, [0, 1]),
        make("w", [4, 2], tf.float32, [], [2, 1]),
        make("w", [4, 2], tf.float32, [v], [2, 1]),
        make("w", [4, 2], tf.float32, parts, [2]),
        make("w", [4, 3], tf.float32, parts, [2, 1]),
        err(lambda: len(P("w", [4, 2], tf.float32, parts, [2, 2]))),
        err(lambda: P("w", [4, 2], tf.float32, parts, [2, 2]).as_tensor()),
        err(lambda: P("w", [4, 2], tf.float32, parts, [2, 2]).assign(tf.ones([4, 2]))),
    ]


def runs_only_values(tf, err):
    out = []
    for resource in (False, True):
        for part in (tf.fixed_size_partitioner(3), tf.fixed_size_partitioner(2, axis=1)):
            with tf.Graph().as_default(), tf.Session() as sess:
                with tf.variable_scope("s", use_resource=resource):
                    w = tf.get_variable(
                        "w", initializer=tf.reshape(tf.range(14.0), [7, 2]), partitioner=part
                    )
                sess.run(tf.global_variables_initializer())
                out.append(sess.run(w.as_tensor()))
                out.append(sess.run(list(w)))
                sess.run([v.op if hasattr(v, "op") else v for v in w.assign_add(tf.ones([7, 2]))])
                out.append(sess.run(tf.matmul(w, tf.ones([2, 1]))))
                if part(shape=w.get_shape(), dtype=tf.float32)[0] > 1:
                    look = tf.nn.embedding_lookup(w, [[1, 2], [5, 6]], "div")
                    step = tf.train.AdagradOptimizer(0.5).minimize(tf.reduce_sum(look * look))
                    sess.run([v.initializer for v in tf.global_variables()])
                    out.append(sess.run(look))
                    sess.run(step)
                    out.append(sess.run(w.as_tensor()))
                    mod = tf.nn.embedding_lookup(w, [[1, 2], [5, 6]], "mod")
                    out.append(sess.run(mod))
                    sp = tf.SparseTensor(
                        [[0, 0], [0, 1], [2, 0]], tf.constant([1, 4, 6], tf.int64), [3, 2]
                    )
                    out.append(
                        sess.run(
                            tf.nn.embedding_lookup_sparse(w, sp, None, "div", combiner="sqrtn")
                        )
                    )
    return out


def sharded_savers_only_values(tf, err):
    for i, resource in enumerate((False, True)):
        with tf.device("/job:ps/task:%d" % i):
            tf.get_variable(
                "w%d" % i,
                [5, 2],
                partitioner=tf.fixed_size_partitioner(2),
                initializer=tf.zeros_initializer(),
                use_resource=resource,
            )
            tf.get_variable(
                "b%d" % i, [2], initializer=tf.zeros_initializer(), use_resource=resource
            )
    saver = tf.train.Saver(sharded=True)
    names = [o for o in tf.get_default_graph().get_operations() if o.name.startswith("save/")]
    return [
        [o.name, o.type, o.device, [x.name for x in o.inputs]]
        for o in names
        if "tensor_names" not in o.name
    ]


def other_layers_only_values(tf, err):
    with tf.variable_scope("net", partitioner=tf.fixed_size_partitioner(2)):
        norm = tf.layers.BatchNormalization()
        norm(tf.ones([2, 4]), training=True)
        fused = tf.layers.BatchNormalization(name="fused")
        fused(tf.ones([1, 3, 3, 4]), training=True)
        conv = tf.layers.Conv2D(4, 3)
        conv(tf.ones([1, 5, 5, 2]))
        cell = tf.nn.rnn_cell.BasicLSTMCell(4)
        cell(tf.ones([2, 4]), cell.zero_state(2, tf.float32))
        gru = tf.nn.rnn_cell.GRUCell(4)
        tf.nn.dynamic_rnn(gru, tf.ones([2, 3, 4]), dtype=tf.float32)
    out = [
        [w if hasattr(w, "op") else [type(w).__name__] + list(w) for w in x.weights]
        for x in (norm, fused, conv, cell, gru)
    ]
    return [out, tf.global_variables(), tf.trainable_variables()]
