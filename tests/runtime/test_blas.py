"""NumPy's matrix library is held to one thread, and let go again."""

from __future__ import annotations

from typing import Any

import numpy as np

from flowmesh.graph.graph import Graph
from flowmesh.graph.raw import raw
from flowmesh.runtime import blas, cluster_runner
from tests.runtime.harness import Machine


class Library:
    """Stands for OpenBLAS."""

    def __init__(self) -> None:
        self.threads = 4
        self.told: list[int] = []

    def functions(self) -> tuple[Any, Any]:
        return lambda: self.threads, self.put

    def put(self, count: int) -> None:
        self.told.append(count)
        self.threads = count


def test_nested_uses_restore_the_number_once():
    library = Library()
    single = blas.SingleThread(library.functions)
    with single:
        assert library.threads == 1
        with single:
            assert library.threads == 1
        assert library.threads == 1
    assert library.threads == 4 and library.told == [1, 4]


def test_without_the_library_nothing_happens():
    with blas.SingleThread(lambda: None):
        pass


def test_small_products_only(monkeypatch):
    library = Library()
    monkeypatch.setattr(cluster_runner, "single_thread", blas.SingleThread(library.functions))
    with Graph().as_default() as graph:
        x = np.ones((4, 4), np.float32)
        product, total = raw.MatMul(x, x), raw.Add(x, x)
        machine = Machine("numpy")
        machine.run(graph, [total])
        assert library.told == []
        machine.run(graph, [product])
        assert library.told == [1, 4]
        large = raw.MatMul(
            raw.Fill(np.array([600, 600], np.int32), np.float32(1)),
            raw.Fill(np.array([600, 600], np.int32), np.float32(1)),
        )
        machine.run(graph, [large])
        assert library.told == [1, 4]
