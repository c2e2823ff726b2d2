"""Programs that tests compile are not kept: some change kernels under way, which no key tells. `runtime/test_compile_cache.py` turns it on.
How loudly TensorFlow's logger speaks is the same for each test, whichever ran before it in the process."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from flowmesh.runtime import kept_programs

kept_programs.enabled = False


@pytest.fixture(autouse=True)
def _logging_as_found() -> Iterator[None]:
    """Takes back what a test set at the logger "tensorflow"."""
    logger = logging.getLogger("tensorflow")
    before = logger.level, logger.propagate, logger.disabled
    yield
    logger.setLevel(before[0])
    logger.propagate, logger.disabled = before[1:]
