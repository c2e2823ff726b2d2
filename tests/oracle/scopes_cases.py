# ruff: noqa  (programs for Python 3.7 and TensorFlow 1.15, whose style they keep)


def devices(tf, err):
    tf.no_op(name="none")
    with tf.device("/job:ps/task:1"):
        tf.no_op(name="a")
        with tf.device("/gpu:2"):
            tf.no_op(name="b")
            with tf.device("/job:worker"):
                tf.no_op(name="c")
            with tf.device(None):
                tf.no_op(name="d")
                with tf.device("/cpu:0"):
                    tf.no_op(name="e")
            with tf.device(""):
                tf.no_op(name="f")
    for i, name in enumerate(
        [
            "/cpu:0",
            "cpu:0",
            "/device:CPU:1",
            "/job:a/replica:0/task:3/device:GPU:0",
            "gpu:1",
            "/GPU:1",
            "/job:x/cpu:*",
            "/task:3",
        ]
    ):
        with tf.device(name):
            tf.no_op(name="n%d" % i)


def device_functions(tf, err):
    seen = []

    def by_type(op):
        seen.append([op.type, op.name, op.device])
        return "/job:ps" if op.type == "VariableV2" else "/job:worker/task:1"

    with tf.device(by_type):
        tf.Variable(1.0, name="v")
        tf.constant(1.0, name="c")
        with tf.device("/gpu:1"):
            tf.constant(1.0, name="d")
    with tf.device("/job:outer"):
        with tf.device(lambda op: "/task:7"):
            tf.constant(1.0, name="f")
        with tf.device(lambda op: ""):
            tf.constant(1.0, name="h")

    def none():
        with tf.Graph().as_default(), tf.device(lambda op: None):
            return tf.constant(1.0, name="g").device

    return [seen, err(none)]


def device_spec_objects(tf, err):
    with tf.device(tf.DeviceSpec(job="ps", task=2)):
        tf.no_op(name="a")
        with tf.device(tf.DeviceSpec(device_type="GPU", device_index=1)):
            tf.no_op(name="b")
    with tf.get_default_graph().device("/job:w"):
        tf.no_op(name="c")


def bad_devices(tf, err):
    def place(name):
        with tf.device(name):
            return tf.no_op().device

    names = ["/foo:1", "/job:a/job:b", "/cpu", "nonsense", "/cpu:0/gpu:0", "//", 3]
    return [err(lambda n=n: place(n)) for n in names]


def control(tf, err):
    a, b = tf.constant(1, name="a"), tf.constant(2, name="b")
    c = tf.no_op(name="c")
    with tf.control_dependencies([a, c]):
        d = tf.identity(a, name="d")
        e = tf.add(a, b, name="e")
        f = tf.add(d, b, name="f")
        tf.no_op(name="g")
        with tf.control_dependencies([b, d.op]):
            tf.identity(f, name="h")
            tf.no_op(name="i")
            tf.identity(e, name="j")
            with tf.control_dependencies(None):
                tf.no_op(name="k")
                with tf.control_dependencies([e]):
                    tf.no_op(name="l")
            tf.constant(3, name="m")
    with tf.control_dependencies([a, a.op, "b", "c", "b:0"]):
        tf.no_op(name="n")
    with tf.control_dependencies([]):
        tf.no_op(name="o")


def control_order(tf, err):
    z, y, x = [tf.no_op(name=n) for n in "zyx"]
    with tf.control_dependencies([z]), tf.control_dependencies([y, x]):
        tf.no_op(name="p")
        tf.no_op(name="q")
    with tf.control_dependencies([x, z, y]):
        tf.no_op(name="r")
    tf.group(y, x, z, name="s")
    with tf.device("/cpu:0"):
        w = tf.constant(1, name="w")
    tf.group(y, w, name="t")


def control_errors(tf, err):
    g = tf.get_default_graph()

    def deps(d):
        with tf.control_dependencies(d):
            return tf.no_op()

    with tf.Graph().as_default():
        foreign = tf.constant(1, name="foreign")
    tf.constant(1, name="a")
    return [
        err(lambda: deps([3])),
        err(lambda: deps(["zz"])),
        err(lambda: deps([foreign])),
        err(lambda: deps([None])),
        err(lambda: deps(5)),
        err(lambda: deps(["a:3"])),
        g.version > 0,
    ]


def control_with_variables(tf, err):
    v = tf.Variable(1.0, name="v")
    r = tf.Variable(1.0, name="r", use_resource=True)
    with tf.control_dependencies([v.initializer, r.initializer]):
        tf.identity(v, name="i")
        tf.identity(r, name="j")
    with tf.control_dependencies([v, r]):
        tf.no_op(name="k")
    with tf.control_dependencies([v.assign_add(1.0)]):
        v.read_value()
        r.read_value()
        r.value()


def control_slices(tf, err):
    s = tf.IndexedSlices(tf.constant([1.0]), tf.constant([0]))
    with tf.control_dependencies([s]):
        tf.no_op()


def colocation(tf, err):
    a = tf.constant(1, name="a")
    with tf.device("/cpu:1"):
        b = tf.constant(2, name="b")
    with tf.device("/gpu:0"):
        with tf.colocate_with(a):
            tf.constant(3, name="c")
            with tf.device("/gpu:1"):
                tf.constant(3, name="d")
            with tf.colocate_with(b):
                e = tf.constant(4, name="e")
            with tf.colocate_with(b, ignore_existing=True):
                tf.constant(4, name="f")
            with tf.colocate_with(None, ignore_existing=True):
                tf.constant(4, name="g")
        tf.constant(5, name="h")
        with tf.colocate_with(e):
            tf.constant(6, name="i")
    return [
        err(lambda: tf.colocate_with(None).__enter__()),
        [g.decode() for g in e.op.colocation_groups()],
    ]


def colocate_names_and_variables(tf, err):
    tf.constant(1, name="a")
    v = tf.Variable(1.0, name="v")
    with tf.colocate_with(v):
        tf.constant(1, name="b")
    with tf.colocate_with(v.op):
        tf.constant(1, name="c")
    s = tf.IndexedSlices(tf.constant([1.0], name="vals"), tf.constant([0], name="inds"))
    with tf.colocate_with(s):
        tf.constant(1, name="d")


def containers(tf, err):
    g = tf.get_default_graph()
    with g.container("exp0"):
        tf.Variable(1.0, name="v")
        tf.constant(1)
        with tf.container("exp1"):
            tf.FIFOQueue(2, tf.float32, name="q")
            with g.container(""):
                tf.FIFOQueue(2, tf.float32, name="q2")
        tf.Variable(1.0, name="r", use_resource=True)
    tf.Variable(1.0, name="w")


def reset_stacks(tf, err):
    a = tf.constant(1, name="a")
    with tf.name_scope("s"), tf.device("/cpu:0"), tf.control_dependencies([a]):
        with tf.init_scope():
            tf.constant(1, name="in_init")
        tf.constant(1, name="c")


def finalized(tf, err):
    g = tf.get_default_graph()
    tf.constant(1, name="a")
    g.finalize()
    out = [
        g.finalized,
        err(lambda: tf.constant(2)),
        err(lambda: g.add_to_collection("x", 1)),
        err(lambda: g.get_tensor_by_name("a:0")),
        err(lambda: tf.Variable(1.0)),
        err(lambda: g.clear_collection("x")),
    ]
    return out


def attr_scope(tf, err):
    g = tf.get_default_graph()
    with g.gradient_override_map({"Square": "CustomSquare"}):
        tf.square(tf.constant(1.0))
    return err(lambda: g.gradient_override_map(3).__enter__())


def op_attrs(tf, err):
    a = tf.constant([[1.0]], name="a")
    m = tf.matmul(a, a, transpose_b=True, name="m").op
    names = ["T", "transpose_a", "transpose_b", "nothing", "_class"]
    out = [err(lambda n=n: m.get_attr(n)) for n in names]
    c = tf.concat([a, a], 0).op
    p = tf.placeholder(tf.float32, [None, 2]).op
    out += [c.get_attr("N"), p.get_attr("shape"), p.get_attr("dtype"), a.op.get_attr("value")]
    out += [
        tf.nn.conv2d(
            tf.zeros([1, 2, 2, 1]), tf.zeros([1, 1, 1, 1]), [1, 1, 1, 1], "SAME"
        ).op.get_attr(n)
        for n in ("strides", "padding", "use_cudnn_on_gpu")
    ]
    out += [m.type, [i.name for i in m.inputs], [o.name for o in m.outputs], m.op_def.name]
    return out


def op_def_messages(tf, err):
    a = tf.constant([[1.0]])
    wanted = [tf.matmul(a, a).op, tf.concat([a, a], 0).op, a.op, tf.nn.relu(a).op]
    return [
        [o.op_def.name, [i.name for i in o.op_def.input_arg], [i.name for i in o.op_def.output_arg]]
        for o in wanted
    ]


def mutation(tf, err):
    a, b = tf.constant(1.0, name="a"), tf.constant(2.0, name="b")
    c = tf.add(a, b, name="c")
    d = tf.no_op(name="d")
    c.op._add_control_input(d)
    c.op._add_control_inputs([d, a.op])
    c.op._update_input(1, a)
    c.op._set_device("/device:CPU:0")
    d._set_device(tf.DeviceSpec(job="j"))
    return err(lambda: c.op._update_input(5, a))
