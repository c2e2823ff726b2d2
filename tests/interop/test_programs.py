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
    "tf2-servers": ("tf2", "tf2", "worker", "flowmesh"),
    "tf2-ps-as-master": ("tf2", "flowmesh", "ps", "tf2"),
    "tf2-worker-as-master": ("flowmesh", "tf2", "worker", "tf2"),
    "flowmesh-ps-as-master": ("flowmesh", "tf115", "ps", "tf115"),
    "tf-worker-as-master": ("flowmesh", "tf115", "worker", "flowmesh"),
    "tf-ps-as-master": ("tf115", "flowmesh", "ps", "tf115"),
    "flowmesh-worker-as-master": ("tf115", "flowmesh", "worker", "flowmesh"),
}


def runs() -> list[tuple[str, str]]:
    """The setups with the cases that are for them."""
    return [
        (setup, case.name)
        for setup, (ps, worker, _, client) in SETUPS.items()
        for case in CASES.values()
        if client in case.clients and {ps, worker} <= set(case.servers)
    ]


@pytest.mark.parametrize(("setup", "case"), runs())
def test_program(pool: Pool, setup: str, case: str) -> None:
    ps, worker, master, client = SETUPS[setup]
    program = CASES[case]
    cluster = pool.cluster(ps, worker)
    actual = pool.run(client, case, cluster.targets[master], f"{setup}_{case}", master=master)
    if program.expect is LOCAL:
        expected = pool.expected("tf115" if client == "flowmesh" else client, case)
    else:
        expected = program.expect
    check_same(actual, expected)
