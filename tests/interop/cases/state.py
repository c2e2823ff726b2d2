"""Variables of both kinds, their containers, and who shares them."""

import numpy as np
from cases.registry import case


def _updates(tf, ctx, use_resource):
    with tf.device(ctx.ps):
        v = tf.get_variable(
            "v", initializer=np.arange(4, dtype=np.float32), use_resource=use_resource
        )
        n = tf.get_variable("n", initializer=np.int64(5), use_resource=use_resource)
        m = tf.get_variable("m", initializer=np.ones((3, 2), np.float32), use_resource=use_resource)
    with tf.device(ctx.worker):
        doubled = v * 2.0
    seen = []
    with ctx.session() as session:
        seen.append(session.run(tf.report_uninitialized_variables()))
        session.run(tf.global_variables_initializer())
        seen.append(session.run(tf.report_uninitialized_variables()))
        seen.append(session.run([v, n, m, doubled]))
        for op in (
            tf.assign(v, [9.0, 8.0, 7.0, 6.0]),
            tf.assign_add(v, [1.0, 1.0, 1.0, 1.0]),
            tf.assign_sub(n, 2),
            tf.scatter_update(m, [0, 2], [[5.0, 5.0], [6.0, 6.0]]),
            tf.scatter_add(m, [0, 0], [[1.0, 1.0], [2.0, 2.0]]),
            tf.scatter_sub(m, [1], [[3.0, 3.0]]),
        ):
            session.run(op)
            seen.append(session.run([v, n, m, doubled]))
        v.load([0.5, 1.5, 2.5, 3.5], session)
        seen.append(session.run([v, doubled]))
    return [_text(s) for s in seen]


def _text(value):
    return value


@case()
def ref_variables(tf, ctx):
    return _updates(tf, ctx, False)


@case()
def resource_variables(tf, ctx):
    return _updates(tf, ctx, True)


@case(expect=[[1.0, 3.0], "FailedPreconditionError"])
def shared_between_sessions(tf, ctx):
    """A second client of the same cluster sees the variable of the first, unless in another container."""
    seen = []
    with ctx.session() as session:
        with tf.device(ctx.ps):
            v = tf.Variable([1.0, 3.0], name="shared", use_resource=False)
        session.run(v.initializer)
    with ctx.session() as session:
        seen.append(session.run(v).tolist())
    with tf.Graph().as_default() as graph, graph.container(ctx.container + "-other"):
        with tf.device(ctx.ps):
            v = tf.Variable([1.0, 3.0], name="shared", use_resource=False)
        with ctx.session() as session:
            seen.append(ctx.failure(session.run, v))
    return seen


@case(expect=[2.0, "AbortedError", "FailedPreconditionError", 7.0])
def reset(tf, ctx):
    """`Session.reset` of one container clears it, leaves the others and ends all sessions."""
    names = [ctx.container + "-cleared", ctx.container + "-kept"]
    variables = []
    for name, value in zip(names, (2.0, 7.0)):
        with tf.container(name), tf.device(ctx.ps):
            variables.append(tf.Variable(value, name="v" + name[-5:], use_resource=False))
    session = ctx.session()
    session.run([v.initializer for v in variables])
    seen = [float(session.run(variables[0]))]
    tf.Session.reset(ctx.target, [names[0]])
    seen.append(ctx.failure(session.run, variables[1]))
    with ctx.session() as session:
        seen.append(ctx.failure(session.run, variables[0]))
        seen.append(float(session.run(variables[1])))
    return seen


@case()
def isolated_session(tf, ctx):
    with tf.device(ctx.ps):
        v = tf.Variable(4.0, name="isolated", use_resource=False)
    with ctx.session(isolate_session_state=True) as session:
        session.run(v.initializer)
        first = session.run(v)
    with ctx.session(isolate_session_state=True) as session:
        return [first, ctx.failure(session.run, v)]


@case()
def sparse_rows(tf, ctx):
    seen = []
    for use_resource in (False, True):
        with tf.variable_scope("resource" if use_resource else "ref", use_resource=use_resource):
            with tf.device(ctx.ps):
                table = tf.get_variable(
                    "table", initializer=np.arange(20, dtype=np.float32).reshape(10, 2)
                )
            with tf.device(ctx.worker):
                rows = tf.nn.embedding_lookup(table, [1, 3, 3])
                loss = tf.reduce_sum(tf.square(rows))
            train = tf.train.GradientDescentOptimizer(0.1).minimize(loss)
        with ctx.session() as session:
            session.run(table.initializer)
            seen += [session.run(rows), session.run([loss, train])[0], session.run(table)]
    return seen


@case()
def partitioned_variable(tf, ctx):
    with tf.device(ctx.ps):
        table = tf.get_variable(
            "table",
            [10, 2],
            initializer=tf.ones_initializer(),
            partitioner=tf.fixed_size_partitioner(3),
            use_resource=False,
        )
    with tf.device(ctx.worker):
        rows = [
            tf.nn.embedding_lookup(table, [1, 9, 4, 4], partition_strategy=s)
            for s in ("div", "mod")
        ]
    with ctx.session() as session:
        session.run(tf.global_variables_initializer())
        for number, part in enumerate(table):
            part.load(np.full(part.shape.as_list(), number, np.float32), session)
        return session.run([*rows, tf.convert_to_tensor(table)])


@case(expect=["FailedPreconditionError", "FailedPreconditionError"])
def reset_of_everything(tf, ctx):
    """`Session.reset` without names clears the default container."""
    with tf.container(""), tf.device(ctx.ps):
        variables = [tf.Variable(1.0, name=f"r{i}", use_resource=bool(i)) for i in (0, 1)]
    with ctx.session() as session:
        session.run([v.initializer for v in variables])
        session.run([v.read_value() for v in variables])
    tf.Session.reset(ctx.target)
    with ctx.session() as session:
        return [ctx.failure(session.run, v.read_value()) for v in variables]
