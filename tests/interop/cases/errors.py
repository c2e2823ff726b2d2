"""Errors arrive as the class that TensorFlow raises."""

import numpy as np
from cases.registry import case


@case(expect="FailedPreconditionError")
def uninitialised_ref(tf, ctx):
    with tf.device(ctx.ps):
        v = tf.Variable(1.0, name="never", use_resource=False)
    with ctx.session() as session:
        return ctx.failure(session.run, v + 1.0)


@case(expect="FailedPreconditionError")
def uninitialised_resource(tf, ctx):
    with tf.device(ctx.ps):
        v = tf.Variable(1.0, name="never", use_resource=True)
    with ctx.session() as session:
        return ctx.failure(session.run, v + 1.0)


@case(expect=["InvalidArgumentError"] * 3)
def bad_values(tf, ctx):
    with tf.device(ctx.worker):
        a, b = tf.placeholder(tf.float32), tf.placeholder(tf.float32)
        product = tf.matmul(a, b)
        gathered = tf.gather(a, tf.constant([7]))
    with tf.device(ctx.ps):
        shaped = tf.reshape(a, [5, 7])
    two = np.ones((2, 2), np.float32)
    with ctx.session() as session:
        return [
            ctx.failure(session.run, product, {a: two, b: np.ones((3, 3), np.float32)}),
            ctx.failure(session.run, gathered, {a: two}),
            ctx.failure(session.run, shaped, {a: two}),
        ]


@case(expect=["InvalidArgumentError", 1.0])
def unfed_placeholder(tf, ctx):
    with tf.device(ctx.ps):
        a = tf.placeholder(tf.float32, [], name="unfed")
        b = a * 1.0
    with ctx.session() as session:
        return [ctx.failure(session.run, b), float(session.run(b, {a: 1.0}))]


@case(expect="InvalidArgumentError")
def unknown_device(tf, ctx):
    with tf.device("/job:nowhere/task:3"):
        a = tf.constant(1.0)
    with ctx.session() as session:
        return ctx.failure(session.run, a)


@case(expect=["InvalidArgumentError", 3.0])
def no_kernel_on_device(tf, ctx):
    """There is no GPU; soft placement falls back to the CPU of the same task."""
    with tf.device("/job:ps/task:0/device:GPU:0"):
        a = tf.constant(3.0)
    with ctx.session() as session:
        seen = [ctx.failure(session.run, a)]
    with ctx.session(allow_soft_placement=True) as session:
        return [*seen, float(session.run(a))]


@case(expect="OutOfRangeError")
def out_of_range(tf, ctx):
    with tf.device(ctx.ps):
        queue = tf.FIFOQueue(2, tf.float32, [[]])
    with ctx.session() as session:
        session.run(queue.close())
        return ctx.failure(session.run, queue.dequeue())


@case(expect="NotFoundError")
def missing_file(tf, ctx):
    with tf.device(ctx.worker):
        text = tf.read_file("/there/is/no/such/file")
    with ctx.session() as session:
        return ctx.failure(session.run, text)


@case(expect="InvalidArgumentError")
def failed_assertion(tf, ctx):
    with tf.device(ctx.ps):
        x = tf.placeholder(tf.float32, [])
        check = tf.Assert(x > 0.0, [x])
    with ctx.session() as session:
        session.run(check, {x: 1.0})
        return ctx.failure(session.run, check, {x: -1.0})


@case(expect="DeadlineExceededError")
def timeout(tf, ctx):
    with tf.device(ctx.ps):
        queue = tf.FIFOQueue(2, tf.float32, [[]])
    with ctx.session() as session:
        options = tf.RunOptions(timeout_in_ms=500)
        return ctx.failure(session.run, queue.dequeue(), options=options)


@case(expect=["DeadlineExceededError", 1])
def operation_timeout(tf, ctx):
    with tf.device(ctx.ps):
        queue = tf.FIFOQueue(2, tf.float32, [[]])
        size = queue.size()
        put = queue.enqueue([1.0])
    config = tf.ConfigProto(operation_timeout_in_ms=1000)
    with tf.Session(ctx.target, config=config) as session:
        failure = ctx.failure(session.run, queue.dequeue())
    with ctx.session() as session:
        session.run(put)
        return [failure, int(session.run(size))]


@case(expect="CancelledError")
def closed_session(tf, ctx):
    """Closing a session ends the step that another thread runs in it."""
    import threading

    with tf.device(ctx.ps):
        queue = tf.FIFOQueue(2, tf.float32, [[]])
        take = queue.dequeue()
    seen = []
    session = ctx.session()
    session.run(queue.size())
    thread = threading.Thread(target=lambda: seen.append(ctx.failure(session.run, take)))
    thread.start()
    thread.join(0.3)
    session.close()
    thread.join(20)
    return seen[0] if seen else "still blocked"


@case(expect=["NotFoundError", 1.0], clients=("tf115", "tf2"), servers=("flowmesh",))
def unknown_op(tf, ctx):
    """An op that only TensorFlow has."""
    with ctx.session() as session:
        seen = [ctx.failure(session.run, tf.fake_quant_with_min_max_args(tf.constant([1.0])))]
    with tf.Graph().as_default(), ctx.session() as session:
        return [*seen, float(session.run(tf.constant(1.0)))]
