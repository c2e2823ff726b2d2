# ruff: noqa  (also runs under Python 3.7)
"""Programs with input pipelines: the nodes and functions that they build, the elements and errors that they give."""

import collections
import os
import shutil
import tempfile

import numpy as np


def _functions(tf):
    """The library of the graph, by name; numbers in names are left out."""
    try:
        from programs import _COUNTED, message_json
    except ImportError:
        from tests.oracle.programs import _COUNTED, message_json
    found = []
    for function in tf.get_default_graph().as_graph_def().library.function:
        for node in function.node_def:
            data = [i for i in node.input if not i.startswith("^")]
            controls = sorted(i for i in node.input if i.startswith("^"))
            del node.input[:]
            node.input.extend(data + controls)
        found.append(message_json(function))
    return sorted(found, key=lambda f: (f["signature"]["name"], str(f)))


def _short(tf, error):
    text = error.message.split("\n")[0]
    if "}} " in text:
        text = text.split("}} ")[1]
    return type(error).__name__ + ": " + text


def _elements(tf, dataset, limit=64, again=1):
    """What an iterator gives, errors too, up to the end; `again`: how often it is initialized."""
    iterator = tf.data.make_initializable_iterator(dataset)
    following = iterator.get_next()
    out = []
    with tf.Session() as sess:
        for _ in range(again):
            sess.run(iterator.initializer)
            for _ in range(limit):
                try:
                    out.append(sess.run(following))
                except tf.errors.OutOfRangeError as error:
                    out.append(_short(tf, error))
                    break
                except tf.errors.OpError as error:
                    out.append(_short(tf, error))
    return out


def _ints(tf, dataset, limit=64, again=1):
    out = _elements(tf, dataset, limit, again)
    return [v if isinstance(v, str) else np.asarray(v).tolist() for v in out]


class _Folder:
    """A folder with files, in which the program runs."""

    def __init__(self, **files):
        self.files = files

    def __enter__(self):
        self.before = os.getcwd()
        self.path = tempfile.mkdtemp()
        os.chdir(self.path)
        for name, data in self.files.items():
            with open(name, "wb") as file:
                file.write(data)

    def __exit__(self, *exc):
        os.chdir(self.before)
        shutil.rmtree(self.path)


# -- graphs ----------------------------------------------------------------------------------------------


def graph_common(tf, err):
    y = tf.constant(3, tf.int64, name="cap")
    d = tf.data.Dataset.range(10).map(lambda x: x * 2 + y).filter(lambda x: x > 3)
    d = d.shuffle(5, seed=3).batch(2).repeat(2).prefetch(1)
    it = d.make_initializable_iterator()
    return [it.get_next(), it.initializer, it.string_handle(), repr(d), _functions(tf)]


def graph_one_shot(tf, err):
    d = tf.data.Dataset.from_tensor_slices({"a": [1, 2], "b": [1.0, 2.0]}).map(lambda e: e["a"])
    it = d.repeat().batch(2).make_one_shot_iterator()
    return [it.get_next(), err(lambda: it.initializer), _functions(tf)]


def graph_structures(tf, err):
    Point = collections.namedtuple("Point", ["x", "y"])
    a = np.arange(6, dtype=np.float32).reshape(3, 2)
    d = tf.data.Dataset.from_tensor_slices((a, {"k": [1, 2, 3], "j": Point(a, [b"a", b"b", b"c"])}))
    e = tf.data.Dataset.from_tensors((tf.placeholder(tf.float32, [None]), 1))
    out = [repr(d), d.output_types, d.output_shapes, repr(e), e.output_types]
    m = d.map(lambda x, y: (x, 1, 2.5, np.array([1, 2]), b"a", [x, x], [1, 2]))
    n = d.map(lambda x, y: Point(y["j"].y, y))
    return out + [repr(m), repr(n), _functions(tf)]


def graph_captures(tf, err):
    w = tf.get_variable("w", [2])
    r = tf.get_variable("r", [2], use_resource=True)
    y = tf.constant(1.0, name="y")

    def f(a, b):
        z = tf.identity(a, name="Foo")
        with tf.device("/cpu:0"):
            q = tf.add_n([a + y, b + w[0], r[0], y])
        c = tf.random_uniform([])
        with tf.control_dependencies([z, y]):
            tf.no_op(name="ee")
        return (z, z, q, c, a), tf.unstack([a, b]), tf.split([a, b], 2)[1]

    d = tf.data.Dataset.from_tensors((1.0, 2.0)).map(f, num_parallel_calls=4)
    it = d.make_initializable_iterator()
    return [repr(d), it.get_next(), _functions(tf), err(lambda: d.make_one_shot_iterator())]


def graph_generator(tf, err):
    d = tf.data.Dataset.from_generator(lambda: iter([]), (tf.int32, tf.float32), ([], [None]))
    e = tf.data.Dataset.from_generator(lambda k: iter([]), tf.string, args=(tf.constant(2),))
    return [repr(d), repr(e), _functions(tf)]


def graph_readers(tf, err):
    t = tf.data.TextLineDataset(["a", "b"])
    r = tf.data.TFRecordDataset(tf.data.Dataset.list_files("*.x", seed=1), "GZIP", 99)
    f = tf.data.FixedLengthRecordDataset("c", 3, 2, footer_bytes=1)
    p = tf.data.TFRecordDataset(["a", "b"], num_parallel_reads=2)
    c = tf.data.experimental.CsvDataset("d", [tf.int32, [2.0], tf.string], select_cols=[0, 1, 3])
    return [repr(d) for d in (t, r, f, p, c)] + [_functions(tf)]


def graph_transformations(tf, err):
    tf.set_random_seed(7)
    d = tf.data.Dataset.range(1, 10, 2)
    parts = [
        d.take(2),
        d.skip(1),
        d.shard(2, 1),
        d.cache(),
        d.cache("f"),
        d.concatenate(d),
        d.repeat(),
    ]
    parts += [tf.data.Dataset.zip((d, {"a": d})), d.enumerate(), d.window(3), d.shuffle(4)]
    parts += [d.shuffle(4, 2, False), d.batch(3, drop_remainder=True), d.prefetch(None)]
    parts += [
        d.flat_map(lambda x: tf.data.Dataset.range(x)),
        d.map(lambda x: tf.ones([x])).padded_batch(2, [None]),
    ]
    parts += [d.map(lambda x: tf.ones([x])).padded_batch(2, [3], 2.0, True)]
    parts += [d.interleave(lambda x: tf.data.Dataset.range(x), 2, 3)]
    parts += [d.interleave(lambda x: tf.data.Dataset.range(x), 2, num_parallel_calls=2)]
    parts += [d.batch(2).unbatch()]
    x = tf.data.experimental
    parts += [d.apply(x.map_and_batch(lambda x: x, 2)), d.apply(x.shuffle_and_repeat(3, 2, 5))]
    parts += [d.apply(x.parallel_interleave(lambda x: tf.data.Dataset.range(x), 2))]
    parts += [d.apply(x.ignore_errors()), d.apply(x.take_while(lambda x: x < 3))]
    state = d.reduce(np.int64(0), lambda s, x: s + x)
    one = x.get_single_element(d.take(1))
    return [repr(p) for p in parts] + [state, one, _functions(tf)]


def graph_iterators(tf, err):
    it = tf.data.Iterator.from_structure((tf.int64, tf.float32), ([], [None]), "shared")
    d = tf.data.Dataset.range(3).map(lambda x: (x, tf.ones([x])))
    init = it.make_initializer(d, name="begin")
    handle = tf.placeholder(tf.string, [])
    feed = tf.data.Iterator.from_string_handle(handle, d.output_types, d.output_shapes)
    with tf.device("/job:worker/task:1"):
        there = tf.data.Iterator.from_structure(tf.int32)
        local = d.make_initializable_iterator("name")
    options = tf.data.Options()
    options.experimental_optimization.apply_default_optimizations = False
    plain = d.with_options(options).make_initializable_iterator()
    return [
        it.get_next("n"),
        init,
        feed.get_next(),
        there.get_next(),
        local.get_next(),
        plain.get_next(),
        it.string_handle("h"),
        [t.name for t in tf.get_collection("iterators")],
        it.output_types,
        it.output_shapes,
        _functions(tf),
    ]


def build_errors(tf, err):
    D = tf.data.Dataset
    d = D.range(3)
    it = tf.data.Iterator.from_structure(tf.int64, [])
    return [
        err(lambda: d.map(lambda x: None)),
        err(lambda: d.filter(lambda x: x)),
        err(lambda: d.flat_map(lambda x: x)),
        err(lambda: d.concatenate(D.from_tensors(1.0))),
        err(lambda: D.zip([d])),
        err(lambda: D.zip(3)),
        err(lambda: D.from_tensor_slices((np.ones(2), np.ones(3)))),
        err(lambda: D.from_generator(3, tf.int32)),
        err(lambda: d.padded_batch(2, [2])),
        err(lambda: d.apply(lambda d: 3)),
        err(lambda: iter(d)),
        err(lambda: D.range()),
        err(lambda: it.make_initializer(D.from_tensors(1.0))),
        err(lambda: it.make_initializer(d.batch(2))),
        err(lambda: it.initializer),
        err(lambda: d.batch(2).padded_batch(2, [1], padding_values=1.0)),
    ]


# -- elements --------------------------------------------------------------------------------------------


def shuffle_only_values(tf, err):
    r = tf.data.Dataset.range(12)
    out = [_ints(tf, r.shuffle(n, seed=s), again=2) for n, s in ((3, 1), (12, 5), (40, 2))]
    out += [_ints(tf, r.shuffle(5, 3, reshuffle_each_iteration=False).repeat(2), again=2)]
    out += [_ints(tf, r.shuffle(5, 3).repeat(3)), _ints(tf, r.repeat(2).shuffle(7, 4))]
    out += [_ints(tf, r.shuffle(5, 3).map(lambda x: x).repeat(3))]
    out += [_ints(tf, r.shuffle(4, 2).shuffle(5, 3).batch(5))]
    out += [_ints(tf, r.apply(tf.data.experimental.shuffle_and_repeat(5, 3, 9)), again=2)]
    out += [_ints(tf, r.shuffle(5, 3).repeat(), limit=30)]
    options = tf.data.Options()
    options.experimental_optimization.shuffle_and_repeat_fusion = False
    out += [_ints(tf, r.shuffle(5, 3).repeat(3).with_options(options), again=2)]
    out += [_ints(tf, tf.data.Dataset.range(0).shuffle(5, 3).repeat())]
    out += [_ints(tf, tf.data.Dataset.zip((r.shuffle(5, 3), r.shuffle(5, 3))).repeat(2))]
    out += [_ints(tf, r.shuffle(5, 3).concatenate(r.shuffle(3, 8)).repeat(2))]
    tf.set_random_seed(11)
    a, b = r.shuffle(6), r.shuffle(6, 1)
    return out + [_ints(tf, a), _ints(tf, b), _ints(tf, r.shuffle(6))]


def random_only_values(tf, err):
    r = tf.data.Dataset.range(3)
    f = lambda x: tf.random_uniform([], seed=4)
    out = [_elements(tf, r.map(f).repeat(2), again=2)]
    out += [_elements(tf, r.flat_map(lambda x: tf.data.Dataset.range(2).map(f)))]
    tf.set_random_seed(5)
    return out + [_elements(tf, r.map(lambda x: tf.random_normal([2]))), _elements(tf, r.map(f))]


def transformations_only_values(tf, err):
    r = tf.data.Dataset.range(7)
    d = [
        r.take(3),
        r.take(-1),
        r.take(0),
        r.skip(5),
        r.skip(-1),
        r.skip(9),
        r.shard(3, 1),
        r.repeat(0),
    ]
    d += [
        r.repeat(2).take(9),
        r.concatenate(r.take(2)),
        r.enumerate(3).take(2),
        r.batch(3),
        r.cache().repeat(2),
    ]
    d += [
        r.batch(3, drop_remainder=True),
        tf.data.Dataset.zip((r, r.skip(4))),
        r.filter(lambda x: x % 3 > 0),
    ]
    d += [
        r.window(3, 2, 2).flat_map(lambda w: w.batch(5)),
        r.window(2, 4).flat_map(lambda w: w.batch(5)),
    ]
    d += [r.window(3, drop_remainder=True).flat_map(lambda w: w), r.batch(4).unbatch()]
    d += [
        tf.data.Dataset.range(9, 2, -3),
        r.prefetch(2),
        r.map(lambda x: x * x, num_parallel_calls=3),
    ]
    d += [r.apply(tf.data.experimental.map_and_batch(lambda x: x + 1, 3, drop_remainder=True))]
    d += [
        r.apply(tf.data.experimental.take_while(lambda x: x < 4)),
        r.flat_map(lambda x: tf.data.Dataset.range(x)),
    ]
    d += [tf.data.experimental.Counter(3, 2).take(3), tf.data.Dataset.range(0).repeat()]
    return [_ints(tf, x) for x in d]


def interleave_only_values(tf, err):
    r = tf.data.Dataset.range(6)
    g = lambda x: tf.data.Dataset.range(x * 10, x * 10 + x + 1)
    out = []
    for cycle, block in ((2, 1), (2, 3), (4, 2), (3, 1), (7, 2)):
        out.append(_ints(tf, r.interleave(g, cycle, block)))
        out.append(_ints(tf, r.interleave(g, cycle, block, num_parallel_calls=2)))
    for cycle, block in ((2, 1), (2, 3), (3, 1)):
        out.append(_ints(tf, r.apply(tf.data.experimental.parallel_interleave(g, cycle, block))))
    return out


def padded_only_values(tf, err):
    r = tf.data.Dataset.range(5)
    ones = r.map(lambda x: (tf.fill([x, 2], x), tf.as_string(tf.range(x))))
    return [
        _elements(tf, ones.padded_batch(2, ([None, 3], [None]))),
        _elements(
            tf, ones.padded_batch(3, ([6, None], [5]), (np.int64(9), "-"), drop_remainder=True)
        ),
        _elements(tf, r.padded_batch(2, [])),
        _elements(tf, r.map(lambda x: tf.ones([x])).padded_batch(3, [1]), limit=3),
    ]


def structures_only_values(tf, err):
    a = np.arange(6, dtype=np.float32).reshape(3, 2)
    d = tf.data.Dataset.from_tensor_slices((a, {"k": [1, 2, 3], "j": [b"a", b"b", b"c"]}))
    s = tf.SparseTensor([[0, 1], [2, 0], [2, 3]], [1, 2, 3], [3, 4])
    return [
        _elements(tf, d),
        _elements(tf, d.batch(2)),
        _elements(tf, d.map(lambda x, y: {"s": tf.reduce_sum(x), "j": y["j"]})),
        _elements(tf, tf.data.Dataset.from_tensors((a, 1))),
        _elements(tf, tf.data.Dataset.from_sparse_tensor_slices(s)),
    ]


def generator_only_values(tf, err):
    def pairs(n):
        for i in range(n):
            yield i, [float(i)] * i

    def bad():
        yield 1
        yield "x"
        yield 2

    D = tf.data.Dataset
    ok = D.from_generator(pairs, (tf.int32, tf.float32), ([], [None]), args=(3,))
    shape = D.from_generator(lambda: iter([[1], [1, 2]]), tf.int32, [1])
    wrong = D.from_generator(lambda: iter([np.int64(1)]), tf.int32)
    texts = D.from_generator(lambda: iter(["a", b"b"]), tf.string)
    out = [_elements(tf, ok.repeat(2), again=2), _elements(tf, texts)]
    errors = [_elements(tf, d, limit=5) for d in (D.from_generator(bad, tf.int32), shape, wrong)]
    return out + [[e.split(":")[0] if isinstance(e, str) else e for e in es] for es in errors]


def run_only_values(tf, err):
    r = tf.data.Dataset.range(5)
    f = lambda x: tf.check_numerics(6.0 / tf.cast(x - 2, tf.float32), "bad")
    out = [_elements(tf, r.map(f)), _elements(tf, r.map(f, num_parallel_calls=2))]
    out += [_elements(tf, r.map(f).apply(tf.data.experimental.ignore_errors()))]
    out += [
        _elements(tf, r.map(f).batch(2)),
        _elements(tf, r.map(lambda x: tf.ones([x])).take(4).prefetch(1).batch(3)),
    ]
    for make in (
        lambda: r.batch(0),
        lambda: r.shuffle(0),
        lambda: tf.data.Dataset.range(0, 4, 0),
        lambda: r.shard(0, 0),
        lambda: r.shard(2, 2),
        lambda: r.prefetch(-2),
        lambda: r.window(0),
        lambda: r.interleave(lambda x: tf.data.Dataset.range(x), 0),
    ):
        try:
            out.append(_elements(tf, make(), limit=2))
        except tf.errors.OpError as error:
            out.append(_short(tf, error))
    return out


def files_only_values(tf, err):
    with _Folder(
        t=b"a\r\nb\n\nc",
        fx=b"HHabcdefF",
        c=b'1,2,x\n3,4,"y, ""z"\n5,q,7\n8,,9\n10\n11,12,"a\nb"\n13,14,15,16\n17,"18",t\n19,2"0,u\n',
        n=b"a;b\n1;NA\n2;2.5\n;3e1\n",
    ):
        with tf.python_io.TFRecordWriter("r") as w:
            for i in range(3):
                w.write(b"rec%d" % i)
        with open("r", "rb") as file:
            data = bytearray(file.read())
        with open("short", "wb") as file:
            file.write(bytes(data[:-5]))
        data[-3] ^= 1
        with open("bad", "wb") as file:
            file.write(bytes(data))
        options = tf.python_io.TFRecordOptions(tf.python_io.TFRecordCompressionType.GZIP)
        with tf.python_io.TFRecordWriter("z", options) as w:
            w.write(b"zipped")
        csv = tf.data.experimental.CsvDataset
        out = [
            _elements(tf, tf.data.TextLineDataset(["t", "t"])),
            _elements(tf, tf.data.TextLineDataset(["missing", "t"]), limit=2),
            _elements(tf, tf.data.FixedLengthRecordDataset("fx", 3, 2, 1)),
            _elements(tf, tf.data.FixedLengthRecordDataset("fx", 3, 2), limit=1),
            _elements(tf, tf.data.TFRecordDataset(["r", "r"], num_parallel_reads=2)),
            _elements(tf, tf.data.TFRecordDataset("z", "GZIP")),
            _elements(tf, csv("c", [tf.int32, tf.float32, tf.string])),
            _elements(
                tf, csv("c", [tf.int32, [3.0], tf.string], header=True, select_cols=[0, 1, 2])
            ),
            _elements(tf, csv("c", [tf.int32], select_cols=[1])),
            _elements(tf, csv("n", [[7], [0.5]], header=True, field_delim=";", na_value="NA")),
            _elements(tf, csv(["missing", "c"], [tf.int32, tf.float32, tf.string]), limit=2),
            _elements(tf, tf.data.Dataset.list_files(["?", "??"], shuffle=False)),
            _elements(tf, tf.data.Dataset.list_files("?", seed=3)),
            _elements(tf, tf.data.Dataset.range(3).cache("cached").repeat(2), again=2),
        ]
        broken = [_elements(tf, tf.data.TFRecordDataset([n, "r"])) for n in ("bad", "short")]
        return out + [[e.split(" at")[0] if isinstance(e, str) else e for e in b] for b in broken]


def iterators_only_values(tf, err):
    r = tf.data.Dataset.range(4)
    it = tf.data.Iterator.from_structure(tf.int64, [])
    even, odd = (it.make_initializer(r.filter(lambda x, k=k: tf.equal(x % 2, k))) for k in (0, 1))
    n = it.get_next()
    handle = tf.placeholder(tf.string, [])
    feed = tf.data.Iterator.from_string_handle(handle, tf.int64, [])
    m = feed.get_next()
    one = r.map(lambda x: x + 10).make_one_shot_iterator()
    out = []
    with tf.Session() as sess:
        try:
            sess.run(n)
        except tf.errors.OpError as error:
            out.append(_short(tf, error))
        for init in (even, odd, even):
            sess.run(init)
            out += [sess.run(n), sess.run(n)]
        sess.run(odd)
        handles = sess.run([it.string_handle(), one.string_handle()])
        for h in (0, 1, 1, 0, 1):
            out.append(sess.run(m, {handle: handles[h]}))
        state = r.reduce(np.int64(5), lambda s, x: s * 2 + x)
        out += sess.run([state, tf.data.experimental.get_single_element(r.skip(3))])
    return out


def groups_only_values(tf, err):
    r = tf.data.Dataset.range(10)
    x = tf.data.experimental
    by_three = x.group_by_window(lambda n: n % 3, lambda k, w: w.map(lambda v: (k, v)).batch(5), 2)
    sized = x.group_by_window(
        lambda n: n % 2, lambda k, w: w.batch(9), window_size_func=lambda k: k + 2
    )
    lengths = r.map(lambda n: (tf.fill([(n * 7) % 5], n), n))
    length = lambda a, n: tf.shape(a)[0]
    return [
        _elements(tf, r.apply(by_three)),
        _ints(tf, r.apply(sized)),
        _elements(tf, lengths.apply(x.bucket_by_sequence_length(length, [2, 4], [3, 2, 2]))),
        _elements(
            tf,
            lengths.apply(
                x.bucket_by_sequence_length(
                    length, [2, 5], [2, 2, 2], ([None], []), (np.int64(-1), np.int64(0)), True
                )
            ),
        ),
        err(lambda: r.apply(x.bucket_by_sequence_length(length, [2], [2]))),
    ]
