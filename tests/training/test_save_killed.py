"""A save that is killed, at any write and any change of the file system: the newest whole checkpoint stays usable."""

from __future__ import annotations

import builtins
import multiprocessing
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import flowmesh as tf
from tests.training.forked import Task


class Killed(OSError):
    """What every access to files raises from the moment of death on: cleaning up does not happen either."""


class Faults:
    """The file layer, which dies at a given operation. A write that dies has written half of its bytes."""

    CHANGES = ("replace", "remove", "makedirs", "rmdir", "rename", "unlink")

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, die_at: int | None) -> None:
        self.folder = str(folder)
        self.count = 0
        self.die_at = die_at
        self.died: str | None = None
        self._open = builtins.open
        monkeypatch.setattr(builtins, "open", self.open)
        for name in self.CHANGES:
            monkeypatch.setattr(os, name, self._counted(name, getattr(os, name)))

    def step(self, what: str) -> None:
        """Counts an operation, and dies when it is the one."""
        if self.died is not None:
            raise Killed(f"dead since {self.died}")
        if self.count == self.die_at:
            self.died = what
            raise Killed(what)
        self.count += 1

    def _counted(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(path: Any, *args: Any, **kwargs: Any) -> Any:
            if str(path).startswith(self.folder):
                self.step(f"{name} {Path(path).name}")
            return function(path, *args, **kwargs)

        return call

    def open(self, file: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        if not str(file).startswith(self.folder) or not set(mode) & set("wax+"):
            return self._open(file, mode, *args, **kwargs)
        self.step(f"open {Path(file).name}")
        return _File(self._open(file, mode, *args, **kwargs), self)


class _File:
    def __init__(self, file: Any, faults: Faults) -> None:
        self._file = file
        self._faults = faults

    def write(self, data: Any) -> int:
        try:
            self._faults.step(f"write {Path(self._file.name).name}")
        except Killed:
            if not self._file.closed:
                self._file.write(data[: len(data) // 2])
                self._file.flush()
            raise
        written = self._file.write(data)
        self._file.flush()
        return int(written)

    def close(self) -> None:
        self._file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __enter__(self) -> _File:
        return self

    def __exit__(self, *exc: object) -> None:
        self._file.close()


class Model:
    """Variables on two devices that all hold one number; saved by steps, only the newest two kept."""

    def __init__(self, sharded: bool) -> None:
        self.graph = tf.Graph()
        with self.graph.as_default():
            self.variables = []
            for i in range(2):
                with tf.device(f"/cpu:{i}"):
                    self.variables.append(tf.get_variable(f"v{i}", initializer=tf.zeros([50])))
            self.number = tf.placeholder(tf.float32, [])
            filled = [tf.assign(v, tf.fill([50], self.number)).op for v in self.variables]
            self.fill = tf.group(*filled)
            self.saver = tf.train.Saver(sharded=sharded, max_to_keep=2)
        config = tf.ConfigProto(device_count={"CPU": 2})
        self.session = tf.Session(graph=self.graph, config=config)

    def save(self, number: int, folder: Path, numbered: bool = True) -> None:
        self.session.run(self.fill, {self.number: number})
        step = number if numbered else None
        self.saver.save(self.session, str(folder / "model"), global_step=step)

    def restored(self, folder: Path) -> int:
        """The number that the newest checkpoint restores to, in all variables."""
        self.session.run(self.fill, {self.number: -1})
        newest = tf.train.latest_checkpoint(folder)
        assert newest is not None
        self.saver.restore(self.session, newest)
        values = np.concatenate(self.session.run(self.variables))
        assert len(set(values.tolist())) == 1, "a mixture of two checkpoints"
        return int(values[0])


@pytest.fixture(params=[False, True], ids=["one file", "sharded"])
def model(request: pytest.FixtureRequest) -> Iterator[Model]:
    made = Model(request.param)
    yield made
    made.session.close()


@pytest.mark.parametrize("numbered", [True, False], ids=["numbered", "one name"])
def test_death_at_every_operation(model: Model, tmp_path: Path, numbered: bool) -> None:
    points: list[str] = []
    for die_at in range(200):
        folder = tmp_path / str(die_at)
        folder.mkdir()
        model.saver.set_last_checkpoints_with_time([])
        for number in (1, 2):
            model.save(number, folder, numbered)
        with pytest.MonkeyPatch.context() as patch:
            faults = Faults(folder, patch, die_at)
            try:
                model.save(3, folder, numbered)
            except Exception:
                assert faults.died is not None
        if faults.died is None and die_at >= faults.count:
            break
        points.append(faults.died or "")
        found = model.restored(folder)
        assert found in (2, 3), f"dead at {points[-1]}: {sorted(os.listdir(folder))}"
        if "remove model-1" in points[-1]:
            assert found == 3, "an old checkpoint goes only when the new one is in place"
        model.saver.recover_last_checkpoints(
            tf.train.get_checkpoint_state(folder).all_model_checkpoint_paths
        )
        model.save(4, folder, numbered)
        assert model.restored(folder) == 4, f"after death at {points[-1]}"
    else:
        raise AssertionError("the save never came to its end")
    kinds = {point.partition(" ")[0] for point in points}
    assert {"open", "write", "replace", "remove"} <= kinds, points
    left = [name for name in os.listdir(folder) if ".data-" in name]
    assert len(left) == (2 if numbered else 1) * (2 if model.saver.saver_def.sharded else 1), left
    assert len(points) >= 12, points


def save_for_ever(say: Callable[..., None], folder: str) -> None:
    """Saves large variables again and again, each time another number in all of them."""
    import flowmesh as tf

    number = tf.placeholder(tf.float32, [])
    variables = [tf.get_variable(f"v{i}", initializer=tf.zeros([500_000])) for i in range(3)]
    fill = tf.group(*(tf.assign(v, tf.fill([500_000], number)).op for v in variables))
    saver = tf.train.Saver(max_to_keep=2)
    with tf.Session() as session:
        for step in range(1, 10_000):
            session.run(fill, {number: step})
            saver.save(session, os.path.join(folder, "model"), global_step=step)
            say(saved=step)


@pytest.mark.skipif(
    "forkserver" not in multiprocessing.get_all_start_methods(), reason="needs fork"
)
def test_sigkill_at_any_moment(tmp_path: Path) -> None:
    draw = random.Random(7)
    for trial in range(4):
        folder = tmp_path / str(trial)
        folder.mkdir()
        task = Task("saver", save_for_ever, str(folder))
        try:
            enough = draw.randint(2, 4)
            last = task.wait_for("saved", lambda step, enough=enough: step >= enough)
        finally:
            task.kill()
            task.close()
        newest = tf.train.latest_checkpoint(folder)
        assert newest is not None
        reader = tf.train.NewCheckpointReader(newest)
        values = [reader.get_tensor(f"v{i}") for i in range(3)]
        number = values[0][0]
        assert number >= last
        assert all((v == number).all() for v in values)
        assert newest.endswith(f"model-{int(number)}")
