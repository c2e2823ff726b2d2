"""Programs about input producers and batching: the graphs they build and the errors they raise."""

import numpy as np


def _runners(tf):
    return [
        [q.name, [e.name for e in q.enqueue_ops], q.close_op.name, q.cancel_op.name]
        for q in tf.get_collection("queue_runners")
    ]


def _collections(tf):
    return [
        _runners(tf),
        [v.name for v in tf.get_collection("local_variables")],
        list(tf.get_collection("summaries")),
    ]


def limit_epochs(tf, err):
    out = [
        tf.train.limit_epochs(tf.constant([1, 2]), num_epochs=3),
        tf.train.limit_epochs([1.0], 2, name="two"),
    ]
    return out + [tf.train.limit_epochs([1, 2])] + _collections(tf)


def input_producer(tf, err):
    q = tf.train.input_producer(
        [[1, 2], [3, 4]], num_epochs=2, seed=3, summary_name="full", name="p"
    )
    r = tf.train.input_producer(
        np.ones([3, 2], np.float32), shuffle=False, capacity=7, shared_name="s"
    )
    return [q.name, r.name, q.dequeue(), r.dequeue_many(2)] + _collections(tf)


def string_input_producer(tf, err):
    q = tf.train.string_input_producer(["a", "b"], num_epochs=1, shuffle=False)
    r = tf.train.string_input_producer(["a", "b"], seed=1, name="files", capacity=5)
    return [q.dequeue(), r.dequeue()] + _collections(tf)


def range_input_producer(tf, err):
    q = tf.train.range_input_producer(5, num_epochs=1, shuffle=False)
    return [
        q.dequeue(),
        tf.train.range_input_producer(4, name="r", seed=2).dequeue(),
    ] + _collections(tf)


def slice_input_producer(tf, err):
    out = tf.train.slice_input_producer([tf.ones([4, 2]), np.arange(4)], num_epochs=1, seed=5)
    return [
        out,
        tf.train.slice_input_producer([tf.placeholder(tf.float32)], shuffle=False, name="s"),
    ] + _collections(tf)


def match_filenames_once(tf, err):
    v = tf.train.match_filenames_once("/nowhere/*", name="m")
    w = tf.train.match_filenames_once(["/nowhere/*"])
    return [v, w] + _collections(tf)


def batch(tf, err):
    x, y = tf.placeholder(tf.float32, [3]), tf.placeholder(tf.int64, [])
    out = [tf.train.batch([x, y], 4), tf.train.batch({"a": x, "b": y}, 4, num_threads=3, name="b")]
    out += [
        tf.train.batch([x], 4, allow_smaller_final_batch=True),
        tf.train.batch([x], 2, enqueue_many=True),
    ]
    p = tf.placeholder(tf.int32, [None])
    out += [
        tf.train.batch([p], 4, dynamic_pad=True),
        tf.train.batch([tf.placeholder(tf.int32)], 4, shapes=[[2]]),
    ]
    return out + _collections(tf)


def batch_join(tf, err):
    x, y = tf.placeholder(tf.float32, [3]), tf.placeholder(tf.int64, [])
    out = [tf.train.batch_join([[x, y], [x, y]], 4, capacity=9, shared_name="j")]
    out += [tf.train.batch_join([{"a": x}, {"a": x}], 4, name="j", allow_smaller_final_batch=True)]
    return out + _collections(tf)


def shuffle_batch(tf, err):
    x, y = tf.placeholder(tf.float32, [3]), tf.placeholder(tf.int64, [])
    out = [
        tf.train.shuffle_batch([x, y], 4, 32, 10, seed=1),
        tf.train.shuffle_batch((x, y), 2, 9, 3, num_threads=2, name="s"),
    ]
    out += [
        tf.train.shuffle_batch_join([[x, y], [x, y]], 4, 32, 10, allow_smaller_final_batch=True)
    ]
    return out + _collections(tf)


def keep_input(tf, err):
    x, y = tf.placeholder(tf.float32, [3]), tf.placeholder(tf.int64, [])
    keep, many = tf.placeholder(tf.bool, []), tf.placeholder(tf.bool, [None])
    out = [tf.train.maybe_batch([x, y], keep, 4), tf.train.maybe_batch([x], True, 4, name="all")]
    out += [
        tf.train.maybe_batch([x], many, 4, enqueue_many=True),
        tf.train.maybe_batch([x], False, 4),
    ]
    return out + _collections(tf)


def keep_join(tf, err):
    x, keep = tf.placeholder(tf.float32, [3]), tf.placeholder(tf.bool, [])
    out = [
        tf.train.maybe_batch_join([[x], [x]], keep, 4),
        tf.train.maybe_shuffle_batch([x], 4, 9, 3, keep),
    ]
    out += [tf.train.maybe_shuffle_batch_join([[x], [x]], 4, 9, 3, keep, seed=4)]
    return out + _collections(tf)


def sparse_batch(tf, err):
    s = tf.SparseTensor(
        tf.placeholder(tf.int64, [None, 1], name="i"),
        tf.placeholder(tf.float32, [None], name="v"),
        [9],
    )
    return (
        tf.train.batch([s, tf.ones([2])], 4),
        tf.train.shuffle_batch({"s": s}, 3, 9, 2),
        _collections(tf),
    )


def sparse_many(tf, err):
    s = tf.SparseTensor(
        tf.placeholder(tf.int64, [None, 2], name="i"),
        tf.placeholder(tf.float32, [None], name="v"),
        [3, 9],
    )
    keep = tf.placeholder(tf.bool, [3])
    out = [tf.train.batch([s, tf.ones([3])], 4, enqueue_many=True, shared_name="k")]
    return out + [
        tf.train.maybe_batch([s], keep, 4, enqueue_many=True),
        tf.train.batch_join([[s], [s]], 3, enqueue_many=True),
    ]


def sparse_maybe(tf, err):
    s = tf.SparseTensor(
        tf.placeholder(tf.int64, [None, 1], name="i"),
        tf.placeholder(tf.float32, [None], name="v"),
        [9],
    )
    return tf.train.maybe_batch([s], tf.placeholder(tf.bool, []), 4)


def bucket(tf, err):
    x, which = tf.placeholder(tf.float32, [None]), tf.placeholder(tf.int32, [])
    out = [tf.contrib.training.bucket([x, which], which, 4, 3, dynamic_pad=True)]
    y = tf.placeholder(tf.float32, [2])
    out += [
        tf.contrib.training.bucket(
            {"y": y}, which, [4, 5], 2, num_threads=2, allow_smaller_final_batch=True, name="b"
        )
    ]
    return out + _collections(tf)


def bucket_by_length(tf, err):
    x, length = tf.placeholder(tf.float32, [None]), tf.placeholder(tf.int32, [])
    out = tf.contrib.training.bucket_by_sequence_length(length, [x], 4, [3, 5], dynamic_pad=True)
    keep = tf.placeholder(tf.bool, [])
    y = tf.placeholder(tf.float32, [2])
    return (
        out,
        tf.contrib.training.bucket_by_sequence_length(7, [y], [2, 3], [4], keep_input=keep),
        _collections(tf),
    )


def input_errors(tf, err):
    t, c = tf.train, tf.contrib.training
    x, y, which = (
        tf.placeholder(tf.float32, [3]),
        tf.placeholder(tf.int64, []),
        tf.placeholder(tf.int32, []),
    )
    p, u = tf.placeholder(tf.float32, [None]), tf.placeholder(tf.float32)
    vector = tf.placeholder(tf.bool, [None])
    s = tf.SparseTensor([[0]], [1.0], [2])
    tests = [
        lambda: t.limit_epochs([1], 0),
        lambda: t.limit_epochs([1], -2),
        lambda: t.input_producer(u),
        lambda: t.input_producer(x, element_shape=[2]),
        lambda: t.string_input_producer([]),
        lambda: t.string_input_producer(None),
        lambda: t.string_input_producer([1]),
        lambda: t.slice_input_producer([]),
        lambda: t.batch([], 2),
        lambda: t.batch_join([], 2),
        lambda: t.batch([p], 2),
        lambda: t.batch([u], 2),
        lambda: t.batch([y], 2, enqueue_many=True),
        lambda: t.batch([x, y], 2, shapes=[[3]]),
        lambda: t.batch([x], 2, shapes=[[4]]),
        lambda: t.batch([p], 2, dynamic_pad=False),
        lambda: t.batch_join([[x], [y]], 2),
        lambda: t.batch_join([[x], [x, y]], 2),
        lambda: t.batch_join([{"a": x}, {"b": x}], 2),
        lambda: t.batch_join([[s], [x]], 2),
        lambda: t.batch_join([[x], [tf.placeholder(tf.float32, [4])]], 2),
        lambda: t.maybe_batch([x], vector, 2),
        lambda: t.maybe_batch([x], tf.placeholder(tf.bool), 2),
        lambda: t.maybe_batch([x], tf.placeholder(tf.bool, [2, 2]), 2, enqueue_many=True),
        lambda: t.shuffle_batch([x], 2, 3, 4),
        lambda: t.shuffle_batch([x], 2, 3, 3),
        lambda: t.batch([[1.0, 2.0]], 2),
        lambda: c.bucket([], which, 2, 2),
        lambda: c.bucket([x], which, 2, 1),
        lambda: c.bucket([x], which, [1, 2, 3], 2),
        lambda: c.bucket([x], which, 2, 2, bucket_capacities=[3]),
        lambda: c.bucket([x], tf.placeholder(tf.int32), 2, 2),
        lambda: c.bucket([x], tf.placeholder(tf.int64, []), 2, 2),
        lambda: c.bucket([x], which, 2, 2, num_threads=0),
        lambda: c.bucket([x], which, 2, 2, keep_input=vector),
        lambda: c.bucket_by_sequence_length(which, [x], 2, 3),
        lambda: c.bucket_by_sequence_length(which, [x], 2, []),
        lambda: c.bucket_by_sequence_length(which, [x], 2, [3, 3]),
        lambda: c.bucket_by_sequence_length(which, [x], 2, [3.0, "a"]),
        lambda: c.bucket_by_sequence_length(which, [x], [1, 2], [3, 5]),
        lambda: c.bucket_by_sequence_length(which, [x], 2, [3, 5], bucket_capacities=[1, 2]),
    ]
    return [err(test) for test in tests]
