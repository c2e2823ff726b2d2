"""Input producers and batching build TensorFlow 1.15's graphs, node by node, and raise its errors."""

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


@pytest.mark.parametrize("case", replay.cases("input"))
def test_as_tensorflow(case: str) -> None:
    expected = without_modules(replay.recorded("input")[case])
    found = without_modules(programs.run(tf, programs.load("input")[case]))
    lines: list[str] = []
    replay._compare_nodes(expected["nodes"], found["nodes"], lines)
    replay._compare("out", expected["out"], found["out"], lines)
    assert not lines, "\n".join(lines)
