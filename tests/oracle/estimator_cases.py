# ruff: noqa  (also runs under Python 3.7)
"""Estimators: what they compute, keep, and refuse."""

import json
import os
import shutil
import tempfile

import numpy as np


def _data():
    random = np.random.RandomState(0)
    x = random.rand(60, 4).astype("float32")
    return x, (x.sum(1) > 2).astype("int64")


def _model(tf):
    def model(features, labels, mode, params):
        net = tf.layers.dense(
            features["x"], 8, tf.nn.relu, kernel_initializer=tf.ones_initializer(), name="hidden"
        )
        logits = tf.layers.dense(net, 2, kernel_initializer=tf.zeros_initializer(), name="logits")
        best = tf.argmax(logits, 1)
        if mode == tf.estimator.ModeKeys.PREDICT:
            return tf.estimator.EstimatorSpec(mode, predictions={"best": best, "logits": logits})
        loss = tf.reduce_mean(
            tf.nn.sparse_softmax_cross_entropy_with_logits(logits=logits, labels=labels)
        )
        train = tf.train.GradientDescentOptimizer(params["rate"]).minimize(
            loss, global_step=tf.train.get_global_step()
        )
        metrics = {"accuracy": tf.metrics.accuracy(labels=labels, predictions=best)}
        return tf.estimator.EstimatorSpec(
            mode=mode, predictions=best, loss=loss, train_op=train, eval_metric_ops=metrics
        )

    return model


def _inputs(tf, x, y=None, **more):
    more.setdefault("shuffle", False)
    return tf.estimator.inputs.numpy_input_fn(x if isinstance(x, dict) else {"x": x}, y, **more)


class _Folder(object):
    def __enter__(self):
        self.path = tempfile.mkdtemp()
        return self.path

    def __exit__(self, *_):
        shutil.rmtree(self.path)


def _rounded(results):
    return {k: "%.4f" % v for k, v in sorted(results.items())}


def _events(tf, folder):
    found = []
    for name in sorted(os.listdir(folder)):
        if name.startswith("events"):
            for event in tf.train.summary_iterator(os.path.join(folder, name)):
                found += [
                    "%d %s" % (event.step, v.tag)
                    for v in event.summary.value
                    if not v.tag.endswith("/sec")
                ]
    return found


def train_evaluate_predict_only_values(tf, err):
    x, y = _data()
    with _Folder() as folder:
        config = tf.estimator.RunConfig(
            tf_random_seed=1, save_checkpoints_steps=10, keep_checkpoint_max=2
        )
        model = tf.estimator.Estimator(_model(tf), folder, config, {"rate": 0.1})
        endless = _inputs(tf, x, y, batch_size=20, num_epochs=None)
        once = _inputs(tf, x, y, batch_size=25)
        out = [_rounded(model.evaluate(once)), err(model.get_variable_names)["error"]]
        out.append(model.train(endless, steps=25) is model)
        out.append(_rounded(model.evaluate(once)))
        out.append(_rounded(model.evaluate(once, steps=1, name="first")))
        model.train(endless, max_steps=25)
        model.train(endless, steps=2)
        out.append(os.path.basename(model.latest_checkpoint()))
        names = [n for n in os.listdir(folder) if not n.startswith("events") and ".data-" not in n]
        out.append(sorted(names))
        out.append([(n, model.get_variable_value(n).shape) for n in model.get_variable_names()])
        found = list(model.predict(_inputs(tf, x[:3])))
        out.append([(int(p["best"]), ["%.4f" % v for v in p["logits"]]) for p in found])
        batches = model.predict(
            _inputs(tf, x[:5], batch_size=3), ["best"], yield_single_examples=False
        )
        out.append([sorted((k, v.shape) for k, v in b.items()) for b in batches])
        out.append(_events(tf, os.path.join(folder, "eval_first")))
        out.append(sorted(set(_events(tf, folder))))
        old = os.path.join(folder, "model.ckpt-25")
        out.append(_rounded(model.evaluate(once, checkpoint_path=old)))
        return out


def train_and_evaluate_only_values(tf, err):
    x, y = _data()
    with _Folder() as folder:
        config = tf.estimator.RunConfig(tf_random_seed=1, save_checkpoints_steps=10)
        model = tf.estimator.Estimator(_model(tf), folder, config, {"rate": 0.1})
        endless = _inputs(tf, x, y, batch_size=20, num_epochs=None)
        once = _inputs(tf, x, y, batch_size=25)
        results, exports = tf.estimator.train_and_evaluate(
            model,
            tf.estimator.TrainSpec(endless, max_steps=30),
            tf.estimator.EvalSpec(once, steps=None, throttle_secs=0),
        )
        return [_rounded(results), exports, _events(tf, os.path.join(folder, "eval"))]


def linear_models_only_values(tf, err):
    x, y = _data()
    columns = [
        tf.feature_column.numeric_column("x", shape=[4]),
        tf.feature_column.numeric_column("z", normalizer_fn=lambda t: t - 0.5),
    ]
    three = (x.sum(1) * 1.2).astype("int64") % 3
    models = [
        (tf.estimator.LinearClassifier, {}, y),
        (tf.estimator.LinearClassifier, {"n_classes": 3}, three),
        (tf.estimator.LinearRegressor, {"label_dimension": 1}, y.astype("float32") / 100),
    ]
    out = []
    for kind, more, labels in models:
        with _Folder() as folder:
            model = kind(columns, model_dir=folder, **more)
            given = {"x": x, "z": x[:, 0]}
            model.train(_inputs(tf, given, labels, batch_size=20, num_epochs=None), steps=15)
            out.append(_rounded(model.evaluate(_inputs(tf, given, labels, batch_size=25))))
            first = next(model.predict(_inputs(tf, given)))
            for key in sorted(first):
                value = first[key]
                if not key.startswith("all_"):
                    text = value.dtype.kind in "SO"
                    out.append((key, [str(v) if text else "%.4f" % v for v in value]))
            weights = model.get_variable_value("linear/linear_model/x/weights")
            out.append(["%.5f" % v for v in weights.ravel()])
    return out


def run_configs_only_values(tf, err):
    cluster = {"chief": ["c:1"], "worker": ["w:1", "w:2"], "ps": ["p:1"]}
    out = []

    def described(environment):
        if environment is None:
            os.environ.pop("TF_CONFIG", None)
        else:
            os.environ["TF_CONFIG"] = json.dumps(environment)
        try:
            c = tf.estimator.RunConfig()
        finally:
            os.environ.pop("TF_CONFIG", None)
        names = "task_type task_id master is_chief num_ps_replicas num_worker_replicas"
        names += " global_id_in_cluster evaluation_master"
        return [(n, getattr(c, n)) for n in names.split()]

    environments = [None, {"cluster": {"chief": ["c:1"]}, "task": {"type": "chief", "index": 0}}]
    for task in (("chief", 0), ("worker", 0), ("worker", 1), ("ps", 0), ("evaluator", 0)):
        environments.append({"cluster": cluster, "task": {"type": task[0], "index": task[1]}})
    for environment in environments:
        out.append(described(environment))
    wrong = [
        {"cluster": cluster},
        {"cluster": {"worker": ["w:1"]}, "task": {"type": "worker", "index": 0}},
        {"cluster": cluster, "task": {"type": "worker", "index": 7}},
        {"cluster": cluster, "task": {"type": "worker", "index": -1}},
    ]
    out.append([err(lambda: described(environment))["error"] for environment in wrong])
    config = tf.estimator.RunConfig(save_checkpoints_steps=5)
    out.append(
        [config.save_checkpoints_steps, config.save_checkpoints_secs, config.save_summary_steps]
    )
    config = config.replace(save_checkpoints_secs=7, model_dir="/m")
    out.append([config.save_checkpoints_steps, config.save_checkpoints_secs, config.model_dir])
    out.append(err(lambda: config.replace(master="x"))["error"])
    out.append(
        err(lambda: tf.estimator.RunConfig(save_checkpoints_steps=5, save_checkpoints_secs=7))
    )
    return out


def refusals_only_values(tf, err):
    x, y = _data()
    out = []
    for model in (lambda x: 1, lambda features, other: 1):
        out.append(err(lambda: tf.estimator.Estimator(model))["error"])
    out.append(err(lambda: tf.estimator.Estimator(lambda features: 1, params={"a": 1}))["error"])
    for more in ({}, {"loss": tf.constant(1.0)}, {"loss": tf.constant(1.0), "train_op": 3}):
        out.append(err(lambda: tf.estimator.EstimatorSpec("train", **more)))
    out.append(err(lambda: tf.estimator.EstimatorSpec("infer")))
    out.append(
        err(lambda: tf.estimator.EstimatorSpec("eval", loss=tf.constant([1.0, 2.0])))["error"]
    )
    out.append(
        err(lambda: tf.estimator.EstimatorSpec("eval", loss=1.0, eval_metric_ops={"a": 3}))["error"]
    )
    with _Folder() as folder:
        model = tf.estimator.Estimator(_model(tf), folder, params={"rate": 0.1})
        endless = _inputs(tf, x, y)
        for more in ({"steps": 1, "max_steps": 2}, {"steps": 0}, {"max_steps": -1}):
            out.append(err(lambda: model.train(endless, **more)))
        out.append(err(lambda: model.train(lambda: (1, 2, 3), steps=1))["error"])
    for given in ((np.zeros(3), np.zeros(2)), ({}, None), ([1], None), ({"a": x}, {"a": y})):
        out.append(err(lambda: _call(tf, *given))["error"])
    out.append(err(lambda: tf.estimator.inputs.numpy_input_fn(x))["error"])
    columns = tf.feature_column
    out.append(err(lambda: columns.numeric_column("a", shape=[0]))["error"])
    out.append(err(lambda: columns.numeric_column("a", dtype=tf.string)))
    out.append(err(lambda: columns.numeric_column("a", normalizer_fn=3)))
    return out


def _call(tf, x, y):
    return tf.estimator.inputs.numpy_input_fn(x, y, shuffle=False)()
