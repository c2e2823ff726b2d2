"""Bad input: a fast, repeatable share of what `python -m tests.fuzz` does at length."""

import contextlib
import os
import random
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from flowmesh.core import limits
from flowmesh.core.errors import OpError
from flowmesh.distributed.transport.worker_service import load_nodes
from flowmesh.graph.graph import Graph
from flowmesh.proto import graph_pb2
from tests.fuzz import guided, inputs
from tests.fuzz.guided import Guided
from tests.fuzz.target import KINDS, LIMITS, Target

pytestmark = pytest.mark.filterwarnings("ignore")  # kernels warn of what they are given


@pytest.fixture(scope="module")
def target() -> Iterator[Target]:
    """A server with small limits."""
    with limits.use(LIMITS):
        target = Target()
        yield target
        target.close()


@pytest.mark.parametrize("kind", KINDS)
def test_bad_input_is_answered_and_the_server_serves_on(target: Target, kind: str) -> None:
    before = sum(target.strange.values())
    with open(os.devnull, "w") as quiet, contextlib.redirect_stdout(quiet):
        for seed in range(150):
            target.run(kind, seed)
    assert sum(target.strange.values()) == before, target.strange
    target.still_serves()


@pytest.mark.slow
def test_many_bad_inputs(target: Target) -> None:
    before = sum(target.strange.values())
    with open(os.devnull, "w") as quiet, contextlib.redirect_stdout(quiet):
        for seed in range(1_000_000, 1_002_000):
            target.run(KINDS[seed % len(KINDS)], seed)
    assert sum(target.strange.values()) == before, target.strange
    target.still_serves()


@pytest.mark.parametrize("way", range(len(KINDS) + 2))
def test_what_bytes_choose_is_answered_too(
    way: int, capfd: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The inputs of `tests.fuzz.guided`, with bytes that nobody guides."""
    r = random.Random(way)
    with limits.use(LIMITS):
        fuzz = Guided(30, 7)
        try:
            with open(os.devnull, "w") as quiet, contextlib.redirect_stdout(quiet):
                for _ in range(30):
                    fuzz(bytes([way]) + r.randbytes(r.randrange(400)))
            assert "30 inputs of seed 7" in capfd.readouterr().err
            error = {"[x] KeyError at somewhere": 1}
            for name in ("run_with", "run_bytes", "run_stream"):
                monkeypatch.setattr(fuzz.target, name, lambda *_: fuzz.target.strange.update(error))
            with pytest.raises(AssertionError, match=r"31 inputs.*KeyError at somewhere"):
                fuzz(bytes([way]))
            assert "input 31 of seed 7 is answered by" in capfd.readouterr().err
        finally:
            fuzz.target.close()


def test_nothing_guides_the_bytes_where_atheris_is_missing(
    capfd: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "atheris", None)
    monkeypatch.setattr(sys, "argv", ["guided", "--inputs", "60", "--seed", "5"])
    assert guided.main() == 0
    assert "60 inputs of seed 5" in capfd.readouterr().err
    kept = tmp_path / "crash-1"
    kept.write_bytes(b"\0" * 20)
    monkeypatch.setattr(sys, "argv", ["guided", "--again", str(kept)])
    assert guided.main() == 0
    assert "1 inputs of seed 0" in capfd.readouterr().err


@settings(
    derandomize=True,
    max_examples=150,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(st.randoms(use_true_random=False))
def test_a_graph_is_imported_or_refused(r: object) -> None:
    with contextlib.suppress(OpError):
        load_nodes(Graph(), inputs.graph_def(r))  # type: ignore[arg-type]


@settings(derandomize=True, max_examples=150, deadline=None, database=None)
@given(st.binary(max_size=200))
def test_bytes_are_a_graph_or_not(data: bytes) -> None:
    message = graph_pb2.GraphDef()
    try:
        message.ParseFromString(data)
    except Exception:
        return
    with contextlib.suppress(OpError):
        load_nodes(Graph(), message)
