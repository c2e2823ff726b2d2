"""Huge pages are asked for in the scratch memory of large programs, and nowhere else."""

from __future__ import annotations

import mmap
import threading
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from flowmesh.runtime import huge_pages, kept_programs
from flowmesh.runtime.device import load_jax

SIZE = 40 << 20


@pytest.fixture
def asked(monkeypatch) -> list[tuple[int, int, int]]:
    """What the kernel is asked for, whatever this machine's setting."""
    found: list[tuple[int, int, int]] = []

    def advise(start: int, length: int, what: int) -> int:
        found.append((start, length, what))
        return 0

    monkeypatch.setattr(huge_pages, "_advise", lambda: advise)
    return found


def compiled_with(size: int) -> Any:
    return SimpleNamespace(memory_analysis=lambda: SimpleNamespace(temp_size_in_bytes=size))


def test_mappings_of_the_size_are_asked_for(asked):
    with mmap.mmap(-1, SIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
        address = np.frombuffer(memory, np.uint8).ctypes.data
        assert huge_pages.ask(SIZE, (0.0,)) >= 1
        assert any(start <= address < start + length for start, length, _ in asked)
    assert all(length >= SIZE and what == 14 for _, length, what in asked)
    before = len(asked)
    assert huge_pages.ask(1 << 46, (0.0, 0.0)) == 0
    assert len(asked) == before


@pytest.mark.parametrize(
    ("setting", "wanted"), [("always [madvise] never", True), ("[always] madvise never", False)]
)
def test_the_kernel_says_whether_asking_helps(setting, wanted, monkeypatch, tmp_path):
    file = tmp_path / "enabled"
    file.write_text(setting + "\n")
    monkeypatch.setattr(huge_pages, "_SETTING", file)
    monkeypatch.delenv(huge_pages.VARIABLE, raising=False)
    find = huge_pages._advise.__wrapped__
    assert (find() is not None) == wanted
    monkeypatch.setenv(huge_pages.VARIABLE, "0")
    assert find() is None
    monkeypatch.setattr(huge_pages, "_SETTING", tmp_path / "none")
    monkeypatch.delenv(huge_pages.VARIABLE)
    assert find() is None


def test_only_large_programs_are_run_this_way(asked, monkeypatch):
    done = threading.Event()
    sizes: list[int] = []

    def ask(size: int) -> None:
        sizes.append(size)
        done.set()

    monkeypatch.setattr(huge_pages, "ask", ask)

    def function(*arguments: Any) -> Any:
        return arguments

    assert huge_pages.with_huge_pages(function, compiled_with(huge_pages.LARGE - 1)) is function
    assert huge_pages.with_huge_pages(function, object()) is function
    run = huge_pages.with_huge_pages(function, compiled_with(huge_pages.LARGE))
    array = load_jax().numpy.ones(3)
    assert run(1, array) == (1, array)
    assert done.wait(60)
    assert sizes == [huge_pages.LARGE]
    monkeypatch.setattr(huge_pages, "_advise", lambda: None)
    assert huge_pages.with_huge_pages(function, compiled_with(huge_pages.LARGE)) is function


def test_xla_says_how_much_scratch_memory_a_program_needs(asked, monkeypatch):
    """Programs that are compiled here, and how they are called."""
    done = threading.Event()
    ask = huge_pages.ask

    def noted(size: int) -> int:
        count = ask(size)
        done.set()
        return count

    monkeypatch.setattr(huge_pages, "ask", noted)
    monkeypatch.setattr(huge_pages, "LARGE", 4 << 20)
    jax = load_jax()
    compiled = jax.jit(lambda x: (x @ x) @ x).lower(np.ones((1024, 1024), np.float32)).compile()
    assert huge_pages._scratch(compiled) >= 4 << 20
    function = kept_programs.quick(compiled)
    (total,) = function(np.ones((1024, 1024), np.float32))[:1]
    assert float(np.asarray(total).ravel()[0]) == 1024.0 * 1024.0
    assert done.wait(60)
