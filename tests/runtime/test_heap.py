"""What the C library keeps after it was freed is given back when a peer has gone."""

from __future__ import annotations

import os
import platform
import random
import threading
import weakref
from pathlib import Path

import numpy as np
import pytest

from flowmesh.distributed.server import Server
from flowmesh.graph.graph import Graph
from flowmesh.graph.raw import raw
from flowmesh.runtime import heap
from flowmesh.runtime.heap import Trimmer
from tests.clock import Hands
from tests.distributed.clusters import Client, config


def resident() -> int:
    """The memory of this process, in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs the GNU C library")
def test_free_pages_between_used_ones_are_given_back() -> None:
    r = random.Random(0)
    kept = [np.ones(r.randrange(600, 4000), np.uint8) for _ in range(50_000)]
    total = sum(a.nbytes for a in kept)
    del kept[1::1000], kept[: len(kept) * 9 // 10 : 2]
    r.shuffle(kept)
    del kept[100:]
    before = resident()
    heap.give_back()
    assert resident() < before - total // 4


def test_cycles_are_freed() -> None:
    class Node:
        pass

    node = Node()
    node.itself = node  # type: ignore[attr-defined]
    seen = weakref.ref(node)
    del node
    heap.give_back()
    assert seen() is None


def test_many_occasions_one_trim() -> None:
    clock, done = Hands(), threading.Semaphore(0)
    trimmer = Trimmer(clock, done.release)
    for _ in range(5):
        trimmer.soon()
    assert not done.acquire(blocking=False)
    clock.pass_by(heap.DELAY)
    assert done.acquire(timeout=30)
    assert clock.idle
    trimmer.soon()
    clock.pass_by(heap.INTERVAL - 1.0)
    assert not done.acquire(blocking=False)
    clock.pass_by(1.0)
    assert done.acquire(timeout=30)
    trimmer.soon()
    trimmer.close()
    trimmer.soon()
    assert clock.idle
    assert not done.acquire(blocking=False)


def test_a_server_does_it_when_a_client_has_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    done = threading.Event()
    monkeypatch.setattr(heap, "DELAY", 0.0)
    monkeypatch.setattr(heap, "give_back", done.set)
    with Graph().as_default() as graph, Server.create_local_server() as server:
        raw.Neg(np.float32(1), name="n")
        with Client(server.target, graph, config(rpc=True)) as client:
            assert client.run("n:0") == -1
        assert done.wait(30)
