"""Placement as TensorFlow 1.15 recorded it (`tests/oracle/record_placement.py`)."""

from __future__ import annotations

import json
import pathlib
import re

import pytest

from flowmesh.core import dtypes, errors
from flowmesh.graph.graph import Graph
from flowmesh.graph.raw import raw
from flowmesh.passes.place import place
from flowmesh.passes.prune import topological_order
from tests.passes.builders import const, devices

CASES = json.loads((pathlib.Path(__file__).parents[1] / "oracle" / "placement.json").read_text())


def make(kind, values, name):
    match kind:
        case "const":
            return const([1.0], name)
        case "neg":
            return raw.Neg(values[0], name=name)
        case "shape":
            return raw.Shape(values[0], name=name)
        case "identity":
            return raw.Identity(values[0], name=name)
        case "variable":
            return raw.VariableV2(shape=[1], dtype=dtypes.float32, name=name)
        case "assign":
            return raw.Assign(*values, name=name)
        case "handle":
            return raw.VarHandleOp(dtype=dtypes.float32, shape=[1], name=name)
        case "read":
            return raw.ReadVariableOp(values[0], dtype=dtypes.float32, name=name)
        case _:
            return raw.AssignVariableOp(*values, name=name)


def build(nodes):
    graph = Graph()
    made = {}
    with graph.as_default():
        for name, kind, inputs, device, near in nodes:
            with graph.device(device or None):
                made[name] = make(kind, [made[i] for i in inputs], name)
            if near is not None:
                getattr(made[name], "op", made[name]).extra_attrs["_class"] = (
                    b"loc:@" + near.encode(),
                )
    return graph


def normalized(text):
    """The message without origins, hints, and the devices that a colocation error repeats from the program."""
    text = re.sub(r" \(defined at [^)]*\)", "", text.split("\n\t [[")[0])
    text = re.sub(r" The requested device appears to be a GPU.*", "", text)
    text = re.sub(r"placed on device (/device:CPU:\d)?", "placed on device ", text)
    return re.sub(r"\s+", " ", text).replace(" :", ":")


@pytest.mark.parametrize("case", CASES, ids=[f"{c['name']}-{c['soft']}" for c in CASES])
def test_placement_is_tensorflows(case):
    graph = build(case["nodes"])
    ops = topological_order(graph.get_operations())
    available = devices("CPU:0", "CPU:1")
    if "error" in case:
        with pytest.raises(errors.InvalidArgumentError) as caught:
            place(ops, available, allow_soft_placement=case["soft"])
        assert normalized(caught.value.message) == normalized(case["error"])
        return
    found = place(ops, available, allow_soft_placement=case["soft"])
    for op, device in found.items():
        if op.name in case["placed"]:
            assert device == case["placed"][op.name], op.name
