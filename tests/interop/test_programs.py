"""Every case, with every pairing of clients, masters and workers."""

from __future__ import annotations

import pytest
from cases import CASES
from cases.registry import LOCAL

from tests.interop.compare import check_same
from tests.interop.conftest import Pool

# ps, worker, the job whose server is the master, and the client.
SETUPS = {
    "tf115-client": ("flowmesh", "flowmesh", "worker", "tf115"),
    "tf2-client": ("flowmesh", "flowmesh", "worker", "tf2"),
    "tf115-servers": ("tf115", "tf115", "worker", "flowmesh"),
    "flowmesh-ps-as-master": ("flowmesh", "tf115", "ps", "tf115"),
    "tf-worker-as-master": ("flowmesh", "tf115", "worker", "flowmesh"),
    "tf-ps-as-master": ("tf115", "flowmesh", "ps", "tf115"),
    "flowmesh-worker-as-master": ("tf115", "flowmesh", "worker", "flowmesh"),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("setup", SETUPS)
def test_program(pool: Pool, setup: str, case: str) -> None:
    ps, worker, master, client = SETUPS[setup]
    program = CASES[case]
    if client not in program.clients:
        pytest.skip(f"not for {client}")
    if not {ps, worker} <= set(program.servers):
        pytest.skip(f"not on {ps} and {worker}")
    cluster = pool.cluster(ps, worker)
    actual = pool.run(client, case, cluster.targets[master], f"{setup}_{case}", master=master)
    if program.expect is LOCAL:
        expected = pool.expected("tf115" if client == "flowmesh" else client, case)
    else:
        expected = program.expect
    check_same(actual, expected)
