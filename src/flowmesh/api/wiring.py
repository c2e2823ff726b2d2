"""What lower layers leave open for the top to bind: pieces of siblings that may not import each other."""

from __future__ import annotations

from flowmesh import ops as _ops  # noqa: F401  (registers all ops)
