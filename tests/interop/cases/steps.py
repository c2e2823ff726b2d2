"""What can be asked of a step, and of a session."""

import os

from cases.registry import case


@case()
def partial_run(tf, ctx):
    with tf.device(ctx.ps):
        a = tf.placeholder(tf.float32, [])
        r1 = a + 1.0
    with tf.device(ctx.worker):
        b = tf.placeholder(tf.float32, [])
        r2 = r1 * b
    with ctx.session() as session:
        handle = session.partial_run_setup([r1, r2], [a, b])
        first = session.partial_run(handle, r1, {a: 2.0})
        second = session.partial_run(handle, r2, {b: first * 10})
        return [first, second]


@case(expect=[["/job:ps/replica:0/task:0", "CPU"], ["/job:worker/replica:0/task:0", "CPU"]])
def list_devices(tf, ctx):
    with ctx.session() as session:
        devices = session.list_devices()
    found = [
        [d.name.split("/device:")[0], d.device_type] for d in devices if d.device_type == "CPU"
    ]
    return sorted(found)


@case(expect=[12.0, True, True, True])
def trace(tf, ctx):
    with tf.device(ctx.ps):
        v = tf.Variable(4.0, name="traced", use_resource=False)
    with tf.device(ctx.worker):
        product = tf.multiply(v, 3.0, name="product")
    with ctx.session() as session:
        session.run(v.initializer)
        metadata = tf.RunMetadata()
        options = tf.RunOptions(trace_level=tf.RunOptions.FULL_TRACE, output_partition_graphs=True)
        value = session.run(product, options=options, run_metadata=metadata)
    stats = metadata.step_stats.dev_stats
    nodes = {n.node_name for d in stats for n in d.node_stats}
    jobs = {d.device.split("/")[1] for d in stats}
    return [
        float(value),
        any(name.startswith("product") for name in nodes),
        {"job:ps", "job:worker"} <= jobs,
        len(metadata.partition_graphs) == 2,
    ]


@case(expect=[3.0, "InvalidArgumentError"])
def device_filters(tf, ctx):
    own = "/job:" + os.environ["INTEROP_MASTER"]
    other = "/job:ps" if own == "/job:worker" else "/job:worker"
    with tf.device(own + "/task:0"):
        a = tf.constant(3.0)
    with ctx.session(device_filters=[own]) as session:
        seen = [float(session.run(a))]
    with tf.device(other + "/task:0"):
        b = tf.constant(3.0)
    with ctx.session(device_filters=[own]) as session:
        return [*seen, ctx.failure(session.run, b)]


@case(expect=[2.0, 3.0])
def two_sessions(tf, ctx):
    with tf.device(ctx.ps):
        v = tf.Variable(2.0, name="both", use_resource=False)
        up = tf.assign_add(v, 1.0)
    with ctx.session() as one, ctx.session() as two:
        one.run(v.initializer)
        seen = [float(two.run(v))]
        two.run(up)
        return [*seen, float(one.run(v))]
