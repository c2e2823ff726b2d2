# ruff: noqa  (programs for Python 3.7 and TensorFlow 1.15, whose style they keep)
"""Programs about operators, conversions to tensors and the errors of building."""

import numpy as np


def _sorted_types(found):
    """Errors list the allowed types in the order of the op definition, which means nothing."""
    if isinstance(found, dict) and "message" in found.get("dict", found):
        inner = found.get("dict", found)
        head, sep, tail = inner["message"].partition("allowed values: ")
        inner["message"] = head + sep + ", ".join(sorted(tail.split(", "))) if sep else head
    return found


def operator_names(tf, err):
    f = tf.placeholder(tf.float32, [2, 2], name="f")
    i = tf.placeholder(tf.int32, [2, 2], name="i")
    b = tf.placeholder(tf.bool, [2, 2], name="b")
    out = [
        f + 1,
        1 + f,
        f - 1,
        1 - f,
        f * 2,
        2 * f,
        f / 2,
        2 / f,
        i / 2,
        f // 2,
        2 // f,
        i // 2,
        f % 2,
        2 % f,
        f**2,
        2**f,
    ]
    out += [
        -f,
        abs(f),
        f < 1,
        f <= 1,
        f > 1,
        f >= 1,
        i < 1,
        b & True,
        b | False,
        b ^ True,
        ~b,
        True & b,
        False | b,
        True ^ b,
    ]
    out += [
        f @ f,
        f + np.float32(1),
        np.ones((2, 2), np.float32) + f,
        i + np.int32(1),
        f * [1.0, 2.0],
        f + f,
        i // i,
        i % 3,
        i * i,
    ]
    return out


def operator_errors(tf, err):
    f = tf.placeholder(tf.float32, [2, 2], name="f")
    i = tf.placeholder(tf.int32, [2, 2], name="i")
    d = tf.placeholder(tf.float64, [2, 2], name="d")
    s = tf.placeholder(tf.string, [2], name="s")
    b = tf.placeholder(tf.bool, [2], name="b")
    tests = [
        lambda: f + i,
        lambda: i + f,
        lambda: f + d,
        lambda: f * "a",
        lambda: i + 1.5,
        lambda: f + None,
        lambda: f + [[1.0], [2.0, 3.0]],
        lambda: tf.matmul(f, d),
        lambda: tf.matmul(s, s),
        lambda: tf.exp(i),
        lambda: s - s,
        lambda: b + b,
        lambda: -b,
        lambda: f & f,
        lambda: ~f,
        lambda: f + s,
        lambda: tf.add(f, "x"),
        lambda: tf.concat([f, i], 0),
        lambda: tf.concat([f, "a"], 0),
        lambda: tf.stack([f, i]),
        lambda: tf.add_n([f, i]),
        lambda: tf.add_n([]),
        lambda: tf.cast("a", tf.int32),
        lambda: tf.gather(f, 1.5),
        lambda: tf.gather(f, [1.0]),
        lambda: tf.reshape(f, [1.5, 2]),
        lambda: tf.reshape(f, "a"),
        lambda: tf.transpose(f, [0.5, 1]),
        lambda: tf.reduce_sum(f, "a"),
        lambda: tf.equal(f, i),
        lambda: tf.less(s, s),
        lambda: tf.where(f, f, f),
        lambda: tf.fill([2], None),
        lambda: tf.one_hot([0.5], 2),
        lambda: tf.nn.relu(s),
        lambda: tf.nn.softmax(i),
        lambda: tf.assign(f, f),
        lambda: tf.assign_add(tf.constant(1.0), 1.0),
        lambda: tf.split(f, 2.5),
        lambda: tf.logical_and(f, f),
        lambda: tf.logical_not(1),
        lambda: tf.group(3),
        lambda: tf.random_normal("a"),
        lambda: tf.random_uniform([2], dtype=tf.int32),
        lambda: tf.zeros([2], tf.float32) + tf.zeros([2], tf.int64),
        lambda: tf.identity(None),
        lambda: tf.identity([f, i]),
        lambda: tf.identity(object()),
        lambda: tf.tile(f, [1.0, 2.0]),
    ]
    return [_sorted_types(err(t)) for t in tests]


def attr_errors(tf, err):
    f = tf.placeholder(tf.float32, [1, 4, 4, 1], name="f")
    w = tf.placeholder(tf.float32, [1, 1, 1, 1], name="w")
    r = tf.raw_ops
    tests = [
        lambda: r.Conv2D(input=f, filter=w, strides=[1, 1, 1, 1], padding="BAD"),
        lambda: r.Conv2D(input=f, filter=w, strides=1, padding="SAME"),
        lambda: r.Conv2D(input=f, filter=w, strides=["a"], padding="SAME"),
        lambda: r.Conv2D(input=f, filter=w, strides=[1, 1, 1, 1], padding=3),
        lambda: r.MatMul(a=f, b=w, transpose_a="yes"),
        lambda: r.MaxPool(input=f, ksize=[1], strides=[1, 1, 1, 1], padding="SAME"),
        lambda: r.Pack(values=[f], axis="a"),
        lambda: r.Pack(values=[f], axis=1.5),
        lambda: r.Pack(values=f),
        lambda: r.Pack(values=[]),
        lambda: r.LeakyRelu(features=f, alpha="a"),
        lambda: r.Placeholder(dtype="float99"),
        lambda: r.Placeholder(dtype=tf.float32, shape="a"),
        lambda: r.Unpack(value=f, num=-1),
        lambda: r.FIFOQueueV2(component_types=[]),
        lambda: r.FIFOQueueV2(component_types=tf.float32),
        lambda: r.FIFOQueueV2(component_types=[tf.float32], container=3),
        lambda: r.LRN(input=f, depth_radius="x"),
        lambda: r.Cast(x=f, DstT=tf.int32).dtype,
    ]
    return [_sorted_types(err(t)) for t in tests]


def convert_values(tf, err):
    f = tf.placeholder(tf.float32, [], name="f")
    values = [
        1,
        1.5,
        True,
        "a",
        b"a",
        [1, 2],
        [1.5, 2],
        [[1], [2]],
        [True, False],
        ["a", b"b"],
        (1, 2),
        [],
        [[]],
        2**40,
        [2**40],
        1 + 2j,
        np.float64(1),
        np.int64(1),
        np.array([1, 2], np.int8),
        np.ones([2], np.float32),
        np.array(["a"]),
        np.array([b"a"]),
        np.bool_(True),
        np.float16(1),
        [np.float32(1), 2.0],
        [np.int64(1), 2],
        f,
        [f, 1.0],
        [[f, 1.0], [2.0, f]],
        [1, f],
        (f, f),
        tf.TensorShape([1, 2]),
        tf.TensorShape([]),
        tf.Dimension(3),
        np.array([], np.float32),
        range(3),
        np.uint8(3),
        tf.float32,
        None,
        {},
        object(),
        [None],
        [1, "a"],
        [[1], [2, 3]],
        2**70,
        tf.TensorShape(None),
        tf.TensorShape([None]),
        [1.5, True],
        [1, 1.5],
        [True, 1],
        tf.Dimension(None),
        [f, "a"],
    ]
    return [err(lambda: tf.convert_to_tensor(v)) for v in values]


def convert_to_dtypes(tf, err):
    f = tf.placeholder(tf.float32, [], name="f")
    pairs = [
        (1, tf.float32),
        (1.5, tf.int32),
        (1.0, tf.int32),
        ("a", tf.float32),
        (True, tf.float32),
        (1, tf.bool),
        ([1, 2], tf.float64),
        (2**40, tf.int64),
        (1, tf.string),
        (f, tf.float32),
        (f, tf.float64),
        (np.float64(1.5), tf.float32),
        (np.float32(1.5), tf.int32),
        (np.array([1, 2]), tf.float32),
        (np.array([1.5]), tf.int32),
        (1j, tf.complex64),
        (1.5, tf.complex128),
        (1j, tf.float32),
        ([1, f], tf.float32),
        ([1, f], tf.float64),
        (np.array(["a"]), tf.string),
        (1.5, "float16"),
        (1, tf.half),
        (1, tf.bfloat16),
        (None, tf.float32),
        (np.array([True]), tf.float32),
        ([1.5, 2], tf.int64),
        (1, "nothing"),
        (1, 3),
        ([[1, 2]], np.float64),
        (1, float),
        (1, int),
        (tf.TensorShape([2]), tf.float32),
        (tf.TensorShape([2]), tf.int64),
    ]
    return [err(lambda: tf.convert_to_tensor(v, dtype=d)) for v, d in pairs]


def preferred(tf, err):
    conv = lambda v, d: err(lambda: tf.convert_to_tensor(v, preferred_dtype=d))
    return [
        conv(1, tf.float32),
        conv(1.5, tf.int32),
        conv("a", tf.float32),
        conv([1, 2], tf.int64),
        conv(np.float64(1), tf.float32),
    ]


def constants(tf, err):
    tests = [
        lambda: tf.constant([1, 2, 3], shape=[3, 1]),
        lambda: tf.constant(1.5, shape=[2, 2]),
        lambda: tf.constant([1, 2, 3], shape=[2]),
        lambda: tf.constant([1, 2], shape=[3], verify_shape=True),
        lambda: tf.constant([[1, 2], [3, 4]], dtype=tf.int64, name="named"),
        lambda: tf.constant("text"),
        lambda: tf.constant([b"a", "\u00e9"]),
        lambda: tf.constant(True, shape=[3]),
        lambda: tf.constant([True, False]),
        lambda: tf.constant([1.5, 2.5], tf.float16),
        lambda: tf.constant([1 + 2j, 3]),
        lambda: tf.constant(np.arange(6).reshape(2, 3)),
        lambda: tf.constant(np.zeros([0, 3], np.float32)),
        lambda: tf.constant([]),
        lambda: tf.constant(7, tf.uint8),
        lambda: tf.constant([1.0, float("inf"), float("nan")]),
        lambda: tf.constant(1, shape=[]),
        lambda: tf.constant(None),
        lambda: tf.constant([1, None]),
        lambda: tf.constant(tf.constant(1)),
        lambda: tf.constant([tf.constant(1), 2]),
        lambda: tf.constant(1.5, tf.int32),
        lambda: tf.constant("a", tf.int32),
        lambda: tf.constant(3, tf.string),
        lambda: tf.zeros([2, 3]),
        lambda: tf.zeros([], tf.string),
        lambda: tf.zeros([40, 40]),
        lambda: tf.ones([2], tf.bool),
        lambda: tf.zeros([2], tf.bool),
        lambda: tf.fill([2], 3),
    ]
    return [err(t) for t in tests]


def slicing(tf, err):
    x = tf.placeholder(tf.float32, [4, 5, 6], name="x")
    y = tf.placeholder(tf.float32, [None, 5], name="y")
    z = tf.placeholder(tf.float32, name="z")
    i = tf.placeholder(tf.int32, [], name="i")
    tests = [
        lambda: x[0],
        lambda: x[-1],
        lambda: x[1:3],
        lambda: x[:, 1],
        lambda: x[..., 0],
        lambda: x[0, ..., 1],
        lambda: x[::2],
        lambda: x[::-1],
        lambda: x[tf.newaxis],
        lambda: x[:, None, 1:],
        lambda: x[1, 2, 3],
        lambda: x[i],
        lambda: x[i:, 2],
        lambda: x[0:i],
        lambda: x[3:1],
        lambda: x[10:],
        lambda: x[-2:],
        lambda: x[:-1],
        lambda: y[0],
        lambda: y[1:],
        lambda: y[:, 2],
        lambda: z[0],
        lambda: z[1:2, None],
        lambda: x[i, i],
        lambda: x[4],
        lambda: x[0, 0, 0, 0],
        lambda: x["a"],
        lambda: x[1.5],
        lambda: x[..., ...],
        lambda: x[::0],
        lambda: x[tf.constant(1.5)],
        lambda: x[[0, 1]],
        lambda: x[np.int64(1)],
        lambda: x[tf.constant(1, tf.int64)],
        lambda: x[tf.constant([1])],
        lambda: x[True],
        lambda: x[x > 0],
        lambda: x[None],
        lambda: x[()],
        lambda: x[slice(None)],
        lambda: x[1:2:1],
    ]
    return [err(t) for t in tests]


def foreign_graphs(tf, err):
    a = tf.constant(1.0, name="a")
    with tf.Graph().as_default():
        b = tf.constant(2.0, name="b")
        out = [
            err(lambda: tf.add(a, b)),
            err(lambda: a + 1.0),
            err(lambda: tf.stack([a, b])),
            err(lambda: tf.add_n([a, b])),
        ]
        c = tf.identity(a)
        out.append(c.graph is a.graph)
    return out


def conversion_registry(tf, err):
    class Mine:
        pass

    class Other:
        pass

    tf.register_tensor_conversion_function(
        Mine, lambda v, dtype=None, name=None, as_ref=False: tf.constant(7.0, name=name)
    )
    tf.register_tensor_conversion_function(Other, lambda v, dtype=None, name=None, as_ref=False: 3)
    return [
        tf.convert_to_tensor(Mine()),
        tf.identity(Mine()),
        tf.constant(1.0) + Mine(),
        err(lambda: tf.convert_to_tensor(Mine(), tf.int32)),
        err(lambda: tf.convert_to_tensor(Other()))["message"].split(" at 0x")[0][:20],
        err(lambda: tf.register_tensor_conversion_function(3, lambda v: v)),
        err(lambda: tf.register_tensor_conversion_function(Mine, 3)),
    ]


def sparse_and_slices(tf, err):
    s = tf.SparseTensor([[0, 1], [2, 3]], [1.0, 2.0], [4, 5])
    i = tf.IndexedSlices(tf.constant([[1.0, 2.0]]), tf.constant([3]), tf.constant([5, 2]))
    j = tf.IndexedSlices(tf.constant([[1.0, 2.0]]), tf.constant([3]))
    return [
        s,
        i,
        s.dtype,
        s.get_shape(),
        s.shape,
        s.op,
        s.graph is tf.get_default_graph(),
        s.indices.dtype,
        str(s),
        str(i),
        str(j),
        i.dtype,
        i.name,
        i.op,
        i.device,
        tf.convert_to_tensor(i),
        err(lambda: tf.convert_to_tensor(j)),
        -i,
        tf.SparseTensor.from_value(tf.SparseTensorValue([[0]], [1.0], [2])),
        err(lambda: tf.SparseTensor([0], [1.0], [1])),
        err(lambda: tf.convert_to_tensor(s)),
        tf.convert_to_tensor_or_sparse_tensor(s) is s,
        tf.convert_to_tensor_or_indexed_slices(i) is i,
        tf.convert_to_tensor_or_indexed_slices([1.0]),
        err(lambda: tf.SparseTensor([[0, 1]], [1.0], [2, 3, 4])),
        s.consumers() if hasattr(s, "consumers") else None,
        tf.SparseTensorValue([[0]], [1], [2]),
    ]


def placeholders(tf, err):
    tests = [
        lambda: tf.placeholder(tf.float32),
        lambda: tf.placeholder("float", [2]),
        lambda: tf.placeholder(tf.float32, []),
        lambda: tf.placeholder(tf.float32, [None, 3], name="named"),
        lambda: tf.placeholder(tf.float32, tf.TensorShape([1, None])),
        lambda: tf.placeholder(tf.float32, 3),
        lambda: tf.placeholder(tf.float32, [-1]),
        lambda: tf.placeholder("nope"),
        lambda: tf.placeholder(tf.float32, "a"),
        lambda: tf.placeholder_with_default([1.0], [None]),
        lambda: tf.placeholder_with_default([1.0], [2]),
        lambda: tf.placeholder_with_default(tf.constant(3), []),
        lambda: tf.sparse_placeholder(tf.float32),
        lambda: tf.sparse_placeholder(tf.float32, [2, 3], name="sp"),
        lambda: tf.sparse_placeholder(tf.float32, [None, 3]),
        lambda: tf.placeholder(np.float32, (2, 3)),
        lambda: tf.placeholder(float),
    ]
    return [err(t) for t in tests]


def set_shapes(tf, err):
    x = tf.placeholder(tf.float32, [None, 3], name="x")
    y = tf.placeholder(tf.float32, name="y")
    out = [
        err(lambda: x.set_shape([2, 4])),
        err(lambda: x.set_shape([2])),
        err(lambda: x.set_shape([2, None])),
        x.shape,
    ]
    y.set_shape([None, 2])
    y.set_shape(tf.TensorShape([5, None]))
    return out + [
        y.shape,
        y.get_shape().as_list(),
        err(lambda: y.set_shape("a")),
        tf.identity(x),
        x.shape[0],
        err(lambda: int(tf.placeholder(tf.float32, [None]).shape[0])),
    ]
