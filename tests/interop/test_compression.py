"""Compression asked for where one of two tasks is TensorFlow's.

A master of Flowmesh compresses what the session asks for, with TensorFlow's own ops, whoever the tasks are; one of TensorFlow does not know Flowmesh's
options, and sends everything as it is.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.interop.conftest import Pool

VALUES = np.random.RandomState(5).standard_normal(3000).astype(np.float32)
LARGEST = float(np.abs(VALUES).max())
# What one way may change, as in docs/clusters.md; TensorFlow's own switch cuts digits off.
BOUNDS = {
    "bfloat16": 2.0**-8 * np.abs(VALUES),
    "float16": 2.0**-11 * np.abs(VALUES) + 2.0**-25,
    "int8": np.full(VALUES.shape, LARGEST / 254 * 1.001),
    "sendrecv": 2.0**-7 * np.abs(VALUES),
}
# The ps, the worker, and which of the two is the master.
PAIRS = [
    ("tf115", "flowmesh", "worker"),
    ("tf115", "flowmesh", "ps"),
    ("flowmesh", "tf115", "ps"),
    ("flowmesh", "tf115", "worker"),
]


def run(pool: Pool, client: str, ps: str, worker: str, job: str, kind: str) -> list[Any]:
    target = pool.cluster(ps, worker).targets[job]
    container = f"{client}-{ps}-{job}-{kind or 'none'}"
    found = pool.run(client, "compressed", target, container, extra={"kind": kind})
    seen, numbers, total = (np.asarray(x["data"]) for x in found)
    np.testing.assert_array_equal(numbers, 2 * np.arange(1000))
    return [np.abs(seen + VALUES), np.abs(total + VALUES)]


@pytest.mark.parametrize(("ps", "worker", "job"), PAIRS)
@pytest.mark.parametrize("kind", ["", "bfloat16", "float16", "int8"])
def test_what_a_session_asks_for(pool: Pool, ps: str, worker: str, job: str, kind: str) -> None:
    once, twice = run(pool, "flowmesh", ps, worker, job, kind)
    master = ps if job == "ps" else worker
    if master == "tf115" or not kind:
        assert not once.any() and not twice.any()
        return
    assert once.any() and np.all(once <= BOUNDS[kind])
    assert twice.any() and np.all(twice <= 2.01 * BOUNDS[kind])


@pytest.mark.parametrize(("ps", "worker", "job"), PAIRS)
@pytest.mark.parametrize("client", ["tf115", "flowmesh"])
def test_tensorflows_own_switch(pool: Pool, client: str, ps: str, worker: str, job: str) -> None:
    once, twice = run(pool, client, ps, worker, job, "sendrecv")
    assert once.any() and np.all(once <= BOUNDS["sendrecv"])
    assert twice.any() and np.all(twice <= 2.01 * BOUNDS["sendrecv"])


@pytest.mark.parametrize(("ps", "worker", "job"), PAIRS)
def test_clients_of_tensorflow_ask_for_nothing(pool: Pool, ps: str, worker: str, job: str) -> None:
    once, twice = run(pool, "tf115", ps, worker, job, "")
    assert not once.any() and not twice.any()
