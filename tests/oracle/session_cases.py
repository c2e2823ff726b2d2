# ruff: noqa  (programs for Python 3.7 and TensorFlow 1.15, whose style they keep)
"""Programs about sessions: fetches, feeds, errors, callables, partial runs."""

import collections

import numpy as np


def fetch_structures(tf, err):
    a, b = tf.constant(1.5, name="a"), tf.constant([1, 2], name="b")
    s = tf.constant([b"x", "y"], name="s")
    op = tf.no_op(name="op")
    v = tf.Variable(3.0, name="v")
    r = tf.Variable([4.0], name="r", use_resource=True)
    pair = collections.namedtuple("Pair", ["first", "second"])
    sparse = tf.SparseTensor([[0, 1]], [1.0], [2, 2])
    slices = tf.IndexedSlices(tf.constant([1.0]), tf.constant([2]))
    full = tf.IndexedSlices(tf.constant([1.0]), tf.constant([2]), tf.constant([3]))
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        fetches = [
            a, [a], (a,), [a, b], (a, b), {"x": a, "y": [b, a]}, pair(a, b), [pair(a, [b]), {"z": a}], op, [op, a], "a:0", "op", ["b:0", "op", "a"],
            [a, a, a], [], {}, (), [[]], [[a, [b, [a]]]], collections.OrderedDict([("k", a), ("j", b)]), sparse, slices, full, {"s": sparse, "i": slices},
            v, r, [v, v.value()], v.op, s, [s, s[0]], a.op, tf.constant(True), tf.constant(1 + 2j), tf.zeros([0, 3]), b"a:0",
        ]  # fmt: skip
        return [err(lambda: sess.run(f)) for f in fetches]


def result_kinds(tf, err):
    with tf.Session() as sess:
        out = sess.run(
            [
                tf.constant(1.5),
                tf.constant([1.5]),
                tf.constant("s"),
                tf.constant(True),
                tf.constant(2, tf.int64),
                tf.no_op(),
                tf.constant(["s"]),
            ]
        )
        return [type(o).__name__.rstrip("_") for o in out]


def fetch_errors(tf, err):
    a = tf.constant(1, name="a")
    with tf.Graph().as_default():
        foreign = tf.constant(2, name="foreign")
    with tf.Session() as sess:
        tests = [
            None,
            3,
            1.5,
            "zz",
            "zz:0",
            "a:1",
            "a:x",
            [a, None],
            {"k": None},
            foreign,
            foreign.op,
            [foreign],
            object,
            np.array([1]),
            {"k": 3},
            (a, "b c"),
            True,
            ["", a],
        ]
        return [err(lambda: sess.run(f)) for f in tests]


def feeding(tf, err):
    p = tf.placeholder(tf.float32, [None, 2], name="p")
    q = tf.placeholder(tf.int32, name="q")
    s = tf.placeholder(tf.string, name="s")
    b = tf.placeholder(tf.bool, name="b")
    c = tf.constant(5.0, name="c")
    d = c * 2.0
    e = d + 1.0
    w = tf.placeholder_with_default([1.0], [None], name="w")
    sp = tf.sparse_placeholder(tf.float32, name="sp")
    with tf.Session() as sess:
        tests = [
            (p, {p: [[1, 2]]}), (p, {"p:0": [[1.0, 2.0]]}), (p, {p: np.ones((3, 2), np.float64)}), (q, {q: 3}), (q, {q: [[1, 2], [3, 4]]}), (q, {q: np.int64(7)}),
            (s, {s: "text"}), (s, {s: ["a", b"b"]}), (s, {s: np.array(["a", "b"])}), (s, {s: np.array([b"a"], object)}), (b, {b: True}), (b, {b: [0, 1]}),
            (e, {c: 1.0}), (e, {d: 1.0}), ([c, d, e], {d: 10.0}), (e, {e: 3.0}), ([e, c], {e: 3.0, c: 4.0}), (w, {}), (w, {w: [2.0, 3.0]}),
            (sp, {sp: tf.SparseTensorValue([[0]], [1.0], [2])}), (sp, {sp: ([[0]], [1.0], [2])}), (p, {p: np.zeros((0, 2))}), (q, {q: 2.7}), (q, {q: True}), (e, {d: np.float64(2.5)}),
            ([p, q], {p: [[1, 2]], q: 1}), (q, {q: []}), (b, {b: np.array([[True]])}), (d, {"c:0": 2}),
        ]  # fmt: skip
        return [err(lambda: sess.run(f, feed)) for f, feed in tests]


def feed_errors(tf, err):
    p = tf.placeholder(tf.float32, [None, 2], name="p")
    q = tf.placeholder(tf.int32, [], name="q")
    n = tf.placeholder(tf.int8, [], name="n")
    s = tf.placeholder(tf.string, name="s")
    g = tf.get_default_graph()
    locked = tf.constant(1.0, name="locked")
    g.prevent_feeding(locked)
    with tf.Graph().as_default():
        foreign = tf.placeholder(tf.float32, name="foreign")
    with tf.Session() as sess:
        tests = [
            (p, None), (p, {}), (q, {}), (p + 1.0, {q: 1}), (p, {p: [1, 2]}), (p, {p: [[1, 2, 3]]}), (p, {p: 3.0}), (p, {p: "a"}), (q, {q: "a"}), (q, {q: [1]}),
            (q, {q: 2**40}), (n, {n: 300}), (p, {p: None}), (p, {"zz:0": 1}), (p, {"p": 1}), (p, {3: 1}), (p, {None: 1}), (p, {foreign: 1.0}), (p, {p: p}), (p, {p: tf.constant([[1.0, 2.0]])}),
            (locked, {locked: 2.0}), (p, [p]), (p, {p.op: 1}), (p, {(p, q): [1]}), (p, 3), (p, {"p:1": 1}),
        ]  # fmt: skip
        return [err(lambda: sess.run(f, feed)) for f, feed in tests]


def runtime_errors(tf, err):
    p = tf.placeholder(tf.float32, name="p")
    q = tf.placeholder(tf.float32, name="q")
    i = tf.placeholder(tf.int32, name="i")
    tests = [
        (tf.matmul(p, q, name="m"), {p: [[1.0]], q: [[1.0, 2.0], [3.0, 4.0]]}), (tf.add(p, q, name="sum"), {p: [1.0, 2.0], q: [1.0, 2.0, 3.0]}), (tf.reshape(p, [3], name="r"), {p: [1.0, 2.0]}),
        (tf.gather([1.0, 2.0], i, name="g"), {i: 5}), (tf.Assert(p > 0.0, [p, "neg"], name="check"), {p: -1.0}), (tf.check_numerics(p, "bad value", name="num"), {p: float("nan")}),
        (tf.concat([p, q], 0, name="cc"), {p: [[1.0]], q: [[1.0, 2.0]]}), (tf.div(i, 0, name="dz"), {i: 1}),
    ]  # fmt: skip
    out = []
    with tf.Session() as sess:
        for fetch, feed in tests:
            try:
                sess.run(fetch, feed)
            except tf.errors.OpError as error:
                out.append(
                    [
                        type(error).__name__,
                        error.op.name if error.op is not None else None,
                        error.error_code,
                        error.node_def.name if error.node_def is not None else None,
                        error.message.split("\n")[0],
                    ]
                )
    return out


def life_errors(tf, err):
    out = []
    with tf.Graph().as_default():
        out.append(err(lambda: tf.Session().run("a")))
        c = tf.constant(1)
        sess = tf.Session()
        sess.run(c)
        sess.close()
        sess.close()
        out += [err(lambda: sess.run(c))]
        with tf.Session() as again:
            pass
        out.append(err(lambda: again.run(c)))
        out.append(err(lambda: c.eval()))
        out.append(err(lambda: c.eval(session=sess)))
        with tf.Session(graph=tf.Graph()):
            out += [err(lambda: c.eval()), err(lambda: c.op.run())]
        other = tf.Session(graph=tf.Graph())
        out += [
            err(lambda: c.eval(session=other)),
            err(lambda: c.op.run(session=other)),
            err(lambda: other.run(c)),
        ]
        other.close()
    return out


def argument_errors(tf, err):
    c = tf.constant(1)
    out = [
        err(lambda: tf.Session(3)),
        err(lambda: tf.Session(graph=3)),
        err(lambda: tf.Session(config=3)),
        err(lambda: tf.Session(config={"a": 1})),
    ]
    with tf.Session() as sess:
        out += [err(lambda: sess.make_callable(c, feed_list=3))]
    return out


def default_stacks(tf, err):
    c = tf.constant(1, name="c")
    out = [tf.get_default_session() is None]
    s1, s2 = tf.Session(), tf.Session()
    with s1.as_default() as inner:
        out += [inner is s1, tf.get_default_session() is s1, c.eval()]
        with s2.as_default():
            out.append(tf.get_default_session() is s2)
        out.append(tf.get_default_session() is s1)
    out += [tf.get_default_session() is None, s1.run(c)]
    s1.close()
    s2.close()
    g = tf.Graph()
    with tf.Session(graph=g) as s3:
        out += [tf.get_default_graph() is g, tf.get_default_session() is s3, s3.graph is g]
        d = tf.constant(5)
        out.append(d.eval())
    out.append(tf.get_default_graph() is not g)
    return out


def interactive(tf, err):
    s = tf.InteractiveSession()
    c = tf.constant(4)
    out = [c.eval(), tf.get_default_session() is s, s.run(c)]
    s.close()
    out.append(tf.get_default_session() is None)
    g = tf.Graph()
    t = tf.InteractiveSession(graph=g)
    d = tf.constant(6)
    out += [d.graph is g, d.eval()]
    t.close()
    return out


def extending(tf, err):
    a = tf.constant(1.0)
    with tf.Session() as s:
        out = [s.run(a)]
        b = a + 1.0
        out.append(s.run(b))
        v = tf.Variable(b * 2.0)
        s.run(v.initializer)
        out.append(s.run([v, v + b]))
        return out


def private_results(tf, err):
    c = tf.constant([1.0, 2.0])
    v = tf.Variable([1.0, 2.0])
    r = tf.Variable([1.0, 2.0], use_resource=True)
    p = tf.placeholder(tf.float32, [2])
    given = np.array([1.0, 2.0], np.float32)
    with tf.Session() as s:
        s.run(tf.global_variables_initializer())
        out = []
        for t, feed in (
            (c, {}),
            (v, {}),
            (r, {}),
            (tf.identity(c), {}),
            (tf.identity(p), {p: given}),
            (v.value(), {}),
        ):
            first = s.run(t, feed)
            first[0] = 99.0
            out.append([bool(first.flags.writeable), s.run(t, feed)])
        twice = s.run([c, c])
        out.append(twice)
        return out


def callables(tf, err):
    p, q = tf.placeholder(tf.float32, name="p"), tf.placeholder(tf.float32, [2], name="q")
    with tf.Session() as s:
        f = s.make_callable([p * 2.0, {"k": q}], [p, q])
        g = s.make_callable(p + 1.0, [p])
        h = s.make_callable(tf.no_op())
        o = s.make_callable(p + 1.0, [p], accept_options=True)
        md = tf.RunMetadata()
        out = [
            f(1.0, [1, 2]),
            g(3),
            h(),
            o(1.0),
            o(2.0, options=tf.RunOptions(trace_level=tf.RunOptions.FULL_TRACE), run_metadata=md),
        ]
        return out + [len(md.step_stats.dev_stats) > 0]


def partial_runs(tf, err):
    a, b, c = (
        tf.placeholder(tf.float32, [], name="a"),
        tf.placeholder(tf.float32, [], name="b"),
        tf.placeholder(tf.float32, [], name="c"),
    )
    r1 = a + b
    r2 = r1 * c
    with tf.Session() as s:
        h = s.partial_run_setup([r1, r2], [a, b, c])
        out = [s.partial_run(h, r1, {a: 1, b: 2})]
        out.append(s.partial_run(h, r2, {c: out[0] * 10}))
        h = s.partial_run_setup([r1, r2], [a, b, c])
        out.append(s.partial_run(h, [r1], {a: 1, b: 2}))
        h2 = s.partial_run_setup([r2], [r1, c])
        out.append(s.partial_run(h2, r2, {r1: 5, c: 6}))
        return out


def partial_run_errors(tf, err):
    a, b, c = (
        tf.placeholder(tf.float32, [], name="a"),
        tf.placeholder(tf.float32, [], name="b"),
        tf.placeholder(tf.float32, [], name="c"),
    )
    r1 = a + b
    r2 = r1 * c
    with tf.Session() as s:
        h = s.partial_run_setup([r1, r2], [a, b])
        out = [err(lambda: s.partial_run(h, r2, {a: 1, b: 2, c: 3}))]
        h = s.partial_run_setup([r1], [a, b])
        out.append(err(lambda: s.partial_run(h, r2, {a: 1, b: 2})))
        h = s.partial_run_setup([r1, r2], [a, b, c])
        out.append(s.partial_run(h, r1, {a: 1, b: 2}))
        return out


def metadata(tf, err):
    with tf.device("/cpu:0"):
        a = tf.constant([[1.0]], name="a")
        b = tf.matmul(a, tf.random_uniform([1, 1], seed=1, name="u"), name="b")
    md = tf.RunMetadata()
    with tf.Session() as s:
        s.run(
            b,
            options=tf.RunOptions(
                trace_level=tf.RunOptions.FULL_TRACE, output_partition_graphs=True
            ),
            run_metadata=md,
        )
        found = {n.node_name for d in md.step_stats.dev_stats for n in d.node_stats}
        quiet = tf.RunMetadata()
        s.run(b, run_metadata=quiet)
        return [
            "b" in found,
            [d.device for d in md.step_stats.dev_stats if "CPU:0" in d.device][:1],
            len(md.partition_graphs) >= 1,
            quiet.ByteSize(),
        ]


def devices(tf, err):
    with tf.Session(config=tf.ConfigProto(device_count={"CPU": 3, "GPU": 0})) as s:
        found = [(d.name, d.device_type) for d in s.list_devices() if "XLA" not in d.device_type]
        with tf.device("/cpu:2"):
            c = tf.constant(1.0) + 2.0
        return [sorted(found), s.run(c)]


def placement_errors(tf, err):
    out = []
    for name in ("/gpu:7", "/job:nope"):
        with tf.Graph().as_default(), tf.device(name):
            c = tf.constant(1.0, name="c")
            with tf.Session(config=tf.ConfigProto(device_count={"GPU": 0})) as s:
                found = err(lambda: s.run(c))
                out.append([found["error"], found["message"].split(" but available devices")[0]])
    with tf.device("/gpu:7"):
        c = tf.constant(1.0, name="c")
    with tf.Session(config=tf.ConfigProto(device_count={"GPU": 0}, allow_soft_placement=True)) as s:
        out.append(s.run(c))
    return out


def control_and_order(tf, err):
    v = tf.Variable(0.0, name="v")
    add = v.assign_add(1.0)
    with tf.control_dependencies([add]):
        after = v.read_value()
    with tf.Session() as s:
        s.run(v.initializer)
        return [s.run(after), s.run([add.op, after]), s.run(tf.group(add, after)), s.run(v)]


def variables_across_sessions(tf, err):
    v = tf.Variable(1.0, name="v")
    with tf.Session() as s, tf.Session() as t:
        s.run(v.initializer)
        t.run(v.initializer)
        s.run(v.assign(5.0))
        return [s.run(v), t.run(v)]


def conversion_functions(tf, err):
    class Pair(object):
        def __init__(self, a, b):
            self.a, self.b = a, b

    from_session = getattr(tf, "register_session_run_conversion_functions", None)
    if from_session is None:
        import importlib

        name = (
            "tensorflow.python.client.session"
            if tf.__name__ == "tensorflow"
            else "flowmesh.client.fetches"
        )
        from_session = importlib.import_module(name).register_session_run_conversion_functions
    from_session(
        Pair,
        fetch_function=lambda p: ([p.a, p.b], lambda v: v[0] + v[1]),
        feed_function=lambda p, v: [(p.a, v), (p.b, v * 2)],
    )
    a, b = tf.placeholder(tf.float32), tf.placeholder(tf.float32)
    with tf.Session() as s:
        return s.run(Pair(a, b), {Pair(a, b): 3.0})


def strings(tf, err):
    with tf.Session() as s:
        return s.run(
            [
                tf.constant("a"),
                tf.constant(["a", "bc"]),
                tf.constant([["a"], ["\u00e9"]]),
                tf.constant(np.array(["x", "yz"])),
            ]
        )


def config_messages(tf, err):
    c = tf.ConfigProto(
        allow_soft_placement=True,
        log_device_placement=True,
        inter_op_parallelism_threads=2,
        device_count={"CPU": 2},
    )
    c.gpu_options.per_process_gpu_memory_fraction = 0.25
    c.gpu_options.allow_growth = True
    c.gpu_options.visible_device_list = "0,1"
    c.graph_options.optimizer_options.global_jit_level = tf.OptimizerOptions.ON_1
    c.device_filters.extend(["/job:ps"])
    c.operation_timeout_in_ms = 5
    return [
        c,
        err(lambda: tf.ConfigProto(nothing=1))["error"],
        tf.GPUOptions(allow_growth=True),
        tf.RunOptions(timeout_in_ms=3),
        tf.RunOptions.FULL_TRACE,
    ]
