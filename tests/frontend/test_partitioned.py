"""Partitioned variables are named, cut, looked up in, updated, placed and saved as by TensorFlow 1.15."""

from __future__ import annotations

import pytest

from tests.oracle import replay


@pytest.mark.parametrize("case", replay.cases("partitioned"))
def test_as_tensorflow(case: str) -> None:
    found = replay.differences("partitioned", case)
    assert not found, "\n".join(found)
