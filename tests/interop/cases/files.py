"""Files: checkpoints, event files and graphs."""

import os

import numpy as np
from cases.registry import case


def _model(tf, ctx):
    with tf.device(ctx.ps):
        w = tf.get_variable(
            "w", initializer=np.arange(6, dtype=np.float32).reshape(2, 3), use_resource=False
        )
        n = tf.get_variable("n", initializer=np.int64(3), use_resource=True)
        s = tf.get_variable("s", initializer=tf.constant([b"a", b"bc"]), use_resource=False)
    return w, n, s


@case()
def saver(tf, ctx):
    w, n, s = _model(tf, ctx)
    saver = tf.train.Saver()
    with ctx.session() as session:
        session.run(tf.global_variables_initializer())
        path = saver.save(session, os.path.join(ctx.folder, "model"), global_step=7)
        session.run([w.assign(w * 0.0), n.assign(0)])
        saver.restore(session, path)
        seen = session.run([w, n, s])
    reader = tf.train.load_checkpoint(ctx.folder)
    shapes = sorted([k, list(v)] for k, v in reader.get_variable_to_shape_map().items())
    names = sorted(os.listdir(ctx.folder))
    return [*seen, shapes, reader.get_tensor("w"), reader.get_tensor("s"), names]


@case()
def sharded_saver(tf, ctx):
    with tf.device(ctx.ps):
        a = tf.get_variable("a", initializer=np.ones(3, np.float32), use_resource=False)
    with tf.device(ctx.worker):
        b = tf.get_variable("b", initializer=np.full(2, 2.0, np.float32), use_resource=True)
    saver = tf.train.Saver(sharded=True)
    with ctx.session() as session:
        session.run(tf.global_variables_initializer())
        path = saver.save(session, os.path.join(ctx.folder, "model"))
        session.run([a.assign(a * 5.0), b.assign(b * 5.0)])
        saver.restore(session, path)
        return session.run([a, b])


@case()
def summaries(tf, ctx):
    with tf.device(ctx.ps):
        v = tf.Variable([1.0, 2.0], name="v", use_resource=False)
    tf.summary.scalar("loss", tf.reduce_sum(v))
    tf.summary.histogram("values", v)
    merged = tf.summary.merge_all()
    with ctx.session() as session:
        session.run(v.initializer)
        text = session.run(merged)
    summary = tf.Summary.FromString(text)
    return [[x.tag, x.simple_value, x.histo.num, x.histo.sum] for x in summary.value]
