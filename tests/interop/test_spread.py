"""A loop that a TensorFlow master has spread over itself and two tasks of Flowmesh."""

from __future__ import annotations

import json

import numpy as np
import pytest

from flowmesh.distributed.server import Server
from flowmesh.runtime.loop_runner import SpreadRunner
from tests.interop import harness
from tests.ports import free_ports


@pytest.mark.parametrize("release", ["tf115", "tf2"])
def test_a_loop_over_three_tasks(release: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if harness.interpreter(release) is None:
        pytest.skip(harness.missing(release))
    made: list[str] = []
    begin = SpreadRunner.__init__

    def noted(self: SpreadRunner, op, make) -> None:  # type: ignore[no-untyped-def]
        made.append(op.device)
        begin(self, op, make)

    monkeypatch.setattr(SpreadRunner, "__init__", noted)
    ports = [f"localhost:{port}" for port in free_ports(3)]
    spec = {"ps": ports[:2], "worker": ports[2:]}
    processes = []
    with Server(spec, "ps", 0) as one, Server(spec, "ps", 1) as other:
        try:
            processes.append(harness.Process(release, "server.py", json.dumps(spec), "worker", "0"))
            target = processes[0].line(harness.START_SECONDS).split()[1]
            client = harness.Client(release)
            processes.append(client)
            seen = client.run("spread_over_three", target, "three")
        finally:
            for process in processes:
                process.stop()
        assert not one._worker.step_ids() and not other._worker.step_ids()
    assert {device.split("/")[3] for device in made} == {"task:0", "task:1"}
    x = np.float32([1, 2])
    for i in range(20):
        x = ((x * np.float32(0.5) + 1) * np.float32(0.25) - i).astype(np.float32)
    np.testing.assert_allclose(seen["data"], x, rtol=1e-6)
