"""Partitioned variables on parameter servers: only rows travel; checkpoints cut in other ways; all parts on their tasks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import flowmesh as tf
from flowmesh.distributed.transport.direct.link import Link
from tests.distributed.clusters import cluster

ROWS, WIDTH = 4096, 16
TENSORFLOWS = Path(__file__).parents[1] / "oracle" / "partitioned_checkpoint"
"""Recorded by tests/oracle/record_partitioned_checkpoint.py."""
TABLE_BYTES = ROWS * WIDTH * 4
IDS = [3, 17, 4000, 2048, 17]


def _table(parts: int, resource: bool, name: str = "table") -> Any:
    return tf.get_variable(
        name,
        [ROWS, WIDTH],
        initializer=tf.ones_initializer(),
        partitioner=tf.fixed_size_partitioner(parts),
        use_resource=resource,
    )


class _Sent:
    """The names and bytes of the tensors that tasks push to other tasks."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.tensors: list[tuple[str, int]] = []
        original = Link.push

        def push(link: Any, step_id: int, transfers: Any) -> None:
            self.tensors += [(k.split(";")[3], getattr(v, "nbytes", 0)) for k, v, _ in transfers]
            original(link, step_id, transfers)

        monkeypatch.setattr(Link, "push", push)

    @property
    def bytes(self) -> int:
        return sum(size for _, size in self.tensors)

    def clear(self) -> None:
        self.tensors.clear()


@pytest.mark.parametrize("resource", [False, True])
@pytest.mark.parametrize("strategy", ["mod", "div"])
@pytest.mark.parametrize("optimizer", ["sgd", "adagrad"])
def test_only_rows_travel(
    monkeypatch: pytest.MonkeyPatch, resource: bool, strategy: str, optimizer: str
) -> None:
    sent = _Sent(monkeypatch)
    make = {"sgd": tf.train.GradientDescentOptimizer, "adagrad": tf.train.AdagradOptimizer}
    with cluster(ps=2, worker=1) as servers, tf.Graph().as_default():
        setter = tf.train.replica_device_setter(ps_tasks=2, worker_device="/job:worker/task:0")
        with tf.device(setter):
            table = _table(4, resource)
            ids = tf.placeholder(tf.int64, [None])
            rows = tf.nn.embedding_lookup(table, ids, strategy)
            loss = tf.reduce_sum(rows * rows)
            step = make[optimizer](0.25).minimize(loss)
        assert [v.device for v in table] == [f"/job:ps/task:{i}" for i in (0, 1, 0, 1)]
        grads = tf.gradients(loss, list(table))
        assert all(isinstance(g, tf.IndexedSlices) for g in grads)
        worker = servers["worker:0"]
        with tf.Session(worker.target) as session:
            session.run(tf.global_variables_initializer())
            session.run([loss, step], {ids: IDS})
            sent.clear()
            session.run([loss, step], {ids: IDS})
            assert sent.tensors, "nothing crosses: the graph is not cut"
            for name, size in sent.tensors:
                assert size <= len(IDS) * WIDTH * 4, f"{name} takes {size} bytes"
            whole = session.run(table.as_tensor())
        assert whole.shape == (ROWS, WIDTH)
        touched = set(np.nonzero((whole != 1).any(axis=1))[0].tolist())
        mod = {i % 4 * (ROWS // 4) + i // 4 for i in IDS}  # part i % 4 holds row i
        assert touched == (set(IDS) if strategy == "div" else mod)


def test_a_step_sends_few_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the direct plane and gRPC carry for a lookup and its update is far less than the table."""
    with cluster(ps=1, worker=1) as servers, tf.Graph().as_default():
        with tf.device("/job:ps/task:0"):
            table = _table(3, False)
        with tf.device("/job:worker/task:0"):
            rows = tf.nn.embedding_lookup(table, IDS)
            loss = tf.reduce_sum(rows * rows)
        step = tf.train.AdagradOptimizer(0.25).minimize(loss)
        sent = _Sent(monkeypatch)
        with tf.Session(servers["worker:0"].target) as session:
            session.run(tf.global_variables_initializer())
            session.run([loss, step])
            sent.clear()
            session.run([loss, step])
            assert 0 < sent.bytes < TABLE_BYTES // 16
            sent.clear()
            with tf.device("/job:worker/task:0"):
                whole = tf.reduce_sum(table.as_tensor() + 0.0)
            session.run(whole)
            # the reading of the whole shows that the count sees it
            assert sent.bytes >= TABLE_BYTES


# -- checkpoints -----------------------------------------------------------------------------------------


def _save(path: Path, parts: int, axis: int, resource: bool, sharded: bool) -> str:
    with tf.Graph().as_default(), tf.Session() as session:
        w = tf.get_variable(
            "w",
            initializer=tf.reshape(tf.range(35.0), [7, 5]),
            partitioner=tf.fixed_size_partitioner(parts, axis=axis) if parts else None,
            use_resource=resource,
        )
        b = tf.get_variable("b", initializer=[1.0, 2.0], use_resource=resource)
        session.run(tf.global_variables_initializer())
        assert w is not b
        return tf.train.Saver(sharded=sharded).save(session, str(path / "model"))


@pytest.mark.parametrize("resource", [False, True])
@pytest.mark.parametrize("sharded", [False, True])
@pytest.mark.parametrize(("saved", "axis"), [(0, 0), (1, 0), (3, 0), (2, 1)])
def test_another_number_of_shards(
    tmp_path: Path, resource: bool, sharded: bool, saved: int, axis: int
) -> None:
    prefix = _save(tmp_path, saved, axis, resource, sharded)
    assert tf.train.list_variables(prefix) == [("b", [2]), ("w", [7, 5])]
    whole = np.arange(35, dtype=np.float32).reshape(7, 5)
    np.testing.assert_array_equal(tf.train.load_variable(prefix, "w"), whole)
    for parts, along in ((0, 0), (1, 0), (2, 0), (7, 0), (3, 1)):
        with tf.Graph().as_default(), tf.Session() as session:
            partitioner = tf.fixed_size_partitioner(parts, axis=along) if parts else None
            w = tf.get_variable("w", [7, 5], partitioner=partitioner, use_resource=not resource)
            tf.get_variable("b", [2])
            tf.train.Saver(sharded=sharded).restore(session, prefix)
            np.testing.assert_array_equal(session.run(tf.convert_to_tensor(w)), whole)
            assert not parts or len(w) == parts


@pytest.mark.parametrize("name", ["whole", "sharded"])
@pytest.mark.parametrize("parts", [0, 1, 2, 5])
def test_checkpoints_of_tensorflow(name: str, parts: int) -> None:
    prefix = str(TENSORFLOWS / name)
    rows = np.arange(14, dtype=np.float32).reshape(7, 2)
    columns = np.arange(10, dtype=np.int64).reshape(2, 5)
    shapes = dict(tf.train.list_variables(prefix))
    assert shapes == {"columns0": [2, 5], "columns1": [2, 5], "rows0": [7, 2], "rows1": [7, 2]}
    with tf.Graph().as_default(), tf.Session() as session:
        partitioner = tf.fixed_size_partitioner(parts) if parts else None
        with tf.variable_scope("", partitioner=partitioner):
            made = [
                tf.get_variable(name, shapes[name], tf.int64 if name[0] == "c" else tf.float32,
                                use_resource=name.endswith("0"))
                for name in sorted(shapes)
            ]  # fmt: skip
        tf.train.Saver(sharded=True).restore(session, prefix)
        found = session.run([tf.convert_to_tensor(v) for v in made])
    for value, expected in zip(found, [columns, columns, rows, rows], strict=True):
        np.testing.assert_array_equal(value, expected)


def test_optimizer_slots_are_cut_anew_too(tmp_path: Path) -> None:
    def build(parts: int) -> Any:
        w = tf.get_variable(
            "w", [6, 2], initializer=tf.ones_initializer(),
            partitioner=tf.fixed_size_partitioner(parts),
        )  # fmt: skip
        opt = tf.train.MomentumOptimizer(0.1, 0.9)
        rows = tf.nn.embedding_lookup(w, [0, 5], "div")
        return w, opt, opt.minimize(tf.reduce_sum(rows))

    with tf.Graph().as_default(), tf.Session() as session:
        w, opt, step = build(2)
        session.run(tf.global_variables_initializer())
        session.run(step)
        session.run(step)
        prefix = tf.train.Saver().save(session, str(tmp_path / "model"))
        expected = session.run([*w, *(opt.get_slot(v, "momentum") for v in w)])
    assert [n for n, _ in tf.train.list_variables(prefix)] == ["w", "w/Momentum"]
    with tf.Graph().as_default(), tf.Session() as session:
        w, opt, _ = build(3)
        tf.train.Saver().restore(session, prefix)
        found = session.run([*w, *(opt.get_slot(v, "momentum") for v in w)])
    np.testing.assert_array_equal(np.concatenate(found[:3]), np.concatenate(expected[:2]))
    np.testing.assert_array_equal(np.concatenate(found[3:]), np.concatenate(expected[2:]))


def test_a_checkpoint_of_another_shape_says_so(tmp_path: Path) -> None:
    prefix = _save(tmp_path, 3, 0, False, False)
    with tf.Graph().as_default(), tf.Session() as session:
        tf.get_variable("w", [8, 5], partitioner=tf.fixed_size_partitioner(2))
        with pytest.raises(tf.errors.InvalidArgumentError):
            tf.train.Saver().restore(session, prefix)


def test_parts_are_saved_by_the_tasks_that_hold_them(tmp_path: Path) -> None:
    with cluster(ps=2, worker=1) as servers:
        target = servers["worker:0"].target

        def build(parts: int) -> Any:
            setter = tf.train.replica_device_setter(ps_tasks=2, worker_device="/job:worker/task:0")
            with tf.device(setter):
                table = _table(parts, True)
                return table, tf.train.Saver(sharded=True)

        with tf.Graph().as_default(), tf.Session(target) as session:
            table, saver = build(4)
            session.run(tf.global_variables_initializer())
            changed = session.run(
                [part.assign(part * (i + 2.0)).op for i, part in enumerate(table)]
            )
            assert changed == [None] * 4
            prefix = saver.save(session, str(tmp_path / "model"))
            whole = session.run(table.as_tensor())
        assert len(list(tmp_path.glob("model.data-*-of-00002"))) == 2
        assert tf.train.list_variables(prefix) == [("table", [ROWS, WIDTH])]
        tf.Session.reset(target)
        with tf.Graph().as_default(), tf.Session(target) as session:
            table, saver = build(3)
            saver.restore(session, prefix)
            np.testing.assert_array_equal(session.run(table.as_tensor()), whole)
