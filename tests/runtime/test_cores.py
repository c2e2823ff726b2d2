"""How many cores there are, whether others want them, and how long a thread may keep one busy by looking."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from flowmesh.runtime import cores


@pytest.mark.parametrize(
    ("wanted", "crowded"),
    [
        ((2, 3, 2, 2, 3, 2), (0, 0, 0, 0, 0, 0)),
        ((3, 3, 3, 2, 2, 3), (0, 1, 1, 1, 0, 1)),
        ((1, 9, 9, 0, 0, 0), (0, 0, 1, 0, 0, 0)),
    ],
)
def test_a_crowd_is_more_than_a_moment(
    wanted: tuple[int, ...], crowded: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = list(wanted)
    monkeypatch.setattr(cores, "_wanted", lambda: answers.pop(0))
    monkeypatch.setattr(cores, "available", lambda: 2)
    crowd = cores.Crowd()
    found = []
    for number in range(len(wanted)):
        now = 1 + number * 0.0051
        found.append(crowd.is_there(now))
        assert crowd.is_there(now + 0.004) == found[-1]  # not asked again so soon
    assert found == [bool(c) for c in crowded]


def test_how_many_threads_want_to_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load = tmp_path / "loadavg"
    monkeypatch.setattr(cores, "_LOAD", str(load))
    assert cores._wanted() == 0
    load.write_text("0.20 0.18 0.12 3/80 11206\n")
    assert cores._wanted() == 3
    load.write_text("who knows\n")
    assert cores._wanted() == 0


@pytest.fixture
def fresh() -> Iterator[None]:
    for known in (cores.looking_time, cores.available):
        known.cache_clear()
    yield
    for known in (cores.looking_time, cores.available):
        known.cache_clear()


@pytest.mark.parametrize(
    ("given", "count", "seconds"),
    [("", 2, 500e-6), ("", 1, 0), ("0", 8, 0), ("40", 8, 40e-6), ("-1", 8, 0), ("soon", 2, 500e-6)],
)
@pytest.mark.usefixtures("fresh")
def test_how_long_a_process_may_look(
    monkeypatch: pytest.MonkeyPatch, given: str, count: int, seconds: float
) -> None:
    monkeypatch.setenv("FLOWMESH_SPIN_MICROSECONDS", given)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(count)), raising=False)
    assert cores.looking_time() == pytest.approx(seconds)


@pytest.mark.usefixtures("fresh")
def test_the_cores_are_those_that_the_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {1, 3, 6}, raising=False)
    assert cores.available() == 3


@pytest.mark.usefixtures("fresh")
@pytest.mark.parametrize(("known", "count"), [(5, 5), (None, 1)])
def test_where_processes_are_not_kept_to_cores_they_may_use_all(
    monkeypatch: pytest.MonkeyPatch, known: int | None, count: int
) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: known)
    assert cores.available() == count


def test_a_thread_knows_its_core() -> None:
    tell = cores.teller()
    if tell is None:
        pytest.skip("the system does not tell")
    assert tell() in os.sched_getaffinity(0)


def test_where_threads_cannot_be_kept_off_a_core_nobody_asks_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr(os, "sched_setaffinity", raising=False)
    assert cores.teller() is None


@pytest.mark.parametrize("error", [OSError, AttributeError, TypeError])
def test_a_c_library_that_does_not_tell_is_no_error(
    monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    def missing(_: object) -> None:
        raise error

    monkeypatch.setattr(os, "sched_setaffinity", None, raising=False)
    monkeypatch.setattr(cores.ctypes, "PyDLL", missing)
    assert cores.teller() is None
