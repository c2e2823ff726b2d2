"""Each row's program on Flowmesh, at a small size: it builds, runs, and gives numbers."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
import pytest

import flowmesh as tf
from benchmarks import runner

NETWORK = {"size": 16, "blocks": (1, 1), "width": 4, "batch": 2}
GRAPH = {"network": "resnet50", "size": 32, "blocks": (1, 1, 1, 1), "width": 8}
SMALL: dict[str, dict[str, Any]] = {
    "csv_pipeline": {"batch": 4, "records": 50},
    "csv_pipeline_blocks": {"batch": 4, "records": 50},
    "eight_networks": {"networks": 2},
    "first_step": {**NETWORK, "blocks": (1,)},
    "graph_construction": GRAPH,
    "graph_export": GRAPH,
    "graph_import": GRAPH,
    "lstm_step": {"vocabulary": 11, "hidden": 8, "steps": 3, "batch": 2},
    "resnet50_forward_b1": NETWORK,
    "resnet50_forward_b32": NETWORK,
    "resnet50_training_b16": {**NETWORK, "blocks": (1,)},
    "word2vec_step": {"words": 200, "size": 4, "batch": 8, "sampled": 4},
}
TOO_LARGE = {"inception_v3_forward_b1", "inception_v3_forward_b32"}
"""Nothing about them can be made small: their graph is built only (by the rows on graphs at full size)."""


@pytest.fixture(autouse=True)
def graph():
    with tf.Graph().as_default():
        yield


@pytest.mark.parametrize("name", [n for n in runner.row_names() if n not in TOO_LARGE])
def test_the_flowmesh_side_runs(name):
    module = runner.row_module(name)
    step = module.build(tf, **SMALL.get(name, {}))
    with contextlib.ExitStack() as stack:
        stack.callback(getattr(step, "close", lambda: None))
        value = getattr(step, "value", None)
        if value is not None:
            assert np.isfinite(value()).all()
        for _ in range(2):
            step()
        getattr(step, "wait", lambda: None)()
        assert getattr(step, "count", 1) >= 1


def test_inception_v3_is_built_as_it_was_published():
    from models import tf1  # on the path since runner.row_names' modules are

    x = tf.placeholder(tf.float32, [1, 299, 299, 3])
    logits = tf1.NETWORKS["inception_v3"](tf1.Builder(tf), x)
    assert logits.shape == [1, 1000]
    before = [op for op in tf.get_default_graph().get_operations() if op.type == "Mean"]
    assert before[-1].inputs[0].shape == [1, 8, 8, 2048]
    weights = [v for v in tf.trainable_variables() if "weights" in v.name]
    assert len(weights) == 95  # 94 convolutions and the linear layer
    assert sum(int(np.prod(v.shape.as_list())) for v in weights) == 23_799_136


def test_resnet_50_is_built_as_it_was_published():
    from models import tf1

    x = tf.placeholder(tf.float32, [1, 224, 224, 3])
    tf1.NETWORKS["resnet50"](tf1.Builder(tf), x)
    sizes = [int(np.prod(v.shape.as_list())) for v in tf.trainable_variables()]
    assert sum(sizes) == 25_557_032


def test_monte_carlo_pi_draws_what_tensorflow_draws():
    """The counts of TensorFlow 1.15.5 for these seeds, interpreted by NumPy and compiled, where the cipher is fused into the sum."""
    module = runner.row_module("monte_carlo_pi")
    expected = [785650.0, 785658.0, 785665.0, 784825.0, 785521.0]
    for execution in ("numpy", "xla"):
        with tf.Graph().as_default():
            config = tf.ConfigProto()
            config.experimental.flowmesh.execution = execution
            step = module.build(tf, config)
            assert [float(step()) for _ in range(5)] == expected, execution
