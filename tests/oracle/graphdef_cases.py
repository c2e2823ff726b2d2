# ruff: noqa  (programs for Python 3.7 and TensorFlow 1.15, whose style they keep)


def _graph_def(tf, build):
    with tf.Graph().as_default() as g:
        build()
        return g.as_graph_def()


def _small(tf):
    def build():
        a = tf.placeholder(tf.float32, [None, 2], name="a")
        b = tf.constant([[1.0], [2.0]], name="b")
        with tf.device("/job:w/task:1"), tf.control_dependencies([b]):
            m = tf.matmul(a, b, name="m")
        with tf.colocate_with(m):
            tf.add(m, 1.0, name="sum")
        tf.split(a, 2, 1, name="s")
        tf.no_op(name="n")

    return _graph_def(tf, build)


def writing(tf, err):
    g = tf.get_default_graph()
    a = tf.placeholder(tf.float32, [None, 2], name="a")
    v = tf.Variable([[1.0], [2.0]], name="v")
    tf.matmul(a, v, name="m")
    tf.constant([1.5, 2.5], name="c")
    tf.constant("text", name="t")
    tf.split(a, 2, 1)
    tf.random_normal([2], seed=3)
    tf.FIFOQueue(3, [tf.float32, tf.string], shapes=[[2], []], name="q").dequeue()
    d = g.as_graph_def()
    return [d, g.as_graph_def(add_shapes=True), d.versions]


def importing(tf, err):
    d = _small(tf)
    out = [
        tf.import_graph_def(d),
        tf.import_graph_def(d, name="x"),
        tf.import_graph_def(d, name="x"),
    ]
    out.append(tf.import_graph_def(d, name=""))
    with tf.name_scope("outer"):
        out.append(tf.import_graph_def(d, return_elements=["m", "m:0", "s:1", "n"]))
        out.append(tf.import_graph_def(d, name="inner", return_elements=["sum:0"]))
    with tf.device("/cpu:0"), tf.control_dependencies([tf.constant(1, name="first")]):
        out.append(tf.import_graph_def(d, name="scoped"))
    return out


def mapping(tf, err):
    d = _small(tf)
    x = tf.constant([[3.0, 4.0]], name="x")
    y = tf.constant([[5.0], [6.0]], name="y")
    out = tf.import_graph_def(d, input_map={"a:0": x}, return_elements=["sum:0"], name="one")
    out += tf.import_graph_def(d, input_map={"a": x, "b": y}, return_elements=["sum:0"], name="two")
    out += tf.import_graph_def(d, input_map={"a": x}, return_elements=["sum:0"], name="three")
    out += tf.import_graph_def(d, input_map={"s:1": x}, return_elements=["s:1"], name="four")
    with tf.Session(config=tf.ConfigProto(allow_soft_placement=True)) as s:
        return out


def numbers(tf, err):
    def build():
        a = tf.placeholder(tf.float32, [None, 2], name="a")
        h = tf.nn.relu(tf.matmul(a, [[1.0, -1.0], [0.5, 2.0]]) + [0.1, 0.2])
        tf.nn.softmax(h, name="out")
        tf.reduce_mean(tf.square(h), 1, name="mean")
        tf.random_uniform([2], seed=5, name="u")
        tf.concat([a, h], 1, name="cat")

    d = _graph_def(tf, build)
    out = tf.import_graph_def(d, return_elements=["out:0", "mean:0", "cat:0", "u:0"])
    with tf.Session() as s:
        return s.run(out, {"import/a:0": [[1.0, 2.0], [-3.0, 0.5]]})


def _edit(tf, change):
    d = _small(tf)
    change({n.name: n for n in d.node}, d)
    return d


def import_errors(tf, err):
    d = _small(tf)

    def fresh(thunk):
        with tf.Graph().as_default():
            return err(thunk)

    def edited(change, **kwargs):
        return fresh(lambda: tf.import_graph_def(_edit(tf, change), **kwargs))

    def bad_input(nodes, _):
        nodes["m"].input[0] = "absent"

    def bad_index(nodes, _):
        nodes["m"].input[0] = "a:4"

    def duplicate(nodes, g):
        g.node.add().CopyFrom(nodes["n"])

    def bad_name(nodes, _):
        nodes["n"].name = "bad name"

    def missing_attr(nodes, _):
        del nodes["a"].attr["dtype"]

    def extra_attr(nodes, _):
        nodes["n"].attr["strange"].i = 3

    def too_few(nodes, _):
        del nodes["m"].input[:]

    def wrong_type(nodes, _):
        nodes["m"].attr["T"].type = 3

    def control_first(nodes, _):
        del nodes["m"].input[:]
        nodes["m"].input.extend(["^b", "a", "b"])

    def not_allowed(nodes, _):
        nodes["m"].attr["T"].type = 10

    def bad_shape(nodes, _):
        nodes["a"].attr["shape"].shape.dim[1].size = 3

    out = [
        edited(c)
        for c in (
            bad_input,
            bad_index,
            duplicate,
            bad_name,
            missing_attr,
            too_few,
            control_first,
            bad_shape,
        )
    ]
    out += [edited(extra_attr)]
    out += [
        fresh(lambda: tf.import_graph_def(3)),
        fresh(lambda: tf.import_graph_def(tf.NodeDef())),
        fresh(lambda: tf.import_graph_def(d, input_map=3)),
        fresh(lambda: tf.import_graph_def(d, input_map={"zz": tf.constant(1)})),
        fresh(
            lambda: tf.import_graph_def(
                d, input_map={"zz:0": tf.constant(1), "a:7": tf.constant(1)}
            )
        ),
        fresh(lambda: tf.import_graph_def(d, input_map={3: tf.constant(1)})),
        fresh(lambda: tf.import_graph_def(d, input_map={"a": tf.constant(1)})),
        fresh(lambda: tf.import_graph_def(d, return_elements=["zz"])),
        fresh(lambda: tf.import_graph_def(d, return_elements=["m:3"])),
        fresh(lambda: tf.import_graph_def(d, return_elements=3)),
        fresh(lambda: tf.import_graph_def(d, return_elements=[3])),
        fresh(lambda: tf.import_graph_def(d, return_elements=["m:x"])),
        fresh(lambda: tf.import_graph_def(d, name="bad name")),
    ]
    return out


def old_versions(tf, err):
    d = _small(tf)
    d.versions.min_consumer = 10**6
    return err(lambda: tf.import_graph_def(d))["message"][:60]


def default_attrs_left_out(tf, err):
    d = _small(tf)
    for n in d.node:
        for key in ("transpose_a", "transpose_b"):
            if key in n.attr:
                del n.attr[key]
    m = tf.import_graph_def(d, return_elements=["m"])[0]
    return [m.get_attr("transpose_a"), m]


def output_shapes(tf, err):
    with tf.Graph().as_default() as g:
        p = tf.placeholder(tf.float32, name="p")
        p.set_shape([None, 3])
        tf.identity(p, name="i")
        d = g.as_graph_def(add_shapes=True)
    out = tf.import_graph_def(d, return_elements=["p:0", "i:0"])
    return [t.shape for t in out]


def extracting(tf, err):
    d = _small(tf)
    sub = tf.graph_util.extract_sub_graph(d, ["sum"])
    return [[n.name for n in sub.node], err(lambda: tf.graph_util.extract_sub_graph(d, "sum"))]


def roundtrip(tf, err):
    x = tf.placeholder(tf.float32, [None, 2], name="x")
    y = (
        tf.layers_free(x)
        if hasattr(tf, "layers_free")
        else tf.nn.softmax(tf.matmul(x, [[1.0, 2.0], [3.0, 4.0]]))
    )
    tf.gradients(y, x)
    d = tf.get_default_graph().as_graph_def()
    with tf.Graph().as_default() as g:
        tf.import_graph_def(d, name="")
        return g.as_graph_def() == d
