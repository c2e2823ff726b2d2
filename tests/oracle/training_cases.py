"""Small trainings, written against any namespace with TensorFlow 1.15's names: what the recorder and the tests both run."""

OPTIMIZERS = {
    "GradientDescent": lambda tf: tf.train.GradientDescentOptimizer(0.1),
    "Momentum": lambda tf: tf.train.MomentumOptimizer(0.1, 0.9),
    "Nesterov": lambda tf: tf.train.MomentumOptimizer(0.1, 0.9, use_nesterov=True),
    "Adagrad": lambda tf: tf.train.AdagradOptimizer(0.8),
    "Adam": lambda tf: tf.train.AdamOptimizer(0.05),
    "RMSProp": lambda tf: tf.train.RMSPropOptimizer(0.05, momentum=0.3),
    "RMSPropCentered": lambda tf: tf.train.RMSPropOptimizer(0.05, centered=True),
    "Adadelta": lambda tf: tf.train.AdadeltaOptimizer(0.5),
    "Ftrl": lambda tf: tf.train.FtrlOptimizer(0.3, l1_regularization_strength=0.01),
    "FtrlShrinkage": lambda tf: tf.train.FtrlOptimizer(
        0.3, l2_shrinkage_regularization_strength=0.1
    ),
    "AdagradDA": lambda tf: tf.train.AdagradDAOptimizer(
        0.3, tf.train.get_or_create_global_step(), l2_regularization_strength=0.1
    ),
    "ProximalGradientDescent": lambda tf: tf.train.ProximalGradientDescentOptimizer(
        0.1, l1_regularization_strength=0.02
    ),
    "ProximalAdagrad": lambda tf: tf.train.ProximalAdagradOptimizer(
        0.3, l2_regularization_strength=0.02
    ),
}
FORMS = {
    "ref": (False, False),
    "ref sparse": (False, True),
    "resource": (True, False),
    "resource sparse": (True, True),
}
STEPS = 3

START = [[1.0, -2.0], [3.0, 0.5], [-1.5, 2.0]]
ROWS = [0, 2, 0]


def build(tf, optimizer, resource, sparse):
    """Adds one training; returns the variable and its train op."""
    w = tf.Variable(START, name="w", use_resource=resource)
    step = tf.train.get_or_create_global_step()
    x = tf.gather(w, ROWS) if sparse else w
    loss = tf.reduce_sum(x * x, name="loss")
    before = len(tf.get_default_graph().get_operations())
    train = OPTIMIZERS[optimizer](tf).minimize(loss, global_step=step)
    return w, train, before


def trajectory(tf, optimizer, resource, sparse):
    """The values of w after each of a few steps."""
    with tf.Graph().as_default():
        w, train, _ = build(tf, optimizer, resource, sparse)
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            values = []
            for _ in range(STEPS):
                session.run(train)
                values.append(session.run(w).tolist())
    return values


def nodes(graph, first=0, skip=("gradients/",)):
    """Name, type, inputs, control inputs, colocation groups and device of each node from `first` on."""
    found = []
    for op in graph.get_operations()[first:]:
        if op.name.startswith(skip):
            continue
        try:
            groups = [g.decode() for g in op.get_attr("_class")]
        except ValueError:
            groups = []
        controls = sorted(c.name for c in op.control_inputs)
        found.append([op.name, op.type, [t.name for t in op.inputs], controls, groups, op.device])
    return found


def optimizer_nodes(tf, optimizer, sparse):
    """The nodes that an optimizer adds for a ref variable."""
    with tf.Graph().as_default() as graph:
        _, _, before = build(tf, optimizer, False, sparse)
        return nodes(graph, before)


SAVERS = {
    "plain": {},
    "sharded": {"sharded": True},
    "reshape": {"reshape": True},
    "named": {"name": "keeper", "max_to_keep": 2},
}


def saver_nodes(tf, options, resource):
    """The nodes of a saver over two variables on two parameter servers, and the fields of its SaverDef."""
    with tf.Graph().as_default() as graph:
        with tf.device("/job:ps/task:0"):
            tf.Variable([[1.0, 2.0], [3.0, 4.0]], name="w", use_resource=resource)
        with tf.device("/job:ps/task:1"):
            tf.Variable([1.0], name="b", use_resource=resource)
        before = len(graph.get_operations())
        made = tf.train.Saver(**options).as_saver_def()
        fields = [made.filename_tensor_name, made.save_tensor_name, made.restore_op_name]
        return [nodes(graph, before), [*fields, made.max_to_keep, made.sharded, made.version]]


RATES = {
    "exponential": lambda tf, s: tf.train.exponential_decay(0.1, s, 10, 0.5),
    "staircase": lambda tf, s: tf.train.exponential_decay(0.1, s, 10, 0.5, staircase=True),
    "natural": lambda tf, s: tf.train.natural_exp_decay(0.1, s, 10, 0.5),
    "inverse": lambda tf, s: tf.train.inverse_time_decay(0.1, s, 10, 0.5, staircase=True),
    "polynomial": lambda tf, s: tf.train.polynomial_decay(0.1, s, 10, 0.01, power=2.0),
    "polynomial cycle": lambda tf, s: tf.train.polynomial_decay(0.1, s, 10, 0.01, cycle=True),
    "cosine": lambda tf, s: tf.train.cosine_decay(0.1, s, 20, alpha=0.1),
    "linear cosine": lambda tf, s: tf.train.linear_cosine_decay(0.1, s, 20),
    "restarts": lambda tf, s: tf.train.cosine_decay_restarts(0.1, s, 6),
    "restarts equal": lambda tf, s: tf.train.cosine_decay_restarts(0.1, s, 6, t_mul=1.0, m_mul=0.5),
    "piecewise": lambda tf, s: tf.train.piecewise_constant(s, [5, 15], [0.1, 0.05, 0.01]),
}
RATE_STEPS = [0, 1, 5, 6, 10, 15, 16, 27]


def rates(tf, name):
    """A learning rate at several steps."""
    with tf.Graph().as_default():
        step = tf.placeholder(tf.int32, [])
        rate = RATES[name](tf, step)
        with tf.Session() as session:
            return [float(session.run(rate, {step: s})) for s in RATE_STEPS]


def averages(tf, zero_debias, resource):
    """A moving average of a variable that grows by one a step."""
    with tf.Graph().as_default():
        v = tf.Variable(1.0, name="v", use_resource=resource)
        step = tf.Variable(0.0, name="step", trainable=False)
        ema = tf.train.ExponentialMovingAverage(0.9, num_updates=step, zero_debias=zero_debias)
        with tf.control_dependencies([v.assign_add(1.0), step.assign_add(1.0)]):
            update = ema.apply([v])
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            values = []
            for _ in range(4):
                session.run(update)
                values.append(float(session.run(ema.average(v))))
    return [ema.average_name(v), sorted(ema.variables_to_restore()), values]


def placements(tf):
    """Where a device setter puts the nodes of a small model."""
    found = {}
    cluster = {"ps": ["a:1", "b:1"], "worker": ["c:1", "d:1"]}
    strategy = tf.contrib.training.GreedyLoadBalancingStrategy(
        2, tf.contrib.training.byte_size_load_fn
    )
    setters = {
        "plain": tf.train.replica_device_setter(2),
        "cluster": tf.train.replica_device_setter(
            worker_device="/job:worker/task:1", cluster=cluster
        ),
        "gpu": tf.train.replica_device_setter(
            worker_device="/job:worker/task:0/gpu:0", ps_device="/job:ps/cpu:0", cluster=cluster
        ),
        "greedy": tf.train.replica_device_setter(cluster=cluster, ps_strategy=strategy),
    }
    for name, setter in setters.items():
        with tf.Graph().as_default() as graph:
            with tf.device(setter):
                a = tf.Variable([[1.0] * 10] * 3, name="a")
                b = tf.Variable([1.0], name="b")
                c = tf.Variable([1.0, 2.0], name="c", use_resource=True)
                tf.add(b, c, name="sum")
                with tf.device("/job:ps/task:1"):
                    tf.Variable(2.0, name="pinned")
                with tf.device("/cpu:1"):
                    tf.reduce_sum(a + 0.0, name="total")
                tf.train.AdagradOptimizer(0.1).minimize(tf.reduce_sum(a + 0.0), var_list=[a])
            found[name] = [
                [op.name, op.device]
                for op in graph.get_operations()
                if not op.name.startswith("gradients/")
            ]
    return found


SUMMARIES = {
    "scalar": lambda tf: tf.summary.scalar("loss of it", tf.constant(0.5)),
    "family": lambda tf: tf.summary.scalar("loss", tf.constant(0.5), family="train"),
    "histogram": lambda tf: tf.summary.histogram("h", tf.constant([1.0, 2.0, 2.5])),
    "image": lambda tf: tf.summary.image("i", tf.constant([[[[0.0], [1.0]]]] * 2), max_outputs=1),
    "audio": lambda tf: tf.summary.audio("a", tf.constant([[[0.0], [0.5], [-0.5]]]), 8000.0),
    "text": lambda tf: tf.summary.text("t", tf.constant("hello")),
    "tensor": lambda tf: tf.summary.tensor_summary(
        "ts", tf.constant([1, 2]), summary_description="d", display_name="n"
    ),
}


def summary(tf, name):
    """The nodes of a summary in a scope, and what it gives, in text form."""
    with tf.Graph().as_default() as graph:
        with tf.name_scope("tower"):
            made = SUMMARIES[name](tf)
        merged = tf.summary.merge_all()
        with tf.Session() as session:
            message = tf.Summary.FromString(session.run(made))
        for value in message.value:
            if value.HasField("image"):  # how it is compressed is the library's own affair
                value.image.encoded_image_string = b""
        listed = [n for n in nodes(graph) if n[0].startswith("tower")]
        return [listed, merged.name, message.SerializeToString().hex()]
