"""Input pipelines are built, and give the elements and errors, as in TensorFlow 1.15."""

from __future__ import annotations

import pytest

from tests.oracle import replay


@pytest.mark.filterwarnings("ignore:tf.data static optimizations are not compatible")
@pytest.mark.parametrize("case", replay.cases("data"))
def test_as_tensorflow(case: str) -> None:
    found = replay.differences("data", case)
    assert not found, "\n".join(found)
