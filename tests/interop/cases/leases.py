"""Sessions that a program leaves open."""

import numpy as np
from cases.registry import case

_left = {}


@case(expect=None, clients=())
def leave_session(tf, ctx):
    """Opens a session, with variables on both tasks, and does not close it; `extra`: whether its state is its own."""
    with tf.device(ctx.ps):
        v = tf.get_variable("v", initializer=np.float32([1, 2]))
        w = tf.get_variable("w", initializer=np.float32(0.5), use_resource=True)
    if ctx.extra["workers"]:
        with tf.device(ctx.worker):
            step = tf.assign_add(v, [1.0, 1.0])
    else:
        with tf.device(ctx.ps):
            step = tf.assign_add(v, [1.0, 1.0])
    session = tf.Session(ctx.target, config=ctx.config(isolate_session_state=ctx.extra["isolated"]))
    session.run(tf.global_variables_initializer())
    _left["session"] = session, step, [v, w]
    return session.run(step)


@case(expect=None, clients=())
def come_back(tf, ctx):
    """Goes on with the session that was left."""
    session, step, _ = _left["session"]
    try:
        return session.run(step)
    except tf.errors.OpError as error:
        return [type(error).__name__, error.message]


@case(expect=None, clients=())
def look(tf, ctx):
    """The variables, in a new session."""
    with tf.device(ctx.ps):
        v = tf.get_variable("v", initializer=np.float32([1, 2]))
        w = tf.get_variable("w", initializer=np.float32(0.5), use_resource=True)
    with ctx.session() as session:
        return session.run([v, w])
