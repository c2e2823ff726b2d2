"""Where compiled programs are kept, and that the next process finds them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from flowmesh.runtime import compile_cache


def test_the_folder_is_in_the_users_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv(compile_cache.VARIABLE, raising=False)
    folder = compile_cache.folder()
    assert folder is not None and folder.parent == tmp_path / "flowmesh"
    monkeypatch.delenv("XDG_CACHE_HOME")
    folder = compile_cache.folder()
    assert folder is not None and folder.parent == Path.home() / ".cache" / "flowmesh"


@pytest.mark.parametrize("text", ["0", "off", "False"])
def test_it_can_be_turned_off(monkeypatch, text):
    monkeypatch.setenv(compile_cache.VARIABLE, text)
    assert compile_cache.folder() is None


def test_another_folder_can_be_named(monkeypatch, tmp_path):
    monkeypatch.setenv(compile_cache.VARIABLE, str(tmp_path / "here"))
    assert compile_cache.folder() == tmp_path / "here"


def test_old_programs_make_room(monkeypatch, tmp_path):
    monkeypatch.setattr(compile_cache, "_MAXIMUM_BYTES", 250)
    for number in range(4):
        path = tmp_path / f"program{number}"
        path.write_bytes(bytes(100))
        os.utime(path, (number, number))
    compile_cache._make_room(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["program2", "program3"]


PROGRAM = """
import logging, sys
import numpy as np
import flowmesh as tf
import flowmesh.runtime.device as device

jax = device.load_jax()
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
hits = []
jax.monitoring.register_event_listener(lambda name, **_: hits.append(name) if "cache_hit" in name else None)
config = tf.ConfigProto()
config.experimental.flowmesh.execution = "xla"
x = tf.placeholder(tf.float32, [3])
with tf.Session(config=config) as session:
    print(session.run(tf.exp(x) * 2.0, {x: np.zeros(3, np.float32)}).tolist(), len(hits))
"""


def test_the_next_process_finds_the_programs_of_this_one(tmp_path):
    environment = {**os.environ, compile_cache.VARIABLE: str(tmp_path)}
    told = []
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM],
            capture_output=True,
            text=True,
            timeout=120,
            env=environment,
            check=True,
        )
        told.append(done.stdout.strip())
    assert told[0] == "[2.0, 2.0, 2.0] 0"
    values, hits = told[1].rsplit(" ", 1)
    assert values == "[2.0, 2.0, 2.0]" and int(hits) >= 1
