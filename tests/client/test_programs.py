"""Sessions run what TensorFlow 1.15 runs, with its results and its errors."""

from __future__ import annotations

import pytest

from tests.oracle import replay

AREAS = ("session", "training_runs")


@pytest.mark.parametrize(
    ("area", "case"), [(area, case) for area in AREAS for case in replay.cases(area)]
)
def test_as_tensorflow(area: str, case: str) -> None:
    found = replay.differences(area, case)
    assert not found, "\n".join(found)
