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


@case()
def loops(tf, ctx):
    """A loop over a variable of the parameter server and arrays, with its gradient."""
    with tf.device(ctx.ps):
        w = tf.Variable([1.0, 2.0, 3.0], name="w", use_resource=False)
    with tf.device(ctx.worker):
        x = tf.placeholder(tf.float32, [None, 3])
        rows = tf.TensorArray(tf.float32, 4)

        def body(i, a, rows):
            a = tf.cond(tf.equal(i % 2, 0), lambda: a * w, lambda: tf.tanh(a) + w)
            return i + 1, a, rows.write(i, tf.reduce_sum(a, 0))

        _, last, rows = tf.while_loop(
            lambda i, *_: i < 4, body, [0, x, rows], name="walk", parallel_iterations=1
        )
        slopes = tf.gradients(last, [x, w])
        stacked = rows.stack()
    with ctx.session() as session:
        session.run(w.initializer)
        return session.run([last, stacked, *slopes], {x: [[0.1, 0.2, 0.3], [1.0, -1.0, 0.5]]})


@case()
def mapped(tf, ctx):
    """map_fn, scan and foldl, with a number of rows that is fed."""
    with tf.device(ctx.worker):
        x = tf.placeholder(tf.float32, [None])
        results = [
            tf.map_fn(lambda v: v * 2.0, x),
            tf.scan(lambda a, v: a + v, x),
            tf.foldl(lambda a, v: a * 0.5 + v, x),
        ]
        slope = tf.gradients(results, x)[0]
    with ctx.session() as session:
        return [session.run([*results, slope], {x: v}) for v in ([1.0, 2.0, 3.0], [5.0], [1.0] * 6)]


@case()
def recurrent_network(tf, ctx):
    """A dynamic_rnn whose variables are on the parameter server, and a step of training."""
    with tf.device(ctx.ps):
        w = tf.Variable([[0.1, -0.2], [0.3, 0.4], [0.5, -0.6]], name="w", use_resource=False)
    with tf.device(ctx.worker):
        x = tf.placeholder(tf.float32, [2, 5])

        def body(i, h, out):
            joined = tf.concat([tf.expand_dims(x[:, i], 1), h], 1)
            h = tf.tanh(tf.matmul(joined, w))
            return i + 1, h, out.write(i, h)

        out = tf.TensorArray(tf.float32, 5)
        _, _, out = tf.while_loop(lambda i, *_: i < 5, body, [0, tf.zeros([2, 2]), out])
        loss = tf.reduce_mean(tf.square(out.stack() - 0.3))
        train = tf.train.GradientDescentOptimizer(0.5).minimize(loss)
    feed = {x: [[0.1, 0.2, 0.3, 0.4, 0.5], [1.0, -1.0, 0.5, 0.25, 0.0]]}
    with ctx.session() as session:
        session.run(w.initializer)
        losses = []
        for _ in range(3):
            losses.append(session.run(loss, feed))
            session.run(train, feed)
        return [*losses, session.run(w)]


@case(clients=("tf2",), servers=("flowmesh",))
def functional_control_flow(tf, ctx):
    """TensorFlow 2's conditionals and loops are functions unless a program turns that off."""
    seen = []
    tf.enable_control_flow_v2()
    try:
        for value in (2.0, 0.5):
            with tf.Graph().as_default(), ctx.session() as session:
                x = tf.placeholder(tf.float32, [])
                chosen = tf.cond(x > 1.0, lambda x=x: x * 10.0, lambda x=x: -x)
                looped = tf.while_loop(
                    lambda i, a: i < 3, lambda i, a, x=x: (i + 1, a * x), [tf.constant(0), x]
                )
                seen += [session.run(r, {x: value}) for r in (chosen, looped)]
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
