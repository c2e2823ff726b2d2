"""A ps and a worker on two networks with a cable between them, which is pulled: the direct plane notices, too."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from flowmesh.cli.chaos.cluster import PATIENCE
from flowmesh.cli.chaos.judge import BOUND
from flowmesh.cli.chaos.nursery import Nursery

SPEC = {"ps": ["10.77.7.1:22001"], "worker": ["10.77.7.2:22002"]}
TASK = "/job:worker/task:0"


def _ip(*words: str) -> bool:
    return subprocess.run(["ip", *words], capture_output=True, check=False).returncode == 0


@pytest.fixture
def namespaces() -> Iterator[tuple[str, str]]:
    """Two network namespaces and a cable; skipped where they cannot be made."""
    if not shutil.which("ip") or not hasattr(os, "geteuid") or os.geteuid() != 0:
        pytest.skip("needs root and iproute2")
    names = (f"fm{os.getpid()}a", f"fm{os.getpid()}b")
    try:
        made = all(_ip("netns", "add", name) for name in names) and _ip(
            "link", "add", f"{names[0]}v", "netns", names[0], "type", "veth",
            "peer", "name", f"{names[1]}v", "netns", names[1],
        )  # fmt: skip
        for index, name in enumerate(names, 1):
            made = (
                made
                and _ip("-n", name, "addr", "add", f"10.77.7.{index}/24", "dev", f"{name}v")
                and _ip("-n", name, "link", "set", f"{name}v", "up")
                and _ip("-n", name, "link", "set", "lo", "up")
            )
        if not made:
            pytest.skip("network namespaces are not available")
        yield names
    finally:
        for name in names:
            _ip("netns", "del", name)


@pytest.mark.parametrize("plane", ["on", "off"])
def test_a_pulled_cable_is_noticed_and_mended(namespaces: tuple[str, str], plane: str) -> None:
    environ = {"FLOWMESH_INSECURE": "1", "FLOWMESH_DIRECT_PLANE": plane}
    with ExitStack() as stack:
        nurseries = [
            stack.enter_context(Nursery(environ, ("ip", "netns", "exec", name)))
            for name in namespaces
        ]
        ps, worker = (n.member(name) for n, name in zip(nurseries, SPEC))
        for member, job in ((ps, "ps"), (worker, "worker")):
            member.ask("serve", cluster=SPEC, job=job, index=0, config=PATIENCE).result()
        settings: dict[str, Any] = {
            "target": "own", "tasks": [TASK], "filters": [], "config": PATIENCE
        }  # fmt: skip
        worker.ask("open", **settings).result()
        worker.ask("prepare").result()
        worker.ask("more", steps=3).result()
        train = worker.ask("train")
        train.started.wait(BOUND)
        assert _ip("-n", namespaces[0], "link", "set", f"{namespaces[0]}v", "down")
        assert train.wait(BOUND)
        assert "Unavailable" in train.error or "Aborted" in train.error
        assert "/job:ps/replica:0/task:0" in train.error
        assert _ip("-n", namespaces[0], "link", "set", f"{namespaces[0]}v", "up")
        acknowledged, attempted = worker.ask("updates").result()
        worker.ask("close").wait(BOUND)
        worker.ask("open", **settings).result(BOUND)
        assert worker.ask("prepare").result(BOUND) == "alive"
        assert acknowledged <= worker.ask("value").result(BOUND) <= attempted
