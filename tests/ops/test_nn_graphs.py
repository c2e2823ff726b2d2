"""`tf.nn`'s functions build TensorFlow 1.15's nodes, names and all, and raise its errors."""

from __future__ import annotations

import importlib
import json
import pathlib
import pkgutil
from types import SimpleNamespace
from typing import Any

import pytest

import flowmesh.ops
from flowmesh.core import dtypes
from flowmesh.graph.gradients import gradients
from flowmesh.graph.graph import Graph
from flowmesh.graph.raw import raw
from tests.oracle import nn_graph_cases

RECORDED: dict[str, list[str]] = json.loads(
    (pathlib.Path(__file__).parents[1] / "oracle" / "nn_graphs.json").read_text()
)


def vocabulary() -> Any:
    """Our functions under the names that the cases use."""
    functions: dict[str, Any] = {}
    for module in pkgutil.iter_modules(flowmesh.ops.__path__):
        loaded = importlib.import_module(f"flowmesh.ops.{module.name}")
        for name, value in vars(loaded).items():
            if getattr(value, "__module__", None) == loaded.__name__ and not name.startswith("_"):
                functions[name] = value
    nn = SimpleNamespace(**functions)
    types = {name: getattr(dtypes, name) for name in ("float16", "float32", "int32", "int64")}
    return SimpleNamespace(
        nn=nn,
        Graph=Graph,
        raw_ops=raw,
        gradients=gradients,
        placeholder=functions["placeholder"],
        **types,
    )


TF = vocabulary()


@pytest.mark.parametrize("name", sorted(nn_graph_cases.CASES))
def test_graph(name: str) -> None:
    assert nn_graph_cases.describe(TF, nn_graph_cases.CASES[name]) == RECORDED[name]
