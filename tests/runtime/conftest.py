"""What tests of the runtime share."""

from __future__ import annotations

from pathlib import Path

import pytest

from flowmesh.runtime import ahead, compile_cache, kept_programs


@pytest.fixture
def folder(monkeypatch, tmp_path) -> Path:
    """An empty cache, in which programs are kept however fast they were compiled."""
    path = tmp_path / "programs"
    monkeypatch.setenv(compile_cache.VARIABLE, str(path))
    monkeypatch.setattr(kept_programs, "enabled", True)
    monkeypatch.setattr(kept_programs, "MINIMUM_SECONDS", 0.0)
    monkeypatch.setattr(ahead, "_ahead", ahead._Ahead())
    return path
