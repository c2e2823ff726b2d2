"""Layers, losses, metrics, recurrent networks and contrib build and compute what TensorFlow 1.15 does."""

from __future__ import annotations

import re

import pytest

from tests.oracle import replay

AREAS = ("layers", "losses", "metrics", "rnn", "contrib", "tutorial")
_SHAPE = re.compile(r".*shapes\[\d+\]:\n   TF       '(.*)'\n   Flowmesh '(.*)'")


def _better_known(line: str) -> bool:
    """Whether a difference is only that Flowmesh infers more of a static shape than TensorFlow."""
    found = _SHAPE.fullmatch(line)
    if found is None:
        return False
    theirs, ours = found.groups()
    return theirs == "?" or bool(
        re.fullmatch(re.escape(theirs).replace(re.escape("?"), "[^,]*"), ours)
    )


@pytest.mark.parametrize(
    ("area", "case"), [(area, case) for area in AREAS for case in replay.cases(area)]
)
def test_as_tensorflow(area: str, case: str) -> None:
    found = [line for line in replay.differences(area, case) if not _better_known(line)]
    assert not found, "\n".join(found)
