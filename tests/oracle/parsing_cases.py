"""Programs about parsing: Examples, SequenceExamples, sparse tensors and tensors as strings."""

import functools

import numpy as np


def _feature(tf, v):
    t = tf.train
    if v and isinstance(v[0], bytes):
        return t.Feature(bytes_list=t.BytesList(value=v))
    if v and isinstance(v[0], float):
        return t.Feature(float_list=t.FloatList(value=v))
    return t.Feature(int64_list=t.Int64List(value=v)) if v else t.Feature()


def _example(tf, **features):
    t = tf.train
    return t.Example(
        features=t.Features(feature={k: _feature(tf, v) for k, v in features.items()})
    ).SerializeToString()


def _sequence(tf, context, **lists):
    t = tf.train
    made = {k: t.FeatureList(feature=[_feature(tf, v) for v in vs]) for k, vs in lists.items()}
    first = t.Features(feature={k: _feature(tf, v) for k, v in context.items()})
    return t.SequenceExample(
        context=first, feature_lists=t.FeatureLists(feature_list=made)
    ).SerializeToString()


def _runner(tf):
    sess = tf.Session()
    return lambda thunk: sess.run(thunk())


def _abc(tf):
    a = _example(tf, x=[1.0, 2.0], y=[3], z=[b"q", b"r"], w=[4, 5])
    return a, _example(tf, x=[5.0, 6.0], y=[7], z=[b"s"]), _example(tf, y=[7])


def parse_example_errors(tf, err):
    a, b, c = _abc(tf)
    fixed, var, seq, parse = (
        tf.FixedLenFeature,
        tf.VarLenFeature,
        tf.FixedLenSequenceFeature,
        tf.parse_example,
    )
    tests = [
        lambda: parse(
            [a, b], {"x": fixed([2], tf.float32), "y": fixed([], tf.int64), "z": var(tf.string)}
        ),
        lambda: parse(
            [a, c],
            {
                "x": fixed([2], tf.float32, [9.0, 8.0]),
                "q": fixed([], tf.string, "d"),
                "z": var(tf.string),
            },
        ),
        lambda: parse([a, c], {"x": fixed([2], tf.float32)}),
        lambda: parse([a, c], {"x": fixed([2], tf.float32)}, example_names=["n1", "n2"]),
        lambda: parse([a, b], {"x": fixed([3], tf.float32)}),
        lambda: parse([a, b], {"x": fixed([2], tf.int64)}),
        lambda: parse([a, b], {"z": var(tf.int64)}),
        lambda: parse(
            [a, b, c], {"w": seq([], tf.int64, True), "z": seq([], tf.string, True, "pad")}
        ),
        lambda: parse([a, b, c], {"x": seq([2], tf.float32, True)}),
        lambda: parse([a, b, c], {"x": seq([3], tf.float32, True)}),
        lambda: parse(["abc"], {"w": fixed([], tf.int64)}),
        lambda: parse(np.empty(0, object), {"x": fixed([2], tf.float32), "z": var(tf.string)}),
    ]
    run = _runner(tf)
    return [err(functools.partial(run, test)) for test in tests]


def sparse_feature_errors(tf, err):
    s = _example(tf, idx=[3, 1], val=[3.0, 1.0], i2=[0, 2])
    t = _example(tf, idx=[2], val=[2.0], i2=[1])
    tests = [
        lambda: tf.parse_example([s, t], {"s": tf.SparseFeature("idx", "val", tf.float32, 10)}),
        lambda: tf.parse_example(
            [s, t], {"s": tf.SparseFeature("idx", "val", tf.float32, 10, True)}
        ),
        lambda: tf.parse_example(
            [s, t], {"s": tf.SparseFeature(["idx", "i2"], "val", tf.float32, [10, 4])}
        ),
        lambda: tf.parse_single_example(s, {"s": tf.SparseFeature("idx", "val", tf.float32, 10)}),
    ]
    run = _runner(tf)
    return [err(functools.partial(run, test)) for test in tests]


def single_errors(tf, err):
    a, _, c = _abc(tf)
    fixed, var, seq, parse = (
        tf.FixedLenFeature,
        tf.VarLenFeature,
        tf.FixedLenSequenceFeature,
        tf.parse_single_example,
    )
    tests = [
        lambda: parse(
            a, {"x": fixed([2], tf.float32), "y": fixed([], tf.int64), "z": var(tf.string)}
        ),
        lambda: parse(c, {"x": fixed([2], tf.float32)}),
        lambda: parse(a, {"x": fixed([3], tf.float32)}),
        lambda: parse("abc", {"x": fixed([3], tf.float32)}),
        lambda: parse(a, {"x": fixed([2], tf.int64)}),
        lambda: parse(a, {"z": var(tf.int64)}),
        lambda: parse(a, {"w": seq([], tf.int64, True), "k": seq([], tf.int64, True)}),
        lambda: parse(c, {"x": fixed([2], tf.float32)}, example_names="nm"),
        lambda: parse(a, {"x": fixed([1, 2], tf.float32)}),
        lambda: parse([a], {"x": fixed([2], tf.float32)}),
    ]
    run = _runner(tf)
    return [err(functools.partial(run, test)) for test in tests]


def feature_errors(tf, err):
    fixed, seq, sparse, parse = (
        tf.FixedLenFeature,
        tf.FixedLenSequenceFeature,
        tf.SparseFeature,
        tf.parse_example,
    )
    features = [
        None,
        {},
        {"x": fixed([2], None)},
        {"x": fixed([None], tf.float32)},
        {"x": tf.VarLenFeature(None)},
        {"x": sparse(None, "v", tf.int64, 1)},
        {"x": sparse("i", None, tf.int64, 1)},
        {"x": sparse("i", "v", None, 1)},
        {"x": 5},
        {"x": fixed(None, tf.float32)},
        {"x": seq([], None)},
        {"x": seq([], tf.int64)},
        {"x": fixed([2], tf.float32, default_value=[1.0, 2.0, 3.0])},
    ]
    return [err(functools.partial(parse, ["a"], f)) for f in features]


def sequence_errors(tf, err):
    q = _sequence(
        tf,
        {"n": [3], "m": [b"k"]},
        f=[[1.0, 2.0], [3.0, 4.0]],
        g=[[b"a"], [b"b", b"c"], []],
        h=[[1], [2]],
    )
    r = _sequence(tf, {"n": [4]}, f=[[5.0, 6.0]], h=[[3]])
    fixed, var, seq, parse = (
        tf.FixedLenFeature,
        tf.VarLenFeature,
        tf.FixedLenSequenceFeature,
        tf.parse_single_sequence_example,
    )
    lists = {"f": seq([2], tf.float32), "g": var(tf.string), "h": seq([], tf.int64)}
    context = {"n": fixed([], tf.int64), "m": var(tf.string)}
    tests = [
        lambda: parse(q, context, lists),
        lambda: parse(q, {"zz": fixed([], tf.int64)}, {"f": seq([2], tf.float32)}),
        lambda: parse(
            q, {"zz": fixed([], tf.int64, default_value=4)}, {"f2": seq([2], tf.float32)}
        ),
        lambda: parse(
            q, None, {"f2": seq([2], tf.float32, allow_missing=True), "v2": var(tf.int64)}
        ),
        lambda: parse(q, None, {"f": seq([3], tf.float32)}),
        lambda: parse(q, None, {"f": seq([2], tf.int64)}),
        lambda: parse("abc", None, {"f": seq([2], tf.int64)}),
        lambda: parse(q, {"n": fixed([2], tf.int64)}, None, example_name="nm"),
        lambda: parse(q, {"n": fixed([], tf.float32)}, None),
        lambda: parse(q, {"m": var(tf.int64)}, None),
        lambda: parse(q, None, {"g": var(tf.int64)}),
        lambda: tf.io.parse_sequence_example([q, r], context, lists),
    ]
    run = _runner(tf)
    built = [
        lambda: parse(q),
        lambda: parse(q, None, {"f": fixed([], tf.int64)}),
        lambda: parse(q, {"f": seq([], tf.int64)}, None),
    ]
    return [err(functools.partial(run, test)) for test in tests] + [err(test) for test in built]


def graphs(tf, err):
    text = tf.placeholder(tf.string, [None])
    one = tf.placeholder(tf.string, [])
    fixed, var, seq, sparse = (
        tf.FixedLenFeature,
        tf.VarLenFeature,
        tf.FixedLenSequenceFeature,
        tf.SparseFeature,
    )
    features = {
        "x": fixed([2], tf.float32),
        "y": fixed([], tf.int64, 3),
        "z": var(tf.string),
        "s": sparse("idx", "val", tf.float32, 10),
    }
    out = [
        tf.parse_example(text, dict(features, w=seq([], tf.int64, True))),
        tf.parse_single_example(one, features, name="nm"),
    ]
    out += [
        tf.parse_single_sequence_example(
            one,
            {"n": fixed([], tf.int64), "m": var(tf.string)},
            {"f": seq([2], tf.float32), "g": var(tf.string)},
        )
    ]
    out += [tf.parse_single_example(one, {"x": fixed([2], tf.float32)}, example_names="k")]
    out += [
        tf.parse_example(
            text,
            {"w": seq([2], tf.int64, True), "x": fixed([2, 1], tf.float32, [1.0, 2.0])},
            name="p",
        )
    ]
    out += [
        tf.io.parse_sequence_example(
            text, {"n": fixed([], tf.int64)}, {"f": seq([2], tf.float32), "g": var(tf.string)}
        )
    ]
    return out


def serialized_errors(tf, err):
    s = tf.SparseTensor([[0, 1], [2, 0], [2, 3]], [1.0, 2.0, 3.0], [3, 4])
    wider = tf.SparseTensor([[0, 1], [2, 0], [2, 3]], [1.0, 2.0, 3.0], [3, 6])
    many = tf.serialize_many_sparse
    tests = [
        lambda: tf.serialize_sparse(s),
        lambda: many(s),
        lambda: many(tf.SparseTensor([[0]], [1.0], [2])),
        lambda: tf.deserialize_many_sparse(many(s), tf.float32),
        lambda: tf.deserialize_many_sparse(many(s), tf.int32),
        lambda: tf.deserialize_many_sparse([["a", "b", "c"]], tf.int32),
        lambda: tf.deserialize_many_sparse(["a", "b", "c"], tf.int32),
        lambda: tf.deserialize_many_sparse(
            tf.stack([tf.serialize_sparse(s), tf.serialize_sparse(wider)]), tf.float32, rank=3
        ),
        lambda: many(tf.SparseTensor([[5, 1]], [1.0], [3, 4])),
        lambda: many(tf.SparseTensor([[2, 1], [0, 0]], [1.0, 2.0], [3, 4])),
        lambda: tf.io.parse_tensor(tf.io.serialize_tensor(tf.constant([[1, 2], [3, 4]])), tf.int32),
        lambda: tf.io.serialize_tensor(tf.constant(["a", "bc"])),
        lambda: tf.io.parse_tensor(tf.io.serialize_tensor(tf.constant([1])), tf.float32),
        lambda: tf.io.parse_tensor("abc", tf.float32),
        lambda: tf.io.decode_compressed(["abc"], ""),
        lambda: tf.io.decode_compressed(["abc"], "ZLIB"),
        lambda: tf.io.decode_compressed(["abc"], "X"),
    ]
    run = _runner(tf)
    return [err(functools.partial(run, test)) for test in tests]
