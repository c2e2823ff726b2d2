"""Array, string and control ops against TensorFlow 1.15: node for node, value for value, message for message.

The recordings hold the ops of `tests/oracle/array_cases.py`, StringToHashBucketFast, StringToHashBucketStrong and
StringToHashBucket among them.
"""

from __future__ import annotations

import json
import pathlib
from typing import Any

import pytest

from flowmesh.graph.graph import Graph
from tests.ops import array_program
from tests.oracle.array_cases import BUILD_ERRORS, CASES, RUN_ERRORS

_FOLDER = pathlib.Path(__file__).parents[1] / "oracle"
RECORDED = json.loads((_FOLDER / "array_cases.json").read_text())
ERRORS = json.loads((_FOLDER / "array_errors.json").read_text())

# Where Flowmesh knows a more exact static shape than TensorFlow.
MORE_EXACT = {("gather", "GatherV2_3")}
# TensorFlow's message carries text of its own libraries.
OTHER_WORDS = {"string_type", "regex", "ensure_shape"}


@pytest.mark.parametrize("name", CASES)
def test_program(name: str) -> None:
    graph, values = array_program.run_program(CASES[name])
    want = {node["name"]: node for node in RECORDED[name]["nodes"]}
    got = {op.name: array_program.node(op) for op in graph.get_operations()}
    assert set(got) == set(want)
    for key, node in want.items():
        if (name, key) in MORE_EXACT:
            node = {**node, "shapes": got[key]["shapes"]}
        assert got[key] == node
    same_values(RECORDED[name]["values"], array_program.plain(values))


def same_values(want: Any, got: Any) -> None:
    if isinstance(want, list):
        assert len(want) == len(got)
        for x, y in zip(want, got):
            same_values(x, y)
        return
    assert got["shape"] == want["shape"]
    assert {got["dtype"], want["dtype"]} in ({got["dtype"]}, {"O", "S"})
    assert (
        got["flat"] == pytest.approx(want["flat"], rel=1e-6, nan_ok=True)
        if (want["dtype"] == "f")
        else got["flat"] == want["flat"]
    )


@pytest.mark.parametrize("name", BUILD_ERRORS)
def test_build_error(name: str) -> None:
    check_error("build", name, lambda: run(BUILD_ERRORS[name]))


@pytest.mark.parametrize("name", RUN_ERRORS)
def test_run_error(name: str) -> None:
    check_error("run", name, lambda: evaluate(RUN_ERRORS[name]))


def run(source: str) -> dict[str, Any]:
    scope: dict[str, Any] = {"tf": array_program.Namespace(), "np": array_program.np}
    with Graph().as_default():
        exec(source, scope)
    return scope


def evaluate(source: str) -> None:
    scope = run(source)
    array_program.evaluate([scope["out"]], scope.get("feed"))


def check_error(kind: str, name: str, act: Any) -> None:
    want = ERRORS[kind][name]
    with pytest.raises(Exception) as raised:
        act()
    assert type(raised.value).__name__ == want["type"]
    if name not in OTHER_WORDS:
        message = getattr(raised.value, "message", None) or str(raised.value)
        first = message.split("\n")[0] if kind == "run" else message
        assert first == want["message"]
