"""Programs of TensorFlow 0.x: old names and argument orders give what the new ones give, and warn once."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import flowmesh as tf
from flowmesh.api import compat_v0


@pytest.fixture(autouse=True)
def fresh_graph() -> Iterator[None]:
    with tf.Graph().as_default():
        yield


@pytest.fixture(autouse=True)
def no_warnings_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compat_v0, "_warned", set())


def value(tensor):
    with tf.Session() as sess:
        return sess.run(tensor)


X = np.arange(12, dtype=np.float32).reshape(3, 4)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (lambda: tf.mul(X, 2.0), lambda: tf.multiply(X, 2.0)),
        (lambda: tf.sub(X, 2.0), lambda: tf.subtract(X, 2.0)),
        (lambda: tf.neg(X), lambda: tf.negative(X)),
        (lambda: tf.inv(X + 1), lambda: tf.reciprocal(X + 1)),
        (lambda: tf.pack([X, X]), lambda: tf.stack([X, X])),
        (lambda: tf.pack([X, X], axis=1), lambda: tf.stack([X, X], axis=1)),
        (lambda: tf.unpack(X), lambda: tf.unstack(X)),
        (lambda: tf.concat(0, [X, X]), lambda: tf.concat([X, X], 0)),
        (lambda: tf.concat(1, [X, X], name="c"), lambda: tf.concat([X, X], axis=1)),
        (lambda: tf.concat(concat_dim=1, values=[X, X]), lambda: tf.concat([X, X], axis=1)),
        (lambda: tf.concat(tf.constant(1), [X, X]), lambda: tf.concat([X, X], axis=1)),
        (lambda: tf.concat_v2([X, X], 1), lambda: tf.concat([X, X], axis=1)),
        (lambda: tf.split(0, 3, X), lambda: tf.split(X, 3, 0)),
        (lambda: tf.split(1, 2, X), lambda: tf.split(X, 2, axis=1)),
        (lambda: tf.split(split_dim=1, num_split=2, value=X), lambda: tf.split(X, 2, 1)),
        (lambda: tf.split(1, 2, tf.constant(X)), lambda: tf.split(X, 2, 1)),
        (lambda: tf.select(X > 3, X, -X), lambda: tf.where(X > 3, X, -X)),
        (lambda: tf.batch_matmul([X], [X.T]), lambda: tf.matmul([X], [X.T])),
        (lambda: tf.complex_abs([3 + 4j]), lambda: tf.abs([3 + 4j])),
        (lambda: tf.listdiff([1, 2, 3], [2]), lambda: tf.setdiff1d([1, 2, 3], [2])),
        (lambda: tf.arg_max(X, 1), lambda: tf.argmax(X, 1)),
        (lambda: tf.argmax(X, dimension=1), lambda: tf.argmax(X, axis=1)),
        (lambda: tf.reduce_sum(X, reduction_indices=1), lambda: tf.reduce_sum(X, axis=1)),
        (lambda: tf.reduce_mean(X, 1, keep_dims=True), lambda: tf.reduce_mean(X, 1, keepdims=True)),
        (
            lambda: tf.nn.softmax_cross_entropy_with_logits(X, X / 66),
            lambda: tf.nn.softmax_cross_entropy_with_logits(logits=X, labels=X / 66),
        ),
        (
            lambda: tf.nn.sparse_softmax_cross_entropy_with_logits(X, [1, 2, 3]),
            lambda: tf.nn.sparse_softmax_cross_entropy_with_logits(logits=X, labels=[1, 2, 3]),
        ),
        (
            lambda: tf.nn.sigmoid_cross_entropy_with_logits(X, X / 66),
            lambda: tf.nn.sigmoid_cross_entropy_with_logits(logits=X, labels=X / 66),
        ),
        (
            lambda: tf.sparse_tensor_to_dense(tf.SparseTensor([[0, 1]], [5.0], shape=[2, 2])),
            lambda: tf.sparse_tensor_to_dense(tf.SparseTensor([[0, 1]], [5.0], dense_shape=[2, 2])),
        ),
    ],
)
def test_old_forms_give_what_new_forms_give(old, new) -> None:
    got, wanted = value(old()), value(new())
    for a, b in (
        zip(got, wanted, strict=True) if isinstance(wanted, (list, tuple)) else [(got, wanted)]
    ):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    "new",
    [
        lambda: tf.concat([X, X], 0),
        lambda: tf.concat([[1], [2]], axis=0),
        lambda: tf.split(X, 2, 1),
        lambda: tf.split(X, [1, 3], 1),
        lambda: tf.split(np.float32(np.arange(4)), 2),
        lambda: tf.split(value=X, num_or_size_splits=3),
        lambda: tf.nn.softmax_cross_entropy_with_logits(logits=X, labels=X),
    ],
)
def test_new_forms_do_not_warn(new) -> None:
    new()
    assert not compat_v0._warned


def test_each_old_form_warns_once_and_names_the_new_one(monkeypatch: pytest.MonkeyPatch) -> None:
    messages: list[str] = []
    monkeypatch.setattr(
        compat_v0.tf_logging, "warning", lambda text, *args: messages.append(text % args)
    )
    tf.mul(X, X)
    tf.mul(X, X)
    tf.concat(0, [X, X])
    assert len(messages) == 2
    assert "tf.mul" in messages[0] and "tf.multiply" in messages[0]
    assert "tf.concat(values, axis)" in messages[1]


def test_variables_and_summaries_by_their_old_names() -> None:
    w = tf.Variable(1.0)
    assert tf.all_variables() == [w]
    tf.scalar_summary("loss", w)
    tf.histogram_summary("weights", [w, w])
    merged = tf.merge_all_summaries()
    with tf.Session() as sess:
        sess.run(tf.initialize_all_variables())
        summary = tf.Summary.FromString(sess.run(merged))
    assert [v.tag for v in summary.value] == ["loss", "weights"]
    assert summary.value[0].simple_value == 1.0


def test_a_whole_program_under_flowmesh_run(tmp_path: Path) -> None:
    script = tmp_path / "old.py"
    script.write_text(
        textwrap.dedent(
            """
            import sys
            import numpy as np
            import tensorflow as tf
            x = tf.placeholder("float", [None, 3])
            W = tf.Variable(tf.zeros([3, 2]))
            y = tf.nn.softmax(tf.mul(tf.matmul(x, W), 2.0))
            loss = -tf.reduce_mean(tf.log(y), reduction_indices=[0, 1])
            tf.scalar_summary("loss", loss)
            merged = tf.merge_all_summaries()
            train = tf.train.GradientDescentOptimizer(0.1).minimize(loss)
            init = tf.initialize_all_variables()
            with tf.Session() as sess:
                writer = tf.train.SummaryWriter(sys.argv[1], sess.graph)
                sess.run(init)
                for i in range(3):
                    summary, _ = sess.run([merged, train], feed_dict={x: np.ones((1, 3))})
                    writer.add_summary(summary, i)
                writer.close()
            print("version", tf.__version__)
            """
        )
    )
    done = subprocess.run(
        [sys.executable, "-m", "flowmesh", "run", str(script), str(tmp_path / "log")],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.strip() == "version 1.15.0"
    assert done.stderr.count("tf.mul is TensorFlow 0.x") == 1
    events = [
        e
        for path in (tmp_path / "log").iterdir()
        for e in tf.train.summary_iterator(str(path))
        if e.summary.value
    ]
    assert [e.step for e in events] == [0, 1, 2]


PATHS = [
    "tensorflow.examples.tutorials.mnist.input_data",
    "tensorflow.python.client.timeline",
    "tensorflow.python.client.device_lib",
    "tensorflow.python.platform.gfile",
    "tensorflow.python.framework.ops",
    "tensorflow.python.framework.dtypes",
    "tensorflow.python.ops.data_flow_ops",
    "tensorflow.python.ops.control_flow_ops",
    "tensorflow.python.ops.variables",
    "tensorflow.python.training.moving_averages",
    "tensorflow.python.util.nest",
    "tensorflow.core.framework.graph_pb2",
    "tensorflow.core.protobuf.config_pb2",
    "tensorflow.core.protobuf.rewriter_config_pb2",
    "tensorflow.core.util.event_pb2",
    "tensorflow.compat.v1",
    "tensorflow.python.ops.math_ops",
    "tensorflow.python.ops.array_ops",
]


@pytest.mark.parametrize("path", PATHS)
def test_module_paths_of_programs_resolve(path: str) -> None:
    program = (
        f"import importlib; importlib.import_module({path!r}); from tensorflow import constant"
    )
    subprocess.run([sys.executable, "-m", "flowmesh", "run", "-c", program], check=True, timeout=60)
