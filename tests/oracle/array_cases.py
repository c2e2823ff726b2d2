"""Small programs whose graph and results are recorded from TensorFlow 1.15.

Each entry is a program over a namespace `tf` (and `np`); it leaves the fetches in `out`.
`record_array_cases.py` runs them under TensorFlow and writes `array_cases.json`;
`tests/ops/test_array_oracle.py` runs them under Flowmesh and compares.
"""

CASES = {
    # -- constants -------------------------------------------------------------------------
    "constant_scalars": """
out = [tf.constant(1), tf.constant(1.5), tf.constant(True), tf.constant("ab"),
       tf.constant(2, dtype=tf.float64), tf.constant(3 + 4j), tf.constant(2**40, tf.int64)]
""",
    "constant_arrays": """
out = [tf.constant([1, 2, 3]), tf.constant([[1.0, 2.0], [3.0, 4.0]]),
       tf.constant(np.arange(6.0).reshape(2, 3)), tf.constant(np.float32(2)),
       tf.constant([np.int64(1), 2]), tf.constant([]), tf.constant([[]]),
       tf.constant([b"a", "b"]), tf.constant([True, False]), tf.constant([1, 2.5])]
""",
    "constant_shape": """
out = [tf.constant(7, shape=[2, 3]), tf.constant([1, 2, 3], shape=[2, 3]),
       tf.constant(1.0, tf.float32, [2]), tf.constant([1, 2, 3, 4], shape=[2, 2], name="c")]
""",
    "constant_packed": """
x = tf.placeholder(tf.float32, [], name="x")
out = [tf.convert_to_tensor([1.0, x]), tf.convert_to_tensor([[x, 2.0], [3.0, x]], name="m")]
feed = {x: 5.0}
""",
    "constant_convert": """
out = [tf.convert_to_tensor([1, 2], dtype=tf.float32), tf.convert_to_tensor(3, preferred_dtype=tf.int64),
       tf.convert_to_tensor(3.5, preferred_dtype=tf.int64),
       tf.convert_to_tensor(tf.TensorShape([2, 3])), tf.convert_to_tensor(tf.TensorShape([2, 3]), dtype=tf.int64),
       tf.convert_to_tensor("x", name="s")]
""",
    # -- identity and shapes ---------------------------------------------------------------
    "identity": """
x = tf.constant([1.0, 2.0])
out = [tf.identity(x), tf.stop_gradient(x), tf.identity_n([x, 3]), tf.snapshot(x) if hasattr(tf, "snapshot") else x,
       tf.check_numerics(x, "bad"), tf.identity(x, name="y")]
""",
    "shape_static": """
x = tf.constant([[1.0, 2.0, 3.0]])
out = [tf.shape(x), tf.size(x), tf.rank(x), tf.shape(x, out_type=tf.int64), tf.size(x, name="n", out_type=tf.int64),
       tf.shape_n([x, x])]
""",
    "shape_dynamic": """
x = tf.placeholder(tf.float32, [None, 3], name="x")
y = tf.placeholder(tf.float32, name="y")
out = [tf.shape(x), tf.size(x), tf.rank(x), tf.shape(y), tf.rank(y), tf.size(y), tf.shape_n([x, y]),
       tf.shape(x)[0]]
feed = {x: np.ones((2, 3), np.float32), y: np.ones((4, 1, 2), np.float32)}
""",
    "reshape": """
x = tf.placeholder(tf.float32, [None, 6], name="x")
out = [tf.reshape(x, [-1, 2, 3]), tf.reshape(x, [-1]), tf.reshape(x, tf.shape(x)), tf.reshape(tf.range(6), (2, -1)),
       tf.reshape(x, tf.stack([tf.shape(x)[0], 3, 2])), tf.reshape(x, tf.TensorShape([2, 6]))]
feed = {x: np.arange(12, dtype=np.float32).reshape(2, 6)}
""",
    "expand_squeeze": """
x = tf.placeholder(tf.float32, [None, 1, 3], name="x")
out = [tf.expand_dims(x, 0), tf.expand_dims(x, -1), tf.expand_dims(x, axis=2, name="e"), tf.squeeze(x, [1]),
       tf.squeeze(x, axis=-2), tf.squeeze(tf.ones([1, 2, 1])), tf.squeeze(tf.ones([1, 2, 1]), squeeze_dims=[0]),
       tf.expand_dims(x, dim=1)]
feed = {x: np.arange(6, dtype=np.float32).reshape(2, 1, 3)}
""",
    "transpose": """
x = tf.placeholder(tf.float32, [None, 2, 3], name="x")
y = tf.placeholder(tf.float32, name="y")
out = [tf.transpose(x), tf.transpose(x, [1, 0, 2]), tf.transpose(x, perm=[2, 0, 1], name="t"), tf.transpose(y),
       tf.transpose(tf.constant([[1 + 2j, 3j]]), conjugate=True), tf.invert_permutation([2, 0, 1])]
feed = {x: np.arange(12, dtype=np.float32).reshape(2, 2, 3), y: np.arange(6, dtype=np.float32).reshape(2, 3)}
""",
    # -- joining and splitting -------------------------------------------------------------
    "concat": """
x = tf.placeholder(tf.float32, [None, 3], name="x")
out = [tf.concat([x, x], 0), tf.concat([x, [[1.0], [2.0]]], axis=1, name="c"), tf.concat([x], 0), tf.concat(x, 0),
       tf.concat([[1, 2], [3]], -1), tf.concat(axis=1, values=[x, x])]
feed = {x: np.arange(6, dtype=np.float32).reshape(2, 3)}
""",
    "split": """
x = tf.placeholder(tf.float32, [None, 6], name="x")
out = [tf.split(x, 3, 1), tf.split(x, [1, 2, 3], axis=1, name="s"), tf.split(x, [1, -1], 1),
       tf.split(tf.range(4), 2), tf.split(value=x, num_or_size_splits=2, axis=-1),
       tf.split(x, tf.constant([4, 2]), 1)]
feed = {x: np.arange(12, dtype=np.float32).reshape(2, 6)}
""",
    "stack": """
x = tf.placeholder(tf.float32, [None, 2], name="x")
out = [tf.stack([x, x]), tf.stack([x, x], axis=1, name="s"), tf.stack([1, 2, 3]), tf.stack([x, x], -1),
       tf.unstack(tf.constant([[1, 2], [3, 4]])), tf.unstack(x, axis=1), tf.unstack(x, 2, 0, name="u"),
       tf.stack([[1, 2], tf.constant([3, 4])])]
feed = {x: np.arange(4, dtype=np.float32).reshape(2, 2)}
""",
    "tile_pad": """
x = tf.placeholder(tf.float32, [None, 2], name="x")
out = [tf.tile(x, [2, 3]), tf.tile([1, 2], [2], name="t"), tf.pad(x, [[1, 1], [0, 2]]),
       tf.pad(x, [[1, 0], [0, 0]], constant_values=7.0), tf.pad(x, [[1, 1], [1, 1]], "REFLECT"),
       tf.pad(x, [[1, 1], [1, 1]], mode="symmetric", name="p"), tf.pad(x, tf.constant([[0, 1], [0, 0]]), "CONSTANT")]
feed = {x: np.arange(4, dtype=np.float32).reshape(2, 2)}
""",
    # -- making ----------------------------------------------------------------------------
    "fill": """
n = tf.placeholder(tf.int32, [], name="n")
out = [tf.fill([2, 3], 9), tf.fill([n, 2], 1.5), tf.zeros([2, 2]), tf.ones([3], tf.int32), tf.zeros([n]), tf.ones([n, 2]),
       tf.zeros([]), tf.zeros([40, 40]), tf.ones([1001]), tf.zeros([2], tf.string), tf.zeros([2], tf.bool),
       tf.zeros(tf.constant([2, 1])), tf.ones(tf.stack([n, n])), tf.zeros((2,), name="z"), tf.zeros(3), tf.ones(2)]
feed = {n: 2}
""",
    "zeros_like": """
x = tf.placeholder(tf.float32, [None, 2], name="x")
c = tf.constant([[1, 2]])
out = [tf.zeros_like(x), tf.ones_like(x), tf.zeros_like(c), tf.ones_like(c), tf.zeros_like(x, dtype=tf.int32),
       tf.ones_like(x, dtype=tf.float64), tf.zeros_like(c, tf.float32, name="z"), tf.zeros_like([1.0, 2.0]),
       tf.ones_like(c, tf.bool), tf.zeros_like(x, optimize=False), tf.zeros_like(tf.constant(["a"]))]
feed = {x: np.ones((2, 2), np.float32)}
""",
    "range": """
n = tf.placeholder(tf.int32, [], name="n")
out = [tf.range(5), tf.range(2, 7), tf.range(10, 0, -3), tf.range(0.0, 1.0, 0.25), tf.range(n), tf.range(n, name="r"),
       tf.range(3, dtype=tf.float32), tf.range(1, n + 4, delta=2), tf.range(3.5), tf.range(0, 3, 1.0)]
feed = {n: 3}
""",
    "one_hot": """
x = tf.placeholder(tf.int32, [None], name="x")
out = [tf.one_hot(x, 3), tf.one_hot([0, 2, -1, 5], depth=3, on_value=5.0, off_value=-1.0), tf.one_hot(x, 3, axis=0),
       tf.one_hot(x, depth=2, dtype=tf.int32), tf.one_hot([[0, 1], [1, 0]], 2, on_value=True, off_value=False, axis=1),
       tf.one_hot(tf.constant([1], tf.int64), 2, on_value=3, name="o")]
feed = {x: np.array([1, 0, 2], np.int32)}
""",
    # -- slicing ---------------------------------------------------------------------------
    "slice": """
x = tf.placeholder(tf.float32, [None, 4], name="x")
out = [tf.slice(x, [0, 1], [-1, 2]), tf.slice(x, [1, 0], [1, 4], name="s"), tf.slice(x, [0, 0], tf.stack([tf.shape(x)[0], 2])),
       tf.strided_slice(x, [0, 0], [2, 4], [1, 2]), tf.strided_slice(x, [0], [1])]
feed = {x: np.arange(8, dtype=np.float32).reshape(2, 4)}
""",
    "getitem": """
x = tf.placeholder(tf.float32, [None, 4, 5], name="x")
i = tf.placeholder(tf.int32, [], name="i")
out = [x[0], x[0, 1], x[0, 1, 2], x[-1], x[:, 1:3], x[..., 0], x[:, ::2, ::-1], x[:, tf.newaxis], x[0, ..., tf.newaxis],
       x[i], x[i:, 1], x[:, :i], x[...], x[None, ..., 1:], x[1:, 2, ...], x[:, 3:0:-2, -3:], x[tf.constant(1)], x[:],
       x[np.int64(1)], x[:, 1:-1]]
feed = {x: np.arange(60, dtype=np.float32).reshape(3, 4, 5), i: 1}
""",
    # -- gathering -------------------------------------------------------------------------
    "gather": """
x = tf.placeholder(tf.float32, [None, 3], name="x")
i = tf.placeholder(tf.int32, [None], name="i")
out = [tf.gather(x, i), tf.gather(x, [0, 1], axis=1), tf.gather(x, 1, name="g"), tf.gather(x, [[0], [1]]),
       tf.gather(x, [[0, 1], [1, 2]], axis=1, batch_dims=1), tf.gather_nd(x, [[0, 1], [1, 2]]), tf.gather_nd(x, [[1]]),
       tf.gather(x, i, axis=0), tf.batch_gather(x, [[0, 1], [1, 2]])]
feed = {x: np.arange(6, dtype=np.float32).reshape(2, 3), i: np.array([1, 0, 1], np.int32)}
""",
    "scatter_nd": """
out = [tf.scatter_nd([[0], [2], [0]], [1.0, 2.0, 3.0], [4]), tf.scatter_nd(tf.constant([[1]]), [[5, 6]], [3, 2]),
       tf.tensor_scatter_add([1, 1, 1], [[0], [0]], [4, 5]), tf.tensor_scatter_update([1, 1, 1], [[2]], [9]),
       tf.tensor_scatter_sub([1, 1, 1], [[1]], [9])]
""",
    "reverse": """
x = tf.constant([[1, 2, 3], [4, 5, 6]])
out = [tf.reverse(x, [0]), tf.reverse(x, axis=[-1]), tf.reverse(x, [0, 1], name="r"),
       tf.reverse_sequence(x, [2, 3], seq_axis=1, batch_axis=0), tf.reverse_sequence(x, [1, 2], 1, 0)]
""",
    "where_unique": """
c = tf.constant([[True, False], [False, True]])
x = tf.constant([3, 1, 3, 2, 1])
out = [tf.where(c), tf.where(c, [[1, 2], [3, 4]], [[5, 6], [7, 8]]), tf.unique(x), tf.unique_with_counts(x),
       tf.setdiff1d(x, [1]), tf.where([1.0, 0.0, 2.0]), tf.unique(["b", "a", "b"], out_idx=tf.int64),
       tf.boolean_mask([1, 2, 3], [True, False, True])]
""",
    "dynamic": """
p = tf.constant([0, 1, 0, 2])
d = tf.constant([[1, 2], [3, 4], [5, 6], [7, 8]])
out = [tf.dynamic_partition(d, p, 3), tf.dynamic_stitch([[0, 2], [1]], [[10, 30], [20]]),
       tf.dynamic_stitch([0, [2, 1]], [[1, 2], [[5, 6], [3, 4]]])]
""",
    "top_k": """
x = tf.constant([[1.0, 5.0, 3.0, 5.0], [9.0, 2.0, 8.0, 1.0]])
out = [tf.nn.top_k(x, 2), tf.nn.top_k(x), tf.nn.top_k(x, k=3, sorted=True, name="t")]
""",
    "broadcast": """
out = [tf.broadcast_to([1, 2, 3], [2, 3]), tf.broadcast_dynamic_shape([2, 1], [3]), tf.broadcast_to(1.0, tf.constant([2]))]
""",
    "space": """
x = tf.constant(np.arange(64, dtype=np.float32).reshape(1, 4, 4, 4))
out = [tf.space_to_depth(x, 2), tf.depth_to_space(x, 2), tf.space_to_batch_nd(x, [2, 2], [[0, 0], [0, 0]]),
       tf.batch_to_space_nd(tf.tile(x, [4, 1, 1, 1]), [2, 2], [[0, 1], [1, 0]]), tf.space_to_batch(x, [[1, 1], [0, 0]], 2),
       tf.batch_to_space(tf.tile(x, [4, 1, 1, 1]), [[0, 0], [1, 1]], 2)]
""",
    "masks": """
x = tf.placeholder(tf.float32, [None, 2], name="x")
m = tf.placeholder(tf.bool, [None], name="m")
out = [tf.boolean_mask(x, m), tf.boolean_mask(x, [[True, False], [True, True]]), tf.boolean_mask(x, [True, False], axis=1),
       tf.sequence_mask([1, 3, 2], 5), tf.sequence_mask([1, 3, 2]), tf.sequence_mask([[1], [0]], 2, dtype=tf.int32, name="q"),
       tf.meshgrid([1, 2, 3], [4, 5]), tf.meshgrid([1, 2, 3], [4, 5], indexing="ij"),
       tf.meshgrid([1, 2], [3, 4, 5], [6, 7])]
feed = {x: np.arange(4, dtype=np.float32).reshape(2, 2), m: np.array([False, True])}
""",
    "sparse": """
out = [tf.sparse_to_dense([[0, 1], [1, 2]], [2, 3], [4, 5]), tf.sparse_to_dense([1, 3], [5], 2.0, default_value=-1.0),
       tf.sparse_to_dense(2, [4], 1)]
""",
    # -- strings ---------------------------------------------------------------------------
    "strings": """
s = tf.constant(["Hello ", " wOrld", ""])
out = [tf.string_join([s, "x", s], separator="-"), tf.as_string([1, -2]), tf.as_string([1.5, 1e10]),
       tf.as_string([3.14159], precision=2), tf.as_string([2.0], shortest=True), tf.as_string([True]),
       tf.as_string([1, 22], width=4, fill="0"), tf.as_string(1e-7, scientific=True),
       tf.reduce_join([["a", "b"], ["c", "d"]], 1), tf.reduce_join([["a", "b"], ["c", "d"]], [0, 1], separator="."),
       tf.reduce_join([["a", "b"], ["c", "d"]], 0, keep_dims=True), tf.reduce_join([["a", "b"], ["c", "d"]]),
       tf.strings.strip(s), tf.strings.lower(s), tf.strings.upper(s), tf.strings.length(s),
       tf.substr(s[:2], 1, 3), tf.strings.substr(s[:2], [0, 1], [2, 4]), tf.regex_replace(s, "[eo]+(.)", "<\\\\1>"),
       tf.strings.regex_replace(s, "o", "0", replace_global=False)]
""",
    "strings_numbers": """
out = [tf.string_to_number(["1.5", "-2"]), tf.string_to_number(["7"], tf.int32), tf.string_to_number([" 3 "], tf.int64),
       tf.decode_raw([b"\\x01\\x02\\x03\\x04"], tf.uint8), tf.decode_raw(b"\\x01\\x02\\x03\\x04", tf.int16),
       tf.decode_raw(b"\\x01\\x02", tf.uint16, little_endian=False), tf.encode_base64(["hello", "?>"]),
       tf.encode_base64(["hello"], pad=True), tf.decode_base64(["aGVsbG8", "Pz4"]),
       tf.string_to_hash_bucket_fast(["a", "hello world", "x" * 20, "y" * 50, "z" * 200, ""], 1000003),
       tf.string_to_hash_bucket(["a", "hello world", "x" * 20, ""], 1000003),
       tf.string_to_hash_bucket_strong(["a", "hello world", "x" * 20, ""], 1000003, [12, 34])]
""",
    "strings_split": """
out = [tf.string_split(["a b  c", "d"]), tf.string_split(["a,b,,c"], ","), tf.string_split(["a,b,,c"], ",", skip_empty=False),
       tf.string_split(["a-b_c"], "-_"), tf.string_split(["abc"], "")]
""",
    "decode_csv": """
out = [tf.decode_csv(["1,2.5,x", "3,,\\"q,\\"\\"r\\""], [[0], [9.5], ["d"]]),
       tf.decode_csv("4;5", [[1], tf.constant([2], tf.int64)], field_delim=";"),
       tf.decode_csv(["1,NA,3"], [[0], [7], [0]], na_value="NA", select_cols=None),
       tf.io.decode_csv(["1,2,3"], [[0], [7]], select_cols=[0, 2])]
""",
    # -- control ---------------------------------------------------------------------------
    "group": """
with tf.device("/job:ps/task:0"):
    a = tf.constant(1.0, name="a")
with tf.device("/job:worker/task:1"):
    b = tf.constant(2.0, name="b")
g = tf.group(a, b)
h = tf.group(a, a, name="same")
e = tf.group()
n = tf.no_op(name="nothing")
t = tf.tuple([a, None, b], name="tu", control_inputs=[n])
nested = tf.group([a, {"k": b}], a, name="nest")
out = []
""",
    "with_dependencies": """
a = tf.constant(1.0)
b = tf.constant(2.0)
x = tf.control_flow_with_dependencies([a], b)
out = [x]
""",
    "cond": """
p = tf.placeholder(tf.bool, [], name="p")
x = tf.constant(2.0, name="x")
y = tf.constant([3.0, 4.0], name="y")
z = tf.cond(p, lambda: tf.add(x, 1.0), lambda: tf.multiply(x, 10.0))
w = tf.cond(p, lambda: [x, y], lambda: [y[0], tf.negative(y)], name="two")
k = tf.cond(p, lambda: tf.no_op(), lambda: tf.no_op(), name="none")
same = tf.cond(p, lambda: x, lambda: x, name="same")
d = tf.cond(p, lambda: {"a": x, "b": (x, y)}, lambda: {"a": x, "b": (x, y)}, name="nest")
s = tf.cond(p, lambda: [x], lambda: [x], strict=True, name="strict")
out = [z, w, same, s]
feed = {p: True}
""",
    "cond_nested": """
p = tf.placeholder(tf.bool, [], name="p")
q = tf.placeholder(tf.bool, [], name="q")
x = tf.placeholder(tf.float32, [], name="x")
z = tf.cond(p, lambda: tf.cond(q, lambda: x + 1.0, lambda: x * 2.0), lambda: tf.negative(x))
out = [z]
feed = {p: True, q: False, x: 3.0}
""",
    "cond_gradient": """
p = tf.placeholder(tf.bool, [], name="p")
x = tf.placeholder(tf.float32, [], name="x")
y = tf.placeholder(tf.float32, [], name="y")
z = tf.cond(p, lambda: tf.multiply(x, x), lambda: tf.multiply(y, 3.0))
out = [z] + list(tf.gradients(z, [x, y]))
feed = {p: True, x: 3.0, y: 1.0}
""",
    "cond_gradient_nested": """
p = tf.placeholder(tf.bool, [], name="p")
q = tf.placeholder(tf.bool, [], name="q")
x = tf.placeholder(tf.float32, [], name="x")
z = tf.cond(p, lambda: tf.cond(q, lambda: x * x, lambda: x * 2.0), lambda: tf.negative(x))
out = [z] + list(tf.gradients(z, [x]))
feed = {p: True, q: True, x: 3.0}
""",
    "cond_control": """
p = tf.placeholder(tf.bool, [], name="p")
x = tf.constant(2.0, name="x")
with tf.control_dependencies([x]):
    def true_fn():
        with tf.control_dependencies([tf.no_op(name="inside")]):
            return tf.constant(1)
    z = tf.cond(p, true_fn, lambda: tf.constant(0))
out = [z]
feed = {p: False}
""",
    "case": """
x = tf.placeholder(tf.float32, [], name="x")
r = tf.case([(tf.less(x, 0.0), lambda: tf.constant(-1)), (tf.greater(x, 5.0), lambda: tf.constant(5))], default=lambda: tf.constant(0))
e = tf.case({tf.less(x, 0.0): lambda: tf.constant(-1), tf.greater(x, 5.0): lambda: tf.constant(5)}, exclusive=True,
            default=lambda: tf.constant(0), name="ex")
n = tf.case([(tf.less(x, 9.0), lambda: tf.constant(-1))], name="nd")
out = [r, e, n]
feed = {x: 7.0}
""",
    "switch_merge": """
p = tf.placeholder(tf.bool, [], name="p")
f, t = tf.switch(tf.constant([1.0, 2.0]), p)
m = tf.merge([tf.negative(f), tf.identity(t)])
out = [m]
feed = {p: False}
""",
    "assert": """
x = tf.placeholder(tf.int32, [None], name="x")
a = tf.Assert(tf.less(tf.shape(x)[0], 10), [x, "too long"], name="check")
b = tf.assert_equal(x, [1, 2])
c = tf.assert_rank(x, 1)
d = tf.assert_positive(x, message="neg")
e = tf.assert_less(x, 5, data=[x], summarize=2)
f = tf.assert_non_negative(x)
g = tf.assert_greater_equal(x, 0)
h = tf.assert_type(x, tf.int32)
with tf.control_dependencies([a, b, d, e, f, g]):
    y = tf.identity(x)
out = [y]
feed = {x: np.array([1, 2], np.int32)}
""",
    "print": """
x = tf.constant([1, 2, 3, 4, 5])
out = [tf.Print(x, [x, tf.shape(x)], "message"), tf.Print(x, [x], message="m2", first_n=2, summarize=10, name="pp")]
""",
    "py_func": """
x = tf.constant([1.0, 2.0])
y = tf.py_func(lambda v: v * 2, [x], tf.float32)
z = tf.py_func(lambda v: (v, b"s"), [x], [tf.float32, tf.string], stateful=False, name="two")
out = [y, z]
""",
    # -- gradients -------------------------------------------------------------------------
    "gradients_shapes": """
x = tf.placeholder(tf.float32, [None, 4], name="x")
y = tf.reshape(tf.expand_dims(tf.squeeze(tf.expand_dims(tf.transpose(tf.identity(x)), 1), [1]), 0), [-1, 2])
g = tf.gradients(y, x)
out = g
feed = {x: np.arange(8, dtype=np.float32).reshape(2, 4)}
""",
    "gradients_join": """
x = tf.placeholder(tf.float32, [None, 4], name="x")
w = tf.constant(np.arange(8, dtype=np.float32).reshape(2, 4))
a = tf.concat([x, w], 0)
b = tf.concat([x, x], 1)
c = tf.stack([x, w], 1)
d = tf.unstack(x, axis=1)
e = tf.split(x, 2, 1)
f = tf.split(x, [1, 3], 1)
out = [tf.gradients(v, x) for v in (a, b, c, d[1], e[0], f[1])]
feed = {x: np.arange(8, dtype=np.float32).reshape(2, 4)}
""",
    "gradients_index": """
x = tf.placeholder(tf.float32, [3, 4], name="x")
vs = [tf.slice(x, [0, 1], [2, 2]), x[0], x[:, 1:3], x[::-1, ..., 2], tf.gather_nd(x, [[0, 1], [0, 1]]), tf.tile(x, [2, 3]),
      tf.pad(x, [[1, 1], [0, 2]]), tf.pad(x, [[1, 1], [1, 1]], "REFLECT"), tf.reverse(x, [0]), tf.gather(x, [0, 1, 0], axis=1),
      tf.broadcast_to(x, [2, 3, 4]), tf.nn.top_k(x, 2)[0]]
out = [tf.gradients(v, x) for v in vs]
out.append([tf.convert_to_tensor(tf.gradients(tf.gather(x, [2, 0, 2]), x)[0])])
feed = {x: np.arange(12, dtype=np.float32).reshape(3, 4)}
""",
    "gradients_dynamic": """
x = tf.constant([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
p = tf.dynamic_partition(x, [0, 1, 0], 2)
s = tf.dynamic_stitch([[0, 2], [1]], [x[:2], x[2:]])
f = tf.fill([2, 2], x[0, 0])
sc = tf.scatter_nd([[0], [2], [0]], x, [4, 2])
sd = tf.space_to_depth(tf.reshape(x[:2], [1, 2, 2, 1]), 2)
ds = tf.depth_to_space(tf.reshape(x[:2], [1, 1, 1, 4]), 2)
sb = tf.space_to_batch_nd(tf.reshape(x[:2], [1, 2, 2, 1]), [2, 2], [[0, 0], [0, 0]])
out = [tf.gradients(p[0], x), tf.gradients(s, x), tf.gradients(f, x), tf.gradients(sc, x), tf.gradients(sd, x),
       tf.gradients(ds, x), tf.gradients(sb, x)]
""",
}

# Programs that fail while the graph is built: TensorFlow's exception class and message are recorded.
BUILD_ERRORS = {
    "constant_none": "tf.constant(None)",
    "constant_dtype": "tf.constant('a', tf.float32)",
    "constant_float_to_int": "tf.constant(1.5, tf.int32)",
    "constant_list_dtype": "tf.constant([1, 'a'], tf.int32)",
    "constant_bool": "tf.constant(1, tf.bool)",
    "constant_too_many": "tf.constant([1, 2, 3], shape=[2])",
    "constant_verify": "tf.constant([1, 2, 3], shape=[2], verify_shape=True)",
    "constant_mixed": "tf.constant([1, 'a'])",
    "convert_dtype": "tf.convert_to_tensor(tf.constant(1), dtype=tf.float32)",
    "pack_dtype": "tf.convert_to_tensor([tf.constant(1), tf.constant(1.0)])",
    "convert_partial_shape": "tf.convert_to_tensor(tf.TensorShape([None, 2]))",
    "reshape": "tf.reshape(tf.constant([1, 2, 3]), [2, 2])",
    "reshape_divide": "tf.reshape(tf.constant([1, 2, 3]), [2, -1])",
    "expand_dims": "tf.expand_dims(tf.constant([1]), 3)",
    "expand_dims_both": "tf.expand_dims(tf.constant([1]), 0, dim=1)",
    "expand_dims_none": "tf.expand_dims(tf.constant([1]))",
    "squeeze": "tf.squeeze(tf.zeros([2, 1]), [0])",
    "squeeze_range": "tf.squeeze(tf.zeros([2, 1]), [4])",
    "transpose": "tf.transpose(tf.zeros([2, 3]), [0, 1, 2])",
    "transpose_range": "tf.transpose(tf.zeros([2, 3]), [0, 2])",
    "concat_dims": "tf.concat([tf.zeros([2, 3]), tf.zeros([3, 4])], 0)",
    "concat_rank": "tf.concat([tf.zeros([2, 3]), tf.zeros([3])], 0)",
    "concat_axis": "tf.concat([tf.zeros([2, 3]), tf.zeros([2, 3])], 2)",
    "concat_scalars": "tf.concat([tf.constant(1), tf.constant(2)], 0)",
    "concat_dtypes": "tf.concat([tf.constant([1]), tf.constant([2.0])], 0)",
    "split_uneven": "tf.split(tf.zeros([5]), 2)",
    "split_sizes": "tf.split(tf.zeros([5]), [2, 2])",
    "split_unknown": "tf.split(tf.zeros([5]), tf.placeholder(tf.int32, [None]))",
    "stack_shapes": "tf.stack([tf.zeros([2]), tf.zeros([3])])",
    "stack_axis": "tf.stack([tf.zeros([2]), tf.zeros([2])], axis=3)",
    "unstack_unknown": "tf.unstack(tf.placeholder(tf.float32, name='p'))",
    "unstack_axis": "tf.unstack(tf.zeros([2]), axis=2)",
    "unstack_num": "tf.unstack(tf.zeros([2, 2]), num=3)",
    "tile": "tf.tile(tf.zeros([2]), [1, 2])",
    "pad": "tf.pad(tf.zeros([2]), [[1, 1], [1, 1]])",
    "pad_mode": "tf.pad(tf.zeros([2]), [[1, 1]], 'other')",
    "fill": "tf.fill([2], [1.0])",
    "range_delta": "tf.range(0, 5, 0)",
    "range_sign": "tf.range(5, 0, 1)",
    "one_hot": "tf.one_hot([1], 2, on_value=1, off_value=0.5)",
    "one_hot_dtype": "tf.one_hot([1], 2, on_value=1, dtype=tf.float32)",
    "slice_rank": "tf.slice(tf.zeros([2, 3]), [0], [1])",
    "getitem_many": "tf.zeros([2, 3])[0, 1, 2]",
    "getitem_bounds": "tf.zeros([2, 3])[5]",
    "getitem_float": "tf.zeros([2, 3])[1.5]",
    "getitem_ellipses": "tf.zeros([2, 3])[..., 0, ...]",
    "gather_scalar": "tf.gather(tf.constant(1), [0])",
    "gather_float": "tf.gather(tf.zeros([2]), [0.5])",
    "gather_nd": "tf.gather_nd(tf.zeros([2]), [[0, 1]])",
    "where_one": "tf.where([True], [1])",
    "boolean_mask_scalar": "tf.boolean_mask([1, 2], True)",
    "boolean_mask_shape": "tf.boolean_mask([1, 2], [True, False, True])",
    "boolean_mask_unknown": "tf.boolean_mask([1, 2], tf.placeholder(tf.bool))",
    "meshgrid": "tf.meshgrid([1], [2], indexing='zz')",
    "top_k": "tf.nn.top_k(tf.zeros([2]), 3)",
    "check_numerics": "tf.check_numerics(tf.constant(1), 'x')",
    "group": "tf.group(1)",
    "tuple": "tf.tuple([None])",
    "cond_bool": "tf.cond(True, lambda: tf.constant(1), lambda: tf.constant(2))",
    "cond_callable": "tf.cond(tf.constant(True), 1, 2)",
    "cond_dtypes": "tf.cond(tf.constant(True), lambda: tf.constant(1), lambda: tf.constant(2.0))",
    "cond_none": "tf.cond(tf.constant(True), lambda: None, lambda: tf.constant(2.0))",
    "case_pairs": "tf.case([1])",
    "case_callable": "tf.case([(tf.constant(True), 1)])",
    "decode_csv_columns": "tf.io.decode_csv(['1'], [[1], [1]], select_cols=[1, 0])",
    "reduce_join": "tf.reduce_join([['a']], 3)",
    "string_type": "tf.string_join([1, 2])",
    "assert_static": "tf.assert_equal([1, 2], [1, 3], message='differ')",
    "assert_rank": "tf.assert_rank(tf.zeros([2], name='z'), 2)",
    "assert_type": "tf.assert_type(tf.zeros([2], name='z'), tf.int32)",
    "placeholder_default": "tf.placeholder_with_default(tf.zeros([2]), [3])",
    "truth": "bool(tf.constant(True))",
    "iterate": "list(tf.placeholder(tf.float32, [None], name='p'))",
}

# Programs that fail when they run, with feeds in `feed`; the message is recorded up to the node's name.
RUN_ERRORS = {
    "placeholder": "out = tf.placeholder(tf.float32, [2, None], name='p')",
    "placeholder_scalar": "out = tf.placeholder(tf.int32, [], name='p')",
    "reshape": "p = tf.placeholder(tf.float32, [None]); out = tf.reshape(p, [2, 2]); feed = {p: [1, 2, 3]}",
    "reshape_multiple": "p = tf.placeholder(tf.float32, [None]); out = tf.reshape(p, [2, -1]); feed = {p: [1, 2, 3]}",
    "gather": "p = tf.placeholder(tf.int32, [None]); out = tf.gather([1, 2], p); feed = {p: [0, 5]}",
    "gather_nd": "p = tf.placeholder(tf.int32, [None, 1]); out = tf.gather_nd([1, 2], p); feed = {p: [[0], [5]]}",
    "slice": "p = tf.placeholder(tf.int32, [1]); out = tf.slice([1, 2], p, [1]); feed = {p: [2]}",
    "getitem": "p = tf.placeholder(tf.int32, []); out = tf.constant([1, 2])[p]; feed = {p: 2}",
    "check_nan": "out = tf.check_numerics(tf.constant([np.nan, 1.0]), 'bad')",
    "check_inf": "out = tf.check_numerics(tf.constant([np.inf, 1.0]), 'bad')",
    "string_to_number": "out = tf.string_to_number(['x'])",
    "decode_raw": "out = tf.decode_raw(b'abc', tf.int16)",
    "decode_raw_sizes": "out = tf.decode_raw([b'abcd', b'ab'], tf.int16)",
    "substr": "out = tf.substr(['hello'], 7, 2)",
    "as_string": "out = tf.as_string([1], precision=1)",
    "csv_count": "out = tf.decode_csv(['1,2'], [[1], [1], [1]])",
    "csv_type": "out = tf.decode_csv(['x,2'], [[0], [1]])",
    "csv_missing": "out = tf.decode_csv([',2'], [tf.constant([], tf.int32), [1]])",
    "csv_quote": "out = tf.decode_csv(['a\"b,2'], [[''], [1]])",
    "base64": "out = tf.decode_base64(['a'])",
    "invert": "p = tf.placeholder(tf.int32, [None]); out = tf.invert_permutation(p); feed = {p: [0, 3]}",
    "partition": "out = tf.dynamic_partition([1, 2], [0, 5], 2)",
    "sparse_bounds": "out = tf.sparse_to_dense([[5]], [3], [1])",
    "sparse_order": "out = tf.sparse_to_dense([[2], [1]], [3], [1, 2])",
    "assert": "out = tf.Assert(tf.constant(False), [tf.range(5), 'told'], summarize=2)",
    "scatter_nd": "out = tf.scatter_nd([[5]], [1], [3])",
    "regex": "out = tf.regex_replace(['a'], '(', '')",
    "ensure_shape": "p = tf.placeholder(tf.int32); out = tf.ensure_shape(p, [2]); feed = {p: [1, 2, 3]}",
}
