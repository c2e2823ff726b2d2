"""Layers beyond what is recorded: what they refuse, and what is Flowmesh's own."""

from __future__ import annotations

import numpy as np
import pytest

from flowmesh.client.session import Session
from flowmesh.core.dtypes import float32
from flowmesh.frontend import rnn_cell
from flowmesh.frontend.dynamic_rnn import dynamic_rnn
from flowmesh.frontend.layers import convolutional, core, normalization
from flowmesh.frontend.variable_collections import global_variables_initializer
from flowmesh.graph.graph import Graph
from flowmesh.ops.constant import constant
from flowmesh.ops.placeholder import placeholder


def test_batch_normalization_refuses_what_it_does_not_do() -> None:
    with pytest.raises(ValueError, match="renorm"):
        normalization.BatchNormalization(renorm=True)


def test_layer_counts_its_numbers() -> None:
    with Graph().as_default():
        layer = core.Dense(3)
        with pytest.raises(ValueError, match="isn't built"):
            layer.count_params()
        layer(placeholder(float32, [None, 4]))
        assert layer.count_params() == 15


def test_dilated_convolution_computes_what_it_says() -> None:
    values = np.arange(2 * 7 * 7 * 1, dtype=np.float32).reshape(2, 7, 7, 1)
    with Graph().as_default(), Session() as session:
        kernel = np.random.RandomState(0).rand(3, 3, 1, 2).astype(np.float32)
        layer = convolutional.Conv2D(
            2, 3, dilation_rate=2, use_bias=False,
            kernel_initializer=lambda shape, dtype=None, partition_info=None: constant(kernel),
        )  # fmt: skip
        output = layer(constant(values))
        session.run(global_variables_initializer())
        found = session.run(output)
    wanted = np.zeros((2, 3, 3, 2), np.float32)
    for i in range(3):
        for j in range(3):
            window = values[:, i : i + 5 : 2, j : j + 5 : 2, 0]
            wanted[:, i, j] = np.einsum("nab,abo->no", window, kernel[:, :, 0])
    np.testing.assert_allclose(found, wanted, rtol=1e-5)


def test_dynamic_rnn_takes_any_number_of_steps() -> None:
    with Graph().as_default():
        inputs = placeholder(float32, [None, None, 3])
        outputs, state = dynamic_rnn(rnn_cell.GRUCell(2), inputs, dtype=float32)
        assert outputs.shape.as_list() == [None, None, 2]
        assert state.shape.as_list() == [None, 2]
