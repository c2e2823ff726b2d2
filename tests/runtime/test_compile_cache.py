"""The folder and the files of compiled programs: who may write to them, and that what is damaged is passed over."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import flowmesh as tf
from flowmesh.runtime import compile_cache, program_files

# -- the folder -------------------------------------------------------------------------------------------


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
    assert not program_files.write("key", {}, [], b"code")
    assert program_files.read("key") is None


def test_another_folder_can_be_named(monkeypatch, tmp_path):
    monkeypatch.setenv(compile_cache.VARIABLE, str(tmp_path / "here"))
    assert compile_cache.folder() == tmp_path / "here"


def test_old_programs_make_room_and_other_files_stay(monkeypatch, tmp_path):
    monkeypatch.setattr(compile_cache, "MAXIMUM_BYTES", 250)
    for number in range(4):
        path = tmp_path / f"program{number}{('.program', '-cache')[number % 2]}"
        path.write_bytes(bytes(100))
        os.utime(path, (number, number))
    (tmp_path / "letter.txt").write_bytes(bytes(300))
    os.utime(tmp_path / "letter.txt", (0, 0))
    compile_cache.make_room(tmp_path)
    left = sorted(p.name for p in tmp_path.iterdir())
    assert left == ["letter.txt", "program2.program", "program3-cache"]


def test_the_folder_is_made_for_the_user_alone(tmp_path):
    folder = tmp_path / "deep" / "cache"
    assert compile_cache.prepare(folder)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


# -- the files ----------------------------------------------------------------------------------------------


ARRAYS = [
    np.array([[1.5, -0.0], [np.inf, np.nan]], np.float32),
    np.array(7, np.int64),
    np.zeros((0, 3), np.complex128),
    np.array([1, 2], tf.bfloat16.as_numpy_dtype),
]


def test_a_file_gives_back_what_was_written(folder):
    assert program_files.write("key", {"a": [1, None]}, ARRAYS, b"code" * 100)
    found = program_files.read("key")
    assert found is not None
    facts, arrays, code = found
    assert facts == {"a": [1, None]} and code == b"code" * 100
    for array, wanted in zip(arrays, ARRAYS, strict=True):
        assert (array.dtype, array.shape) == (wanted.dtype, wanted.shape)
        assert array.tobytes() == wanted.tobytes()
    (path,) = folder.iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_what_was_read_is_not_the_oldest_any_more(folder):
    program_files.write("key", {}, [], b"code")
    (path,) = folder.iterdir()
    os.utime(path, (1, 1))
    program_files.read("key")
    assert path.stat().st_mtime > 1


def truncate(data: bytes) -> bytes:
    return data[: len(data) // 2]


def flip(data: bytes) -> bytes:
    return data[:-5] + bytes([data[-5] ^ 1]) + data[-4:]


@pytest.mark.parametrize(
    "damage",
    [truncate, flip, lambda data: b"", lambda data: b"something else", lambda data: data + b"x"],
    ids=["truncated", "changed", "empty", "foreign", "longer"],
)
def test_a_damaged_file_is_passed_over(folder, damage):
    program_files.write("key", {}, ARRAYS, b"code" * 100)
    (path,) = folder.iterdir()
    path.write_bytes(damage(path.read_bytes()))
    assert program_files.read("key") is None


def test_a_file_of_another_program_is_passed_over(folder):
    program_files.write("one", {}, [], b"code")
    (path,) = folder.iterdir()
    path.rename(path.with_name("two" + compile_cache.PROGRAM))
    assert program_files.read("two") is None


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o777])
def test_a_folder_that_others_may_write_to_is_not_used(folder, mode, caplog):
    assert program_files.write("key", {}, [], b"code")
    folder.chmod(mode)
    compile_cache._warn.cache_clear()
    assert program_files.read("key") is None
    assert not program_files.write("other", {}, [], b"code")
    assert len(caplog.records) == 1 and "chmod 700" in caplog.text
    folder.chmod(0o755)
    assert program_files.read("key") is not None


def test_a_file_that_others_may_write_to_is_not_used(folder):
    program_files.write("key", {}, [], b"code")
    (path,) = folder.iterdir()
    path.chmod(0o666)
    assert program_files.read("key") is None


def test_a_folder_of_another_user_is_not_used(folder, monkeypatch):
    program_files.write("key", {}, [], b"code")
    owner = folder.stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    assert (program_files.read("key") is None) == (owner != 0)  # root's is trusted


def test_what_cannot_be_written_is_done_without(folder, monkeypatch):
    def full(*args: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(program_files.os, "replace", full)
    assert not program_files.write("key", {}, [], b"code")
    assert list(folder.iterdir()) == []


def test_writers_at_the_same_time_leave_one_whole_file(folder):
    barrier = threading.Barrier(8)

    def write(number: int) -> None:
        barrier.wait()
        for _ in range(5):
            program_files.write("key", number, [], bytes([number]) * 10_000)
            found = program_files.read("key")
            assert found is not None and found[2] == bytes([found[0]]) * 10_000

    threads = [threading.Thread(target=write, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert program_files.read("key") is not None
    assert [p.name for p in folder.iterdir()] == ["key" + compile_cache.PROGRAM]


def test_hints_that_make_no_sense_are_none(folder):
    program_files.write_hint("mark", [["key", "cpu", 0]])
    assert program_files.read_hint("mark") == [["key", "cpu", 0]]
    (path,) = folder.iterdir()
    for text in ("", "{}", "[1]", '[["key"]]', "[[1, 2, {}]]"):
        path.write_text(text)
        assert program_files.read_hint("mark") == []
