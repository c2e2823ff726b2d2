# ruff: noqa  (also runs under Python 3.7)
"""Records `graphdefs.json` from TensorFlow 1.15: GraphDefs as bytes, with what they compute. Run me with its Python, in this folder."""

import base64
import json
import os

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import numpy as np
import programs
import tensorflow as tf

tf.logging.set_verbosity(tf.logging.FATAL)


def classifier():
    x = tf.placeholder(tf.float32, [None, 4], name="x")
    y = tf.placeholder(tf.int64, [None], name="y")
    w = tf.get_variable("w", [4, 5], initializer=tf.truncated_normal_initializer(seed=1))
    b = tf.get_variable("b", [5], initializer=tf.zeros_initializer())
    v = tf.get_variable(
        "v", [5, 3], initializer=tf.glorot_uniform_initializer(seed=2), use_resource=True
    )
    logits = tf.matmul(tf.nn.relu(tf.nn.bias_add(tf.matmul(x, w), b)), v, name="logits")
    loss = tf.reduce_mean(
        tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=logits), name="loss"
    )
    step = tf.train.get_or_create_global_step()
    tf.train.AdamOptimizer(0.05).minimize(loss, global_step=step, name="train")
    tf.global_variables_initializer()
    feed = {
        "x:0": np.random.RandomState(0).rand(6, 4).astype(np.float32).tolist(),
        "y:0": [0, 1, 2, 0, 1, 2],
    }
    return [
        ["init", {}],
        ["train", feed],
        ["train", feed],
        ["loss:0", feed],
        ["logits:0", feed],
        ["global_step:0", {}],
    ]


def momentum_with_rates():
    x = tf.placeholder(tf.float32, [3], name="x")
    w = tf.Variable([1.0, -2.0, 0.5], name="w")
    rate = tf.train.exponential_decay(0.1, tf.train.get_or_create_global_step(), 1, 0.5)
    loss = tf.reduce_sum(tf.square(w * x - 1.0), name="loss")
    tf.train.MomentumOptimizer(rate, 0.9).minimize(loss, tf.train.get_global_step(), name="train")
    tf.global_variables_initializer()
    feed = {"x:0": [1.0, 2.0, 3.0]}
    return [
        ["init", {}],
        ["train", feed],
        ["train", feed],
        ["train", feed],
        ["w/read:0", {}],
        ["loss:0", feed],
    ]


def convolution():
    x = tf.placeholder(tf.float32, [None, 6, 6, 1], name="x")
    k = tf.constant(np.random.RandomState(1).randn(3, 3, 1, 2).astype(np.float32), name="k")
    y = tf.nn.conv2d(x, k, [1, 1, 1, 1], "SAME", name="y")
    p = tf.nn.max_pool(tf.nn.relu(y), [1, 2, 2, 1], [1, 2, 2, 1], "VALID", name="p")
    tf.reduce_mean(p, [1, 2], name="mean")
    tf.identity(tf.gradients(p, x)[0], name="grad")
    feed = {"x:0": np.random.RandomState(2).rand(2, 6, 6, 1).astype(np.float32).tolist()}
    return [["p:0", feed], ["mean:0", feed], ["grad:0", feed]]


def branches():
    p = tf.placeholder(tf.bool, [], name="p")
    x = tf.placeholder(tf.float32, [2], name="x")
    v = tf.Variable(1.0, name="v")
    y = tf.cond(p, lambda: x * 2.0 + v, lambda: tf.exp(x), name="choose")
    tf.identity(y, name="y")
    tf.identity(tf.gradients(y, x)[0], name="grad")
    with tf.control_dependencies([tf.Assert(tf.reduce_all(x > 0), [x], name="check")]):
        tf.identity(x, name="checked")
    tf.global_variables_initializer()
    yes, no = {"p:0": True, "x:0": [1.0, 2.0]}, {"p:0": False, "x:0": [1.0, 2.0]}
    return [
        ["init", {}],
        ["y:0", yes],
        ["y:0", no],
        ["grad:0", yes],
        ["grad:0", no],
        ["checked:0", yes],
    ]


def arrays():
    x = tf.placeholder(tf.float32, [None, 3], name="x")
    tf.concat([x, x[:, :1] * 2.0], 1, name="cat")
    tf.stack(tf.unstack(x, 3, axis=1), name="stacked")
    tf.gather(x, [1, 0], name="rows")
    tf.one_hot(tf.argmax(x, 1), 3, name="hot")
    tf.transpose(tf.reshape(x, [-1, 1, 3]), [2, 0, 1], name="turned")
    tf.where(x > 0.5, x, -x, name="chosen")
    tf.cast(tf.round(x * 10), tf.int32, name="ints")
    values, indices = tf.nn.top_k(x, 2, name="top")
    tf.random_uniform([4], seed=11, name="uniform")
    tf.random_normal([4], seed=12, name="normal")
    tf.string_join([tf.constant(["a", "b"]), "c"], name="strings") if False else tf.constant(
        ["ac", "bc"], name="strings"
    )
    feed = {"x:0": [[0.1, 0.9, 0.4], [0.7, 0.2, 0.6]]}
    names = [
        "cat",
        "stacked",
        "rows",
        "hot",
        "turned",
        "chosen",
        "ints",
        "top",
        "uniform",
        "normal",
        "strings",
    ]
    return [[n + ":0", feed] for n in names] + [["top:1", feed]]


def record(build):
    with tf.Graph().as_default() as graph:
        runs = build()
        with tf.Session() as session:
            results = [programs.plain(tf, session.run(fetch, feed)) for fetch, feed in runs]
        graph_def = graph.as_graph_def().SerializeToString()
    return {"graph_def": base64.b64encode(graph_def).decode(), "runs": runs, "results": results}


if __name__ == "__main__":
    builders = (classifier, momentum_with_rates, convolution, branches, arrays)
    with open("graphdefs.json", "w") as handle:
        lines = [
            json.dumps(b.__name__) + ":" + json.dumps(record(b), separators=(",", ":"))
            for b in builders
        ]
        handle.write("{\n" + ",\n".join(lines) + "\n}\n")
