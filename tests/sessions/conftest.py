"""Every test here must leave no thread behind, as those of clusters."""

from __future__ import annotations

from tests.distributed.conftest import no_thread_left as no_thread_left
