"""What tests of the runtime share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from jax.experimental.compilation_cache import compilation_cache

from flowmesh.runtime import ahead, compile_cache, kept_programs
from flowmesh.runtime.device import load_jax


@pytest.fixture
def folder(monkeypatch, tmp_path) -> Iterator[Path]:
    """An empty cache, in which programs are kept however fast they were compiled. JAX's own is empty, too: what another test was
    slow to compile may be in it, and what JAX has read from there is not kept."""
    path = tmp_path / "programs"
    monkeypatch.setenv(compile_cache.VARIABLE, str(path))
    monkeypatch.setattr(kept_programs, "enabled", True)
    monkeypatch.setattr(kept_programs, "MINIMUM_SECONDS", 0.0)
    monkeypatch.setattr(ahead, "_ahead", ahead._Ahead())
    jax, name = load_jax(), "jax_compilation_cache_dir"
    before = jax.config.values[name]
    jax.config.update(name, str(tmp_path / "empty"))
    compilation_cache.reset_cache()
    yield path
    jax.config.update(name, before)
    compilation_cache.reset_cache()
