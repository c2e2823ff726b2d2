"""Math functions and operators build TensorFlow 1.15's graphs: node names, op types, inputs, shapes, gradients."""

from __future__ import annotations

import gzip
import importlib
import json
import pathlib
from types import SimpleNamespace
from typing import Any

import pytest

import flowmesh.ops  # noqa: F401
from flowmesh.core.dtypes import as_dtype
from flowmesh.graph.constant_value import constant_value
from flowmesh.graph.gradients import gradients
from flowmesh.graph.graph import Graph
from flowmesh.graph.raw import raw
from tests.oracle.math_cases import CASES, ERRORS
from tests.oracle.record_math_graphs import build_case, build_error

MODULES = [
    "math_functions",
    "elementwise",
    "comparison",
    "reduce_functions",
    "matmul",
    "matrix_functions",
    "diagonal",
    "contraction",
    "cast",
    "clip",
    "segment_functions",
    "special_functions",
    "math_extra",
]
RECORDED = json.loads(
    gzip.decompress(
        (pathlib.Path(__file__).parents[1] / "oracle" / "math_graphs.json.gz").read_bytes()
    )
)


def namespace() -> Any:
    """The functions under test, as a program sees them."""
    found: dict[str, Any] = {}
    for module in reversed(MODULES):
        members = vars(importlib.import_module(f"flowmesh.ops.{module}"))
        found.update(
            {
                k: v
                for k, v in members.items()
                if getattr(v, "__module__", "") == f"flowmesh.ops.{module}"
            }
        )
    found.update(
        Graph=Graph,
        gradients=gradients,
        placeholder=lambda dtype, shape, name: raw.Placeholder(
            dtype=as_dtype(dtype), shape=shape, name=name
        ),
    )
    return SimpleNamespace(**found)


@pytest.mark.parametrize("name", sorted(CASES))
def test_graph_is_tensorflows(name: str) -> None:
    made = build_case(namespace(), CASES[name], constant_value)
    assert made["nodes"] == RECORDED[name]["nodes"]
    assert made["gradients"] == RECORDED[name]["gradients"]


@pytest.mark.parametrize("name", sorted(ERRORS))
def test_error_is_tensorflows(name: str) -> None:
    raised = build_error(namespace(), ERRORS[name])
    assert _sorted_types(raised) == _sorted_types(RECORDED["errors"][name])


def _sorted_types(text: str) -> str:
    """The list of allowed dtypes has no order with us."""
    start, mark, types = text.partition("list of allowed values: ")
    return start + mark + ", ".join(sorted(types.split(", ")))
