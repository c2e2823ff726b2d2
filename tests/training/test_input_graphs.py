"""Input producers, batching, parsing and image functions against TensorFlow 1.15: graphs node by node, values, errors.

Among them ResizeBicubic and ResizeBicubicGrad, ResizeArea, CropAndResize with CropAndResizeGradImage and
CropAndResizeGradBoxes, all of them under NumPy.
"""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

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


AREAS = ("input", "parsing", "image_file")


@pytest.mark.parametrize(
    ("area", "case"), [(area, case) for area in AREAS for case in replay.cases(area)]
)
def test_as_tensorflow(area: str, case: str) -> None:
    expected = without_modules(replay.recorded(area)[case])
    found = without_modules(programs.run(tf, programs.load(area)[case]))
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
