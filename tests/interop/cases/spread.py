"""Loops that lie on both tasks: TensorFlow's masters spread them, Flowmesh's put each on one task."""

import numpy as np
from cases.registry import case


def _weights(tf, ctx):
    with tf.device(ctx.ps):
        w = tf.get_variable("w", initializer=np.float32([2.0, 0.5]), use_resource=True)
        if tf.__version__.startswith("2."):
            # TensorFlow 2 does not place a gradient for which reads on another task are gathered.
            return w.read_value()
        return w


@case()
def spread_loop(tf, ctx):
    """The body uses a variable where it is; none, some and many iterations, and the gradient."""
    w = _weights(tf, ctx)
    times = tf.placeholder(tf.int32, [])
    with tf.device(ctx.worker):
        x = tf.constant([1.0, 3.0])

        def body(i, x):
            with tf.device(ctx.ps):
                y = x * w
            return i + 1, y * 0.5 + tf.cast(i, tf.float32)

        i, last = tf.while_loop(lambda i, x: i < times, body, [tf.constant(0), x])
        slope = tf.gradients(last, x)[0]
    seen = []
    with ctx.session() as session:
        session.run(tf.global_variables_initializer())
        for n in (0, 1, 3, 60):
            seen.append(session.run([i, last], {times: n}))
        for n in (0, 1, 4):
            seen.append(session.run([last, slope], {times: n}))
    return seen


@case()
def spread_condition(tf, ctx):
    """The condition is computed on the other task, from a value of the loop and a variable there."""
    w = _weights(tf, ctx)
    with tf.device(ctx.worker):
        start = tf.placeholder(tf.float32, [])

        def cond(x, rows):
            with tf.device(ctx.ps):
                return tf.reduce_sum(w) + 100.0 > x

        def body(x, rows):
            with tf.device(ctx.ps):
                y = x * 2.0
            return y + 1.0, rows.write(rows.size(), x)

        rows = tf.TensorArray(tf.float32, size=0, dynamic_size=True, element_shape=[])
        last, rows = tf.while_loop(cond, body, [start, rows])
        stacked = rows.stack()
    with ctx.session() as session:
        session.run(tf.global_variables_initializer())
        return [session.run([last, stacked], {start: x}) for x in (3.0, 500.0, 90.0)]


@case()
def spread_effects(tf, ctx):
    """What a body does on the other task is done once an iteration, and not in the one that only asks."""
    with tf.device(ctx.ps):
        count = tf.get_variable("count", initializer=np.int32(0), use_resource=True)
        total = tf.get_variable("total", initializer=np.float32(0), use_resource=True)
    with tf.device(ctx.worker):

        def body(i, x):
            with tf.device(ctx.ps):
                counted = [count.assign_add(1), total.assign_add(x)]
            with tf.device(ctx.ps), tf.control_dependencies(counted):
                y = tf.identity(x)
            return i + 1, y * 2.0

        i, x = tf.while_loop(lambda i, x: i < 5, body, [tf.constant(0), tf.constant(1.0)])
    with ctx.session() as session:
        session.run(tf.global_variables_initializer())
        seen = []
        for _ in range(3):
            seen.append(session.run([i, x]))
            seen.append(session.run([count, total]))
    return seen


@case()
def spread_branches(tf, ctx):
    """Branches in a loop, each on a task of its own; and a loop in a branch that may not be taken."""
    w = _weights(tf, ctx)
    take = tf.placeholder(tf.bool, [])
    with tf.device(ctx.worker):

        def odd(x):
            with tf.device(ctx.ps):
                return x * w

        def body(i, x):
            return i + 1, tf.cond(tf.equal(i % 2, 1), lambda: odd(x), lambda: x + 1.0)

        _, x = tf.while_loop(lambda i, x: i < 5, body, [tf.constant(0), tf.constant([1.0, 2.0])])

        def looped():
            def step(i, x):
                with tf.device(ctx.ps):
                    return i + 1, x * w

            return tf.while_loop(lambda i, x: i < 3, step, [tf.constant(0), x])[1]

        chosen = tf.cond(take, looped, lambda: x - 1.0)
    with ctx.session() as session:
        session.run(tf.global_variables_initializer())
        return [session.run([x, chosen], {take: t}) for t in (True, False, True, False)]


@case()
def spread_in_spread(tf, ctx):
    """A loop over both tasks in another, around one that is whole; with the gradient, and in a branch."""
    w = _weights(tf, ctx)
    take = tf.placeholder(tf.bool, [])
    times = tf.placeholder(tf.int32, [])
    with tf.device(ctx.worker):

        def inner(j, y):
            with tf.device(ctx.ps):
                far = tf.while_loop(
                    lambda k, z: k < 2, lambda k, z: (k + 1, z * w), [tf.constant(0), y]
                )[1]
            return j + 1, far + 1.0

        def outer(i, x):
            with tf.device(ctx.ps):
                x = x - w
            return i + 1, tf.while_loop(lambda j, y: j < i, inner, [tf.constant(0), x])[1]

        def looped(x):
            return tf.while_loop(lambda i, x: i < times, outer, [tf.constant(0), x])[1]

        x = tf.constant([1.0, 2.0])
        last = looped(x)
        slope = tf.gradients(last, x)[0]
        chosen = tf.cond(take, lambda: looped(x), lambda: x - 1.0)
    with ctx.session() as session:
        session.run(tf.global_variables_initializer())
        seen = [session.run([last, slope], {times: n}) for n in (0, 1, 3, 4)]
        return seen + [session.run(chosen, {times: 3, take: t}) for t in (True, False, True)]


@case()
def spread_around_loops(tf, ctx):
    """Whole loops, one on each task, in a loop over both."""
    w = _weights(tf, ctx)

    def add_up(x, n):
        return tf.while_loop(lambda j, y: j < n, lambda j, y: (j + 1, y + x), [tf.constant(0), x])[
            1
        ]

    with tf.device(ctx.worker):

        def body(i, x):
            with tf.device(ctx.ps):
                far = add_up(x * w, i)
            return i + 1, add_up(far, 2) * 0.25

        _, x = tf.while_loop(lambda i, x: i < 4, body, [tf.constant(0), tf.constant([1.0, 2.0])])
    with ctx.session() as session:
        session.run(tf.global_variables_initializer())
        return session.run(x)


@case(expect=None, clients=())
def spread_over_three(tf, ctx):
    """Each task of three has something to do in each iteration; values go from one parameter server to the other."""
    with tf.device("/job:ps/task:0"):
        half = tf.get_variable("half", initializer=np.float32(0.5), use_resource=True)
    with tf.device("/job:ps/task:1"):
        quarter = tf.get_variable("quarter", initializer=np.float32(0.25), use_resource=True)
    with tf.device(ctx.worker):

        def body(i, x):
            with tf.device("/job:ps/task:0"):
                y = x * half + 1.0
            with tf.device("/job:ps/task:1"):
                z = y * quarter
            return i + 1, z - tf.cast(i, tf.float32)

        _, x = tf.while_loop(lambda i, x: i < 20, body, [tf.constant(0), tf.constant([1.0, 2.0])])
    with ctx.session() as session:
        session.run(tf.global_variables_initializer())
        return session.run(x)
