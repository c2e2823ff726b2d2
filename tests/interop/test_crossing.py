"""Files that one system writes and the other reads, and variables that both train."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.interop.compare import check_same
from tests.interop.conftest import Pool


@pytest.mark.parametrize(
    ("writer", "reader"),
    [
        ("tf115", "flowmesh"),
        ("tf2", "flowmesh"),
        ("flowmesh", "tf115"),
        ("flowmesh", "tf2"),
        ("tf115", "tf2"),
    ],
)
def test_files_cross(pool: Pool, tmp_path: Path, writer: str, reader: str) -> None:
    """The last pair is TensorFlow's own: what it does not do, nobody has to."""
    container = f"{writer}-files"
    wrote = pool.run(writer, "write_files", "", container, folder=str(tmp_path))
    seen, trainable, graphs, (count, events), old = pool.run(
        reader, "read_files", "", f"{container}-{reader}", folder=str(tmp_path)
    )
    check_same(seen, wrote)
    assert trainable == ["layer/b", "layer/w", "names"]
    check_same(graphs, [graphs[0], graphs[0]])
    assert count == 1
    assert [(e[0], e[1]) for e in events] == [(s, t) for s in range(3) for t in ("loss", "w")]
    shapes, w, step = old
    assert shapes == {"layer/w": [3, 1], "global_step": []}
    check_same([w, step], [wrote[1], wrote[3]])


@pytest.mark.parametrize(
    ("writer", "reader"),
    [("tf115", "flowmesh"), ("tf2", "flowmesh"), ("flowmesh", "tf115"), ("flowmesh", "tf2")],
)
def test_partitioned_checkpoints_cross(
    pool: Pool, tmp_path: Path, writer: str, reader: str
) -> None:
    wrote = pool.run(writer, "write_partitioned", "", f"{writer}-parts", folder=str(tmp_path))
    read = pool.run(reader, "read_partitioned", "", f"{reader}-read", folder=str(tmp_path))
    assert len(read) == 6
    for seen in read:
        check_same(seen, wrote)


@pytest.mark.parametrize(("ps", "worker"), [("flowmesh", "tf115"), ("tf115", "flowmesh")])
@pytest.mark.parametrize("case", ["share_linear_regression", "share_mlp"])
def test_both_masters_train_the_same_variables(pool: Pool, ps: str, worker: str, case: str) -> None:
    """A TensorFlow client at one master and a Flowmesh client at the other, by turns; the end is that of one process."""
    cluster = pool.cluster(ps, worker)
    clients = [("tf115", "ps"), ("flowmesh", "worker"), ("flowmesh", "ps"), ("tf115", "worker")]

    def run(kind: str, job: str, steps: int, init: bool = False) -> Any:
        extra = {"steps": steps, "init": init}
        return pool.run(kind, case, cluster.targets[job], f"{ps}-{case}", extra=extra)

    run("tf115", "ps", 0, init=True)
    for kind, job in clients:
        trained = run(kind, job, 5)
        for other, other_job in clients:
            check_same(run(other, other_job, 0), trained, f"{other} at {other_job}")
    whole = {"steps": 5 * len(clients), "init": True}
    check_same(trained, pool.run("tf115", case, "", "alone", extra=whole))
