"""Programs that tests compile are not kept: some change kernels under way, which no key tells. `runtime/test_compile_cache.py` turns it on."""

from __future__ import annotations

from flowmesh.runtime import kept_programs

kept_programs.enabled = False
