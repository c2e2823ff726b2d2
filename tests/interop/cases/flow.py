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


@case(
    expect=["UnimplementedError", "UnimplementedError", 2.0],
    clients=("tf115", "tf2"),
    servers=("flowmesh",),
)
def loops(tf, ctx):
    """A loop does not run on Flowmesh; the error says so, and sessions without it go on."""
    result = tf.while_loop(lambda i: i < 3, lambda i: i + 1, [tf.constant(0)])
    with ctx.session() as session:
        seen = [ctx.failure(session.run, result)]
    with tf.Graph().as_default():
        mapped = tf.map_fn(lambda x: x * 2.0, tf.constant([1.0, 2.0]))
        with ctx.session() as session:
            seen.append(ctx.failure(session.run, mapped))
    with tf.Graph().as_default(), ctx.session() as session:
        return [*seen, float(session.run(tf.constant(2.0)))]


@case(expect=["UnimplementedError", "UnimplementedError"], clients=("tf2",), servers=("flowmesh",))
def functional_control_flow(tf, ctx):
    """TensorFlow 2's conditionals and loops are functions unless a program turns that off."""
    seen = []
    tf.enable_control_flow_v2()
    try:
        for build in (
            lambda: tf.cond(tf.constant(2.0) > 1.0, lambda: 1.0, lambda: 2.0),
            lambda: tf.while_loop(lambda i: i < 3, lambda i: i + 1, [tf.constant(0)]),
        ):
            with tf.Graph().as_default(), ctx.session() as session:
                seen.append(ctx.failure(session.run, build()))
    finally:
        tf.disable_control_flow_v2()
    return seen


@case(clients=("tf115", "tf2"))
def unused_function(tf, ctx):
    """A function in the graph's library that no node calls is no obstacle."""
    try:
        from tensorflow.python.framework import function
    except ImportError:
        return [2.0]

    @function.Defun(tf.float32)
    def double(x):
        return x * 2.0

    double.add_to_graph(tf.get_default_graph())
    with tf.device(ctx.ps):
        x = tf.constant(1.0) + 1.0
    with ctx.session() as session:
        return [float(session.run(x))]
