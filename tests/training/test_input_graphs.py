"""Input producers, batching, parsing and image functions against TensorFlow 1.15: graphs node by node, values, errors."""

from __future__ import annotations

import functools
import json
import re
from typing import Any

import pytest

from flowmesh.graph.graph import Graph
from tests.oracle import programs, replay
from tests.training.input_tf import tf


def without_modules(result: Any) -> Any:
    """The result as JSON, with objects of the two packages called by their class only."""
    return json.loads(re.sub(r"<[\w.]+\.(\w+) object", r"<\1 object", json.dumps(result)))


def close(a: Any, b: Any) -> bool:
    """Whether two results are the same up to rounding of their floats."""
    if isinstance(a, dict) and isinstance(b, dict):
        if a.get("dtype") == b.get("dtype") == "float32" and a["shape"] == b["shape"]:
            pairs = zip(map(float, a["array"]), map(float, b["array"]))
            return all(abs(x - y) <= 3e-5 * max(1.0, abs(x)) for x, y in pairs)
        return a.keys() == b.keys() and all(close(a[k], b[k]) for k in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(close, a, b))
    return a == b


AREAS = ("input", "parsing", "image_file", "image_measures")
OPS = """
    ParseExample ParseSingleExample ParseSingleSequenceExample ParseSequenceExample ParseTensor SerializeTensor SerializeSparse
    SerializeManySparse DeserializeManySparse SparseReorder DecodeCompressed DecodeJpeg DecodeAndCropJpeg DecodePng DecodeGif
    DecodeBmp ExtractJpegShape EncodeJpeg EncodeJpegVariableQuality EncodePng DrawBoundingBoxes DrawBoundingBoxesV2
    SampleDistortedBoundingBoxV2 NonMaxSuppressionV3 AddManySparseToTensorsMap
"""


@functools.cache
def outcome(area: str, case: str) -> tuple[Any, frozenset[str]]:
    """What a program gives here, and the types of the ops that it made."""
    made: set[str] = set()
    create = Graph.create_operation

    def noted(self: Any, definition: Any, *args: Any, **kwargs: Any) -> Any:
        made.add(definition.op_type)
        return create(self, definition, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Graph, "create_operation", noted)
        found = programs.run(tf, programs.load(area)[case])
    return without_modules(found), frozenset(made)


@pytest.mark.parametrize(
    ("area", "case"), [(area, case) for area in AREAS for case in replay.cases(area)]
)
def test_as_tensorflow(area: str, case: str) -> None:
    expected = without_modules(replay.recorded(area)[case])
    found, _ = outcome(area, case)
    lines: list[str] = []
    replay._compare_nodes(expected["nodes"], found["nodes"], lines)
    if isinstance(expected["out"], list) and isinstance(found["out"], list):
        for i, (a, b) in enumerate(zip(expected["out"], found["out"])):
            if not close(a, b):
                replay._compare(f"out[{i}]", a, b, lines)
        assert len(expected["out"]) == len(found["out"])
    elif not close(expected["out"], found["out"]):
        replay._compare("out", expected["out"], found["out"], lines)
    assert not lines, "\n".join(lines)


def test_the_programs_make_all_of_these_ops() -> None:
    made: set[str] = set()
    for area in AREAS:
        for case in replay.cases(area):
            made |= outcome(area, case)[1]
    assert set(OPS.split()) <= made
