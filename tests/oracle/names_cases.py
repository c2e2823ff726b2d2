# ruff: noqa  (programs for Python 3.7 and TensorFlow 1.15, whose style they keep)
"""Programs about node names, name scopes and finding elements by name."""


def unique_names(tf, err):
    a = [tf.constant(i, name="c") for i in range(3)]
    tf.constant(1, name="C")
    tf.constant(1, name="c_1")
    tf.constant(1, name="c_1_1")
    tf.no_op()
    tf.no_op()
    tf.constant(1)
    tf.constant(1, name="x/y")
    tf.constant(1, name="x/y")
    tf.constant(1, name="x")
    return [a[0].name, a[1].op.name]


def nested_scopes(tf, err):
    out = []
    with tf.name_scope("a") as a:
        out.append(a)
        tf.constant(1, name="c")
        with tf.name_scope("b") as b:
            out.append(b)
            tf.constant(1, name="c")
            with tf.name_scope(None) as none:
                out.append(none)
                tf.constant(1, name="c")
            with tf.name_scope("") as empty:
                out.append(empty)
            with tf.name_scope(a) as again:
                out.append(again)
                tf.constant(1, name="c")
                with tf.name_scope("b") as b1:
                    out.append(b1)
        with tf.name_scope("b/") as absolute:
            out.append(absolute)
            tf.constant(1, name="c")
    with tf.name_scope("a") as a1:
        out.append(a1)
    with tf.name_scope("A") as a2:
        out.append(a2)
        tf.constant(1, name="c")
    return out


def scopes_and_ops_share_names(tf, err):
    tf.constant(1, name="s")
    with tf.name_scope("s") as s:
        tf.constant(1, name="t")
    with tf.name_scope("u") as u:
        pass
    tf.constant(1, name="u")
    return [s, u]


def get_name_scope(tf, err):
    g = tf.get_default_graph()
    out = [g.get_name_scope()]
    with tf.name_scope("p"), g.name_scope("q"):
        out.append(g.get_name_scope())
        out.append(g.unique_name("n"))
        out.append(g.unique_name("n"))
        out.append(g.unique_name("n", mark_as_used=False))
        out.append(g.unique_name("n"))
        out.append(g.unique_name("N"))
        out.append(g.unique_name("n_1"))
    return out


def name_scope_defaults(tf, err):
    x = tf.constant(1.0, name="x")
    out = []
    with tf.name_scope(None, "default", [x]) as s:
        out.append(s)
    with tf.name_scope("given", "default", [x]) as s:
        out.append(s)
    with tf.name_scope(None, "default", [x]) as s:
        out.append(s)
    out.append(err(lambda: tf.name_scope(None, None, [x]).__enter__()))
    return out


def bad_names(tf, err):
    names = [
        "a b",
        "_a",
        "a:b",
        "é",
        "/a",
        ".a",
        "a.b",
        "a-b",
        "a>b",
        "a\\b",
        "1",
        "a/_b",
        "-a",
        "^a",
    ]
    return [err(lambda n=n: tf.no_op(name=n)) for n in names]


def bad_scopes(tf, err):
    def scope(name):
        with tf.name_scope(name) as s:
            return s

    names = ["a b", "_a", "a:b", ".a", "-a", "a>", "/"]
    out = [err(lambda n=n: scope(n)) for n in names]
    with tf.name_scope("outer"):
        out.extend(err(lambda n=n: scope(n)) for n in names)
    return out


def trailing_slash_op_name(tf, err):
    with tf.name_scope("s"):
        a = tf.constant(1, name="a/b/")
        b = tf.identity(a, name="id/")
    return [a.name, b.name]


def lookups(tf, err):
    g = tf.get_default_graph()
    tf.constant(1, name="a")
    tf.split(tf.constant([1, 2, 3, 4], name="v"), 2, name="sp")
    tf.group(name="grp")
    element_names = [
        "a",
        "a:0",
        "a:1",
        "sp:1",
        "sp:2",
        "b",
        "b:0",
        "a:x",
        "a:0:0",
        "",
        ":0",
        "grp",
        "grp:0",
        "^a",
    ]
    out = []
    for n in element_names:
        out.append(err(lambda: g.as_graph_element(n)))
        out.append(err(lambda: g.get_tensor_by_name(n)))
        out.append(err(lambda: g.get_operation_by_name(n)))
    for bad in (3, None, [1]):
        out.append(err(lambda: g.as_graph_element(bad)))
        out.append(err(lambda: g.get_tensor_by_name(bad)))
        out.append(err(lambda: g.get_operation_by_name(bad)))
        out.append(err(lambda: g.as_graph_element(bad, allow_tensor=False)))
    out.append(err(lambda: g.as_graph_element("a:0", allow_tensor=False, allow_operation=False)))
    other = tf.Graph()
    with other.as_default():
        foreign = tf.constant(2, name="foreign")
    out.append(err(lambda: g.as_graph_element(foreign)))
    out.append(err(lambda: g.as_graph_element(foreign.op)))
    return out


def tensor_texts(tf, err):
    with tf.device("/cpu:0"):
        a = tf.placeholder(tf.float32, [2, None], name="a")
    b = tf.placeholder(tf.int64, name="b")
    v = tf.Variable([1.0], name="v")
    r = tf.Variable([1.0], name="r", use_resource=True)
    with tf.name_scope("s"):
        c = tf.constant(True)
    out = [str(t) for t in (a, b, c, v, r, v._ref())]
    out += [repr(t) for t in (a, b, c, v, r, a.op)]
    out += [str(c.op), str(a.shape), repr(a.shape), str(a.dtype), repr(a.dtype)]
    return out


def tensor_python_protocol(tf, err):
    a = tf.placeholder(tf.float32, [2, None], name="a")
    b = tf.placeholder(tf.float32, name="b")
    s = tf.constant(1.0)
    return [
        err(lambda: bool(a)),
        err(lambda: list(b)),
        err(lambda: list(s)),
        err(lambda: a.eval()),
        err(lambda: a.op.run()),
        err(lambda: list(a)),
        err(lambda: a in [b, a]),
        err(lambda: a == a),
        err(lambda: a == b),
        err(lambda: a != b),
        len({a, b, a}),
        a.get_shape().as_list(),
        err(lambda: a.consumers()),
        a.value_index,
        a.op.values()[0] is a,
    ]


def default_op_names(tf, err):
    x = tf.constant([[1.0, 2.0], [3.0, 4.0]])
    y = x + 1.0
    z = 2.0 * y - x / 3.0
    w = tf.matmul(z, x)
    tf.add(x, y, name="sum")
    tf.reduce_sum(w)
    tf.reduce_mean(w, axis=0)
    tf.nn.relu(w)
    tf.nn.softmax(w)
    tf.square(x)
    tf.equal(x, y)
    x > y
    -x
    abs(x)
    x**2.0
    x[0]
    x[:, 1:]
    tf.transpose(x)
    tf.reshape(x, [-1])
    tf.concat([x, y], 0)
    tf.stack([x, y])
    tf.cast(x, tf.int32)
    tf.argmax(x, 1)
    tf.one_hot([1, 2], 3)
    tf.zeros([2, 2])
    tf.ones([2])
    tf.zeros_like(x)
    tf.fill([2], 1.0)
    tf.range(5)
    tf.random_normal([2])
    tf.random_uniform([2])
    tf.truncated_normal([2])
    tf.shape(x)
    tf.size(x)
    tf.rank(x)
    tf.gather(x, [0])
    tf.tile(x, [1, 2])
    tf.expand_dims(x, 0)
    tf.squeeze(x)
    tf.nn.bias_add(x, tf.constant([1.0, 2.0]))
    tf.nn.softmax_cross_entropy_with_logits(labels=x, logits=y)
    tf.nn.sparse_softmax_cross_entropy_with_logits(labels=[0, 1], logits=y)
    tf.nn.sigmoid_cross_entropy_with_logits(labels=x, logits=y)
    tf.nn.l2_loss(x)
    tf.group(x.op, y.op)
    tf.tuple([x, y])
    tf.cond(tf.constant(True), lambda: x, lambda: y)
    tf.where(x > y, x, y)
    tf.nn.top_k(x, 1)
    tf.nn.embedding_lookup(x, [1])
    tf.add_n([x, y])
    tf.clip_by_value(x, 0.0, 1.0)
    tf.nn.dropout(x, 0.5)
    tf.placeholder(tf.float32)
    tf.placeholder_with_default(x, [None, 2])
