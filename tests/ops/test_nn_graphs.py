"""`tf.nn`'s functions build TensorFlow 1.15's nodes, names and all, and raise its errors."""

from __future__ import annotations

import json
import pathlib

import pytest

from tests.ops.nn_vocabulary import vocabulary
from tests.oracle import nn_graph_cases

RECORDED: dict[str, list[str]] = json.loads(
    (pathlib.Path(__file__).parents[1] / "oracle" / "nn_graphs.json").read_text()
)
TF = vocabulary()


@pytest.mark.parametrize("name", sorted(nn_graph_cases.CASES))
def test_graph(name: str) -> None:
    assert nn_graph_cases.describe(TF, nn_graph_cases.CASES[name]) == RECORDED[name]
