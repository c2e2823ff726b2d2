"""A ps and a worker on two networks with a cable between them, which is pulled: the direct plane notices, too."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from flowmesh.cli.chaos.cluster import PATIENCE
from flowmesh.cli.chaos.judge import BOUND
from flowmesh.cli.chaos.nursery import Answer, Nursery

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


class Pair:
    """A ps in the first namespace, and a worker, which trains, in the second."""

    def __init__(self, stack: ExitStack, names: tuple[str, str], plane: str):
        self.names = names
        environ = {"FLOWMESH_INSECURE": "1", "FLOWMESH_DIRECT_PLANE": plane}
        nurseries = [
            stack.enter_context(Nursery(environ, ("ip", "netns", "exec", name))) for name in names
        ]
        self.ps, self.worker = (n.member(name) for n, name in zip(nurseries, SPEC))
        for member, job in ((self.ps, "ps"), (self.worker, "worker")):
            member.ask("serve", cluster=SPEC, job=job, index=0, config=PATIENCE).result()
        self.open()
        self.worker.ask("prepare").result()
        self.worker.ask("more", steps=3).result()

    def open(self) -> None:
        """The worker makes its session."""
        settings: dict[str, Any] = {
            "target": "own", "tasks": [TASK], "filters": [], "config": PATIENCE
        }  # fmt: skip
        self.worker.ask("open", **settings).result(BOUND)

    def train(self) -> Answer:
        """Training that goes on."""
        train = self.worker.ask("train")
        train.started.wait(BOUND)
        return train

    def check_error(self, train: Answer) -> None:
        """Training ends in time, with an error that names the ps."""
        assert train.wait(BOUND)
        assert "Unavailable" in train.error or "Aborted" in train.error
        assert "/job:ps/replica:0/task:0" in train.error

    def check_mended(self) -> None:
        """A new session finds the variables alive, and no acknowledged update is missing."""
        acknowledged, attempted = self.worker.ask("updates").result()
        self.worker.ask("close").wait(BOUND)
        self.open()
        assert self.worker.ask("prepare").result(BOUND) == "alive"
        assert acknowledged <= self.worker.ask("value").result(BOUND) <= attempted
        for member in (self.ps, self.worker):
            pause = threading.Event()
            for _ in range(300):
                if not (left := member.ask("steps").result()):
                    break
                pause.wait(0.05)
            assert not left


planes = pytest.mark.parametrize("plane", ["on", "off"])


@planes
def test_a_pulled_cable_is_noticed_and_mended(namespaces: tuple[str, str], plane: str) -> None:
    with ExitStack() as stack:
        pair = Pair(stack, namespaces, plane)
        train = pair.train()
        assert _ip("-n", namespaces[0], "link", "set", f"{namespaces[0]}v", "down")
        pair.check_error(train)
        assert _ip("-n", namespaces[0], "link", "set", f"{namespaces[0]}v", "up")
        pair.check_mended()


@pytest.mark.slow
@planes
def test_reset_connections_are_noticed_and_mended(namespaces: tuple[str, str], plane: str) -> None:
    if not shutil.which("ss"):
        pytest.skip("needs iproute2")
    with ExitStack() as stack:
        pair = Pair(stack, namespaces, plane)
        train = pair.train()
        _ip("netns", "exec", namespaces[0], "ss", "-K", "dst", "10.77.7.2")
        if not train.wait(2.0):
            pair.worker.ask("enough").result()
            pytest.skip("this kernel ends no connections")
        pair.check_error(train)
        pair.check_mended()


@pytest.mark.slow
@planes
def test_a_slow_link_is_slow_and_no_more(namespaces: tuple[str, str], plane: str) -> None:
    """2 MB/s, where a step sends 256 kB: nothing is given up."""
    queue = ("root", "tbf", "rate", "16mbit", "burst", "64kb", "latency", "2s")
    with ExitStack() as stack:
        pair = Pair(stack, namespaces, plane)
        for name in namespaces:
            words = ("netns", "exec", name, "tc", "qdisc", "add", "dev", f"{name}v", *queue)
            if not shutil.which("tc") or not _ip(*words):
                pytest.skip("this kernel slows no links")
        before = pair.worker.ask("updates").result()[0]
        assert pair.worker.ask("more", steps=2).result(BOUND) == before + 2
        assert pair.worker.ask("value").result(BOUND) == before + 2
        pair.check_mended()
