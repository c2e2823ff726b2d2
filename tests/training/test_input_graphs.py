"""Input producers and batching build TensorFlow 1.15's graphs, node by node, and raise its errors."""

from __future__ import annotations

import json

import pytest

from tests.oracle import programs, replay
from tests.training.input_tf import tf


@pytest.mark.parametrize("case", replay.cases("input"))
def test_as_tensorflow(case: str) -> None:
    expected = replay.recorded("input")[case]
    found = json.loads(json.dumps(programs.run(tf, programs.load("input")[case])))
    lines: list[str] = []
    replay._compare_nodes(expected["nodes"], found["nodes"], lines)
    replay._compare("out", expected["out"], found["out"], lines)
    assert not lines, "\n".join(lines)
