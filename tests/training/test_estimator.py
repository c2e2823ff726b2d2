"""Estimators against TensorFlow 1.15, and what only Flowmesh promises."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import flowmesh as tf
from tests.oracle import replay
from tests.ports import free_addresses


@pytest.fixture(autouse=True)
def quiet() -> None:
    tf.logging.set_verbosity(tf.logging.ERROR)


@pytest.mark.parametrize("case", replay.cases("estimator"))
def test_as_tensorflow(case: str) -> None:
    found = replay.differences("estimator", case)
    assert not found, "\n".join(found)


def model(features, labels, mode):
    """One weight that becomes the mean of the labels."""
    weight = tf.get_variable("weight", [], initializer=tf.zeros_initializer())
    guess = features["x"] * 0.0 + weight
    if mode == tf.estimator.ModeKeys.PREDICT:
        return tf.estimator.EstimatorSpec(mode, predictions=guess)
    loss = tf.reduce_mean(tf.square(guess - labels))
    step = tf.train.get_global_step()
    train = tf.train.GradientDescentOptimizer(0.25).minimize(loss, global_step=step)
    return tf.estimator.EstimatorSpec(mode, loss=loss, train_op=train)


def numbers(**more):
    x = np.arange(8, dtype=np.float32)
    more.setdefault("shuffle", False)
    return tf.estimator.inputs.numpy_input_fn({"x": x}, x / 8, batch_size=8, **more)


def test_shuffled_epochs_give_every_row_as_often(tmp_path: Path) -> None:
    batches = tf.estimator.inputs.numpy_input_fn(
        np.arange(10), batch_size=4, num_epochs=3, shuffle=True
    )
    with tf.Graph().as_default():
        taken = batches()
        seen: list[int] = []
        with tf.train.MonitoredSession() as session:
            while not session.should_stop():
                seen += session.run(taken).tolist()
    assert sorted(seen) == sorted(list(range(10)) * 3)
    assert seen != sorted(seen)


def test_a_loss_that_is_nan_ends_the_training_by_name(tmp_path: Path) -> None:
    def broken(features, labels, mode):
        spec = model(features, labels, mode)
        return spec._replace(loss=spec.loss * float("nan"))

    estimator = tf.estimator.Estimator(broken, str(tmp_path))
    with pytest.raises(tf.train.NanLossDuringTrainingError):
        estimator.train(numbers(num_epochs=None), steps=3)


def test_a_column_of_strings_is_refused_by_name(tmp_path: Path) -> None:
    columns = [tf.feature_column.numeric_column("x")]
    estimator = tf.estimator.LinearRegressor(columns, str(tmp_path))
    words = tf.estimator.inputs.numpy_input_fn({"x": np.array(["a"])}, np.ones(1), shuffle=False)
    with pytest.raises(ValueError, match="feature x has dtype string"):
        estimator.train(words, steps=1)
    with pytest.raises(ValueError, match="Feature x is not in features dictionary"):
        estimator.train(lambda: ({"y": tf.ones([1])}, tf.ones([1])), steps=1)


PROGRAM = """
import os, sys
import flowmesh as tf
from tests.training.test_estimator import model, numbers
tf.logging.set_verbosity(tf.logging.ERROR)
config = tf.estimator.RunConfig(model_dir=sys.argv[1], save_checkpoints_steps=20)
estimator = tf.estimator.Estimator(model, config=config)
results = tf.estimator.train_and_evaluate(
    estimator,
    tf.estimator.TrainSpec(numbers(num_epochs=None), max_steps=40),
    tf.estimator.EvalSpec(numbers(), steps=None, start_delay_secs=0, throttle_secs=0),
)
print(config.task_type, estimator.get_variable_value("weight"), results, flush=True)
"""


def test_a_cluster_with_an_evaluator_trains_one_model(tmp_path: Path) -> None:
    addresses = free_addresses(3)
    cluster = {"ps": addresses[:1], "chief": addresses[1:2], "worker": addresses[2:]}
    tasks: dict[str, subprocess.Popen] = {}
    try:
        for job in ("ps", "chief", "worker", "evaluator"):
            place = {"cluster": cluster, "task": {"type": job, "index": 0}}
            tasks[job] = subprocess.Popen(
                [sys.executable, "-c", PROGRAM, str(tmp_path)],
                env={**os.environ, "TF_CONFIG": json.dumps(place)},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        for job in ("chief", "worker", "evaluator"):
            out, err = tasks[job].communicate(timeout=120)
            assert tasks[job].returncode == 0, err
            task_type, weight, results = out.split()
            assert (task_type, results) == (job, "None"), out + err
            if job != "worker":  # which may end before the chief's last checkpoint
                assert float(weight) == pytest.approx(0.4375, abs=1e-3)
    finally:
        for task in tasks.values():
            task.kill()
            task.communicate()
    written = [
        event.step
        for name in (tmp_path / "eval").iterdir()
        for event in tf.train.summary_iterator(str(name))
        if event.summary.value
    ]
    assert max(written) >= 40
