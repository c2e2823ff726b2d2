"""Conditionals, control dependencies, and loops."""

from cases.registry import case


@case()
def conditionals(tf, ctx):
    with tf.device(ctx.ps):
        v = tf.Variable(1.0, name="counter", use_resource=False)
        choice = tf.placeholder(tf.bool, [])
    with tf.device(ctx.worker):
        result = tf.cond(choice, lambda: tf.assign_add(v, 10.0) * 1.0, lambda: tf.identity(v) - 1.0)
        nested = tf.cond(
            choice, lambda: tf.cond(result > 20.0, lambda: 1, lambda: 2), lambda: tf.constant(3)
        )
        picked = tf.case(
            [(result > 15.0, lambda: tf.constant("big"))], lambda: tf.constant("small")
        )
    with ctx.session() as session:
        session.run(v.initializer)
        return [session.run([result, nested, picked], {choice: c}) for c in (True, False, True)]


@case()
def control_dependencies(tf, ctx):
    with tf.device(ctx.ps):
        v = tf.Variable(1.0, name="ordered", use_resource=False)
        add = tf.assign_add(v, 1.0)
    with tf.device(ctx.worker), tf.control_dependencies([add]):
        after = tf.constant(5.0) + v.read_value()
        group = tf.group(add, after.op)
    with ctx.session() as session:
        session.run(v.initializer)
        seen = [session.run(after)]
        session.run(group)
        return [*seen, session.run(v)]


@case()
def gradient_of_cond(tf, ctx):
    with tf.device(ctx.ps):
        x = tf.placeholder(tf.float32, [])
    with tf.device(ctx.worker):
        y = tf.cond(x > 0.0, lambda: x * x, lambda: -3.0 * x)
        slope = tf.gradients(y, x)[0]
    with ctx.session() as session:
        return [session.run([y, slope], {x: value}) for value in (2.0, -2.0)]
