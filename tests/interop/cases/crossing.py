"""Two programs that share files, or the variables of a cluster."""

import os

import numpy as np
from cases.registry import case

INPUTS = np.linspace(-1, 1, 12).reshape(4, 3).astype(np.float32)
TARGETS = np.array([[0.5], [-0.25], [1.0], [0.0]], np.float32)


@case(servers=())
def write_files(tf, ctx):
    """A model with its checkpoint in both formats, MetaGraphDef, GraphDef and event file; returns what it computes."""
    x = tf.placeholder(tf.float32, [None, 3], name="x")
    y = tf.placeholder(tf.float32, [None, 1], name="y")
    with tf.variable_scope("layer"):
        w = tf.get_variable("w", initializer=np.full((3, 1), 0.5, np.float32), use_resource=False)
        b = tf.get_variable("b", initializer=np.zeros(1, np.float32), use_resource=True)
    step = tf.train.get_or_create_global_step()
    names = tf.get_variable("names", initializer=tf.constant([b"a", b"\xff"]), use_resource=False)
    with tf.name_scope("model"):
        gate = tf.cond(tf.reduce_sum(x) > -100.0, lambda: 2.0, lambda: 3.0)
        out = tf.identity((tf.matmul(x, w) + b) * gate, name="out")
        loss = tf.reduce_mean(tf.square(out - y), name="loss")
    tf.add_to_collection("outputs", out)
    tf.add_to_collection("numbers", 7)
    train = tf.train.AdamOptimizer(0.1).minimize(loss, global_step=step, name="train")
    tf.summary.scalar("loss", loss)
    tf.summary.histogram("w", w)
    merged = tf.summary.merge_all()
    feed = {x: INPUTS, y: TARGETS}
    saver = tf.train.Saver(max_to_keep=3)
    old = tf.train.Saver([w, step], write_version=tf.train.SaverDef.V1)
    with ctx.session() as session:
        session.run(tf.global_variables_initializer())
        writer = tf.summary.FileWriter(os.path.join(ctx.folder, "events"), session.graph)
        for number in range(3):
            _, text = session.run([train, merged], feed)
            writer.add_summary(text, number)
        writer.close()
        saver.save(session, os.path.join(ctx.folder, "model"), global_step=step)
        old.save(session, os.path.join(ctx.folder, "old"), latest_filename="old-checkpoint")
        tf.train.write_graph(session.graph, ctx.folder, "graph.pb", as_text=False)
        tf.train.write_graph(session.graph, ctx.folder, "graph.pbtxt")
        seen = session.run([out, w, b, step, names], feed)
        session.run(train, feed)
        return [*seen, *session.run([w, b, step])]


@case(servers=())
def read_files(tf, ctx):
    """What `write_files` left behind, read and trained on."""
    path = tf.train.latest_checkpoint(ctx.folder)
    saver = tf.train.import_meta_graph(path + ".meta")
    graph = tf.get_default_graph()
    feed = {"x:0": INPUTS, "y:0": TARGETS}
    by_name = {v.op.name: v for v in tf.global_variables()}
    w, b = by_name["layer/w"], by_name["layer/b"]
    step, names = by_name["global_step"], by_name["names"]
    (out,) = tf.get_collection("outputs")
    assert tf.get_collection("numbers") == [7], tf.get_collection("numbers")
    trainable = sorted(v.op.name for v in tf.trainable_variables())
    with ctx.session() as session:
        saver.restore(session, path)
        seen = session.run([out, w, b, step, names], feed)
        session.run(graph.get_operation_by_name("train"), feed)
        seen += session.run([w, b, step])
    return [seen, trainable, _graphs(tf, ctx, feed), _events(tf, ctx), _old(tf, ctx)]


PARTITIONED = [("rows", False, 3, 0), ("columns", True, 2, 1), ("one", False, 1, 0)]


@case(servers=())
def write_partitioned(tf, ctx):
    """Checkpoints of partitioned variables, in one file and in shards."""
    made = [
        tf.get_variable(
            name,
            initializer=np.arange(35, dtype=np.float32).reshape(7, 5) + axis,
            shape=[7, 5],
            partitioner=tf.fixed_size_partitioner(parts, axis=axis),
            use_resource=resource,
        )
        for name, resource, parts, axis in PARTITIONED
    ]
    with ctx.session() as session:
        session.run(tf.global_variables_initializer())
        for sharded in (False, True):
            saver = tf.train.Saver(sharded=sharded)
            saver.save(session, os.path.join(ctx.folder, f"parts-{sharded}"))
        return session.run([v.as_tensor() for v in made])


@case(servers=())
def read_partitioned(tf, ctx):
    """What `write_partitioned` left behind, into other numbers of parts along another axis."""
    seen = []
    for sharded in (False, True):
        for parts, along in ((0, 0), (2, 0), (5, 1)):
            with tf.Graph().as_default():
                made = [
                    tf.get_variable(
                        name,
                        [7, 5],
                        partitioner=tf.fixed_size_partitioner(parts, axis=along) if parts else None,
                        use_resource=not resource,
                    )
                    for name, resource, _, _ in PARTITIONED
                ]
                with tf.Session() as session:
                    path = os.path.join(ctx.folder, f"parts-{sharded}")
                    tf.train.Saver().restore(session, path)
                    seen.append(session.run([tf.convert_to_tensor(v) for v in made]))
    return seen


def _graphs(tf, ctx, feed):
    """The values of the imported GraphDefs, variables set by hand."""
    seen = []
    for name in ("graph.pb", "graph.pbtxt"):
        graph_def = tf.GraphDef()
        with open(os.path.join(ctx.folder, name), "rb") as source:
            data = source.read()
        if name.endswith("txt"):
            from google.protobuf import text_format

            # A newer release writes fields that an older one does not know.
            text_format.Parse(data.decode("utf-8"), graph_def, allow_unknown_field=True)
        else:
            graph_def.ParseFromString(data)
        with tf.Graph().as_default():
            elements = ["layer/w/Assign", "layer/b/Assign", "model/out:0"]
            set_w, set_b, out = tf.import_graph_def(
                graph_def, return_elements=elements, name="again"
            )
            with ctx.session() as session:
                session.run([set_w, set_b])
                seen.append(session.run(out, {"again/" + k: v for k, v in feed.items()}))
    return seen


def _events(tf, ctx):
    folder = os.path.join(ctx.folder, "events")
    (name,) = os.listdir(folder)
    seen, graphs = [], 0
    for event in tf.train.summary_iterator(os.path.join(folder, name)):
        graphs += bool(event.graph_def)
        for value in event.summary.value:
            seen.append([event.step, value.tag, value.simple_value, value.histo.num])
    return [graphs, seen]


def _old(tf, ctx):
    reader = tf.train.load_checkpoint(os.path.join(ctx.folder, "old"))
    shapes = {k: list(v) for k, v in reader.get_variable_to_shape_map().items()}
    return [shapes, reader.get_tensor("layer/w"), reader.get_tensor("global_step")]


def _linear(tf, ctx):
    with tf.device(ctx.ps):
        w = tf.get_variable("w", initializer=np.float32(0.0), use_resource=False)
        b = tf.get_variable("b", initializer=np.float32(0.0), use_resource=True)
    with tf.device(ctx.worker):
        x = tf.constant(INPUTS)
        loss = tf.reduce_mean(tf.square(x * w + b - (3.0 * x + 2.0)))
    return loss, [w, b], tf.train.GradientDescentOptimizer(0.2)


def _mlp(tf, ctx):
    rng = np.random.RandomState(5)
    with tf.device(ctx.ps):
        w1 = tf.get_variable("w1", initializer=rng.randn(3, 8).astype(np.float32))
        b1 = tf.get_variable("b1", initializer=np.zeros(8, np.float32))
        w2 = tf.get_variable("w2", initializer=rng.randn(8, 1).astype(np.float32))
    with tf.device(ctx.worker):
        hidden = tf.nn.relu(tf.nn.bias_add(tf.matmul(tf.constant(INPUTS), w1), b1))
        loss = tf.reduce_mean(tf.square(tf.matmul(hidden, w2) - TARGETS))
    return loss, [w1, b1, w2], tf.train.MomentumOptimizer(0.05, 0.9)


def _share(tf, ctx, model):
    loss, variables, optimizer = model(tf, ctx)
    train = optimizer.minimize(loss)
    with ctx.session() as session:
        if ctx.extra["init"]:
            session.run(tf.global_variables_initializer())
        for _ in range(ctx.extra["steps"]):
            session.run(train)
        return session.run([loss, *variables])


@case(servers=())
def share_linear_regression(tf, ctx):
    """So many steps on variables that others train too; returns what it sees then."""
    return _share(tf, ctx, _linear)


@case(servers=())
def share_mlp(tf, ctx):
    """As `share_linear_regression`, with another model."""
    return _share(tf, ctx, _mlp)
