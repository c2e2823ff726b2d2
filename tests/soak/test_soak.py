"""A few seconds of the soak: `python -m tests.soak --minutes 30` is the real one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.soak.run import Options, Soak


@pytest.mark.slow
def test_no_record_is_lost_or_doubled_while_workers_are_killed(tmp_path: Path) -> None:
    said: list[str] = []
    options = Options(epochs=3, workers=2, records=90, rate=45.0, kill_every=2.0, seed=3)
    report = Soak(options, tmp_path, said.append).run()
    assert report.kills >= 1, said
    assert (report.lost, report.doubled, report.failures) == (0, 0, [])
    assert report.applied == report.records == 270
    assert report.redelivered <= report.kills
    assert report.error < 1.0
