"""`tf.nn` and `tf.image` give TensorFlow 1.15's values and gradients."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import numpy as np
import pytest

from flowmesh.graph.graph import Graph
from tests.ops import interpreter
from tests.ops.nn_vocabulary import vocabulary
from tests.oracle import nn_value_cases

RECORDED: dict[str, Any] = json.loads(
    (pathlib.Path(__file__).parents[1] / "oracle" / "nn_values.json").read_text()
)
TF = vocabulary()


@pytest.mark.parametrize("name", sorted(nn_value_cases.CASES))
def test_values(name: str) -> None:
    with Graph().as_default():
        built = nn_value_cases.listed(nn_value_cases.CASES[name](TF))
        got = interpreter.evaluate(built, {})
    assert len(got) == len(RECORDED[name])
    for value, want in zip(got, RECORDED[name]):
        assert str(value.dtype) == want["dtype"]
        expected = np.array(want["values"]).reshape(want["shape"])
        assert value.shape == expected.shape
        if value.dtype.kind in "iu":
            assert np.abs(value.astype(np.int64) - expected).max() <= 1
        else:
            np.testing.assert_allclose(value.astype(float), expected, rtol=3e-5, atol=3e-5)
