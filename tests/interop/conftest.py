"""`make interop` runs these. They need TensorFlow, each version in an environment of its own; what needs a version that is
not installed is skipped, with the reason."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

from tests.interop import harness


class Pool:
    """The processes under way: a client of each kind, and one cluster at a time."""

    def __init__(self) -> None:
        self._clients: dict[str, harness.Client] = {}
        self._cluster: tuple[tuple[str, str], harness.Cluster] | None = None
        self._expected: dict[tuple[str, str], Any] = {}

    def client(self, kind: str) -> harness.Client:
        """A client; one that ended or hangs was dropped, and is started anew."""
        if harness.interpreter(kind) is None:
            pytest.skip(harness.missing(kind))
        found = self._clients.get(kind)
        if found is None or not found.alive:
            found = self._clients[kind] = harness.Client(kind)
        return found

    def cluster(self, ps: str, worker: str) -> harness.Cluster:
        """A running cluster of these two."""
        for kind in (ps, worker):
            if harness.interpreter(kind) is None:
                pytest.skip(harness.missing(kind))
        wanted = (ps, worker)
        if self._cluster is not None and (self._cluster[0] != wanted or not self._cluster[1].alive):
            self.drop_cluster()
        if self._cluster is None:
            self._cluster = (wanted, harness.Cluster(ps, worker))
        return self._cluster[1]

    def drop_cluster(self) -> None:
        """Stops the cluster."""
        if self._cluster is not None:
            self._cluster[1].stop()
        self._cluster = None

    def run(self, kind: str, case: str, target: str, container: str, **more: Any) -> Any:
        """Runs a case; after a hang nothing is reused."""
        client = self.client(kind)
        try:
            return client.run(case, target, container.replace("_", "-"), **more)
        except (TimeoutError, RuntimeError) as error:
            log = self._cluster[1].log() if target and self._cluster else ""
            client.stop()
            del self._clients[kind]
            if target:
                self.drop_cluster()
            pytest.fail(f"{case}: {error}\n{log}")

    def expected(self, kind: str, case: str) -> Any:
        """What the case sees in a session of one TensorFlow process."""
        key = (kind, case)
        if key not in self._expected:
            self._expected[key] = self.run(kind, case, "", "expected_" + case)
        return self._expected[key]

    def close(self) -> None:
        self.drop_cluster()
        for client in self._clients.values():
            client.stop()


@pytest.fixture(scope="session")
def pool() -> Iterator[Pool]:
    """The processes of all tests."""
    made = Pool()
    yield made
    made.close()


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """These tests run when they are named, not with all others."""
    named = any("interop" in argument for argument in config.invocation_params.args)
    return None if named or not collection_path.name.startswith("test_") else True
