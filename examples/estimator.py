"""A model function for an Estimator: trained on the digits of scikit-learn, here or on a cluster.

    python examples/estimator.py
    flowmesh up --chief --no-flags --ps 1 --workers 2 examples/estimator.py

On a cluster every task runs this program; TF_CONFIG tells it what it is.
"""

from __future__ import annotations

import os
import sys
import tempfile

from sklearn.datasets import load_digits

import flowmesh as tf

STEPS = int(os.environ.get("STEPS", "400"))


def model(features, labels, mode, params):
    """Two layers; `labels` are the digits."""
    hidden = tf.layers.dense(features["pixels"], params["units"], tf.nn.relu)
    logits = tf.layers.dense(hidden, 10)
    digit = tf.argmax(logits, axis=1)
    if mode == tf.estimator.ModeKeys.PREDICT:
        return tf.estimator.EstimatorSpec(mode, predictions={"digit": digit})
    loss = tf.losses.sparse_softmax_cross_entropy(labels, logits)
    train = tf.train.AdamOptimizer(0.01).minimize(loss, tf.train.get_global_step())
    accuracy = tf.metrics.accuracy(labels, digit)
    return tf.estimator.EstimatorSpec(
        mode, loss=loss, train_op=train, eval_metric_ops={"accuracy": accuracy}
    )


def main():
    """Trains, then evaluates and predicts where this is the chief."""
    digits = load_digits()
    pixels, labels = digits.data.astype("float32") / 16, digits.target
    inputs = tf.estimator.inputs.numpy_input_fn
    train = inputs(
        {"pixels": pixels[:1437]}, labels[:1437], batch_size=50, num_epochs=None, shuffle=True
    )
    test = inputs({"pixels": pixels[1437:]}, labels[1437:], shuffle=False)
    with tempfile.TemporaryDirectory() as folder:
        config = tf.estimator.RunConfig(model_dir=folder, save_checkpoints_steps=200)
        estimator = tf.estimator.Estimator(model, config=config, params={"units": 64})
        tf.estimator.train_and_evaluate(
            estimator,
            tf.estimator.TrainSpec(train, max_steps=STEPS),
            tf.estimator.EvalSpec(test, steps=None),
        )
        if config.is_chief:
            results = estimator.evaluate(test)
            print(f"step {results['global_step']}: test accuracy {results['accuracy']:.1%}")
            three = inputs({"pixels": pixels[:3]}, shuffle=False)
            print("the first digits:", [int(p["digit"]) for p in estimator.predict(three)])


if __name__ == "__main__":
    sys.exit(main())
