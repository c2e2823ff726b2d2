"""Tensors that a session wants to travel with less precision."""

import numpy as np
from cases.registry import case

VALUES = np.random.RandomState(5).standard_normal(3000).astype(np.float32)


@case(expect=None, clients=())
def compressed(tf, ctx):
    """What is read from a variable of the other task, what is added to it, and a marked variable's value; `extra` is what is asked for."""
    config = ctx.config()
    if ctx.extra["kind"] == "sendrecv":
        config.graph_options.enable_bfloat16_sendrecv = True
    elif ctx.extra["kind"]:
        config.experimental.flowmesh.transfer_compression = ctx.extra["kind"]
    with tf.device(ctx.ps):
        v = tf.get_variable("v", initializer=VALUES, use_resource=True)
        total = tf.get_variable("total", initializer=np.zeros_like(VALUES), use_resource=True)
        whole = tf.get_variable("whole", initializer=np.arange(1000, dtype=np.int64))
    with tf.device(ctx.worker):
        seen = -v
        more = tf.identity(seen) * 1.0
        numbers = whole * 2
    with tf.device(ctx.ps):
        add = total.assign_add(more, read_value=False)
    with tf.Session(ctx.target, config=config) as session:
        session.run(tf.global_variables_initializer())
        first = session.run([seen, numbers])
        session.run(add)
        return [*first, session.run(total)]
